"""Sums for the prediction residual: any batches give the same fit."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from designer.errors import InvalidInputError
from designer.measures.cross_products import CHUNK_ELEMENTS
from designer.measures.residual import (
    PredictionSums,
    prediction_residual,
)
from tests.support.helpers import DEVICES, gaussian_classes
from tests.support.measuring import (
    fit_of,
    fitted,
    noisy_map,
    residual_value,
)
from tests.support.oracles import (
    least_squares_residual,
)

few = settings(max_examples=20, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


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
    assert streamed.separation().value == pytest.approx(
        residual_value(x, targets, classes), rel=1e-12
    )


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
    assert sums.fit().separation().value == pytest.approx(residual_value(x, y, 3), rel=1e-12)


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
    assert fit.separation().value == residual_value(x, y, 3)
    assert not fit.squared_errors(watched, y).requires_grad
