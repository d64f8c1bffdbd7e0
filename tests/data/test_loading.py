"""What `load_dataset` and `load_source` return, and options that they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from designer.data.dataset import BatchedData, Dataset
from designer.data.loading import load_dataset, load_source
from tests.support.datasets import (
    BATCHES,
    Source,
    X,
    Y,
    refused,
    refused_source,
    same_data,
)


def test_batches_go_through_as_they_are(source: Source) -> None:
    loader = DataLoader(TensorDataset(torch.ones(6, 3), torch.arange(6) % 2), batch_size=2)
    batched = load_source(source({"train": loader, "heldout": BATCHES}), seed=3, scaling="none")
    assert isinstance(batched, BatchedData)
    assert batched.name == "made_up:data"
    assert batched.train is loader
    assert batched.heldout is BATCHES


@pytest.mark.parametrize("more", [{}, {"heldout": None}])
def test_held_out_batches_may_be_missing(source: Source, more: dict[str, Any]) -> None:
    batched = load_source(source({"train": BATCHES, **more}))
    assert isinstance(batched, BatchedData)
    assert batched.heldout is None


def test_batches_may_hold_several_inputs(source: Source) -> None:
    batches = [({"ids": torch.ones(4, 3), "mask": torch.ones(4, 3)}, torch.arange(4))]
    batched = load_source(source({"train": batches}))
    assert isinstance(batched, BatchedData)
    assert batched.train is batches


@pytest.mark.parametrize("arrays", [(X, Y), {"x_train": X, "y_train": Y}])
@pytest.mark.parametrize("options", [{}, {"train_size": 12, "seed": 3}])
def test_arrays_become_a_data_set(source: Source, arrays: Any, options: dict[str, Any]) -> None:
    loaded = load_source(source(arrays), **options)
    assert isinstance(loaded, Dataset)
    expected = load_dataset(source(arrays), **options)
    assert same_data(loaded, expected)
    assert loaded.options == expected.options


def test_a_default_scaling_gives_way_to_one_that_is_asked_for(source: Source) -> None:
    by_default = load_source(source(X, Y), {"scaling": "none"})
    asked = load_source(source(X, Y), {"scaling": "none"}, scaling="standard")
    assert isinstance(by_default, Dataset)
    assert isinstance(asked, Dataset)
    assert same_data(by_default, load_dataset(source(X, Y), scaling="none"))
    assert same_data(asked, load_dataset(source(X, Y)))


def test_batches_follow_no_default_scaling(source: Source) -> None:
    batched = load_source(source({"train": BATCHES}), {"scaling": {"mean": [0.0], "scale": [1.0]}})
    assert isinstance(batched, BatchedData)


def test_a_data_set_needs_arrays(source: Source) -> None:
    refused(
        source({"train": BATCHES}), "Expected arrays from 'made_up:data', got batches; a search"
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"train_size": 9}, "train size"),
        ({"image_size": 9}, "image size"),
        ({"shuffle_labels": True}, "shuffle labels"),
        ({"scaling": "standard"}, "scaling"),
        ({"scaling": {"mean": [0.0], "scale": [1.0]}}, "scaling"),
    ],
)
def test_options_that_batches_cannot_follow(
    source: Source, options: dict[str, Any], named: str
) -> None:
    refused_source(source({"train": BATCHES}), f"for the option {named}, got batches", **options)


def test_unknown_options_are_an_error(source: Source) -> None:
    with pytest.raises(TypeError, match="colour"):
        load_source(source(X, Y), colour="blue")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_size": 1000}, r"train size from 3 .* to 36 .* got 1000"),
        ({"train_size": 2}, r"train size from 3 .* got 2"),
        ({"train_size": 0}, r"train size from 3 .* got 0"),
        ({"train_size": -5}, r"train size from 3 .* got -5"),
        ({"validation_fraction": 0}, "fraction between 0 and 1, got 0"),
        ({"validation_fraction": 1}, "fraction between 0 and 1, got 1"),
        ({"validation_fraction": -0.5}, "fraction between 0 and 1, got -0.5"),
        ({"validation_fraction": float("nan")}, "fraction between 0 and 1, got nan"),
        ({"image_size": 8}, r"images for an image size of 8, got inputs of shape \(36, 4\)"),
        ({"seed": -1}, "seed.* got -1"),
    ],
)
def test_bad_options_are_refused(source: Source, options: dict[str, Any], message: str) -> None:
    refused(source(X, Y), message, **options)


def test_scaling_and_seed_are_recorded_and_change_no_fingerprint(source: Source) -> None:
    numbers = {"mean": [0.5] * 4, "scale": [2.0] * 4}
    choices: list[Any] = ["standard", "none", numbers]
    loaded = [load_dataset(source(X, Y), seed=3, scaling=choice) for choice in choices]
    assert [data.options["scaling"] for data in loaded] == ["standard", "none", "given"]
    assert {data.options["seed"] for data in loaded} == {3}
    assert len({data.fingerprint for data in loaded}) == 1
    assert load_dataset(source(X, Y)).options == {
        "source": "made_up:data",
        "train_size": None,
        "image_size": None,
        "validation_fraction": 0.25,
        "seed": 0,
        "shuffle_labels": False,
        "split_duplicates": False,
        "scaling": "standard",
        "input": None,
    }
