"""Parts that all charts share: data, tooltips and layers on top of each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import altair as alt

from designer.report.charts.palette import Palette
from designer.report.figures.figure import LayerPoint

HEIGHT = 300
"""Height of most charts in pixels."""


def layered(*layers: Any, height: int) -> alt.LayerChart:
    """Return one chart with the layers on top of each other, the first at the bottom.

    Altair copies all data at every later change of a chart, so the height is set here.
    """
    return alt.LayerChart(layer=list(layers), height=height)


def inline_data(rows: Sequence[Mapping[str, Any]]) -> alt.InlineData:
    """Return rows as data that stand in the specification itself."""
    return alt.InlineData(values=list(rows))


def point_data(points: Sequence[LayerPoint]) -> alt.InlineData:
    """Return the points of one curve as data."""
    return inline_data([without_empty(asdict(point)) for point in points])


def without_empty(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without the fields that are None or False, which keeps the page small."""
    return {name: value for name, value in row.items() if value is not None and value is not False}


def zero_line(palette: Palette, **position: Any) -> alt.Chart:
    """Return a line at ``x=alt.datum(0)`` or ``y=alt.datum(0)``."""
    line: alt.Chart = alt.Chart(inline_data([{}])).mark_rule(color=palette.muted)
    return line.encode(**position)


def tooltip(field: str, title: str, number_format: str = "") -> alt.Tooltip:
    """Return one line of a tooltip.

    Args:
        field: field of the data.
        title: what the reader sees before the value.
        number_format: format of a number in d3's notation; empty for text.
    """
    if not number_format:
        return alt.Tooltip(field=field, type="nominal", title=title)
    return alt.Tooltip(field=field, type="quantitative", title=title, format=number_format)
