"""The linear prediction: no residual, chance, held-out data and influence."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import one_hot

from designer.errors import InvalidInputError
from designer.measures.permutations import permuted_labels
from designer.measures.residual import (
    cross_fitted_residual,
    prediction_residual,
)
from designer.results.measured import SeparationStatus
from tests.support.helpers import DEVICES, gaussian_classes
from tests.support.measuring import (
    assert_no_value,
    fitted,
    noisy_map,
    residual_value,
)
from tests.support.oracles import (
    weighted_residual,
)

few = settings(max_examples=20, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


# --- without a residual ---


@pytest.mark.parametrize("p", [29, 30, 100])
@pytest.mark.parametrize("classes", [3, None])
def test_as_many_features_as_samples(p: int, classes: int | None) -> None:
    x, y = gaussian_classes(30, p, 3)
    residual = prediction_residual(x, y if classes else y.double(), classes)
    assert (residual.value, residual.status) == (0.0, SeparationStatus.COLLAPSED)
    assert (residual.rank, residual.full_rank) == (29, 29)
    assert "as many features as samples" in residual.reason


def test_many_features_of_few_directions_do_not_interpolate() -> None:
    x, y = gaussian_classes(30, 5, 3)
    residual = prediction_residual(x @ torch.ones(5, 100, dtype=x.dtype).tril(), y, 3)
    assert residual.value == pytest.approx(residual_value(x, y, 3), rel=1e-9)
    assert (residual.rank, residual.full_rank, residual.status) == (5, 29, SeparationStatus.OK)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_targets_that_are_linear_in_the_features(dtype: torch.dtype) -> None:
    y = torch.arange(30) % 3
    residual = prediction_residual(one_hot(y).to(dtype), y, 3)
    assert (residual.value, residual.status) == (0.0, SeparationStatus.COLLAPSED)
    assert "linear function" in residual.reason
    x, y = noisy_map(60, 5, 2, noise=0)
    assert prediction_residual(x, y).status is SeparationStatus.COLLAPSED


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.3, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_targets_that_do_not_vary(constant: float, dtype: torch.dtype) -> None:
    x, y = gaussian_classes(31)
    for p in (5, 1):
        residual = prediction_residual(x[:, :p], torch.full((31, 2), constant, dtype=dtype))
        assert_no_value(residual, SeparationStatus.NO_SIGNAL)
    assert_no_value(prediction_residual(x, torch.ones_like(y), 3), SeparationStatus.NO_SIGNAL)


def test_targets_that_vary_by_rounding_alone() -> None:
    x, y = gaussian_classes()
    residual = prediction_residual(x, 1 + 2e-16 * y.double())
    assert_no_value(residual, SeparationStatus.NO_SIGNAL)


def test_a_target_that_does_not_vary_beside_one_that_does() -> None:
    x, y = noisy_map(60, 5, 1)
    both = torch.cat([torch.full_like(y, 1e9), y], dim=1)
    assert residual_value(x, both) == pytest.approx(residual_value(x, y), rel=1e-9)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.3, 1e6])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_constant_features_leave_everything(constant: float, dtype: torch.dtype) -> None:
    if dtype == torch.float16:
        constant = min(constant, 1e4)
    _, y = gaussian_classes(31)
    residual = prediction_residual(torch.full((31, 4), constant, dtype=dtype), y, 3)
    assert (residual.value, residual.rank, residual.status) == (1.0, 0, SeparationStatus.OK)


def test_one_sample_has_nothing_to_predict() -> None:
    residual = prediction_residual(torch.ones(1, 3), torch.ones(1))
    assert_no_value(residual, SeparationStatus.NO_SIGNAL)
    assert (residual.rank, residual.full_rank) == (0, 0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("row", [0, 7])
def test_non_finite_features(device: str, bad: float, row: int) -> None:
    x, y = (tensor.to(device) for tensor in gaussian_classes(dtype=torch.float32))
    x[row, 3] = bad
    fit = fitted(x, y, 3)
    assert_no_value(fit.separation(), SeparationStatus.NON_FINITE)
    assert "NaN or infinity" in fit.separation().reason
    assert np.isnan([fit.null, *fit.influence(x, y)]).all()
    heldout = cross_fitted_residual(x, y, x[10:], y[10:], 3)
    assert_no_value(heldout, SeparationStatus.NON_FINITE)


# --- chance ---


def test_null_is_the_mean_over_all_permutations() -> None:
    x, y = noisy_map(6, 2, 3)
    orders = [list(order) for order in permutations(range(6))]
    for targets, classes in ((y, None), (torch.tensor([0, 0, 0, 1, 1, 2]), 3)):
        values = [residual_value(x, targets[order], classes) for order in orders]
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
    null = np.mean([residual_value(x, labels, classes) for labels in drawn])
    assert null == pytest.approx(1 - p / (n - 1), abs=0.01)


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
    residual = cross_fitted_residual(x[:70], y[:70], x[70:], y[70:])
    assert residual.value == pytest.approx(float(expected), rel=1e-7)


@pytest.mark.parametrize("classes", [3, None])
def test_cross_fitted_to_itself_is_the_ordinary_value(classes: int | None) -> None:
    x, y = gaussian_classes()
    targets = y if classes else y.double()
    residual = cross_fitted_residual(x, targets, x, targets, classes)
    assert residual.value == pytest.approx(residual_value(x, targets, classes), rel=1e-12)


def test_a_fit_to_noise_predicts_worse_than_the_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(200, 80, generator=generator), torch.randn(200, generator=generator)
    assert residual_value(x[:100], y[:100]) < 0.4
    residual = cross_fitted_residual(x[:100], y[:100], x[100:], y[100:])
    assert residual.value > 1
    assert residual.status is SeparationStatus.OK


def test_a_fit_that_interpolates_has_a_heldout_value() -> None:
    x, y = gaussian_classes(80, 50, 2, spread=0.1)
    fit = fitted(x[:40], y[:40], 2)
    assert float(fit.squared_errors(x[:40], y[:40]).max()) < 1e-20
    residual = cross_fitted_residual(x[:40], y[:40], x[40:], y[40:], 2)
    assert residual.status is SeparationStatus.OK
    assert 0 < residual.value < 1


def test_heldout_classes_that_the_fit_has_not_seen_are_missed() -> None:
    x, y = gaussian_classes()
    residual = cross_fitted_residual(x, y, x, torch.full_like(y, 7), num_classes=8)
    assert residual.status is SeparationStatus.OK
    assert residual.value == pytest.approx(1, abs=0.5)


def test_heldout_targets_at_the_mean_of_the_fit_have_no_residual() -> None:
    x, y = noisy_map(60, 5, 1)
    residual = cross_fitted_residual(x, y - y.mean(0), x, torch.zeros_like(y))
    assert fitted(x, y).separation_of(1.0, 0.0).status is SeparationStatus.NO_SIGNAL
    assert not residual.value < 1


def test_heldout_errors_of_rounding_alone_are_none() -> None:
    x, y = noisy_map(120, 5, 2, noise=0)
    residual = cross_fitted_residual(x[:60], y[:60], x[60:], y[60:])
    assert (residual.value, residual.status) == (0.0, SeparationStatus.COLLAPSED)


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
    left_out = np.log(
        [residual_value(x[rows], y[rows], 4) / residual_value(x, y, 4) for rows in others]
    )
    np.testing.assert_allclose(-1999 * left_out, influences[:50], rtol=0.03, atol=0.03)


def test_no_influence_on_a_logarithm_that_does_not_exist() -> None:
    x, y = gaussian_classes(30, 40)
    assert np.isnan(fitted(x, y, 3).influence(x, y)).all()
    assert np.isnan(fitted(x, torch.zeros(30)).influence(x, torch.zeros(30))).all()
