"""What arrays hold: chosen by shape and dtype where these say it, else as the caller says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import designer
from designer.analysis.data_for_model import all_data_for_model
from designer.choices import InputKind
from designer.data.dataset import Dataset
from designer.data.kinds import kind_of
from designer.data.loading import load_dataset
from designer.errors import ModelError
from designer.models.loaded import LoadedModel
from designer.models.loading import load_model
from designer.models.pruned import write_pruned
from tests.support.command import Command, refused
from tests.support.datasets import Source
from tests.support.datasets import refused as refused_source
from tests.support.texts import LENGTH, texts

Y = np.arange(60) % 3
TOKENS = np.random.default_rng(0).integers(0, 50, (60, 9))
SERIES = np.random.default_rng(1).normal(size=(60, 6, 20))


@pytest.mark.parametrize(
    ("shape", "dtype", "kind"),
    [
        ((4, 9), "float32", InputKind.TABULAR),
        ((4, 9), "int64", InputKind.TABULAR),
        ((4, 8, 8), "float64", InputKind.IMAGE),
        ((4, 6, 20), "float64", InputKind.IMAGE),
        ((4, 3, 15), "float64", InputKind.IMAGE),
        ((4, 3, 16), "uint8", InputKind.IMAGE),
        ((4, 3, 16), "float64", InputKind.SERIES),
        ((4, 1, 200), "int16", InputKind.SERIES),
        ((4, 3, 16, 16), "float64", InputKind.IMAGE),
    ],
)
def test_what_shape_and_dtype_say(shape: tuple[int, ...], dtype: str, kind: InputKind) -> None:
    assert kind_of(np.ones(shape, dtype), None) is kind


def test_tokens_stay_whole_numbers(source: Source) -> None:
    data = load_dataset(source(TOKENS.astype(np.int32), Y), input="tokens")
    assert data.train.inputs.dtype == torch.int64
    assert data.options["input"] == "tokens"
    assert data.scaling == {"mean": [], "scale": []}
    known = {tuple(row) for row in TOKENS.tolist()}
    parts = (data.train, data.validation, data.test)
    assert {tuple(row) for part in parts for row in part.inputs.tolist()} == known
    again = load_dataset(source(TOKENS, Y), input="tokens", scaling=data.scaling)
    assert torch.equal(again.train.inputs, data.train.inputs)
    assert load_dataset(source(TOKENS, Y)).train.inputs.is_floating_point()  # as ever


def test_series_keep_their_shape_and_are_scaled_by_channel(source: Source) -> None:
    data = load_dataset(source(SERIES * np.arange(1, 7)[:, None], Y), input="series")
    assert data.input_shape == (6, 20)
    assert len(data.scaling["mean"]) == 6
    assert torch.allclose(data.train.inputs.mean((0, 2)), torch.zeros(6), atol=1e-5)
    assert torch.allclose(data.train.inputs.std((0, 2)), torch.ones(6), atol=1e-2)
    assert load_dataset(source(SERIES, Y)).input_shape == (1, 6, 20)  # as ever


@pytest.mark.parametrize("form", ["dict", "tuple"])
def test_several_inputs_are_used_as_they_come(source: Source, form: str) -> None:
    values = np.random.default_rng(2).normal(size=60)
    several: Any = {"ids": TOKENS, "mask": TOKENS > 9, "value": values}
    data = load_dataset(source(several if form == "dict" else tuple(several.values()), Y))
    inputs = data.train.inputs
    parts = list(inputs.values()) if form == "dict" else list(inputs)
    assert [part.dtype for part in parts] == [torch.int64, torch.bool, torch.float32]
    assert torch.equal(parts[0] > 9, parts[1])  # samples stay together
    assert data.input_shape == (9,)
    assert data.fingerprint != load_dataset(source(TOKENS, Y)).fingerprint


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (TOKENS * 1.0, {"input": "tokens"}, r"tokens as whole numbers .* got float64 of shape"),
        (TOKENS - 9, {"input": "tokens"}, r"from 0 on, got int64 of shape \(n, 9\) from -9 on"),
        (SERIES, {"input": "tabular"}, r"tabular as numbers \(n, features\), got float64"),
        (TOKENS, {"input": "image"}, r"image as numbers \(n, height, width\)"),
        (TOKENS, {"input": "text"}, "kind of input among image, series, tokens, tabular, got"),
        (TOKENS, {"input": "tokens", "image_size": 8}, "images for an image size of 8"),
        (TOKENS, {"input": "tokens", "scaling": "0..1"}, "no scaling for tokens .* got '0..1'"),
        ({"ids": TOKENS}, {"input": "tokens"}, "one array of inputs for tokens, got 1"),
        ({"ids": TOKENS, "mask": TOKENS[:5]}, {}, "one label per training sample, got 5 samples"),
        ({}, {}, "at least one array of training inputs"),
    ],
)
def test_what_is_refused(source: Source, x: Any, options: dict[str, Any], message: str) -> None:
    refused_source(source(x, Y), message, **options)


def test_test_inputs_have_the_names_of_training_inputs(source: Source) -> None:
    x = {"ids": TOKENS, "mask": TOKENS > 9}
    swapped = {"mask": TOKENS > 9, "ids": TOKENS}
    data = load_dataset(source(x, Y, swapped, Y))
    assert torch.equal(data.test.inputs["ids"] > 9, data.test.inputs["mask"])
    refused_source(source(x, Y, {"ids": TOKENS}, Y), "named ids, mask as in training, got ids")


@pytest.mark.parametrize(
    ("x", "model", "option"),
    [
        (TOKENS, nn.Sequential(nn.Embedding(50, 4), nn.Flatten(), nn.Linear(36, 3)), "tokens"),
        (SERIES, nn.Sequential(nn.Conv1d(6, 4, 3), nn.Flatten(), nn.Linear(72, 3)), "series"),
    ],
)
def test_a_model_that_needs_another_kind(
    source: Source, x: Any, model: nn.Module, option: str
) -> None:
    loaded, name = LoadedModel(model.eval()), source(x, Y)
    with pytest.raises(ModelError, match=rf"raised .*; if the inputs are {option}, say so with "):
        all_data_for_model(loaded, name)
    data = all_data_for_model(loaded, name, input=option)
    assert isinstance(data, Dataset)
    model(data.train.inputs)


def test_a_search_refuses_tokens(source: Source, tmp_path: Path) -> None:
    with pytest.raises(designer.InvalidInputError, match="got tokens, which the networks of a sp"):
        designer.search("mlp", source(TOKENS, Y), input="tokens", out=tmp_path / "a")


def test_a_pruned_model_remembers_an_archive_of_several_inputs(here: Path) -> None:
    parts = {"train": texts(300, 0), "test": texts(100, 1)}
    arrays: dict[str, Any] = {
        f"x_{part}.{name}": data[name].numpy()
        for part, data in parts.items()
        for name in ("input_ids", "attention_mask")
    }
    arrays |= {f"y_{part}": data["labels"].numpy() for part, data in parts.items()}
    np.savez(here / "texts.npz", **arrays)
    net = "tests.support.texts:text_net"
    model, data = load_model(net), load_dataset("texts.npz", scaling="none")
    result = designer.prune(model.model, data, remove=1, criterion="last", epochs=0)
    write_pruned("small", result.model, model, result.removals, data)
    small = designer.load("small", trust=net)
    assert (small.scaling, small.input_shape) == ({"mean": [], "scale": []}, (LENGTH,))
    again = all_data_for_model(small, None)
    assert isinstance(again, Dataset)
    assert again.fingerprint == data.fingerprint
    with torch.no_grad():
        logits = [m(**again.test.inputs)["logits"] for m in (small.model, result.model)]
    assert torch.equal(*logits)


@pytest.mark.usefixtures("folder")
def test_a_kind_that_no_input_has(command: Command) -> None:
    line = refused(command("analyze", "tests.support.texts:text_net", "--data", "digits",
                           "--input", "text"))  # fmt: skip
    assert "a kind of input among image, series, tokens, tabular, got 'text'" in line
