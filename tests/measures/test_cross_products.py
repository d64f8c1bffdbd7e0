"""Prediction residual of features in any dtype and of nearly collinear features."""

from __future__ import annotations

import pytest
import torch

from designer.measures.residual import (
    prediction_residual,
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


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("dtype", "rel"), [(torch.float32, 1e-6), (torch.float16, 1e-3), (torch.bfloat16, 1e-2)]
)
def test_narrower_dtypes_agree_with_float64(device: str, dtype: torch.dtype, rel: float) -> None:
    x, y = (tensor.to(device) for tensor in gaussian_classes(200, 30, 4))
    assert residual_value(x.to(dtype), y, 4) == pytest.approx(residual_value(x, y, 4), rel=rel)


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
    residual = prediction_residual(shifted.to(device), y.to(device))
    assert residual.value == pytest.approx(least_squares_residual(x, y), rel=rel)
    assert residual.value == pytest.approx(least_squares_residual(shifted, y), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_repeated_and_derived_features_change_nothing(dtype: torch.dtype) -> None:
    x, y = noisy_map(300, 10, 2, dtype=dtype)
    constants = torch.tensor([0.0, 0.1, -7.3, 1e6], dtype=dtype).expand(300, 4)
    wide = torch.cat([x, constants, x[:, :4], 4 * x[:, 2:5] + 8, x[:, :1] + x[:, 1:2]], dim=1)
    residual = prediction_residual(wide, y)
    assert residual.value == pytest.approx(
        residual_value(x, y), rel=1e-6 if dtype == torch.float32 else 1e-9
    )
    assert (residual.rank, residual.full_rank, residual.status) == (10, 22, SeparationStatus.OK)


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str
)
def test_a_layer_wider_than_what_it_is_given_has_the_rank_of_that(dtype: torch.dtype) -> None:
    # what a wide linear layer adds to its 100 inputs is rounding; to fit it lowers the residual
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1500, 100, generator=generator).relu()
    wide = x @ torch.randn(100, 300, generator=generator) / 10
    y = torch.arange(1500) % 5
    residual = prediction_residual(wide.to(dtype), y, 5)
    assert residual.rank == 100
    assert residual.value == pytest.approx(residual_value(x, y, 5), abs=2e-3)


def test_rounding_that_gathers_over_many_layers_is_no_direction() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 30, generator=generator)
    layer = x @ torch.randn(30, 100, generator=generator)
    for _ in range(20):
        layer = layer @ torch.linalg.qr(torch.randn(100, 100, generator=generator))[0]
    y = torch.arange(1000) % 5
    residual = prediction_residual(layer, y, 5)
    assert residual.rank == 30
    assert residual.value == pytest.approx(residual_value(x, y, 5), rel=1e-6)


@pytest.mark.parametrize(
    ("dtype", "distance"), [(torch.bfloat16, 0.1), (torch.float16, 1e-2), (torch.float32, 1e-5)]
)
def test_a_weak_direction_above_the_rounding_of_its_dtype_is_used(
    dtype: torch.dtype, distance: float
) -> None:
    x, _ = noisy_map(2000, 2, 1)
    y = x[:, 1]
    pair = torch.stack([x[:, 0], x[:, 0] + distance * x[:, 1]], dim=1)
    residual = prediction_residual(pair.to(dtype), y)
    assert residual.rank == 2
    assert residual.value < 0.01


@pytest.mark.parametrize(
    ("dtype", "distance"), [(torch.float16, 1e-4), (torch.float32, 1e-8), (torch.float64, 1e-9)]
)
def test_a_direction_below_rounding_is_not_inverted(dtype: torch.dtype, distance: float) -> None:
    x, y = noisy_map(300, 3, 1)
    near = torch.cat([x, x[:, :1] + distance * noisy_map(300, 1, 1, seed=1)[0]], dim=1).to(dtype)
    fit = fitted(near[:200], y[:200])
    assert fit.rank == 3
    assert fit.separation().value == pytest.approx(residual_value(x[:200], y[:200]), rel=1e-2)
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
        assert residual_value(near, target) == pytest.approx(expected, rel=rel)


@pytest.mark.parametrize("distance", [1e-4, 1e-5, 1e-6])
def test_a_residual_that_is_lost_in_the_rounding_of_nearly_collinear_features_is_none(
    distance: float,
) -> None:
    # the normal equations leave 1e-5 of it here, which says nothing
    x, y = noisy_map(300, 4, 1)
    residual = prediction_residual(torch.cat([x, x[:, :1] + distance * y], dim=1), y)
    assert (residual.value, residual.status) == (0.0, SeparationStatus.COLLAPSED)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_small_residuals_keep_their_digits(scale: float) -> None:
    x, y = noisy_map(300, 5, 2, noise=1e-4)
    residual = prediction_residual(scale * x, y / scale)
    assert residual.value < 1e-7
    assert residual.value == pytest.approx(least_squares_residual(x, y), rel=1e-5)
