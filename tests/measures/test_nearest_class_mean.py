"""The nearest class mean against scikit-learn, and its checks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestCentroid

from designer.errors import InvalidInputError
from designer.measures.nearest_class_mean import nearest_class
from designer.measures.separation import (
    class_directions,
    nearest_class_mean_accuracy,
)
from tests.support.helpers import DEVICES, gaussian_classes

few = settings(max_examples=20, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


@pytest.mark.parametrize("device", DEVICES)
@few
@given(seed=seeds)
def test_nearest_class_mean_accuracy_is_that_of_scikit_learn(device: str, seed: int) -> None:
    x, y = gaussian_classes(120, 6, 4, seed=seed)
    expected = NearestCentroid().fit(x[:70], y[:70]).score(x[70:], y[70:])
    x, y = x.to(device), y.to(device)
    accuracy = nearest_class_mean_accuracy(x[:70], y[:70], x[70:], y[70:])
    assert accuracy == pytest.approx(expected)


def test_nearest_class_mean_is_never_a_class_without_samples() -> None:
    x, y = gaussian_classes()
    predicted = nearest_class(class_directions(x + 100, torch.where(y == 0, 3, y)), x)
    assert set(predicted.tolist()) <= {1, 2, 3}


@pytest.mark.parametrize("count", [5, 60])
def test_nearest_class_mean_accuracy_checks_its_heldout_set(count: int) -> None:
    x, y = gaussian_classes()
    with pytest.raises(InvalidInputError, match=r"Expected .* got"):
        nearest_class_mean_accuracy(x, y, x, (y + 1)[:count])
