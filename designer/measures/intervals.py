"""Intervals of the law's steps and shares over resampled data and seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from designer.results.measured import Draws, FloatArray, Interval


def resample(
    values: FloatArray,
    influences: FloatArray,
    resamples: int,
    seed: int,
    *,
    samples: int | None = None,
) -> Draws:
    """Linearised bootstrap over samples: (B, L + 1) values of D.

    Args:
        values: (L + 1,) of D.
        influences: (L + 1, m) of each sample on log D at each tap, with mean 0. All taps of a
            resample use the same samples, which keeps the steps' errors correlated as they are.
        resamples: B.
        seed: of the resampling alone.
        samples: n, of which the m are a random part; the spread is that of n.
    """
    m = influences.shape[1]
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(m, np.full(m, 1 / m), size=resamples) / m
    if samples is not None and samples != m:  # a part has neither mean 0 nor the spread of all
        influences = influences - influences.mean(axis=1, keepdims=True)
        influences *= np.sqrt(m / samples)
    return tuple(map(tuple, (values * np.exp(weights @ influences.T)).tolist()))


def pool_seeds(resampled: Sequence[Draws], seed: int = 0) -> FloatArray:
    """Bootstrap over training seeds on top of samples: (B, L + 1) geometric means of D.

    Args:
        resampled: one (B, L + 1) set of draws per training seed, from ``resample``.
    """
    stacked = np.log(np.array(resampled))
    seeds, resamples, _ = stacked.shape
    drawn = np.random.default_rng(seed).integers(seeds, size=(resamples, seeds))
    picked = stacked[drawn, np.arange(resamples)[:, None]]
    pooled: FloatArray = np.exp(picked.mean(axis=1))
    return pooled


def intervals(draws: FloatArray, confidence: float = 0.95) -> list[Interval]:
    """Percentile interval of each column of draws (B, L), of its finite values; nan without any."""
    tail = 100 * (1 - confidence) / 2
    return [_interval(column[np.isfinite(column)], tail) for column in draws.T]


def _interval(values: FloatArray, tail: float) -> Interval:
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
