"""Axes of the charts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import altair as alt

from designer.report.figures.figure import Tap
from designer.report.figures.trials import TrialPoint

ERROR_TICKS = (0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 90)
"""Percent; where accuracies are written."""


FREE = alt.Scale(nice=False, zero=False, padding=10)
"""An axis that follows the data."""


def size_axis(points: Sequence[TrialPoint]) -> alt.X:
    scale, ticks = _log_scale(*value_range(point.parameters for point in points))
    axis = alt.Axis(values=ticks, format="~s", grid=False)
    return alt.X("parameters:Q", title="parameters (log scale)", scale=scale, axis=axis)


def accuracy_axis(points: Sequence[TrialPoint]) -> alt.Y:
    """Logarithmic in the error and labelled with the accuracy, so that the best are told apart."""
    low, high = _roomy(*value_range(point.error for point in points))
    ticks = [tick for tick in ERROR_TICKS if low <= tick <= high]
    axis = alt.Axis(values=ticks, labelExpr="format(100 - datum.value, '~g')")
    title = "validation accuracy (%, finer towards 100)"
    scale = alt.Scale(type="log", domain=[low, high], nice=False, reverse=True)
    return alt.Y("error:Q", title=title, scale=scale, axis=axis)


def layer_axis(taps: Sequence[Tap]) -> alt.X:
    return index_axis(taps[0].index, taps[-1].index)


def index_axis(first: int, last: int) -> alt.X:
    scale = alt.Scale(domain=[first, max(last, first + 1)], nice=False, zero=False, padding=10)
    return alt.X(
        "index:Q", title="layer (0 is the input)", axis=whole_layer_axis(first, last), scale=scale
    )


def whole_layer_axis(first: int, last: int) -> alt.Axis:
    """An axis of layers, of which at most twenty are written."""
    step = math.ceil((last - first + 1) / 20)
    values = list(range(first, last + 1, step))
    return alt.Axis(values=values, format="d", grid=False, labelOverlap=True)


def layer_tick_axis(count: int) -> alt.Axis:
    """Labels of so many layers, that do not run into each other."""
    every = 1 if count <= 20 else 4
    return alt.Axis(values=list(range(0, count, every)), labelAngle=0)


def name_axis() -> alt.Axis:
    return alt.Axis(labelLimit=190, labelOverlap=True, ticks=False, domain=False)


def log_separation_axis(field: str, reach: tuple[float, float] | None) -> alt.Y:
    """D on a logarithmic axis that goes just beyond the least and the largest; without these it
    follows the data."""
    if reach is None:
        free = alt.Axis(format="~g", tickCount=4, grid=False)
        scale = alt.Scale(type="log", nice=False, padding=10)
        return alt.Y(f"{field}:Q", title="D (log scale)", scale=scale, axis=free)
    scale, ticks = _log_scale(*reach)
    plain = min(reach) >= 1e-4 and max(reach) <= 1e5
    axis = alt.Axis(format="~g" if plain else "~e", values=ticks)
    return alt.Y(f"{field}:Q", title="D (log scale)", scale=scale, axis=axis)


def _log_scale(low: float, high: float) -> tuple[alt.Scale, list[float]]:
    """A scale with some room on both sides, and its ticks: powers of ten, or 1, 2 and 5."""
    bottom, top = _roomy(low, high)
    decades = math.log10(top / bottom)
    steps = (1,) if decades > 2.5 else (1, 2, 5)
    every = max(1, math.ceil(decades / 8))
    start = every * math.floor(math.log10(bottom) / every)
    powers = range(start, math.ceil(math.log10(top)) + 1, every)
    ticks = [float(f"{step}e{power}") for power in powers for step in steps]
    inside = [tick for tick in ticks if bottom <= tick <= top]
    return alt.Scale(type="log", domain=[bottom, top], nice=False), inside


def _roomy(low: float, high: float) -> tuple[float, float]:
    """A little beyond both, on a logarithmic axis."""
    room = max((high / low) ** 0.06, 1.08)
    return low / room, high * room


def value_range(values: Iterable[float | None]) -> tuple[float, float]:
    """The least and the largest of those that are there."""
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if known else (0.1, 1.0)


def separation_range(taps: Sequence[Tap]) -> tuple[float, float]:
    kinds = ("training", "heldout", "null", "null_low", "null_high", "line")
    return value_range(getattr(tap, kind) for tap in taps for kind in kinds)
