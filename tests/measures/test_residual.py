"""Prediction residual: least squares, closed forms, invariances, wrong use, memory."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_squared_error
from torch import Tensor
from torch.nn.functional import one_hot

from designer.errors import InvalidInputError
from designer.measures.cross_products import WIDEST
from designer.measures.residual import (
    prediction_residual,
)
from designer.measures.separation import (
    separation_fuzziness,
)
from designer.results.measured import SeparationStatus
from tests.support.helpers import DEVICES, gaussian_classes
from tests.support.measuring import (
    fitted,
    noisy_map,
    residual_value,
)
from tests.support.oracles import (
    least_squares_residual,
)

few = settings(max_examples=20, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


# --- value ---


@pytest.mark.parametrize("device", DEVICES)
@few
@given(seed=seeds, p=st.integers(1, 30), q=st.integers(1, 4))
def test_equals_least_squares(device: str, seed: int, p: int, q: int) -> None:
    x, y = noisy_map(60, p, q, seed=seed)
    residual = prediction_residual(x.to(device), y.to(device))
    assert residual.value == pytest.approx(least_squares_residual(x, y), rel=1e-9)
    assert (residual.rank, residual.full_rank, residual.status) == (p, p, SeparationStatus.OK)
    assert residual.reason == ""


@few
@given(seed=seeds, p=st.integers(1, 30), classes=st.integers(2, 6))
def test_equals_the_measure_of_the_papers_authors(seed: int, p: int, classes: int) -> None:
    # they regress the index of the next token as one number
    x, y = gaussian_classes(60, p, classes, seed=seed)
    predicted = LinearRegression().fit(x, y).predict(x)
    expected = mean_squared_error(y, predicted) / np.var(y.numpy())
    assert residual_value(x, y.double()) == pytest.approx(expected, rel=1e-9)


def test_one_feature_by_hand() -> None:
    # centred: x = -1, 0, 1 and y = -2, 1, 1, so that R^2 = 3^2 / (2 * 6)
    x = torch.tensor([[1.0], [2.0], [3.0]])
    residual = prediction_residual(x, torch.tensor([0.0, 3.0, 3.0]))
    assert residual.value == pytest.approx(1 / 4)


@pytest.mark.parametrize("device", DEVICES)
@few
@given(seed=seeds, p=st.integers(1, 30), classes=st.integers(2, 6))
def test_classes_are_their_one_hot_code(device: str, seed: int, p: int, classes: int) -> None:
    x, y = (tensor.to(device) for tensor in gaussian_classes(60, p, classes, seed=seed))
    y[:9] = 0  # classes of different sizes
    labelled, coded = fitted(x, y, classes), fitted(x, one_hot(y, classes).double())
    assert labelled.separation().value == pytest.approx(coded.separation().value, rel=1e-9)
    torch.testing.assert_close(
        labelled.squared_errors(x, y), coded.squared_errors(x, one_hot(y, classes).double())
    )
    torch.testing.assert_close(
        labelled.squared_deviations(y), coded.squared_deviations(one_hot(y, classes).double())
    )


def test_handwritten_digits_whose_margins_are_blank() -> None:
    pixels, digits = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    residual = prediction_residual(pixels.float(), digits, num_classes=10)
    expected = least_squares_residual(pixels, one_hot(digits))
    assert residual.value == pytest.approx(expected, rel=1e-9)
    assert (residual.rank, residual.full_rank, residual.status) == (61, 64, SeparationStatus.OK)
    assert 0.3 < residual.value < fitted(pixels, digits, 10).null


def test_classes_without_samples_change_nothing() -> None:
    x, y = gaussian_classes()
    assert residual_value(x, 2 * y + 1, 50) == pytest.approx(residual_value(x, y, 3), rel=1e-12)


@few
@given(seed=seeds, p=st.integers(1, 10), minority=st.integers(5, 50))
def test_two_classes_give_the_mahalanobis_distance(seed: int, p: int, minority: int) -> None:
    x, _ = gaussian_classes(100, p, seed=seed)
    y = (torch.arange(100) < minority).long()
    apart = x[y == 1].mean(0) - x[y == 0].mean(0)
    within = sum(torch.cov(x[y == k].T, correction=0) * float((y == k).sum()) for k in (0, 1))
    distance = float(apart @ torch.linalg.solve(torch.as_tensor(within).reshape(p, p) / 100, apart))
    expected = 1 / (1 + minority / 100 * (1 - minority / 100) * distance)
    assert residual_value(x, y, 2) == pytest.approx(expected, rel=1e-9)


@few
@given(seed=seeds)
def test_one_feature_and_two_classes_give_the_separation_fuzziness(seed: int) -> None:
    x, y = gaussian_classes(40, 1, 2, seed=seed)
    fuzziness = separation_fuzziness(x, y).value
    assert residual_value(x, y, 2) == pytest.approx(fuzziness / (1 + fuzziness), rel=1e-7)


@few
@given(seed=seeds, p=st.integers(1, 59))
def test_lies_between_0_and_1_and_equals_the_mean_of_the_errors(seed: int, p: int) -> None:
    x, y = noisy_map(60, p, 2, seed=seed)
    fit = fitted(x, y)
    errors, deviations = fit.squared_errors(x, y), fit.squared_deviations(y)
    assert 0 <= fit.separation().value <= 1
    assert fit.separation().value == pytest.approx(float(errors.sum() / deviations.sum()), abs=1e-9)


def test_features_that_predict_nothing_leave_everything() -> None:
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    residual = prediction_residual(x, torch.tensor([0, 0, 1, 1]), num_classes=2)
    assert residual.value == pytest.approx(1, abs=1e-15)
    assert residual.status is SeparationStatus.OK


def test_a_feature_more_never_leaves_more() -> None:
    x, y = noisy_map(60, 20, 2)
    values = [residual_value(x[:, :p], y) for p in range(1, 21)]
    assert all(after <= before + 1e-12 for before, after in pairwise(values))


def test_images_are_flattened() -> None:
    x, y = gaussian_classes(p=12)
    assert prediction_residual(x.reshape(60, 3, 2, 2), y, 3) == prediction_residual(x, y, 3)


# --- invariances ---


@few
@given(seed=seeds, p=st.integers(1, 12), spread=st.floats(0, 3), shift=st.floats(-100, 100))
def test_an_invertible_affine_map_of_the_features_leaves_it_unchanged(
    seed: int, p: int, spread: float, shift: float
) -> None:
    x, y = noisy_map(60, p, 2, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    left, right = (
        torch.linalg.qr(torch.randn(p, p, generator=generator, dtype=x.dtype))[0] for _ in range(2)
    )
    scales = torch.logspace(-spread / 2, spread / 2, p, dtype=x.dtype)
    mapped = x @ (left * scales @ right) + shift * torch.arange(p)
    assert residual_value(mapped, y) == pytest.approx(residual_value(x, y), rel=1e-7)


@few
@given(seed=seeds, exponents=st.lists(st.floats(-6, 6), min_size=5, max_size=5))
def test_units_of_the_features_do_not_matter(seed: int, exponents: list[float]) -> None:
    x, y = noisy_map(60, 5, 2, seed=seed)
    units = 10 ** torch.tensor(exponents, dtype=x.dtype)
    assert residual_value(x * units, y) == pytest.approx(residual_value(x, y), rel=1e-10)


@few
@given(seed=seeds, exponent=st.floats(-6, 6), shift=st.floats(-1e3, 1e3))
def test_rotation_shift_and_unit_of_the_targets_do_not_matter(
    seed: int, exponent: float, shift: float
) -> None:
    x, y = noisy_map(60, 5, 3, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=y.dtype))
    mapped = 10**exponent * (y @ rotation + shift)
    assert residual_value(x, mapped) == pytest.approx(residual_value(x, y), rel=1e-9)


@few
@given(seed=seeds)
def test_order_of_samples_and_names_of_classes_do_not_matter(seed: int) -> None:
    x, y = gaussian_classes(seed=seed)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
    assert residual_value(x[order], (y[order] + 1) % 3, 3) == pytest.approx(
        residual_value(x, y, 3), rel=1e-12
    )


# --- wrong use ---


@pytest.mark.parametrize(
    ("features", "targets", "classes", "came"),
    [
        (torch.zeros(6), torch.zeros(6), None, r"got shape \(6,\)"),
        (torch.zeros(6, 2).long(), torch.zeros(6), None, "torch.int64"),
        (torch.zeros(0, 2), torch.zeros(0), None, r"got shape \(0, 2\)"),
        (torch.zeros(6, 0), torch.zeros(6), None, r"got shape \(6, 0\)"),
        (torch.zeros(6, 2), torch.zeros(5), None, "got 6 samples and 5 targets"),
        (torch.zeros(6, 2), torch.zeros(5).long(), 2, "got 6 samples and 5 targets"),
        (torch.zeros(6, 2), torch.zeros(6).long(), None, "torch.int64; give `num_classes`"),
        (torch.zeros(6, 2), torch.zeros(6).bool(), None, "torch.bool"),
        (torch.zeros(6, 2), torch.zeros(6, 2, 2), None, r"got shape \(6, 2, 2\)"),
        (torch.zeros(6, 2), torch.zeros(6, 0), None, r"got shape \(6, 0\)"),
        (torch.zeros(6, 2), torch.full((6,), torch.nan), None, "got NaN"),
        (torch.zeros(6, 2), torch.full((6, 2), torch.inf), None, "got NaN or infinity"),
        (torch.zeros(6, 2), torch.zeros(6), 2, "torch.float32; leave out `num_classes`"),
        (torch.zeros(6, 2), torch.zeros(6, 1).long(), 2, r"got shape \(6, 1\)"),
        (torch.zeros(6, 2), torch.zeros(6).bool(), 2, "torch.bool"),
        (torch.zeros(6, 2), torch.zeros(0).long(), 2, r"got shape \(0,\)"),
        (torch.zeros(6, 2), torch.arange(6) - 1, 9, "from 0 to 8, got -1"),
        (torch.zeros(6, 2), torch.arange(6), 5, "from 0 to 4, got 5"),
        (torch.zeros(6, 2), torch.arange(6), 0, "got 0"),
        (torch.zeros(2, WIDEST + 1), torch.zeros(2), None, f"got {WIDEST + 1}"),
        (np.zeros((6, 2)), np.zeros(6), None, "got ndarray and ndarray"),
        ([[1.0]], [0], 2, "got list and list"),
    ],
)
def test_wrong_use_says_what_was_expected_and_what_came(
    features: Tensor, targets: Tensor, classes: int | None, came: str
) -> None:
    with pytest.raises(InvalidInputError, match=rf"^Expected .*{came}"):
        prediction_residual(features, targets, classes)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_any_integer_dtype_serves_as_labels(dtype: torch.dtype) -> None:
    x, y = gaussian_classes()
    assert prediction_residual(x, y.to(dtype), 3) == prediction_residual(x, y, 3)


# --- memory ---


def test_a_large_vocabulary_is_never_spelt_out_for_all_samples() -> None:
    # one-hot codes, predictions or errors of all samples would be 1.6 GB
    script = """
import resource, sys, torch
from designer.measures.residual import PredictionSums
features, labels = torch.rand(4000, 8), torch.arange(4000) % 2000
sums = PredictionSums(50_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sums.update(features, labels)
fit = sums.fit()
assert len(fit.squared_errors(features, labels)) == 4000
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * (1 if sys.platform == "darwin" else 1024), before)
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    growth, before = map(int, run.stdout.split())
    assert before > 0
    assert growth < 2**29
