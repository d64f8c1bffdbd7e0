"""Choices that all families make alike."""

from __future__ import annotations

from math import log10

from search_spaces.base import Trial


def suggest_learning_rate(trial: Trial, low: float, high: float) -> float:
    """A rate to a quarter of a decade: a finer difference is no other candidate."""
    rate = trial.suggest_float("learning_rate", low, high, log=True)
    rounded = float(f"{10 ** (round(4 * log10(rate)) / 4):.1e}")
    return min(max(rounded, low), high)
