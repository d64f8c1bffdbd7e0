"""How well one ranking agrees with another, and how sure that is.

Every function takes the last axis as the items that are ranked, so bootstrap resamples are
rows of one array.  A value of -inf is worse than all others, and ranks there.

======  ==================================================  ========
symbol  meaning                                             shape
======  ==================================================  ========
draws   bootstrap resamples: which items, with repetition   (B, n)
======  ==================================================  ========
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from designer.measures.intervals import intervals
from designer.measures.ranks import spearman
from designer.results.measured import FloatArray, measured

RESAMPLES = 2000

Indices = NDArray[np.int64]


def bootstrap(n: int, resamples: int = RESAMPLES, seed: int = 0) -> Indices:
    """(B, n) resamples of n items; the same for all criteria, so that differences are paired."""
    return np.random.default_rng(seed).integers(n, size=(resamples, n))


def partial_spearman(x: FloatArray, y: FloatArray, given: FloatArray) -> FloatArray:
    """(...) Spearman correlation of x and y (..., n) with what ``given`` explains taken out."""
    xy, xz, yz = spearman(x, y), spearman(x, given), spearman(y, given)
    with np.errstate(divide="ignore", invalid="ignore"):
        partial: FloatArray = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    return partial


def regret(score: FloatArray, merit: FloatArray, top: int) -> float:
    """What the best of the ``top`` by ``score`` (n,) lacks to the best ``merit`` (n,) of all."""
    picked = np.argsort(-score, kind="stable")[:top]
    return float(merit.max() - merit[picked].max())


def mean_and_interval(values: FloatArray, decimals: int = 4) -> dict[str, Any]:
    """Mean of values (n,) and its 95 % bootstrap interval."""
    drawn = values[bootstrap(len(values))].mean(axis=1)
    return {"mean": rounded(values.mean(), decimals), "interval": interval(drawn, decimals)}


def interval(drawn: FloatArray, decimals: int = 4) -> list[float | None]:
    """95 % percentile interval of bootstrap values (B,), for a result file."""
    low, high = intervals(drawn[:, None])[0]
    return [rounded(low, decimals), rounded(high, decimals)]


def rounded(value: float | np.floating[Any] | FloatArray, decimals: int = 4) -> float | None:
    """A number for a result file: None where it is nan or infinite."""
    number = measured(float(value))
    return None if number is None else round(number, decimals)
