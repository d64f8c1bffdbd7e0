"""Statistics of the benchmarks against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.statistics import (
    bootstrap,
    interval,
    mean_and_interval,
    mean_and_sd,
    partial_spearman,
    regret,
    rounded,
)


def test_what_explains_both_is_taken_out() -> None:
    z = np.arange(8.0)
    x = np.array([0.0, 2.0, 1.0, 3.0, 5.0, 4.0, 6.0, 7.0])
    y = np.array([1.0, 0.0, 2.0, 3.0, 4.0, 6.0, 5.0, 7.0])
    xz, yz, xy = (np.corrcoef(a, b)[0, 1] for a, b in ((x, z), (y, z), (x, y)))
    expected = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
    assert partial_spearman(x, y, z) == pytest.approx(expected)


def test_regret_is_what_the_best_of_the_top_lacks() -> None:
    score, merit = np.array([3.0, 2.0, 1.0]), np.array([0.5, 0.8, 0.9])
    assert regret(score, merit, 1) == pytest.approx(0.4)
    assert regret(score, merit, 2) == pytest.approx(0.1)
    assert regret(score, merit, 3) == 0


def test_resamples_are_the_same_for_all() -> None:
    draws = bootstrap(5)
    assert draws.shape == (2000, 5)
    assert np.array_equal(draws, bootstrap(5))
    assert set(np.unique(draws)) == set(range(5))


def test_the_interval_of_equal_values_is_a_point() -> None:
    assert mean_and_interval(np.full(4, 0.25)) == {"mean": 0.25, "interval": [0.25, 0.25]}


def test_an_interval_holds_95_percent() -> None:
    assert interval(np.arange(1001.0)) == [25.0, 975.0]


def test_only_finite_values_have_a_mean() -> None:
    assert mean_and_sd([1.0, 3.0, math.nan, math.inf]) == {"mean": 2.0, "sd": 1.4142, "n": 2}
    assert mean_and_sd([2.0]) == {"mean": 2.0, "sd": 0.0, "n": 1}
    assert mean_and_sd([math.nan]) == {"mean": None, "sd": None, "n": 0}


@pytest.mark.parametrize(
    ("value", "expected"), [(0.12345, 0.1235), (math.nan, None), (-math.inf, None)]
)
def test_numbers_that_json_lacks_become_none(value: float, expected: float | None) -> None:
    assert rounded(value) == expected
