"""Make the choices that all families have in common."""

from __future__ import annotations

from math import log10

from search_spaces.base import Trial


def suggest_learning_rate(trial: Trial, low: float, high: float) -> float:
    """Suggest a learning rate, rounded to a quarter of a decade.

    Finer differences hardly matter, and so nearly equal rates count as one candidate. A rate that
    rounding would move out of the bounds becomes the bound.

    Args:
        trial: the trial, whose parameter is ``learning_rate``.
        low: smallest rate.
        high: largest rate.
    """
    rate = trial.suggest_float("learning_rate", low, high, log=True)
    rounded = float(f"{10 ** (round(4 * log10(rate)) / 4):.1e}")
    return min(max(rounded, low), high)
