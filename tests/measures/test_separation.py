"""Separation fuzziness: oracle, textbook form, invariances, wrong use, memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from designer.errors import InvalidInputError
from designer.measures.separation import (
    separation_fuzziness,
)
from designer.results.measured import SeparationStatus
from tests.support.helpers import DEVICES, gaussian_classes
from tests.support.measuring import (
    separation_value,
)
from tests.support.oracles import (
    textbook_separation,
)
from tests.support.paths import FILES

ORACLE = FILES / "separation_oracle.npz"

few = settings(max_examples=20, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


# --- value ---


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "case",
    [
        "balanced",
        "imbalanced",
        "more_features_than_samples",
        "relu_with_dead_units",
        "rank_deficient_class_means",
    ],
)
def test_oracle_of_the_papers_authors(case: str, device: str) -> None:
    with np.load(ORACLE) as oracle:
        features = torch.from_numpy(oracle[f"{case}.features"]).to(device)
        labels = torch.from_numpy(oracle[f"{case}.labels"]).to(device)
        expected = float(oracle[f"{case}.value"])
    assert separation_fuzziness(features, labels).value == pytest.approx(expected, rel=1e-9)


def test_oracle_rank_of_deficient_class_means() -> None:
    with np.load(ORACLE) as oracle:
        features = torch.from_numpy(oracle["rank_deficient_class_means.features"])
        labels = torch.from_numpy(oracle["rank_deficient_class_means.labels"])
    separation = separation_fuzziness(features, labels)
    assert (separation.rank, separation.full_rank) == (2, 3)
    assert separation.status is SeparationStatus.RANK_DEFICIENT
    assert "2 of 3" in separation.reason


@few
@given(seed=seeds, p=st.integers(1, 40), classes=st.integers(2, 6))
def test_equals_the_textbook_form(seed: int, p: int, classes: int) -> None:
    x, y = gaussian_classes(50, p, classes, seed=seed)
    expected = textbook_separation(x.numpy(), y.numpy())
    assert separation_fuzziness(x, y).value == pytest.approx(expected, rel=1e-6)


@few
@given(seed=seeds, counts=st.lists(st.integers(1, 40), min_size=2, max_size=5))
def test_imbalanced_classes_are_weighted_by_their_share(seed: int, counts: list[int]) -> None:
    counts[0] += 5
    x, _ = gaussian_classes(sum(counts), 8, seed=seed)
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    expected = textbook_separation(x.numpy(), y.numpy())
    assert separation_fuzziness(x, y).value == pytest.approx(expected, rel=1e-6)


def test_one_dimension_by_hand() -> None:
    # class means 0 and 4, weights 3/4 and 1/4: SS_b = 3; SS_w = (1 + 1) / 4
    x = torch.tensor([[-1.0], [0.0], [1.0], [4.0]])
    separation = separation_fuzziness(x, torch.tensor([0, 0, 0, 1]))
    assert separation.value == pytest.approx(0.5 / 3)
    assert (separation.rank, separation.full_rank, separation.status) == (1, 1, SeparationStatus.OK)


@few
@given(seed=seeds)
def test_terms_add_up_to_the_value(seed: int) -> None:
    x, y = gaussian_classes(seed=seed, classes=4)
    separation = separation_fuzziness(x, y)
    assert len(separation.terms) == separation.rank == 3
    assert sum(separation.terms) == pytest.approx(separation.value)


def test_images_are_flattened() -> None:
    x, y = gaussian_classes(p=12)
    assert separation_fuzziness(x.reshape(60, 3, 2, 2), y) == separation_fuzziness(x, y)


# --- invariances ---


@few
@given(seed=seeds, p=st.integers(2, 20))
def test_rotation_leaves_it_unchanged(seed: int, p: int) -> None:
    x, y = gaussian_classes(p=p, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(torch.randn(p, p, generator=generator, dtype=torch.float64))
    assert separation_value(x @ rotation, y) == pytest.approx(separation_value(x, y), rel=1e-7)


@few
@given(seed=seeds, shift=st.floats(-100, 100))
def test_shift_leaves_it_unchanged(seed: int, shift: float) -> None:
    x, y = gaussian_classes(seed=seed)
    assert separation_value(x + shift * torch.arange(5), y) == pytest.approx(
        separation_value(x, y), rel=1e-7
    )


@few
@given(seed=seeds, exponent=st.floats(-6, 6))
def test_uniform_scale_leaves_it_unchanged(seed: int, exponent: float) -> None:
    x, y = gaussian_classes(seed=seed)
    assert separation_value(10**exponent * x, y) == pytest.approx(separation_value(x, y), rel=1e-9)


def test_scale_per_feature_changes_it() -> None:
    x, y = gaussian_classes()
    assert separation_value(x * torch.tensor([1, 1, 1, 1, 100]), y) != pytest.approx(
        separation_value(x, y), rel=1e-3
    )


@few
@given(seed=seeds)
def test_order_of_samples_and_names_of_classes_do_not_matter(seed: int) -> None:
    x, y = gaussian_classes(seed=seed)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
    assert separation_value(x[order], (y[order] + 1) % 3) == pytest.approx(
        separation_value(x, y), rel=1e-9
    )


# --- wrong use ---


@pytest.mark.parametrize(
    ("features", "labels", "came"),
    [
        (torch.zeros(6), torch.zeros(6).long(), r"got shape \(6,\)"),
        (torch.zeros(6, 2).long(), torch.zeros(6).long(), "torch.int64"),
        (torch.zeros(6, 2), torch.zeros(6, 1).long(), r"got shape \(6, 1\)"),
        (torch.zeros(6, 2), torch.zeros(6), "torch.float32"),
        (torch.zeros(6, 2), torch.zeros(6).bool(), "torch.bool"),
        (torch.zeros(6, 2), torch.zeros(5).long(), "got 6 samples and 5 labels"),
        (torch.zeros(0, 2), torch.zeros(0).long(), r"got shape \(0, 2\)"),
        (torch.zeros(6, 0), torch.zeros(6).long(), r"got shape \(6, 0\)"),
        (torch.zeros(6, 2), torch.arange(6) - 1, "got -1"),
        (torch.zeros(6, 2), torch.zeros(6).long(), "got 1"),
        (np.zeros((6, 2)), np.zeros(6), "got ndarray and ndarray"),
        ([[1.0]], [0], "got list and list"),
    ],
)
def test_wrong_use_says_what_was_expected_and_what_came(
    features: Tensor, labels: Tensor, came: str
) -> None:
    with pytest.raises(InvalidInputError, match=rf"^Expected .*{came}"):
        separation_fuzziness(features, labels)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_any_integer_dtype_serves_as_labels(dtype: torch.dtype) -> None:
    x, y = gaussian_classes()
    assert separation_fuzziness(x, y.to(dtype)) == separation_fuzziness(x, y)


# --- memory ---


def test_wide_features_need_little_memory_beyond_themselves() -> None:
    script = """
import resource, sys, torch
from designer import separation_fuzziness
features, labels = torch.rand(1000, 65536), torch.arange(1000) % 10
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert separation_fuzziness(features, labels).status == "ok"
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * (1 if sys.platform == "darwin" else 1024), before)
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    growth, before = map(int, run.stdout.split())
    assert before > 0
    assert growth < 2**30
