"""The chart of all networks that were confirmed."""

from __future__ import annotations

from dataclasses import asdict

import altair as alt

from designer.report.charts.axes import log_parameters_axis
from designer.report.charts.palette import Palette
from designer.report.charts.parts import HEIGHT, inline_data, layered, tooltip, without_empty
from designer.report.figures.front import FrontFigure


def front_chart(figure: FrontFigure, palette: Palette) -> alt.LayerChart:
    """Return accuracy against number of parameters, with spreads, front and ranks."""
    base = alt.Chart(inline_data([without_empty(asdict(point)) for point in figure.points]))
    x = log_parameters_axis([point.parameters for point in figure.points])
    scale = alt.Scale(zero=False, padding=14)
    y = alt.Y("accuracy:Q", title="validation accuracy (%)", scale=scale)
    low = alt.Y("low:Q", title="validation accuracy (%)", scale=scale)
    line = base.transform_filter("datum.front").mark_line(
        interpolate="step-after", color=palette.muted, strokeWidth=1.5
    )
    spreads = base.mark_rule(color=palette.training, strokeWidth=1.4, opacity=0.6)
    marks = base.mark_circle(size=90, opacity=1, color=palette.training)
    ranks = base.transform_filter("isValid(datum.rank)").mark_text(
        dx=11, dy=-9, fontWeight="bold", fontSize=13, color=palette.ink
    )
    tips = [
        tooltip("network", "network"),
        tooltip("architecture", "architecture"),
        tooltip("parameters", "parameters", ","),
        tooltip("accuracy", "accuracy %", ".1f"),
        tooltip("low", "less one sd", ".1f"),
        tooltip("high", "plus one sd", ".1f"),
    ]
    return layered(
        line.encode(x=x, y=y),
        spreads.encode(x=x, y=low, y2="high"),
        marks.encode(x=x, y=y, tooltip=tips).properties(name="front"),
        ranks.encode(x=x, y=y, text="rank:N"),
        height=HEIGHT,
    )
