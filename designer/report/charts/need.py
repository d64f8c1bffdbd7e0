"""The chart of what each block shows, beside what the network needs it for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import altair as alt

from designer.report.charts.axes import name_axis
from designer.report.charts.bars import kind_colour, rows_height
from designer.report.charts.palette import SIGNS, Palette
from designer.report.charts.parts import inline_data, layered, tooltip, without_empty
from designer.report.figures.need import NeedFigure, NeedRow

GAP = 0.06
"""Share of the width between both halves."""


def need_chart(figure: NeedFigure, palette: Palette) -> alt.LayerChart:
    """Return held-out steps on the left and contributions on the right, in the same rows.

    Both halves are layers of one chart, each with a horizontal scale of its own, so that the chart
    can be as wide as its place in the page.
    """
    rows = figure.rows
    base = alt.Chart(inline_data([_datum(row) for row in rows]))
    halves = (_steps(figure, base, palette), _contributions(figure, base, palette))
    labels = base.mark_text(align="left", dx=8, color=palette.ink, fontSize=11).encode(
        x=alt.value("width"), y=_row_axis(rows), text="label:N"
    )
    chart: alt.LayerChart = layered(*halves, labels, height=rows_height(rows)).resolve_scale(
        x="independent"
    )
    return chart


def _steps(figure: NeedFigure, base: alt.Chart, palette: Palette) -> alt.LayerChart:
    """Return the left half: one open circle for each held-out step, with its interval."""
    y, limits = _row_axis(figure.rows), _limits(figure.rows, "step")
    axis = partial(_half_axis, limits=limits, title="shows (nats)", right=False)
    rules = base.mark_rule(color=palette.heldout, strokeWidth=1.4).encode(
        x=axis("step_low"), x2="step_high", y=y
    )
    circles = base.mark_point(
        color=palette.heldout, fill=palette.raised, size=46, opacity=1, strokeWidth=1.6
    ).encode(x=axis("step"), y=y, tooltip=_tooltips(figure))
    return alt.LayerChart(layer=[_zero(palette, axis), rules, circles.properties(name="steps")])


def _contributions(figure: NeedFigure, base: alt.Chart, palette: Palette) -> alt.LayerChart:
    """Return the right half: one bar for each contribution, with its interval."""
    y, limits = _row_axis(figure.rows), _limits(figure.rows, "rise")
    title = "is needed for (nats)"
    axis = partial(_half_axis, limits=limits, title=title, right=True)
    bars = base.mark_bar(stroke=palette.ink, strokeOpacity=0.35, strokeWidth=0.7, height=10).encode(
        x=axis("rise"), y=y, color=kind_colour(figure.rows, palette), tooltip=_tooltips(figure)
    )
    rules = base.mark_rule(color=palette.ink, strokeWidth=1.4).encode(
        x=axis("rise_low"), x2="rise_high", y=y
    )
    return alt.LayerChart(
        layer=[_zero(palette, axis), bars.properties(name="contributions"), rules]
    )


def _row_axis(rows: Sequence[NeedRow]) -> alt.Y:
    """Return the vertical axis with the name of each block, in order."""
    return alt.Y("layer:N", sort=[row.layer for row in rows], title=None, axis=name_axis())


def _half_axis(field: str, *, limits: tuple[float, float], title: str, right: bool) -> alt.X:
    """Return the horizontal axis of one half of the chart.

    Args:
        field: field of the data, such as ``step_low``.
        limits: least and largest value that is shown.
        title: title of the axis.
        right: True for the right half.
    """
    middle = {"expr": f"width * {0.5 + GAP / 2 if right else 0.5 - GAP / 2}"}
    ends: list[Any] = [middle, {"expr": "width"}] if right else [0, middle]
    scale = alt.Scale(domain=list(limits), range=ends, nice=False, zero=False)
    axis = alt.Axis(orient="bottom", tickCount=4, grid=False, titleLimit=0)
    return alt.X(f"{field}:Q", title=title, scale=scale, axis=axis)


def _limits(rows: Sequence[NeedRow], field: str) -> tuple[float, float]:
    """Return the least and the largest value of a field and its interval, zero included."""
    fields = (field, f"{field}_low", f"{field}_high")
    known = [value for row in rows for f in fields if (value := getattr(row, f)) is not None]
    low, high = min(0.0, *known, 0.0), max(0.0, *known, 0.0)
    margin = 0.05 * (high - low) or 0.05
    return low - margin, high + margin


def _zero(palette: Palette, axis: Callable[[str], alt.X]) -> alt.Chart:
    """Return a line at zero in one half of the chart."""
    line: alt.Chart = alt.Chart(inline_data([{"zero": 0}])).mark_rule(color=palette.muted)
    return line.encode(x=axis("zero"))


def _tooltips(figure: NeedFigure) -> list[alt.Tooltip]:
    return [
        tooltip("layer", "block"),
        tooltip("step", "held-out step", ".3f"),
        tooltip("step_low", "from", ".3f"),
        tooltip("step_high", "to", ".3f"),
        tooltip("rise", f"rise of {figure.quantity}", ".3f"),
        tooltip("rise_low", "rise from", ".3f"),
        tooltip("rise_high", "rise to", ".3f"),
        tooltip("kind", "verdict"),
    ]


def _datum(row: NeedRow) -> dict[str, Any]:
    return without_empty({**asdict(row), "label": f"{SIGNS[row.kind]} {row.kind}"})
