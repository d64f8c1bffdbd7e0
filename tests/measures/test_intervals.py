"""Bootstrap intervals: their spread, their seeds, and draws that are not finite."""

from __future__ import annotations

import math

import numpy as np
import pytest

from designer.measures.intervals import intervals, pool_seeds, resample
from designer.results.measured import FloatArray
from tests.support.helpers import draws_around

NAN = float("nan")


def test_bootstrap_of_the_mean_has_its_standard_error() -> None:
    n = 400
    influences = np.random.default_rng(0).exponential(size=(1, n)) - 1
    influences -= influences.mean()
    draws = np.log(resample(np.array([5.0]), influences, 4000, seed=0)) - math.log(5)
    assert draws.mean() == pytest.approx(0, abs=0.01)
    assert draws.std() == pytest.approx(influences.std() / math.sqrt(n), rel=0.05)


def test_all_taps_of_a_resample_use_the_same_samples() -> None:
    influences = np.random.default_rng(0).normal(size=50)
    both = np.stack([influences, influences]) - influences.mean()
    draws = np.array(resample(np.array([6.0, 3.0]), both, 100, seed=0))
    np.testing.assert_allclose(draws[:, 0], 2 * draws[:, 1])
    assert draws[:, 0].std() > 0


@pytest.mark.parametrize("part", [250, 1000])
def test_a_part_of_the_samples_stands_for_all(part: int) -> None:
    n = 4000
    influences = np.random.default_rng(0).exponential(size=(2, n)) - 1
    values = np.array([5.0, 2.0])
    draws = np.log(resample(values, influences[:, :part], 4000, seed=0, samples=n))
    expected = influences[:, :part].std(axis=1) / math.sqrt(n)
    np.testing.assert_allclose(draws.std(axis=0), expected, rtol=0.05)
    np.testing.assert_allclose(draws.mean(axis=0), np.log(values), atol=0.1 * expected.max())


def test_all_samples_are_no_part() -> None:
    influences = np.random.default_rng(0).normal(size=(2, 30))
    before = influences.copy()
    whole = resample(np.ones(2), influences, 5, seed=1, samples=30)
    assert whole == resample(np.ones(2), influences, 5, seed=1)
    resample(np.ones(2), influences, 5, seed=1, samples=90)
    np.testing.assert_array_equal(influences, before)


def test_resampling_is_seeded() -> None:
    values, influences = np.ones(2), np.random.default_rng(0).normal(size=(2, 30))
    assert resample(values, influences, 5, seed=1) == resample(values, influences, 5, seed=1)
    assert resample(values, influences, 5, seed=1) != resample(values, influences, 5, seed=2)
    assert resample(values, influences, 0, seed=1) == ()


def test_pooling_one_seed_changes_nothing() -> None:
    draws = draws_around(np.array([3.0, 2.0, 1.0]), 0.1)
    np.testing.assert_allclose(pool_seeds([draws]), draws)


def test_pooling_centres_on_the_geometric_mean_of_the_seeds() -> None:
    draws = [draws_around(np.array([9.0, 1.0]), seed=0), draws_around(np.array([4.0, 1.0]), seed=1)]
    assert np.exp(np.log(pool_seeds(draws)).mean(0)) == pytest.approx([6, 1], rel=0.05)


def test_the_variance_between_seeds_enters() -> None:
    far = [draws_around(np.array([v, 1.0]), 1e-4, count=2000) for v in (1.0, math.exp(1))]
    pooled = np.log(pool_seeds(far))[:, 0]
    assert pooled.std() == pytest.approx(0.5 / math.sqrt(2), rel=0.1)


def test_intervals_are_percentiles_of_each_column() -> None:
    draws = np.stack([np.arange(101.0), 2 * np.arange(101.0)], axis=1)
    np.testing.assert_allclose(intervals(draws, confidence=0.9), [(5, 95), (10, 190)])


def test_intervals_leave_out_draws_that_are_not_finite() -> None:
    draws = np.array([[1.0, 1.0], [NAN, 100.0], [3.0, 3.0]])
    assert intervals(draws, confidence=1.0) == [(1, 3), (1, 100)]


@pytest.mark.parametrize("draws", [np.empty((0, 2)), np.full((5, 2), NAN)])
def test_intervals_without_draws(draws: FloatArray) -> None:
    assert np.isnan(intervals(draws)).all()
    assert len(intervals(draws)) == 2
