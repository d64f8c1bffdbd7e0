"""Charts that compare several networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import altair as alt

from designer.report.charts.axes import index_axis, log_separation_axis, name_axis, value_range
from designer.report.charts.bars import ROW_HEIGHT
from designer.report.charts.palette import Palette
from designer.report.charts.parts import HEIGHT, inline_data, layered, tooltip, zero_line
from designer.report.figures.comparison import (
    DifferencesFigure,
    NetworkCurve,
    OverlayFigure,
    SizesFigure,
)

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
"""Shapes of the points of several networks, in turn."""


def overlay_chart(figure: OverlayFigure, palette: Palette) -> alt.LayerChart:
    """Return the curves of several networks on one logarithmic axis of D."""
    points = [point for curve in figure.curves for point in curve.points]
    limits = value_range([value for p in points for value in (p.training, p.heldout)])
    height = HEIGHT + 40
    y = log_separation_axis("D", limits)
    lines = _network_lines(figure.curves, _names(figure.curves), palette, y, "curves")
    return layered(*lines, height=height)


def differences_chart(figure: DifferencesFigure, palette: Palette) -> alt.LayerChart:
    """Return the differences of log D from the first network, with a line at zero."""
    y = alt.Y("D:Q", title="difference of log D (nats)")
    names = [figure.first, *_names(figure.curves)]
    lines = _network_lines(figure.curves, names, palette, y, "differences")
    return layered(zero_line(palette, y=alt.datum(0)), *lines, height=HEIGHT - 40)


def sizes_chart(figure: SizesFigure, palette: Palette) -> alt.LayerChart:
    """Return sizes as bars in percent of the first network's, grouped by aspect."""
    base = alt.Chart(inline_data([asdict(size) for size in figure.sizes]))
    names = list(dict.fromkeys(size.network for size in figure.sizes))
    aspects = list(dict.fromkeys(size.what for size in figure.sizes))
    y = alt.Y("what:N", sort=aspects, title=None, axis=name_axis())
    offset = alt.YOffset("network:N", sort=names)
    x = alt.X("share:Q", title="% of the original", axis=alt.Axis(tickCount=5, grid=False))
    bars = base.mark_bar().encode(
        y=y,
        yOffset=offset,
        x=x,
        color=_network_colour(names, palette),
        tooltip=[
            tooltip("network", "network"),
            tooltip("what", "size in"),
            tooltip("text", "share"),
        ],
    )
    labels = base.mark_text(align="left", dx=4, color=palette.ink, fontSize=11).encode(
        y=y, yOffset=offset, x=x, text="text:N"
    )
    rows = len(figure.sizes) + len(aspects)
    return layered(bars.properties(name="sizes"), labels, height=ROW_HEIGHT * rows)


def _network_lines(
    curves: Sequence[NetworkCurve], names: Sequence[str], palette: Palette, y: alt.Y, name: str
) -> tuple[Any, ...]:
    """Return lines and points of several networks; held-out data is dashed.

    Colours and shapes follow ``names``, so that a network looks the same in every chart.
    """
    indexes = [point.index for curve in curves for point in curve.points]
    base = alt.Chart(inline_data(_curve_rows(curves)))
    x = index_axis(min(indexes), max(indexes))
    colour = _network_colour(names, palette, shown=_names(curves))
    dash = alt.StrokeDash(
        "on:N",
        title=None,
        scale=alt.Scale(domain=["training", "held-out"], range=[[1, 0], [5, 4]]),
        legend=None,  # the caption explains it; beside the names there is no room on a phone
    )
    shape = alt.Shape(
        "network:N",
        title=None,
        scale=alt.Scale(domain=list(names), range=_cycled(SHAPES, len(names))),
        legend=_network_legend(_names(curves)),
    )
    tips = [
        tooltip("network", "network"),
        tooltip("layer", "layer"),
        tooltip("on", "data"),
        tooltip("D", "value", ".3f"),
    ]
    lines = base.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour, strokeDash=dash)
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=x, y=y, color=colour, shape=shape, tooltip=tips
    )
    return lines, points.properties(name=name)


def _curve_rows(curves: Sequence[NetworkCurve]) -> list[dict[str, Any]]:
    return [
        {
            "network": curve.network,
            "index": point.index,
            "layer": point.layer,
            "on": part,
            "D": value,
        }
        for curve in curves
        for point in curve.points
        for part, value in (("training", point.training), ("held-out", point.heldout))
        if value is not None
    ]


def _names(curves: Sequence[NetworkCurve]) -> list[str]:
    return [curve.network for curve in curves]


def _network_colour(
    names: Sequence[str], palette: Palette, shown: Sequence[str] | None = None
) -> alt.Color:
    """Return a colour for each name, with a legend of those that are shown, by default all."""
    colours = (
        palette.training,
        palette.heldout,
        palette.ok,
        palette.fourth,
        palette.low,
        palette.muted,
    )
    return alt.Color(
        "network:N",
        title=None,
        scale=alt.Scale(domain=list(names), range=_cycled(colours, len(names))),
        legend=_network_legend(names if shown is None else shown),
    )


def _network_legend(shown: Sequence[str]) -> alt.Legend:
    return alt.Legend(orient="top", columns=2, labelLimit=230, values=list(shown))


def _cycled(values: Sequence[str], count: int) -> list[str]:
    return [values[i % len(values)] for i in range(count)]
