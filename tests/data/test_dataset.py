"""Data sets and their parts as tensors."""

from __future__ import annotations

import pytest
import torch

from designer.data.dataset import LabelledTensors
from designer.data.loading import load_dataset
from tests.support.datasets import (
    Source,
    X,
    Y,
)


def test_the_summary_says_what_was_loaded(source: Source) -> None:
    data = load_dataset(source(X, Y))
    summary = data.summary()
    assert (summary.train, summary.validation, summary.test) == (36, 12, 12)
    assert (summary.input_shape, summary.num_classes) == ((4,), 3)
    assert summary.fingerprint == data.fingerprint
    assert summary.chance == pytest.approx(1 / 3)


def test_batches_hold_all_samples_in_order() -> None:
    data = LabelledTensors(torch.arange(10.0)[:, None], torch.arange(10))
    batches = data.batches(4)
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    assert torch.equal(torch.cat([labels for _, labels in batches]), data.labels)
    inputs, labels = data
    assert inputs is data.inputs
    assert labels is data.labels
    assert len(data) == 10
