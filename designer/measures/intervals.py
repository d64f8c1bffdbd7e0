"""Bootstrap intervals of D, its steps and its shares, over samples and training seeds.

======  ==========================================================  =============
symbol  meaning                                                     shape
======  ==========================================================  =============
D       separation fuzziness at every tap                           (L + 1,)
I       influence of each of m samples on log D, with mean 0        (L + 1, m)
w       bootstrap weights of the samples: multinomial counts / m    (B, m)
D*      draws of D: D exp(w I')                                     (B, L + 1)
======  ==========================================================  =============

The draws are linearised: a draw needs the influences alone, not the features.

Reference: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993 (percentile intervals;
the infinitesimal jackknife).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from designer.results.measured import Draws, FloatArray
from designer.results.ranges import Interval


def resample(
    values: FloatArray,
    influences: FloatArray,
    resamples: int,
    seed: int,
    *,
    samples: int | None = None,
) -> Draws:
    """Draw D anew by a linearised bootstrap over samples.

    Args:
        values: (L + 1,) D.
        influences: (L + 1, m) influence of each sample on log D at each tap, with mean 0. All
            taps of a draw use the same samples, which keeps the correlation between their errors.
        resamples: B, the number of draws; may be 0.
        seed: seed of the draws alone.
        samples: n, if the m samples are a random part of n; the draws then spread as those of n
            samples do.

    Returns:
        (B, L + 1) draws of D.
    """
    m = influences.shape[1]
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(m, np.full(m, 1 / m), size=resamples) / m
    if samples is not None and samples != m:  # a part has neither mean 0 nor the spread of all
        influences = influences - influences.mean(axis=1, keepdims=True)
        influences *= np.sqrt(m / samples)
    return tuple(map(tuple, (values * np.exp(weights @ influences.T)).tolist()))


def pool_seeds(resampled: Sequence[Draws], seed: int = 0) -> FloatArray:
    """Draw D anew by a bootstrap over training seeds, on top of the one over samples.

    Args:
        resampled: one set of (B, L + 1) draws per training seed, from ``resample``.
        seed: seed of the draws.

    Returns:
        (B, L + 1) geometric means of D over training seeds that are drawn with repetition.
    """
    stacked = np.log(np.array(resampled))
    seeds, resamples, _ = stacked.shape
    drawn = np.random.default_rng(seed).integers(seeds, size=(resamples, seeds))
    picked = stacked[drawn, np.arange(resamples)[:, None]]
    pooled: FloatArray = np.exp(picked.mean(axis=1))
    return pooled


def intervals(draws: FloatArray, confidence: float = 0.95) -> list[Interval]:
    """Return the percentile interval of each column of draws (B, L).

    Draws that are not finite are left out; a column without finite draws has (nan, nan).
    """
    tail = 100 * (1 - confidence) / 2
    return [_interval(column[np.isfinite(column)], tail) for column in draws.T]


def _interval(values: FloatArray, tail: float) -> Interval:
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def t_interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Return Student's interval of the mean of independent values; None for fewer than two."""
    n = len(values)
    if n < 2:
        return None
    mean, half = float(np.mean(values)), t_half_width(float(np.std(values, ddof=1)), n, confidence)
    return mean - half, mean + half


def t_half_width(sd: float, n: int, confidence: float = 0.95) -> float:
    """Return half the width of Student's interval of a mean.

    Args:
        sd: standard deviation of the values, with n - 1 in the denominator.
        n: number of values, at least two.
        confidence: probability that the interval holds the mean.
    """
    return float(stdtrit(n - 1, (1 + confidence) / 2) * sd / np.sqrt(n))
