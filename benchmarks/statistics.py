"""Means with their spread, and how well one ranking agrees with another.

Every function on rankings takes the last axis as the items that are ranked, so bootstrap resamples
are rows of one array.  A value of -inf is worse than all others, and ranks there.

======  ==================================================  ========
symbol  meaning                                             shape
======  ==================================================  ========
draws   bootstrap resamples: which items, with repetition   (B, n)
======  ==================================================  ========
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from designer.measures.intervals import intervals
from designer.measures.ranks import spearman
from designer.results.layers import MeanSd
from designer.results.measured import FloatArray, measured

RESAMPLES = 2000

Indices = NDArray[np.int64]


def bootstrap(n: int, resamples: int = RESAMPLES, seed: int = 0) -> Indices:
    """Return (B, n) resamples of n items; the same for all criteria, so differences are paired."""
    return np.random.default_rng(seed).integers(n, size=(resamples, n))


def partial_spearman(x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """Return Spearman's correlation (...) of x and y (..., n) with what z explains taken out."""
    xy, xz, yz = spearman(x, y), spearman(x, z), spearman(y, z)
    with np.errstate(divide="ignore", invalid="ignore"):
        partial: FloatArray = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    return partial


def regret(score: FloatArray, merit: FloatArray, top: int) -> float:
    """Return what the best of the ``top`` by score (n,) lacks to the best merit (n,) of all."""
    picked = np.argsort(-score, kind="stable")[:top]
    return float(merit.max() - merit[picked].max())


def mean_and_interval(values: FloatArray, decimals: int = 4) -> dict[str, Any]:
    """Return the mean of values (n,) and its 95 % bootstrap interval, for a result file."""
    drawn = values[bootstrap(len(values))].mean(axis=1)
    return {"mean": rounded(values.mean(), decimals), "interval": interval(drawn, decimals)}


def mean_and_t_interval(values: FloatArray, decimals: int = 4) -> dict[str, Any]:
    """Return the mean of a few values (n,) and its 95 % interval by Student's t.

    A single value has no interval: its bounds are None.
    """
    n, mean = len(values), float(values.mean())
    if n < 2:
        return {"mean": rounded(mean, decimals), "interval": [None, None]}
    half = float(stats.t.ppf(0.975, n - 1)) * float(values.std(ddof=1)) / np.sqrt(n)
    return _around(mean, half, decimals)


def difference_and_t_interval(x: FloatArray, y: FloatArray, decimals: int = 4) -> dict[str, Any]:
    """Return mean(x) - mean(y) of unpaired values (n,) and (m,), with Welch's 95 % interval.

    Where x is a single value, it counts as exact; without any spread there is no interval.
    """
    mean = float(x.mean() - y.mean())
    parts = [float(v.var(ddof=1)) / len(v) if len(v) > 1 else 0.0 for v in (x, y)]
    if not sum(parts):
        return {"mean": rounded(mean, decimals), "interval": [None, None]}
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(v) - 1) for part, v in zip(parts, (x, y), strict=True) if part
    )
    return _around(mean, float(stats.t.ppf(0.975, freedom)) * float(np.sqrt(sum(parts))), decimals)


def _around(mean: float, half: float, decimals: int) -> dict[str, Any]:
    bounds = [rounded(mean - half, decimals), rounded(mean + half, decimals)]
    return {"mean": rounded(mean, decimals), "interval": bounds}


def mean_and_sd(values: Iterable[float]) -> dict[str, Any]:
    """Return mean, sample standard deviation and number of the finite values, for a result file.

    The standard deviation of a single value is 0; without any value, mean and sd are None.
    """
    finite = [float(value) for value in values if np.isfinite(value)]
    if not finite:
        return {"mean": None, "sd": None, "n": 0}
    spread = MeanSd.of(finite)
    return {"mean": rounded(spread.mean), "sd": rounded(spread.sd or 0.0), "n": spread.seeds}


def interval(drawn: FloatArray, decimals: int = 4) -> list[float | None]:
    """Return the 95 % percentile interval of bootstrap values (B,), for a result file."""
    low, high = intervals(drawn[:, None])[0]
    return [rounded(low, decimals), rounded(high, decimals)]


def rounded(value: float | np.floating[Any] | FloatArray, decimals: int = 4) -> float | None:
    """Return a number for a result file, None if it is nan or infinite."""
    number = measured(float(value))
    return None if number is None else round(number, decimals)
