"""The chart of the edits that a search tried."""

from __future__ import annotations

from dataclasses import asdict

import altair as alt

from designer.report.charts.axes import log_parameters_axis
from designer.report.charts.palette import Palette
from designer.report.charts.parts import (
    HEIGHT,
    inline_data,
    layered,
    tooltip,
    without_empty,
    zero_line,
)
from designer.report.figures.edits import KEPT, NOT_KEPT, START, EditsFigure


def edits_chart(figure: EditsFigure, palette: Palette) -> alt.LayerChart:
    """Return a point for each network, and a line from the network that was edited."""
    base = alt.Chart(inline_data([without_empty(asdict(point)) for point in figure.points]))
    x = log_parameters_axis([point.parameters for point in figure.points])
    y = alt.Y("points:Q", title="points of accuracy gained", scale=alt.Scale(padding=12))
    colour = alt.Color(
        "fate:N",
        title=None,
        scale=alt.Scale(
            domain=[START, KEPT, NOT_KEPT], range=[palette.ink, palette.ok, palette.muted]
        ),
        legend=alt.Legend(orient="top"),
    )
    shape = alt.Shape(
        "fate:N",
        title=None,
        scale=alt.Scale(domain=[START, KEPT, NOT_KEPT], range=["square", "circle", "cross"]),
    )
    tips = [
        tooltip("network", "network"),
        tooltip("parameters", "parameters", ","),
        tooltip("points", "points gained", "+.1f"),
        tooltip("fate", "outcome"),
    ]
    lines = base.transform_filter(alt.datum.fate != START).mark_rule(strokeWidth=1.4, opacity=0.7)
    marks = base.mark_point(size=90, filled=True, opacity=1)
    return layered(
        zero_line(palette, y=alt.datum(0)),
        lines.encode(x=x, y=y, x2="parameters_before", y2="points_before", color=colour),
        marks.encode(x=x, y=y, color=colour, shape=shape, tooltip=tips).properties(name="edits"),
        height=HEIGHT,
    )
