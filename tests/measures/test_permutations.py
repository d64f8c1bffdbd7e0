"""The label-permutation null of separation, and the permutations themselves."""

from __future__ import annotations

import pytest
import torch

from designer.measures.permutations import permuted_labels
from designer.measures.separation import (
    label_permutation_null,
)
from tests.support.helpers import gaussian_classes
from tests.support.measuring import (
    separation_value,
)


@pytest.mark.parametrize("p", [30, 200, 1000])
def test_null_of_isotropic_features(p: int) -> None:
    n, classes = 400, 4
    x = torch.randn(n, p, generator=torch.Generator().manual_seed(1))
    expected = (n - classes) * (classes - 1) / (p - classes)
    null = label_permutation_null(x, torch.arange(n) % classes, permutations=10)
    assert null == pytest.approx(expected, rel=0.2)


def test_null_does_not_depend_on_what_the_labels_say() -> None:
    x, y = gaussian_classes(300, 20, spread=0.1)
    assert label_permutation_null(x, y) > 100 * separation_value(x, y)


def test_null_is_seeded() -> None:
    x, y = gaussian_classes()
    assert label_permutation_null(x, y, seed=1) == label_permutation_null(x, y, seed=1)
    assert label_permutation_null(x, y, seed=1) != label_permutation_null(x, y, seed=2)


def test_permuted_labels_keep_the_counts_and_torchs_generator() -> None:
    _, y = gaussian_classes()
    state = torch.get_rng_state()
    drawn = permuted_labels(y, 3, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(drawn) == 3
    for labels in drawn:
        assert torch.equal(labels.bincount(), y.bincount())
        assert not torch.equal(labels, y)
