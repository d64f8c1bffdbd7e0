"""Horizontal bars with intervals, one row for each block or criterion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import altair as alt

from designer.report.charts.axes import name_axis
from designer.report.charts.palette import SIGNS, Palette, kind_colours
from designer.report.charts.parts import inline_data, tooltip
from designer.report.figures.figure import Bar

ROW_HEIGHT = 22
"""Height of one row in pixels."""


LOW_ROW_HEIGHT = 14
"""Height of one row in pixels where there are more than ``MANY_ROWS``."""


MANY_ROWS = 32


def bar_layers(bars: Sequence[Bar], palette: Palette, title: str, tip: str) -> list[Any]:
    """Return bars with their intervals, and at the right edge the sign and word of each kind.

    Args:
        bars: one for each row, the first on top.
        palette: colours.
        title: title of the horizontal axis.
        tip: name of the value in the tooltip.
    """
    base = alt.Chart(bar_data(bars))
    y = row_axis(bars)
    x = alt.X("value:Q", title=title, axis=alt.Axis(tickCount=5, grid=False))
    boxes = base.mark_bar(
        stroke=palette.ink, strokeOpacity=0.35, strokeWidth=0.7, height=12
    ).encode(y=y, x=x, color=kind_colour(bars, palette), tooltip=bar_tooltips(tip))
    labels = base.mark_text(align="left", dx=8, color=palette.ink, fontSize=11).encode(
        y=y, x=alt.value("width"), text="label:N"
    )
    measured = any(bar.value is not None for bar in bars)
    drawn = [boxes.properties(name="bars")] if measured else []
    return [*drawn, *interval_layers(base, bars, title, palette.ink), labels]


def interval_layers(base: alt.Chart, bars: Sequence[Bar], title: str, colour: str) -> list[Any]:
    """Return a line over each interval; no layer where no bar has an interval."""
    if all(bar.low is None for bar in bars):
        return []
    rules = base.mark_rule(color=colour, strokeWidth=1.4)
    return [rules.encode(y=row_axis(bars), x=alt.X("low:Q", title=title), x2=alt.X2("high"))]


def row_axis(bars: Sequence[Bar]) -> alt.Y:
    """Return the vertical axis with the name of each row, in order."""
    return alt.Y("layer:N", sort=[bar.layer for bar in bars], title=None, axis=name_axis())


def bar_tooltips(tip: str) -> list[alt.Tooltip]:
    """Return the tooltip of a bar, in which its value is called ``tip``."""
    return [
        tooltip("layer", "block"),
        tooltip("value", tip, ".2f"),
        tooltip("low", "from", ".2f"),
        tooltip("high", "to", ".2f"),
        tooltip("kind", "verdict"),
    ]


def bar_data(bars: Sequence[Bar]) -> alt.InlineData:
    """Return the bars as data, each with the label at its right edge."""
    return inline_data([{**asdict(bar), "label": f"{SIGNS[bar.kind]} {bar.kind}"} for bar in bars])


def kind_colour(marks: Sequence[Any], palette: Palette) -> alt.Color:
    """Return colours by the ``kind`` of the marks; labels beside the marks are the legend."""
    kinds = list(dict.fromkeys(mark.kind for mark in marks))
    colours = kind_colours(palette)
    scale = alt.Scale(domain=kinds, range=[colours[kind] for kind in kinds])
    return alt.Color("kind:N", scale=scale, legend=None)


def rows_height(rows: Sequence[object]) -> int:
    """Return the height of a chart with these rows, in pixels."""
    return max(2, len(rows)) * (ROW_HEIGHT if len(rows) <= MANY_ROWS else LOW_ROW_HEIGHT)
