"""Models that are named as their library names them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from designer.cli.app import OK
from designer.cli.options import read_arguments, read_scaling
from designer.data.classes import count_classes
from designer.data.loading import load_dataset
from designer.errors import InvalidInputError, ModelError, TrustError
from designer.folders import PRUNED_FILE
from designer.importing import Trust
from designer.models.loaded import build_from_origin
from designer.models.loading import load, load_model
from designer.models.pruned import write_pruned
from designer.models.surgery import Removal, Way, remove
from tests.support.command import Command, refused
from tests.support.fake_libraries import (
    MEAN,
    SIZE,
    STD,
    TinyNet,
    install_timm,
    install_torchvision,
)
from tests.support.trained import same_state, state_of

CLASSES = 4


@pytest.fixture
def pictures(folder: Path) -> str:
    """An archive of coloured images of bytes in four classes."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (80, 8, 8, 3), dtype=np.uint8)
    path = folder / "pictures.npz"
    np.savez(path, x_train=images, y_train=np.arange(80) % CLASSES)
    return str(path)


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> None:
    install_timm(monkeypatch)


def make_wide(width: int, *, bias: bool = True) -> nn.Module:
    return nn.Linear(width, 3, bias=bias)


# --- making ---


@pytest.mark.usefixtures("timm")
def test_a_model_gets_as_many_classes_as_the_data_have(pictures: str) -> None:
    loaded = load_model("timm:tiny_net", data=pictures)
    assert isinstance(loaded.model, TinyNet)
    assert loaded.model.head.out_features == CLASSES
    assert loaded.origin == {"factory": "timm:tiny_net", "arguments": {"num_classes": CLASSES}}


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("arguments", "classes"), [({"num_classes": 7}, 7), ({"pretrained": True}, 1000)]
)
def test_nobody_is_overruled_about_the_classes(
    pictures: str, arguments: dict[str, Any], classes: int
) -> None:
    loaded = load_model("timm:tiny_net", data=pictures, arguments=arguments)
    assert isinstance(loaded.model, TinyNet)
    assert loaded.model.head.out_features == classes
    assert loaded.model.pretrained == ("pretrained" in arguments)


def test_torchvision_is_told_the_same(monkeypatch: pytest.MonkeyPatch, pictures: str) -> None:
    install_torchvision(monkeypatch)
    loaded = load_model("torchvision:tiny_net", data=pictures)
    assert isinstance(loaded.model, TinyNet)
    assert loaded.model.head.out_features == CLASSES
    assert loaded.data_defaults == {}


def test_a_callable_gets_the_arguments() -> None:
    model = load_model(f"{__name__}:make_wide", arguments={"width": 5, "bias": False}).model
    assert isinstance(model, nn.Linear)
    assert [tuple(p.shape) for p in model.parameters()] == [(3, 5)]


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        ("timm:tiny_nat", {}, "got 'tiny_nat'; there are tiny_net"),
        ("timm:tiny_net", {"depth": 3}, "make 'tiny_net' with depth=3, but it raised TypeError"),
        ("hf:nowhere", {}, "needs transformers, which is not installed: pip install transformers"),
        (f"{__name__}:make_wide", {"width": "x"}, "make_wide' raised TypeError"),
        (f"{__name__}:READY", {"width": 3}, "it is a module and no callable"),
    ],
)
def test_what_cannot_be_made_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, source: str, arguments: dict[str, Any], message: str
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=message) as raised:
        load_model(source, arguments=arguments)
    assert "\n" not in str(raised.value)


READY = nn.Linear(3, 3)


# --- a pruned model of a library ---


@pytest.mark.usefixtures("timm")
def test_a_pruned_model_of_a_library_is_loaded_without_trust(folder: Path, pictures: str) -> None:
    source = load_model("timm:tiny_net", data=pictures)
    smaller = load_model("timm:tiny_net", data=pictures).model
    removals = [Removal("blocks.1", Way.PASS)]
    remove(smaller, removals)
    write_pruned(folder / "small", smaller, source, removals, load_dataset(pictures))
    loaded = load(folder / "small")
    assert same_state(loaded.model, state_of(smaller))
    assert not same_state(loaded.again(1), state_of(smaller))


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("arguments", [{"pretrained": True}, {"num_classes": 10**9}, {"x": 1}])
def test_a_folder_may_tell_a_library_no_more_than_a_few_sizes(arguments: dict[str, Any]) -> None:
    origin = {"factory": "timm:tiny_net", "arguments": arguments}
    with pytest.raises(TrustError, match="--trust timm:tiny_net"):
        build_from_origin(origin, Trust())


