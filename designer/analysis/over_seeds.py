"""Values of one architecture, pooled over its training seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from designer.measures.intervals import pool_seeds
from designer.measures.law import steps
from designer.results.measured import FloatArray, Separation, SeparationProfile, SeparationStatus


def geometric_mean(values: Sequence[FloatArray]) -> FloatArray:
    """Return the geometric mean (L + 1,) over seeds; NaN or 0 where one of them is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean: FloatArray = np.exp(np.mean(np.log(np.stack(values)), axis=0))
    return mean


def drawn_steps(resampled: Sequence[tuple[tuple[float, ...], ...]], count: int) -> FloatArray:
    """Return (B, L) bootstrap draws of the steps, over samples and seeds; (0, L) without draws.

    Args:
        resampled: draws of D (B, L + 1), one entry per seed.
        count: L.
    """
    if not all(resampled):
        return np.empty((0, count))
    with np.errstate(divide="ignore", invalid="ignore"):
        return steps(pool_seeds(resampled))


def drawn_falls(drawn: FloatArray) -> FloatArray:
    """Return the finite total falls of log D among bootstrap draws (B, L) of the steps."""
    totals: FloatArray = drawn.sum(axis=1)
    return totals[np.isfinite(totals)]


def surely_falls(drawn: FloatArray) -> bool:
    """Return True if D falls in total in nearly all draws (B, L) of the steps.

    Otherwise shares of the fall mean nothing.  Without draws nothing speaks against it.
    """
    totals = drawn_falls(drawn)
    return not len(totals) or float(np.percentile(totals, 2.5)) > 0


def weakest(profiles: Sequence[SeparationProfile], tap: int) -> Separation:
    """Return the separation at a tap in the seed where the fewest directions are left."""
    separations = (profile.layers[tap].train for profile in profiles)
    return min(separations, key=lambda separation: separation.rank)


def pooled_away(profile: SeparationProfile, tap: int) -> bool:
    """Return True if features at a tap are means over positions, which may hide class directions.

    The features of vectors are the same pooled and flat.
    """
    return profile.features.startswith("pool") and profile.layers[tap].positions != 1


def deficient(separation: Separation) -> bool:
    """Return True if class directions are missing.

    A prediction residual has status OK at any rank.
    """
    return separation.rank < separation.full_rank and separation.status is not SeparationStatus.OK
