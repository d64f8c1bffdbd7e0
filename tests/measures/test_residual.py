"""Prediction residual: least squares, closed forms, invariances, bad conditioning, influence."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise, permutations
from typing import Any

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
from designer.measures.residual import (
    CHUNK_ELEMENTS,
    WIDEST,
    LinearPrediction,
    PredictionSums,
    cross_fitted_residual,
    prediction_residual,
)
from designer.measures.separation import permuted_labels, separation_fuzziness
from designer.results.measured import FloatArray, Separation, SeparationStatus
from tests.support.helpers import DEVICES, gaussian_classes

few = settings(max_examples=20, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


# --- value ---


@pytest.mark.parametrize("device", DEVICES)
@few
@given(seed=seeds, p=st.integers(1, 30), q=st.integers(1, 4))
def test_equals_least_squares(device: str, seed: int, p: int, q: int) -> None:
    x, y = noisy_map(60, p, q, seed=seed)
    found = prediction_residual(x.to(device), y.to(device))
    assert found.value == pytest.approx(least_squares_residual(x, y), rel=1e-9)
    assert (found.rank, found.full_rank, found.status) == (p, p, SeparationStatus.OK)
    assert found.reason == ""


@few
@given(seed=seeds, p=st.integers(1, 30), classes=st.integers(2, 6))
def test_equals_the_measure_of_the_papers_authors(seed: int, p: int, classes: int) -> None:
    # they regress the index of the next token as one number
    x, y = gaussian_classes(60, p, classes, seed=seed)
    predicted = LinearRegression().fit(x, y).predict(x)
    expected = mean_squared_error(y, predicted) / np.var(y.numpy())
    assert _value(x, y.double()) == pytest.approx(expected, rel=1e-9)


def test_one_feature_by_hand() -> None:
    # centred: x = -1, 0, 1 and y = -2, 1, 1, so that R^2 = 3^2 / (2 * 6)
    x = torch.tensor([[1.0], [2.0], [3.0]])
    found = prediction_residual(x, torch.tensor([0.0, 3.0, 3.0]))
    assert found.value == pytest.approx(1 / 4)


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
    found = prediction_residual(pixels.float(), digits, num_classes=10)
    expected = least_squares_residual(pixels, one_hot(digits))
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert (found.rank, found.full_rank, found.status) == (61, 64, SeparationStatus.OK)
    assert 0.3 < found.value < fitted(pixels, digits, 10).null


def test_classes_without_samples_change_nothing() -> None:
    x, y = gaussian_classes()
    assert _value(x, 2 * y + 1, 50) == pytest.approx(_value(x, y, 3), rel=1e-12)


@few
@given(seed=seeds, p=st.integers(1, 10), minority=st.integers(5, 50))
def test_two_classes_give_the_mahalanobis_distance(seed: int, p: int, minority: int) -> None:
    x, _ = gaussian_classes(100, p, seed=seed)
    y = (torch.arange(100) < minority).long()
    apart = x[y == 1].mean(0) - x[y == 0].mean(0)
    within = sum(torch.cov(x[y == k].T, correction=0) * float((y == k).sum()) for k in (0, 1))
    distance = float(apart @ torch.linalg.solve(torch.as_tensor(within).reshape(p, p) / 100, apart))
    expected = 1 / (1 + minority / 100 * (1 - minority / 100) * distance)
    assert _value(x, y, 2) == pytest.approx(expected, rel=1e-9)


@few
@given(seed=seeds)
def test_one_feature_and_two_classes_give_the_separation_fuzziness(seed: int) -> None:
    x, y = gaussian_classes(40, 1, 2, seed=seed)
    fuzziness = separation_fuzziness(x, y).value
    assert _value(x, y, 2) == pytest.approx(fuzziness / (1 + fuzziness), rel=1e-7)


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
    found = prediction_residual(x, torch.tensor([0, 0, 1, 1]), num_classes=2)
    assert found.value == pytest.approx(1, abs=1e-15)
    assert found.status is SeparationStatus.OK


def test_a_feature_more_never_leaves_more() -> None:
    x, y = noisy_map(60, 20, 2)
    values = [_value(x[:, :p], y) for p in range(1, 21)]
    assert all(after <= before + 1e-12 for before, after in pairwise(values))


def test_images_are_flattened() -> None:
    x, y = gaussian_classes(p=12)
    assert prediction_residual(x.reshape(60, 3, 2, 2), y, 3) == prediction_residual(x, y, 3)


# --- chance ---


def test_null_is_the_mean_over_all_permutations() -> None:
    x, y = noisy_map(6, 2, 3)
    orders = [list(order) for order in permutations(range(6))]
    for targets, classes in ((y, None), (torch.tensor([0, 0, 0, 1, 1, 2]), 3)):
        values = [_value(x, targets[order], classes) for order in orders]
        assert fitted(x, targets, classes).null == pytest.approx(np.mean(values), rel=1e-9)


def test_null_counts_directions_and_not_features() -> None:
    x, y = gaussian_classes(200, 20, 4)
    wide = torch.cat([x, x @ torch.ones(20, 30, dtype=x.dtype), torch.ones(200, 5)], dim=1)
    assert fitted(wide, y, 4).null == fitted(x, y, 4).null == 1 - 20 / 199


@pytest.mark.parametrize("p", [10, 100, 300])
def test_null_of_isotropic_features(p: int) -> None:
    n, classes = 400, 4
    x = torch.randn(n, p, generator=torch.Generator().manual_seed(1))
    drawn = permuted_labels(torch.arange(n) % classes, 20, seed=0)
    found = np.mean([_value(x, labels, classes) for labels in drawn])
    assert found == pytest.approx(1 - p / (n - 1), abs=0.01)


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
    assert _value(mapped, y) == pytest.approx(_value(x, y), rel=1e-7)


@few
@given(seed=seeds, exponents=st.lists(st.floats(-6, 6), min_size=5, max_size=5))
def test_units_of_the_features_do_not_matter(seed: int, exponents: list[float]) -> None:
    x, y = noisy_map(60, 5, 2, seed=seed)
    units = 10 ** torch.tensor(exponents, dtype=x.dtype)
    assert _value(x * units, y) == pytest.approx(_value(x, y), rel=1e-10)


@few
@given(seed=seeds, exponent=st.floats(-6, 6), shift=st.floats(-1e3, 1e3))
def test_rotation_shift_and_unit_of_the_targets_do_not_matter(
    seed: int, exponent: float, shift: float
) -> None:
    x, y = noisy_map(60, 5, 3, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=y.dtype))
    mapped = 10**exponent * (y @ rotation + shift)
    assert _value(x, mapped) == pytest.approx(_value(x, y), rel=1e-9)


@few
@given(seed=seeds)
def test_order_of_samples_and_names_of_classes_do_not_matter(seed: int) -> None:
    x, y = gaussian_classes(seed=seed)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
    assert _value(x[order], (y[order] + 1) % 3, 3) == pytest.approx(_value(x, y, 3), rel=1e-12)


# --- streams ---


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("classes", [3, None])
@few
@given(seed=seeds, cuts=st.sets(st.integers(1, 59), max_size=6))
def test_any_batch_split_gives_the_same(
    device: str, classes: int | None, seed: int, cuts: set[int]
) -> None:
    x, y = gaussian_classes(seed=seed)
    targets = y if classes else torch.stack([y, y.square()], dim=1).double()
    bounds = [0, *sorted(cuts), 60]
    rows = [slice(a, b) for a, b in pairwise(bounds)]
    streamed = fit_of([(x[r].to(device), targets[r].to(device)) for r in rows], classes)
    assert streamed.separation().value == pytest.approx(_value(x, targets, classes), rel=1e-12)


def test_batches_in_order_of_the_features_do_not_lose_digits() -> None:
    # the shift comes from the first batch, here far from the mean and without spread
    x, y = noisy_map(600, 5, 1)
    order = x[:, 0].argsort()
    x, y = x[order], y[order]
    x[:50] = x[:1] - 30
    streamed = fit_of([(x[i : i + 25], y[i : i + 25]) for i in range(0, 600, 25)])
    assert streamed.separation().value == pytest.approx(least_squares_residual(x, y), rel=1e-9)


@pytest.mark.parametrize("distance", [30, 300])
def test_a_first_batch_that_is_an_outlier_makes_no_direction(distance: float) -> None:
    x, y = noisy_map(2000, 6, 1)
    x[:1] += distance * torch.arange(6)
    wide = torch.cat([x, x @ torch.ones(6, 6, dtype=x.dtype).tril() / 3], dim=1)
    streamed = fit_of([(wide[:1], y[:1]), (wide[1:], y[1:])])
    assert streamed.rank == 6
    assert streamed.separation().value == pytest.approx(least_squares_residual(x, y), rel=1e-7)


def test_a_batch_that_is_worked_on_in_parts_gives_the_same() -> None:
    p = 512
    n = CHUNK_ELEMENTS // p + 100
    x = torch.randn(n, p, generator=torch.Generator().manual_seed(0))
    y = x[:, 0] + x[:, 1].square()
    whole, halves = fitted(x, y), fit_of([(x[:4000], y[:4000]), (x[4000:], y[4000:])])
    assert whole.separation().value == pytest.approx(halves.separation().value, rel=1e-12)
    assert float(whole.squared_errors(x, y).mean()) == pytest.approx(
        whole.separation().value * float(whole.squared_deviations(y).mean()), rel=1e-9
    )


def test_sums_go_on_after_a_fit() -> None:
    x, y = gaussian_classes()
    sums = PredictionSums(3)
    sums.update(x[:30], y[:30])
    first = sums.fit().separation()
    assert (sums.samples, first) == (30, prediction_residual(x[:30], y[:30], 3))
    sums.update(x[30:], y[30:])
    assert sums.samples == 60
    assert sums.fit().separation().value == pytest.approx(_value(x, y, 3), rel=1e-12)


def test_no_batch() -> None:
    assert PredictionSums(3).samples == 0
    with pytest.raises(InvalidInputError, match=r"Expected at least one batch .* got none"):
        PredictionSums(3).fit()


def test_batches_whose_width_changes() -> None:
    x, y = noisy_map(60, 5, 2)
    sums = PredictionSums(None)
    sums.update(x, y)
    with pytest.raises(InvalidInputError, match=r"Expected features of width 5 .* got 4"):
        sums.update(x[:, :4], y)
    with pytest.raises(InvalidInputError, match=r"Expected targets of width 2 .* got 1"):
        sums.update(x, y[:, :1])
    assert sums.samples == 60


def test_features_with_a_gradient_are_measured_without() -> None:
    x, y = gaussian_classes()
    watched = x.clone().requires_grad_()
    fit = fitted(watched, y, 3)
    assert fit.separation().value == _value(x, y, 3)
    assert not fit.squared_errors(watched, y).requires_grad


# --- precision ---


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("dtype", "rel"), [(torch.float32, 1e-6), (torch.float16, 1e-3), (torch.bfloat16, 1e-2)]
)
def test_narrower_dtypes_agree_with_float64(device: str, dtype: torch.dtype, rel: float) -> None:
    x, y = (tensor.to(device) for tensor in gaussian_classes(200, 30, 4))
    assert _value(x.to(dtype), y, 4) == pytest.approx(_value(x, y, 4), rel=rel)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("dtype", "offset", "rel"),
    [
        (torch.float64, 1e3, 1e-9),
        (torch.float64, 1e6, 1e-9),
        (torch.float64, 1e9, 1e-6),
        (torch.float32, 1e3, 1e-4),
        (torch.float32, 1e6, 0.1),  # float32 numbers near 1e6 are 0.06 apart
    ],
)
def test_a_mean_that_is_large_against_the_spread(
    device: str, dtype: torch.dtype, offset: float, rel: float
) -> None:
    x, y = noisy_map(300, 10, 2)
    shifted = (x + offset).to(dtype)
    found = prediction_residual(shifted.to(device), y.to(device))
    assert found.value == pytest.approx(least_squares_residual(x, y), rel=rel)
    assert found.value == pytest.approx(least_squares_residual(shifted, y), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_repeated_and_derived_features_change_nothing(dtype: torch.dtype) -> None:
    x, y = noisy_map(300, 10, 2, dtype=dtype)
    constants = torch.tensor([0.0, 0.1, -7.3, 1e6], dtype=dtype).expand(300, 4)
    wide = torch.cat([x, constants, x[:, :4], 4 * x[:, 2:5] + 8, x[:, :1] + x[:, 1:2]], dim=1)
    found = prediction_residual(wide, y)
    assert found.value == pytest.approx(_value(x, y), rel=1e-6 if dtype == torch.float32 else 1e-9)
    assert (found.rank, found.full_rank, found.status) == (10, 22, SeparationStatus.OK)


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str
)
def test_a_layer_wider_than_what_it_is_given_has_the_rank_of_that(dtype: torch.dtype) -> None:
    # what a wide linear layer adds to its 100 inputs is rounding; to fit it lowers the residual
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1500, 100, generator=generator).relu()
    wide = x @ torch.randn(100, 300, generator=generator) / 10
    y = torch.arange(1500) % 5
    found = prediction_residual(wide.to(dtype), y, 5)
    assert found.rank == 100
    assert found.value == pytest.approx(_value(x, y, 5), abs=2e-3)


def test_rounding_that_gathers_over_many_layers_is_no_direction() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 30, generator=generator)
    layer = x @ torch.randn(30, 100, generator=generator)
    for _ in range(20):
        layer = layer @ torch.linalg.qr(torch.randn(100, 100, generator=generator))[0]
    y = torch.arange(1000) % 5
    found = prediction_residual(layer, y, 5)
    assert found.rank == 30
    assert found.value == pytest.approx(_value(x, y, 5), rel=1e-6)


@pytest.mark.parametrize(
    ("dtype", "distance"), [(torch.bfloat16, 0.1), (torch.float16, 1e-2), (torch.float32, 1e-5)]
)
def test_a_weak_direction_above_the_rounding_of_its_dtype_is_used(
    dtype: torch.dtype, distance: float
) -> None:
    x, _ = noisy_map(2000, 2, 1)
    y = x[:, 1]
    pair = torch.stack([x[:, 0], x[:, 0] + distance * x[:, 1]], dim=1)
    found = prediction_residual(pair.to(dtype), y)
    assert found.rank == 2
    assert found.value < 0.01


@pytest.mark.parametrize(
    ("dtype", "distance"), [(torch.float16, 1e-4), (torch.float32, 1e-8), (torch.float64, 1e-9)]
)
def test_a_direction_below_rounding_is_not_inverted(dtype: torch.dtype, distance: float) -> None:
    x, y = noisy_map(300, 3, 1)
    near = torch.cat([x, x[:, :1] + distance * noisy_map(300, 1, 1, seed=1)[0]], dim=1).to(dtype)
    fit = fitted(near[:200], y[:200])
    assert fit.rank == 3
    assert fit.separation().value == pytest.approx(_value(x[:200], y[:200]), rel=1e-2)
    # an inverted one would be off by many orders here
    away = near[200:] + 0.01 * torch.randn(100, 4, generator=torch.Generator().manual_seed(2))
    before, after = (
        fit.squared_errors(near[200:], y[200:]),
        fit.squared_errors(away.to(dtype), y[200:]),
    )
    assert float(after.mean()) == pytest.approx(float(before.mean()), rel=0.1)


def test_nearly_collinear_features_keep_the_digits_that_there_are() -> None:
    x, y = noisy_map(300, 4, 1)
    for distance, rel in ((1e-2, 1e-9), (1e-4, 1e-5)):
        near = torch.cat([x, x[:, :1] + distance * x[:, 1:2].square()], dim=1)
        target = y + near[:, 4:] / distance - near[:, :1] / distance
        expected = least_squares_residual(near, target)
        assert _value(near, target) == pytest.approx(expected, rel=rel)


@pytest.mark.parametrize("distance", [1e-4, 1e-5, 1e-6])
def test_a_residual_that_is_lost_in_the_rounding_of_nearly_collinear_features_is_none(
    distance: float,
) -> None:
    # the normal equations leave 1e-5 of it here, which says nothing
    x, y = noisy_map(300, 4, 1)
    found = prediction_residual(torch.cat([x, x[:, :1] + distance * y], dim=1), y)
    assert (found.value, found.status) == (0.0, SeparationStatus.COLLAPSED)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_small_residuals_keep_their_digits(scale: float) -> None:
    x, y = noisy_map(300, 5, 2, noise=1e-4)
    found = prediction_residual(scale * x, y / scale)
    assert found.value < 1e-7
    assert found.value == pytest.approx(least_squares_residual(x, y), rel=1e-5)


# --- without a residual ---


@pytest.mark.parametrize("p", [29, 30, 100])
@pytest.mark.parametrize("classes", [3, None])
def test_as_many_features_as_samples(p: int, classes: int | None) -> None:
    x, y = gaussian_classes(30, p, 3)
    found = prediction_residual(x, y if classes else y.double(), classes)
    assert (found.value, found.status) == (0.0, SeparationStatus.COLLAPSED)
    assert (found.rank, found.full_rank) == (29, 29)
    assert "as many features as samples" in found.reason


def test_many_features_of_few_directions_do_not_interpolate() -> None:
    x, y = gaussian_classes(30, 5, 3)
    found = prediction_residual(x @ torch.ones(5, 100, dtype=x.dtype).tril(), y, 3)
    assert found.value == pytest.approx(_value(x, y, 3), rel=1e-9)
    assert (found.rank, found.full_rank, found.status) == (5, 29, SeparationStatus.OK)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_targets_that_are_linear_in_the_features(dtype: torch.dtype) -> None:
    y = torch.arange(30) % 3
    found = prediction_residual(one_hot(y).to(dtype), y, 3)
    assert (found.value, found.status) == (0.0, SeparationStatus.COLLAPSED)
    assert "linear function" in found.reason
    x, y = noisy_map(60, 5, 2, noise=0)
    assert prediction_residual(x, y).status is SeparationStatus.COLLAPSED


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.3, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_targets_that_do_not_vary(constant: float, dtype: torch.dtype) -> None:
    x, y = gaussian_classes(31)
    for p in (5, 1):
        found = prediction_residual(x[:, :p], torch.full((31, 2), constant, dtype=dtype))
        _assert_no_value(found, SeparationStatus.NO_SIGNAL)
    _assert_no_value(prediction_residual(x, torch.ones_like(y), 3), SeparationStatus.NO_SIGNAL)


def test_targets_that_vary_by_rounding_alone() -> None:
    x, y = gaussian_classes()
    found = prediction_residual(x, 1 + 2e-16 * y.double())
    _assert_no_value(found, SeparationStatus.NO_SIGNAL)


def test_a_target_that_does_not_vary_beside_one_that_does() -> None:
    x, y = noisy_map(60, 5, 1)
    both = torch.cat([torch.full_like(y, 1e9), y], dim=1)
    assert _value(x, both) == pytest.approx(_value(x, y), rel=1e-9)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.3, 1e6])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_constant_features_leave_everything(constant: float, dtype: torch.dtype) -> None:
    if dtype == torch.float16:
        constant = min(constant, 1e4)
    _, y = gaussian_classes(31)
    found = prediction_residual(torch.full((31, 4), constant, dtype=dtype), y, 3)
    assert (found.value, found.rank, found.status) == (1.0, 0, SeparationStatus.OK)


def test_one_sample_has_nothing_to_predict() -> None:
    found = prediction_residual(torch.ones(1, 3), torch.ones(1))
    _assert_no_value(found, SeparationStatus.NO_SIGNAL)
    assert (found.rank, found.full_rank) == (0, 0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("row", [0, 7])
def test_non_finite_features(device: str, bad: float, row: int) -> None:
    x, y = (tensor.to(device) for tensor in gaussian_classes(dtype=torch.float32))
    x[row, 3] = bad
    fit = fitted(x, y, 3)
    _assert_no_value(fit.separation(), SeparationStatus.NON_FINITE)
    assert "NaN or infinity" in fit.separation().reason
    assert np.isnan([fit.null, *fit.influence(x, y)]).all()
    heldout = cross_fitted_residual(x, y, x[10:], y[10:], 3)
    _assert_no_value(heldout, SeparationStatus.NON_FINITE)


# --- held-out ---


@pytest.mark.parametrize("device", DEVICES)
@few
@given(seed=seeds, p=st.integers(1, 30), q=st.integers(1, 3))
def test_cross_fitted_equals_the_direct_formula(device: str, seed: int, p: int, q: int) -> None:
    x, y = noisy_map(120, p, q, seed=seed)
    design = np.c_[np.ones(70), x[:70]]
    coefficients = np.linalg.lstsq(design, y[:70].numpy(), rcond=None)[0]
    errors = y[70:].numpy() - np.c_[np.ones(50), x[70:]] @ coefficients
    expected = np.square(errors).sum() / float((y[70:] - y[:70].mean(0)).square().sum())
    x, y = x.to(device), y.to(device)
    found = cross_fitted_residual(x[:70], y[:70], x[70:], y[70:])
    assert found.value == pytest.approx(float(expected), rel=1e-7)


@pytest.mark.parametrize("classes", [3, None])
def test_cross_fitted_to_itself_is_the_ordinary_value(classes: int | None) -> None:
    x, y = gaussian_classes()
    targets = y if classes else y.double()
    found = cross_fitted_residual(x, targets, x, targets, classes)
    assert found.value == pytest.approx(_value(x, targets, classes), rel=1e-12)


def test_a_fit_to_noise_predicts_worse_than_the_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(200, 80, generator=generator), torch.randn(200, generator=generator)
    assert _value(x[:100], y[:100]) < 0.4
    found = cross_fitted_residual(x[:100], y[:100], x[100:], y[100:])
    assert found.value > 1
    assert found.status is SeparationStatus.OK


def test_a_fit_that_interpolates_has_a_heldout_value() -> None:
    x, y = gaussian_classes(80, 50, 2, spread=0.1)
    fit = fitted(x[:40], y[:40], 2)
    assert float(fit.squared_errors(x[:40], y[:40]).max()) < 1e-20
    found = cross_fitted_residual(x[:40], y[:40], x[40:], y[40:], 2)
    assert found.status is SeparationStatus.OK
    assert 0 < found.value < 1


def test_heldout_classes_that_the_fit_has_not_seen_are_missed() -> None:
    x, y = gaussian_classes()
    found = cross_fitted_residual(x, y, x, torch.full_like(y, 7), num_classes=8)
    assert found.status is SeparationStatus.OK
    assert found.value == pytest.approx(1, abs=0.5)


def test_heldout_targets_at_the_mean_of_the_fit_have_no_residual() -> None:
    x, y = noisy_map(60, 5, 1)
    found = cross_fitted_residual(x, y - y.mean(0), x, torch.zeros_like(y))
    assert fitted(x, y).separation_of(1.0, 0.0).status is SeparationStatus.NO_SIGNAL
    assert not found.value < 1


def test_heldout_errors_of_rounding_alone_are_none() -> None:
    x, y = noisy_map(120, 5, 2, noise=0)
    found = cross_fitted_residual(x[:60], y[:60], x[60:], y[60:])
    assert (found.value, found.status) == (0.0, SeparationStatus.COLLAPSED)


def test_heldout_data_unlike_the_fit() -> None:
    x, y = noisy_map(60, 5, 2)
    fit = fitted(x, y)
    with pytest.raises(InvalidInputError, match=r"Expected features of width 5 .* got 4"):
        fit.squared_errors(x[:, :4], y)
    with pytest.raises(InvalidInputError, match=r"Expected targets of width 2 .* got 1"):
        fit.squared_errors(x, y[:, 0])
    with pytest.raises(InvalidInputError, match=r"Expected targets of width 2 .* got 3"):
        fit.squared_deviations(y[:, [0, 1, 1]])
    with pytest.raises(InvalidInputError, match=r"Expected `targets` of a floating dtype"):
        fit.squared_deviations(y[:, 0].long())
    with pytest.raises(InvalidInputError, match=r"Expected labels from 0 to 2, got 3"):
        fitted(*gaussian_classes(), 3).squared_deviations(torch.tensor([0, 3]))


# --- influence ---


@pytest.mark.parametrize("classes", [4, None])
def test_influences_are_what_the_weight_of_a_sample_does(classes: int | None) -> None:
    x, labels = gaussian_classes(80, 6, 4, seed=3)
    y = labels if classes else noisy_map(80, 6, 2, seed=4)[1]
    code = one_hot(labels, 4).double() if classes else y
    influences = fitted(x, y, classes).influence(x, y)
    assert influences.mean() == pytest.approx(0, abs=1e-9)
    for i in range(10):
        nudge = 1e-4 * np.eye(80)[i]
        more, less = (np.log(weighted_residual(x, code, 1 + s * nudge)) for s in (1, -1))
        assert influences[i] == pytest.approx(80 * (more - less) / 2e-4, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("p", [3, 12])
def test_influences_are_what_leaving_a_sample_out_does(p: int) -> None:
    x, y = gaussian_classes(2000, p, 4, seed=3)
    influences = fitted(x, y, 4).influence(x, y)
    others = ~torch.eye(2000, dtype=torch.bool)[:50]
    left_out = np.log([_value(x[rows], y[rows], 4) / _value(x, y, 4) for rows in others])
    np.testing.assert_allclose(-1999 * left_out, influences[:50], rtol=0.03, atol=0.03)


def test_no_influence_on_a_logarithm_that_does_not_exist() -> None:
    x, y = gaussian_classes(30, 40)
    assert np.isnan(fitted(x, y, 3).influence(x, y)).all()
    assert np.isnan(fitted(x, torch.zeros(30)).influence(x, torch.zeros(30))).all()


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


def noisy_map(
    n: int,
    p: int,
    q: int,
    *,
    noise: float = 1.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor]:
    """Features (n, p), and a random linear map of them to (n, q) with noise."""
    generator = torch.Generator().manual_seed(seed)
    x, weights, errors = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((n, p), (p, q), (n, q))
    )
    return x.to(dtype), (x @ weights + noise * errors).to(dtype)


def least_squares_residual(x: Tensor, y: Tensor) -> float:
    """1 - R^2 by numpy's least squares."""
    return weighted_residual(x, y, np.ones(len(x)))