@pytest.mark.usefixtures("timm")
def test_building_anew_takes_no_trained_weights() -> None:
    origin = {"factory": "timm:tiny_net", "arguments": {"pretrained": True}}
    model = build_from_origin(origin, Trust().with_names("timm:tiny_net"))
    assert isinstance(model, TinyNet)
    assert not model.pretrained


# --- how it is fed ---


@pytest.mark.usefixtures("timm")
def test_a_model_of_timm_is_fed_as_timm_says(command: Command, folder: Path, pictures: str) -> None:
    words = ["analyze", "timm:tiny_net", "--data", pictures, "--out", "out"]
    outcome = command(*words)
    assert outcome.code == OK
    assert f"images of {SIZE} pixels (--image-size)" in outcome.err
    assert "mean 0.5, 0.25, 0.125 and std 0.2, 0.2, 0.4 (--scaling)" in outcome.err
    report = json.loads((folder / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["data"]["scaling"] == "given"
    assert report["input"]["width"] == 3 * SIZE**2
    outcome = command(*words, "--image-size", "8", "--scaling", "0..1")
    assert "As its library says" not in outcome.err


@pytest.mark.usefixtures("timm")
def test_a_head_for_other_classes_is_named(command: Command, pictures: str) -> None:
    words = ["--data", pictures, "--out", "out", "--model-args", "num_classes=1000"]
    outcome = command("analyze", "timm:tiny_net", *words, "--json")
    warnings = {w["code"]: w["message"] for w in json.loads(outcome.out)["warnings"]}
    assert "The model gives 1,000 logits, but the data have 4 classes" in warnings["other_head"]


def test_pixels_are_scaled_by_the_numbers_of_a_library(folder: Path, pictures: str) -> None:
    pixels = np.load(pictures)["x_train"]
    as_bytes = load_dataset(pictures, scaling={"mean": MEAN, "std": STD})
    np.savez(folder / "unit.npz", x_train=pixels / 255, y_train=np.arange(80) % CLASSES)
    as_fractions = load_dataset(str(folder / "unit.npz"), scaling={"mean": MEAN, "std": STD})
    by_hand = load_dataset(pictures, scaling="0..1")
    mean, std = (np.array(values).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    expected = (by_hand.train.inputs.numpy() - mean) / std
    for data in (as_bytes, as_fractions):
        np.testing.assert_allclose(data.train.inputs.numpy(), expected, atol=1e-5)


# --- counting classes ---


def test_the_classes_of_every_source_are_counted(folder: Path, pictures: str) -> None:
    assert count_classes(pictures) == CLASSES
    assert count_classes("digits") == 10
    assert count_classes(f"{__name__}:batches") == 3
    for name in ("cat", "dog"):
        (folder / "animals" / "train" / name).mkdir(parents=True)
        (folder / "animals" / "train" / name / "1.png").touch()  # no image is opened
    assert count_classes(str(folder / "animals")) == 2


def batches() -> dict[str, Any]:
    return {"train": [(torch.zeros(2, 3), torch.tensor([0, 2]))]}


# --- reading options ---


@pytest.mark.parametrize(
    ("texts", "arguments"),
    [
        (None, {}),
        (["num_classes=10"], {"num_classes": 10}),
        (["a=1,b=true", "c=x,y"], {"a": 1, "b": True, "c": "x,y"}),
        (["depths=[2,2],rate=0.5, name=mean=0"], {"depths": [2, 2], "rate": 0.5, "name": "mean=0"}),
    ],
)
def test_arguments_are_read(texts: list[str] | None, arguments: dict[str, Any]) -> None:
    assert read_arguments(texts) == arguments


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("text", ["", "width", "=3", "a b=3"])
def test_arguments_of_another_form_are_refused(command: Command, text: str) -> None:
    line = refused(command("analyze", "digits:x", "--data", "digits", "--model-args", text))
    assert "Expected --model-args as KEY=VALUE" in line


def test_scalings_are_read_in_both_forms() -> None:
    assert read_scaling("mean=0.5,0.25, std=2,3") == {"mean": [0.5, 0.25], "std": [2.0, 3.0]}
    assert read_scaling("1,2/3,4") == {"mean": [1.0, 2.0], "scale": [3.0, 4.0]}
    for text in ("mean=1", "mean=1,std=", "1/2/3", "mean=x,std=1"):
        with pytest.raises(InvalidInputError, match="mean=NUMBERS,std=NUMBERS"):
            read_scaling(text)


def test_a_folder_takes_no_arguments(folder: Path) -> None:
    with pytest.raises(ModelError, match="got the folder"):
        load_model(folder, arguments={"width": 3})
    assert not (folder / PRUNED_FILE).exists()
