"""Charts of the layers of one network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import altair as alt

from designer.report.charts.axes import (
    index_axis,
    layer_axis,
    layer_tick_axis,
    log_separation_axis,
    separation_range,
    value_range,
)
from designer.report.charts.bars import bar_layers, kind_colour, rows_height
from designer.report.charts.palette import SIGNS, Palette
from designer.report.charts.parts import (
    HEIGHT,
    inline_data,
    layered,
    point_data,
    tooltip,
    zero_line,
)
from designer.report.charts.theme import colour_ramp
from designer.report.figures.figure import LayerPoint
from designer.report.figures.network import (
    ArchitectureFigure,
    CurveFigure,
    EmergenceFigure,
    ResidualsFigure,
    SharesFigure,
    Slab,
)

LABELLED_SLABS = 16
"""With more slabs than this there is no room for their widths and signs."""


def curve_chart(figure: CurveFigure, palette: Palette) -> alt.LayerChart:
    """Return D of every layer on a logarithmic axis, with the null and the fitted law."""
    base, x = alt.Chart(point_data(figure.points)), layer_axis(figure.points)
    limits = separation_range(figure.points)
    band = base.mark_area(color=palette.null, opacity=0.35).encode(
        x=x, y=log_separation_axis("null_low", limits), y2=alt.Y2("null_high")
    )
    null = base.mark_line(color=palette.null, strokeWidth=1).encode(
        x=x, y=log_separation_axis("null", limits)
    )
    law = base.mark_line(color=palette.muted, strokeDash=[2, 3], strokeWidth=1.5).encode(
        x=x, y=log_separation_axis("line", limits)
    )
    background = [
        layer
        for layer, field in ((band, "null_low"), (null, "null"), (law, "line"))
        if any(getattr(point, field) is not None for point in figure.points)
    ]
    return layered(
        *background,
        *curve_lines(base, palette, x, figure.points, limits),
        _touch_rules(base, palette, x, figure.points),
        *_curve_labels(figure.points, palette),
        height=HEIGHT + 40,
    )


def curve_lines(
    base: alt.Chart,
    palette: Palette,
    x: alt.X,
    points: Sequence[LayerPoint],
    limits: tuple[float, float] | None,
) -> list[Any]:
    """Return D on training data as a solid line, on held-out data as a dashed one.

    Args:
        base: chart with the data of the points.
        palette: colours; training points are filled, held-out points are open.
        x: axis of the layers.
        points: the layers; a kind of data without any D gets no line.
        limits: least and largest D of the vertical axis; None for an axis that follows the data.
    """
    kinds = (
        ("training", palette.training, [1, 0], True),
        ("heldout", palette.heldout, [5, 4], False),
    )
    layers: list[Any] = []
    for field, colour, dash, filled in kinds:
        if all(getattr(point, field) is None for point in points):
            continue
        y = log_separation_axis(field, limits)
        line = base.mark_line(color=colour, strokeWidth=2, strokeDash=dash).encode(x=x, y=y)
        marks = base.transform_filter(f"isValid(datum.{field})").mark_point(
            color=colour, fill=colour if filled else palette.raised, size=50, opacity=1
        )
        layers += [line, marks.encode(x=x, y=y).properties(name=field)]
    return layers


def _touch_rules(
    base: alt.Chart, palette: Palette, x: alt.X, points: Sequence[LayerPoint]
) -> alt.Chart:
    """Return an invisible bar over each layer whose tooltip shows all its values."""
    tips = [
        tooltip("layer", "layer"),
        tooltip("training", "training", ".3f"),
        tooltip("heldout", "held-out", ".3f"),
        tooltip("line", "fitted line", ".3f"),
        tooltip("null", "null", ".3f"),
    ]
    width = max(6, min(24, 400 // len(points)))
    rules: alt.Chart = base.mark_rule(strokeWidth=width, color=palette.muted, opacity=0)
    return rules.encode(x=x, tooltip=tips).properties(name="touch")


def _curve_labels(points: Sequence[LayerPoint], palette: Palette) -> list[Any]:
    """Return the names of the curves beside their last points, in place of a legend."""
    last, limits = points[-1], separation_range(points)
    labels = [
        (text, value, colour)
        for text, value, colour in (
            ("training", last.training, palette.training),
            ("held-out", last.heldout, palette.heldout),
            ("null", last.null, palette.muted),
        )
        if value is not None
    ]
    line_height = (limits[1] / limits[0]) ** (15 / HEIGHT)
    heights = _apart([value for _, value, _ in labels], line_height)
    return [
        alt.Chart(inline_data([{"index": last.index, "value": height, "text": text}]))
        .mark_text(align="left", dx=9, color=colour, fontSize=12, fontWeight=600)
        .encode(x=layer_axis(points), y=log_separation_axis("value", limits), text="text:N")
        for (text, _, colour), height in zip(labels, heights, strict=True)
    ]


def _apart(values: Sequence[float], ratio: float) -> list[float]:
    """Return the values, each moved up to at least ``ratio`` times the next smaller one."""
    moved = list(values)
    order = sorted(range(len(values)), key=values.__getitem__)
    for lower, upper in pairwise(order):
        moved[upper] = max(moved[upper], moved[lower] * ratio)
    return moved


def residuals_chart(figure: ResidualsFigure, palette: Palette) -> alt.LayerChart:
    """Return the distance of log D from the fitted law as one stem for each layer."""
    base = alt.Chart(point_data(figure.points))
    x, y = layer_axis(figure.points), alt.Y("residual:Q", title="residual (nats)")
    stems = base.mark_rule(color=palette.training, strokeWidth=2).encode(x=x, y=y, y2=alt.datum(0))
    heads = base.mark_circle(color=palette.training, size=60, opacity=1).encode(
        x=x, y=y, tooltip=[tooltip("layer", "layer"), tooltip("residual", "residual", ".3f")]
    )
    zero = zero_line(palette, y=alt.datum(0))
    return layered(zero, stems, heads.properties(name="residuals"), height=140)


def shares_chart(figure: SharesFigure, palette: Palette) -> alt.LayerChart:
    """Return the share of each block as a bar, with lines at 1 and at the bounds."""
    bounds = inline_data([{"share": bound} for bound in figure.bounds])
    equal_share = inline_data([{"share": 1.0}])
    return layered(
        alt.Chart(equal_share).mark_rule(color=palette.hairline).encode(x="share:Q"),
        *bar_layers(figure.bars, palette, "share of the mean step", "share"),
        alt.Chart(bounds).mark_rule(color=palette.muted, strokeDash=[4, 3]).encode(x="share:Q"),
        height=rows_height(figure.bars),
    )


def architecture_chart(figure: ArchitectureFigure, palette: Palette) -> alt.LayerChart:
    """Return every layer as a slab as high as it is wide, coloured by its verdict."""
    slabs = figure.slabs
    base, few = alt.Chart(inline_data(_slab_rows(slabs))), len(slabs) <= LABELLED_SLABS
    half = max(slab.width for slab in slabs) / 2
    x = alt.X(
        "index:O",
        title="layer",
        axis=layer_tick_axis([slab.index for slab in slabs]),
        scale=alt.Scale(paddingInner=0.12, paddingOuter=0.1),
    )
    scale = alt.Scale(domain=[-1.2 * half, 1.2 * half], nice=False, zero=False)
    y = alt.Y("low:Q", title="width", axis=None, scale=scale)
    boxes = base.mark_rect(
        stroke=palette.ink, strokeOpacity=0.35, cornerRadius=2 if few else 0
    ).encode(
        x=x,
        y=y,
        y2=alt.Y2("high"),
        color=kind_colour(slabs, palette),
        tooltip=[
            tooltip("layer", "layer"),
            tooltip("width", "width", ","),
            tooltip("kind", "verdict"),
        ],
    )
    signs = base.mark_text(color=palette.ink, baseline="bottom", dy=-3, fontSize=11).encode(
        x=x, y=alt.Y("high:Q", scale=scale, axis=None), text="sign:N"
    )
    widths = base.mark_text(color=palette.muted, baseline="top", dy=4, fontSize=11).encode(
        x=x, y=y, text="label:N"
    )
    layers = [boxes.properties(name="slabs"), *([signs, widths] if few else [])]
    return layered(*layers, height=HEIGHT - 60)


def _slab_rows(slabs: Sequence[Slab]) -> list[dict[str, Any]]:
    return [
        {
            "index": slab.index,
            "layer": slab.layer,
            "width": slab.width,
            "kind": slab.kind,
            "low": -slab.width / 2,
            "high": slab.width / 2,
            "sign": SIGNS[slab.kind],
            "label": f"{slab.width:,}",
        }
        for slab in slabs
    ]


def emergence_chart(figure: EmergenceFigure, palette: Palette) -> alt.LayerChart:
    """Return one curve of D for each epoch, coloured from early to late."""
    measured = [asdict(point) for point in figure.points if point.training is not None]
    base = alt.Chart(inline_data(measured))
    indexes = sorted({point.index for point in figure.points})
    x = index_axis(indexes[0], indexes[-1])
    y = log_separation_axis("training", value_range(point.training for point in figure.points))
    epochs = sorted({point.epoch for point in figure.points})
    colour = alt.Color(
        "epoch:O",
        title="epoch",
        scale=alt.Scale(domain=epochs, range=colour_ramp(len(epochs), palette)),
        legend=alt.Legend(orient="top", symbolType="stroke", symbolStrokeWidth=3, columns=6),
    )
    lines = base.mark_line(strokeWidth=1.6).encode(x=x, y=y, color=colour, detail="epoch:O")
    tips = [
        tooltip("layer", "layer"),
        tooltip("epoch", "epoch"),
        tooltip("training", "D", ".3f"),
    ]
    marks = base.mark_circle(size=36, opacity=1).encode(x=x, y=y, color=colour, tooltip=tips)
    return layered(lines, marks.properties(name="epochs"), height=HEIGHT - 40)
