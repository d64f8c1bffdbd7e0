"""Profiles of every form of data, in batches of any size; and data that are refused."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from designer import profile
from designer.choices import Measure
from designer.errors import InvalidInputError
from tests.support.helpers import small_mlp
from tests.support.profiled import (
    HELDOUT,
    TRAIN,
    assert_close,
    assert_same,
    conv_net,
    images,
    only_for,
    sequences,
    tagger,
)


@pytest.mark.parametrize("batch_size", [1, 7, 60, 1000])
def test_the_batch_size_does_not_matter(batch_size: int) -> None:
    model = small_mlp()
    assert_close(
        profile(model, TRAIN, HELDOUT, batch_size=batch_size), profile(model, TRAIN, HELDOUT)
    )


def test_a_data_loader_gives_the_same_as_tensors() -> None:
    model = small_mlp()
    train, heldout = (
        DataLoader(TensorDataset(part.inputs, part.labels), batch_size=16)
        for part in (TRAIN, HELDOUT)
    )
    result = profile(model, train, heldout)
    assert_close(result, profile(model, TRAIN, HELDOUT))


def test_a_pair_and_a_list_of_batches_give_the_same_as_labelled_tensors() -> None:
    model = small_mlp()
    expected = profile(model, TRAIN, HELDOUT)
    pair = (TRAIN.inputs, TRAIN.labels)
    assert_same(profile(model, pair, (HELDOUT.inputs, HELDOUT.labels)), expected)
    assert_close(profile(model, TRAIN.batches(9), HELDOUT.batches(9)), expected)


@pytest.mark.parametrize("keep", [True, False])
def test_a_shuffling_data_loader_is_refused(keep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not keep:
        monkeypatch.setattr(import_module("designer.analysis.passes"), "KEEP_FEATURES", 0)
    loader = DataLoader(TensorDataset(TRAIN.inputs, TRAIN.labels), batch_size=16, shuffle=True)
    with pytest.raises(InvalidInputError, match=r"same order .* shuffle=False"):
        profile(small_mlp(), loader)


@pytest.mark.parametrize("which", ["train", "heldout"])
def test_batches_that_can_be_read_only_once_are_refused(which: str) -> None:
    data: dict[str, Any] = {"train": TRAIN, "heldout": HELDOUT}
    data[which] = iter(data[which].batches(16))
    with pytest.raises(InvalidInputError, match=r"Expected data that can be iterated more than"):
        profile(small_mlp(), **data)


def test_no_batch_at_all() -> None:
    with pytest.raises(InvalidInputError, match=r"Expected .* got no batch"):
        profile(small_mlp(), [])


@pytest.mark.parametrize(
    "labels",
    [
        TRAIN.labels.float(),
        TRAIN.labels[:, None],
        TRAIN.labels - 1,
        TRAIN.labels[:30],
    ],
    ids=["floating", "two-dimensional", "negative", "too few"],
)
@pytest.mark.parametrize("in_batches", [False, True])
def test_malformed_labels_are_refused(labels: Tensor, in_batches: bool) -> None:
    pair = (TRAIN.inputs, labels)
    with pytest.raises(InvalidInputError, match=r"Expected"):
        profile(small_mlp(), [pair] if in_batches else pair)


def test_a_list_of_two_tensors_is_refused() -> None:
    pair: Any = [TRAIN.inputs, TRAIN.labels]
    with pytest.raises(InvalidInputError, match=r"Expected .*\(inputs, labels\)"):
        profile(small_mlp(), pair)


def test_a_single_class_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"Expected samples of at least 2 classes, got 1"):
        profile(small_mlp(), (TRAIN.inputs, torch.zeros_like(TRAIN.labels)))


def test_heldout_data_with_an_unknown_class_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"Expected held-out labels .* got class 3"):
        profile(small_mlp(), TRAIN, (HELDOUT.inputs, HELDOUT.labels + 1))


def test_heldout_data_of_another_kind() -> None:
    with pytest.raises(InvalidInputError, match=r"labels \(n, tokens\) as .* got labels \(n,\)"):
        profile(tagger(), sequences(40), (TRAIN.inputs, TRAIN.labels))


@pytest.mark.parametrize("features", ["flatten", "pool", "project"])
@pytest.mark.parametrize("measure", list(Measure))
def test_many_batches_are_one_batch(measure: str, features: str) -> None:
    model = conv_net().double()
    data, held = images(80, dtype=torch.float64), images(40, seed=1, dtype=torch.float64)
    single, many = (
        profile(
            model,
            data,
            held,
            measure=measure,
            features=features,
            dimension=only_for(features, 24),
            batch_size=size,
        )
        for size in (80, 7)
    )
    rel = 1e-5 if features == "project" else 1e-9  # projections are in float32
    for name in ("values", "values_heldout", "nulls", "resampled", "resampled_heldout"):
        np.testing.assert_allclose(getattr(many, name), getattr(single, name), rtol=rel)
