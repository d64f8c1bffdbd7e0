"""Measurements in one call, as tests of the measures need them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from designer.measures.linear_prediction import LinearPrediction
from designer.measures.residual import PredictionSums, prediction_residual
from designer.measures.separation import separation_fuzziness
from designer.results.measured import Separation, SeparationStatus


def noisy_map(
    n: int,
    p: int,
    q: int,
    *,
    noise: float = 1.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor]:
    """Return features (n, p), and a random linear map of them to (n, q) with noise."""
    generator = torch.Generator().manual_seed(seed)
    x, weights, errors = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((n, p), (p, q), (n, q))
    )
    return x.to(dtype), (x @ weights + noise * errors).to(dtype)


def fit_of(
    batches: list[tuple[Tensor, Tensor]], num_classes: int | None = None
) -> LinearPrediction:
    """Return the fit to batches of features and targets."""
    sums = PredictionSums(num_classes)
    for features, targets in batches:
        sums.update(features, targets)
    return sums.fit()


def fitted(features: Tensor, targets: Tensor, num_classes: int | None = None) -> LinearPrediction:
    """Return the fit to one batch."""
    return fit_of([(features, targets)], num_classes)


def separation_value(features: Tensor, labels: Tensor) -> float:
    """Return D of features (n, ...) with labels (n,)."""
    return separation_fuzziness(features, labels).value


def residual_value(features: Tensor, targets: Tensor, num_classes: int | None = None) -> float:
    """Return 1 - R^2 of features (n, ...) and targets."""
    return prediction_residual(features, targets, num_classes).value


def assert_no_value(separation: Separation, status: SeparationStatus) -> None:
    """Assert that a measurement has no value, and says why."""
    assert math.isnan(separation.value)
    assert separation.status is status
    assert separation.reason
