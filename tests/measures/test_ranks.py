"""Ranks and Spearman's correlation against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.stats import rankdata, spearmanr

from designer.measures.ranks import ranks, resampled_spearman, spearman
from designer.results.measured import FloatArray

few = settings(max_examples=50, deadline=None, derandomize=True)
elements = st.sampled_from([-np.inf, -2.0, 0.0, 0.1, 1.0, 7.0, np.inf]) | st.floats(-9, 9)
batches = arrays(np.float64, array_shapes(min_dims=1, max_dims=3, max_side=8), elements=elements)


@few
@given(values=batches)
def test_ranks_are_those_of_scipy(values: FloatArray) -> None:
    np.testing.assert_array_equal(ranks(values), rankdata(values, axis=-1))


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    assert ranks(np.array([3.0, 1.0, 3.0, 3.0, 0.0])).tolist() == [4, 2, 4, 4, 1]


def test_a_row_with_nan_has_no_ranks() -> None:
    values = np.array([[2.0, np.nan, 1.0], [2.0, 3.0, 1.0]])
    np.testing.assert_array_equal(ranks(values), [[np.nan] * 3, [2, 3, 1]])


@few
@given(seed=st.integers(0, 10_000), n=st.integers(3, 30), levels=st.integers(2, 30))
def test_spearman_is_that_of_scipy(seed: int, n: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    x, y = generator.integers(levels, size=(2, 4, n)).astype(np.float64)
    x[:, :2], y[:, :2] = [0, 1], [0, 1]  # no row is constant
    expected = [spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(spearman(x, y), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("other", [[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])
def test_a_constant_side_has_no_correlation(other: list[float]) -> None:
    constant = np.full(3, 5.0)
    assert np.isnan(spearman(constant, np.array(other)))
    assert np.isnan(spearman(np.array(other), constant))


def test_nan_has_no_correlation() -> None:
    assert np.isnan(spearman(np.array([1.0, np.nan, 2.0]), np.arange(3.0)))


@few
@given(seed=st.integers(0, 10_000), n=st.integers(1, 30), levels=st.integers(1, 30))
def test_resamples_are_those_that_are_ranked_anew(seed: int, n: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    x, y = generator.integers(levels, size=(2, n)).astype(np.float64)
    drawn = generator.integers(n, size=(5, n))
    anew = spearman(x[drawn], y[drawn])
    np.testing.assert_allclose(resampled_spearman(x, y, drawn), anew, rtol=0, atol=1e-12)
