"""Axes of the charts: their scales, ticks and titles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import altair as alt

from designer.report.figures.figure import LayerPoint
from designer.report.figures.trials import TrialPoint

ERROR_TICKS = (0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 90)
"""Errors in percent at which the accuracy axis has ticks."""


FREE = alt.Scale(nice=False, zero=False, padding=10)
"""A scale that follows whatever data the chart shows at the moment."""


def size_axis(points: Sequence[TrialPoint]) -> alt.X:
    """Return a logarithmic axis of the number of parameters of trials."""
    return log_parameters_axis([point.parameters for point in points])


def log_parameters_axis(parameters: Sequence[int]) -> alt.X:
    """Return a logarithmic axis on which all these numbers of parameters lie."""
    scale, ticks = _log_scale(*value_range(parameters))
    axis = alt.Axis(values=ticks, format="~s", grid=False)
    return alt.X("parameters:Q", title="parameters (log scale)", scale=scale, axis=axis)


def accuracy_axis(points: Sequence[TrialPoint]) -> alt.Y:
    """Return an axis that is logarithmic in the error and labelled with the accuracy.

    The best trials lie close to 100 %, where a linear axis could not tell them apart.
    """
    low, high = _with_margin(*value_range(point.error for point in points))
    ticks = [tick for tick in ERROR_TICKS if low <= tick <= high]
    axis = alt.Axis(values=ticks, labelExpr="format(100 - datum.value, '~g')")
    title = "validation accuracy (%, finer towards 100)"
    scale = alt.Scale(type="log", domain=[low, high], nice=False, reverse=True)
    return alt.Y("error:Q", title=title, scale=scale, axis=axis)


def layer_axis(points: Sequence[LayerPoint]) -> alt.X:
    """Return an axis of the layers from the first to the last point."""
    return index_axis(points[0].index, points[-1].index)


def index_axis(first: int, last: int) -> alt.X:
    """Return an axis of the layers from ``first`` to ``last``, where 0 is the input."""
    scale = alt.Scale(domain=[first, max(last, first + 1)], nice=False, zero=False, padding=10)
    return alt.X(
        "index:Q", title="layer (0 is the input)", axis=whole_layer_axis(first, last), scale=scale
    )


def whole_layer_axis(first: int, last: int) -> alt.Axis:
    """Return ticks at whole layers, at most twenty of them."""
    step = math.ceil((last - first + 1) / 20)
    values = list(range(first, last + 1, step))
    return alt.Axis(values=values, format="d", grid=False, labelOverlap=True)


def layer_tick_axis(indexes: Sequence[int]) -> alt.Axis:
    """Return ticks at some of these layers, so that their labels do not overlap."""
    every = 1 if len(indexes) <= 20 else max(4, math.ceil(len(indexes) / 20))
    return alt.Axis(values=list(indexes[::every]), labelAngle=0)


def name_axis() -> alt.Axis:
    """Return an axis with names and without ticks."""
    return alt.Axis(labelLimit=190, labelOverlap=True, ticks=False, domain=False)


def log_separation_axis(field: str, limits: tuple[float, float] | None) -> alt.Y:
    """Return a logarithmic axis of D.

    Args:
        field: field of the data that holds D.
        limits: least and largest D to show, which the axis exceeds a little; None for an axis
            that follows the data.
    """
    if limits is None:
        free = alt.Axis(format="~g", tickCount=4, grid=False)
        scale = alt.Scale(type="log", nice=False, padding=10)
        return alt.Y(f"{field}:Q", title="D (log scale)", scale=scale, axis=free)
    scale, ticks = _log_scale(*limits)
    plain = min(limits) >= 1e-4 and max(limits) <= 1e5
    axis = alt.Axis(format="~g" if plain else "~e", values=ticks)
    return alt.Y(f"{field}:Q", title="D (log scale)", scale=scale, axis=axis)


def value_range(values: Iterable[float | None]) -> tuple[float, float]:
    """Return the least and the largest value, leaving out None; (0.1, 1) where there are none."""
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if known else (0.1, 1.0)


def separation_range(points: Sequence[LayerPoint]) -> tuple[float, float]:
    """Return the least and the largest D of any kind: measured, null or fitted."""
    kinds = ("training", "heldout", "null", "null_low", "null_high", "line")
    return value_range(getattr(point, kind) for point in points for kind in kinds)


def _log_scale(low: float, high: float) -> tuple[alt.Scale, list[float]]:
    """Return a scale with a margin on both sides, and ticks at powers of ten, or at 1, 2 and 5."""
    bottom, top = _with_margin(low, high)
    decades = math.log10(top / bottom)
    steps = (1,) if decades > 2.5 else (1, 2, 5)
    every = max(1, math.ceil(decades / 8))
    start = every * math.floor(math.log10(bottom) / every)
    powers = range(start, math.ceil(math.log10(top)) + 1, every)
    ticks = [float(f"{step}e{power}") for power in powers for step in steps]
    inside = [tick for tick in ticks if bottom <= tick <= top]
    return alt.Scale(type="log", domain=[bottom, top], nice=False), inside


def _with_margin(low: float, high: float) -> tuple[float, float]:
    """Return limits a little beyond both, by the same factor."""
    margin = max((high / low) ** 0.06, 1.08)
    return low / margin, high * margin
