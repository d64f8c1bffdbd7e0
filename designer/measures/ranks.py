"""Ranks and Spearman's correlation, for one list of numbers or for many at once.

======  ====================================================  ========
symbol  meaning                                               shape
======  ====================================================  ========
x, y    two figures of the same n items; leading axes are     (..., n)
        batches, for example bootstrap resamples
R       ranks of x or y, 1 for the least; items that are      (..., n)
        equal share the mean of their ranks
rho     Spearman's correlation: Pearson's r of the ranks      (...)
c       how often each item is in a resample of the items     (n,)
======  ====================================================  ========

Reference: Spearman, "The proof and measurement of association between two things", American
Journal of Psychology 15(1), 1904.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from designer.results.measured import FloatArray


def ranks(values: FloatArray) -> FloatArray:
    """Return the ranks (..., n) of values (..., n) along the last axis, 1 for the least.

    Equal values share the mean of their ranks. Infinite values rank first or last. All ranks of
    a row that contains NaN are NaN.
    """
    order = np.argsort(values, axis=-1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=-1)
    edge = np.ones_like(ordered[..., :1], dtype=bool)
    differs = ordered[..., 1:] != ordered[..., :-1]
    begins = np.concatenate([edge, differs], axis=-1)
    ends = np.concatenate([differs, edge], axis=-1)
    positions = np.arange(1, ordered.shape[-1] + 1)
    first = np.maximum.accumulate(np.where(begins, positions, 0), axis=-1)
    backward = np.where(ends, positions, ordered.shape[-1] + 1)[..., ::-1]
    last = np.minimum.accumulate(backward, axis=-1)[..., ::-1]
    ranked = np.empty(ordered.shape)
    np.put_along_axis(ranked, order, (first + last) / 2, axis=-1)
    ranked[np.isnan(values).any(axis=-1)] = np.nan
    return ranked


def spearman(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return Spearman's correlation (...) of x and y (..., n) along the last axis, -1..1.

    NaN where one of them is constant or contains NaN.
    """
    a, b = _centred(ranks(x)), _centred(ranks(y))
    sizes = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        rho: FloatArray = np.clip((a * b).sum(axis=-1) / sizes, -1, 1)
    return rho


def resampled_spearman(
    x: FloatArray, y: FloatArray, resamples: Iterable[NDArray[np.int64]]
) -> FloatArray:
    """Return Spearman's correlation (draws,) of x and y (n,) in each resample of their items.

    It is ``spearman(x[drawn], y[drawn])`` of each resample without sorting it anew: the ranks
    follow from how often each value was drawn, so that memory and time grow with n alone.

    Args:
        x: finite figures of n items.
        y: others of the same items.
        resamples: for each draw the places (n,) of the items in it; an item may be there often.

    Returns:
        The correlations, -1..1; NaN where a resample of x or y is constant.
    """
    values = [np.unique(figure, return_inverse=True)[1] for figure in (x, y)]
    rho = []
    for drawn in resamples:
        c = np.bincount(drawn, minlength=len(x)).astype(np.float64)
        a, b = (_centred_ranks(value, c) for value in values)
        size = np.sqrt((c @ a**2) * (c @ b**2))
        rho.append(np.clip((c * a) @ b / size, -1, 1) if size > 0 else np.nan)
    return np.array(rho, dtype=np.float64)


def _centred_ranks(value: NDArray[np.intp], c: FloatArray) -> FloatArray:
    """Return the ranks (n,) in a resample minus their mean, by the place of each item's value."""
    drawn = np.bincount(value, weights=c)
    ranked: FloatArray = np.cumsum(drawn) - (drawn - 1) / 2 - (c.sum() + 1) / 2
    return ranked[value]


def _centred(ranked: FloatArray) -> FloatArray:
    centred: FloatArray = ranked - ranked.mean(axis=-1, keepdims=True)
    return centred
