"""Ranks and Spearman's correlation, for one list of numbers or for many at once.

======  ====================================================  ========
symbol  meaning                                               shape
======  ====================================================  ========
x, y    two figures of the same n items; leading axes are     (..., n)
        batches, for example bootstrap resamples
R       ranks of x or y, 1 for the least; items that are      (..., n)
        equal share the mean of their ranks
rho     Spearman's correlation: Pearson's r of the ranks      (...)
======  ====================================================  ========

Reference: Spearman, "The proof and measurement of association between two things", American
Journal of Psychology 15(1), 1904.
"""

from __future__ import annotations

import numpy as np

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


def _centred(ranked: FloatArray) -> FloatArray:
    centred: FloatArray = ranked - ranked.mean(axis=-1, keepdims=True)
    return centred