def weighted_residual(x: Tensor, y: Tensor, weights: FloatArray) -> float:
    """1 - R^2 by numpy's least squares of samples with weights (n,)."""
    features, targets = x.double().numpy(), y.double().numpy()
    features = features - features.mean(axis=0)
    root = np.sqrt(weights)[:, None]
    design = root * np.c_[np.ones(len(features)), features]
    coefficients: Any = np.linalg.lstsq(design, root * targets, rcond=None)[0]
    mean = np.average(targets, axis=0, weights=weights)
    errors = np.square(root * targets - design @ coefficients).sum()
    return float(errors / np.square(root * (targets - mean)).sum())


def fit_of(
    batches: list[tuple[Tensor, Tensor]], num_classes: int | None = None
) -> LinearPrediction:
    """The fit to batches of features and targets."""
    sums = PredictionSums(num_classes)
    for features, targets in batches:
        sums.update(features, targets)
    return sums.fit()


def fitted(features: Tensor, targets: Tensor, num_classes: int | None = None) -> LinearPrediction:
    """The fit to one batch."""
    return fit_of([(features, targets)], num_classes)


def _value(features: Tensor, targets: Tensor, num_classes: int | None = None) -> float:
    return prediction_residual(features, targets, num_classes).value


def _assert_no_value(found: Separation, status: SeparationStatus) -> None:
    assert np.isnan(found.value)
    assert found.status is status
    assert found.reason
