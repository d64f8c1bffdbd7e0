"""The charts, each defined once with Altair: for the page and for pictures.

A definition holds data as values alone: names from outside are never fields or expressions.
Interactive parts do nothing in a picture.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import singledispatch
from itertools import pairwise
from typing import Any

import altair as alt

from designer.report.figures import (
    AgreementFigure,
    ArchitectureFigure,
    Bar,
    CurveFigure,
    DifferencesFigure,
    EmergenceFigure,
    Figure,
    Line,
    OverlayFigure,
    ResidualsFigure,
    SharesFigure,
    SizesFigure,
    StepsFigure,
    Tap,
    TrialCurve,
    TrialPoint,
    TrialsFigure,
)
from designer.report.palette import SIGNS, Palette, kind_colours

Layers = alt.LayerChart

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"

HEIGHT = 300
"""Pixels of most charts."""

ROW = 22
"""Pixels of one bar, where they lie below each other."""

SHADES = 6
"""Of the design score."""

ERROR_TICKS = (0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 90)
"""Percent; where accuracies are written."""

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
"""Of networks, in turn."""

FREE = alt.Scale(nice=False, zero=False, padding=10)
"""An axis that follows the data."""

UNSCORED = "unknown"

CHOSEN = "chosen"
"""Parameter that holds the trial that was clicked."""

TRIAL_CURVE_NAME = "trial-curve"
"""Name of the chart beside all trials."""

TRIAL_CURVE = "trial_curve"
"""Name of the data of the chart beside all trials, which is empty at first."""


def for_page(layers: Layers, palette: Palette) -> dict[str, Any]:
    """A specification that is as wide as the place where it is put."""
    fitted = {"type": "fit-x", "contains": "padding"}
    return finished(layers, palette, width="container", autosize=fitted)


def trial_curve_chart(curves: Sequence[TrialCurve], palette: Palette) -> Layers:
    """The chart of the trial that was clicked, the first one to begin with."""
    rows = [sparse(asdict(tap)) for tap in curves[0].taps]
    base = alt.Chart(alt.InlineData(values=rows, name=TRIAL_CURVE))
    taps = [tap for curve in curves for tap in curve.taps]
    last = max(tap.index for tap in taps)
    x = alt.X("index:Q", title="layer (0 is the input)", axis=_whole(0, last), scale=FREE)
    return _layered(*_lines(base, palette, x, taps, None), height=HEIGHT)


@singledispatch
def chart(figure: Figure, palette: Palette) -> Layers:
    """The layers of one chart, in the colours of a palette."""
    raise NotImplementedError(type(figure).__name__)


@chart.register
def _(figure: CurveFigure, palette: Palette) -> Layers:
    base, x, reach = alt.Chart(_data(figure.taps)), _layer_axis(figure.taps), _reach_of(figure.taps)
    band = base.mark_area(color=palette.null, opacity=0.35).encode(
        x=x, y=_log("null_low", reach), y2=alt.Y2("null_high")
    )
    null = base.mark_line(color=palette.null, strokeWidth=1).encode(x=x, y=_log("null", reach))
    line = base.mark_line(color=palette.muted, strokeDash=[2, 3], strokeWidth=1.5).encode(
        x=x, y=_log("line", reach)
    )
    known = [
        layer
        for layer, field in ((band, "null_low"), (null, "null"), (line, "line"))
        if any(getattr(tap, field) is not None for tap in figure.taps)
    ]
    marks = [*known, *_curves(base, palette, figure.taps), *_ends(figure.taps, palette)]
    return _layered(*marks, height=HEIGHT + 40)


@chart.register
def _(figure: ResidualsFigure, palette: Palette) -> Layers:
    base = alt.Chart(_data(figure.taps))
    x, y = _layer_axis(figure.taps), alt.Y("residual:Q", title="residual (nats)")
    zero = alt.Chart(_values([{}])).mark_rule(color=palette.muted).encode(y=alt.datum(0))
    stems = base.mark_rule(color=palette.training, strokeWidth=2).encode(x=x, y=y, y2=alt.datum(0))
    heads = base.mark_circle(color=palette.training, size=60, opacity=1).encode(
        x=x, y=y, tooltip=[_tip("layer", "layer"), _tip("residual", "residual", ".3f")]
    )
    return _layered(zero, stems, heads.properties(name="residuals"), height=140)


@chart.register
def _(figure: SharesFigure, palette: Palette) -> Layers:
    bounds = [{"share": bound} for bound in figure.bounds]
    rules = alt.Chart(_values(bounds)).mark_rule(color=palette.muted, strokeDash=[4, 3])
    equal = alt.Chart(_values([{"share": 1.0}])).mark_rule(color=palette.hairline)
    bars = _bars(figure.bars, palette, "share of the mean step", "share")
    return _layered(
        equal.encode(x="share:Q"), *bars, rules.encode(x="share:Q"), height=_rows(figure.bars)
    )


@chart.register
def _(figure: StepsFigure, palette: Palette) -> Layers:
    bars = _bars(figure.bars, palette, "step on held-out data (nats)", "step")
    return _layered(*bars, height=_rows(figure.bars))


@chart.register
def _(figure: AgreementFigure, palette: Palette) -> Layers:
    base = alt.Chart(_rows_of(figure.bars))
    names = [bar.layer for bar in figure.bars]
    y = alt.Y("layer:N", sort=names, title=None, axis=_names())
    x = alt.X(
        "value:Q",
        title="Spearman correlation",
        scale=alt.Scale(domain=[-1, 1]),
        axis=alt.Axis(tickCount=5),
    )
    zero = alt.Chart(_values([{}])).mark_rule(color=palette.muted).encode(x=alt.datum(0))
    points = base.mark_circle(color=palette.training, size=90, opacity=1).encode(
        y=y, x=x, tooltip=_bar_tips("Spearman")
    )
    reach = _intervals(base, figure.bars, y, "Spearman correlation", palette.training)
    named = points.properties(name="criteria")
    return _layered(zero, *reach, named, height=_rows(figure.bars))


@chart.register
def _(figure: ArchitectureFigure, palette: Palette) -> Layers:
    slabs = [
        {
            "index": slab.index,
            "layer": slab.layer,
            "width": slab.width,
            "kind": slab.kind,
            "low": -slab.width / 2,
            "high": slab.width / 2,
            "sign": SIGNS[slab.kind],
            "said": f"{slab.width:,}",
        }
        for slab in figure.slabs
    ]
    base, few = alt.Chart(_values(slabs)), len(slabs) <= 16
    reach = max(slab.width for slab in figure.slabs) / 2
    x = alt.X(
        "index:O",
        title="layer",
        axis=_every(len(slabs)),
        scale=alt.Scale(paddingInner=0.12, paddingOuter=0.1),
    )
    scale = alt.Scale(domain=[-1.2 * reach, 1.2 * reach], nice=False, zero=False)
    y = alt.Y("low:Q", title="width", axis=None, scale=scale)
    boxes = base.mark_rect(
        stroke=palette.ink, strokeOpacity=0.35, cornerRadius=2 if few else 0
    ).encode(
        x=x,
        y=y,
        y2=alt.Y2("high"),
        color=_kinds(figure.slabs, palette),
        tooltip=[_tip("layer", "layer"), _tip("width", "width", ","), _tip("kind", "verdict")],
    )
    signs = base.mark_text(color=palette.ink, baseline="bottom", dy=-3, fontSize=11).encode(
        x=x, y=alt.Y("high:Q", scale=scale, axis=None), text="sign:N"
    )
    widths = base.mark_text(color=palette.muted, baseline="top", dy=4, fontSize=11).encode(
        x=x, y=y, text="said:N"
    )
    layers = [boxes.properties(name="slabs"), *([signs, widths] if few else [])]
    return _layered(*layers, height=HEIGHT - 60)


@chart.register
def _(figure: EmergenceFigure, palette: Palette) -> Layers:
    moments = [asdict(moment) for moment in figure.moments if moment.training is not None]
    base = alt.Chart(_values(moments))
    indexes = sorted({moment.index for moment in figure.moments})
    x = _index_axis(indexes[0], indexes[-1])
    y = _log("training", _reach(moment.training for moment in figure.moments))
    epochs = sorted({moment.epoch for moment in figure.moments})
    colour = alt.Color(
        "epoch:O",
        title="epoch",
        scale=alt.Scale(domain=epochs, range=sequence(len(epochs), palette)),
        legend=alt.Legend(orient="top", symbolType="stroke", symbolStrokeWidth=3, columns=6),
    )
    lines = base.mark_line(strokeWidth=1.6).encode(x=x, y=y, color=colour, detail="epoch:O")
    points = base.mark_circle(size=36, opacity=1).encode(
        x=x,
        y=y,
        color=colour,
        tooltip=[_tip("layer", "layer"), _tip("epoch", "epoch"), _tip("training", "D", ".3f")],
    )
    return _layered(lines, points.properties(name="moments"), height=HEIGHT - 40)


@chart.register
def _(figure: TrialsFigure, palette: Palette) -> Layers:
    cuts = _score_cuts(figure.points)
    base = alt.Chart(
        _values([{**sparse(asdict(p)), "band": _band(p.score, cuts)} for p in figure.points])
    )
    x, y = _size_axis(figure.points), _accuracy_axis(figure.points)
    front = base.transform_filter("datum.front").mark_line(
        interpolate="step-after", color=palette.muted, strokeWidth=1.5
    )
    points = base.mark_circle(
        size=80 if len(figure.points) < 500 else 24,
        opacity=1,
        stroke=palette.ink,
        strokeOpacity=0.4,
        strokeWidth=0.7,
        cursor="pointer" if figure.curves else "default",
    ).encode(
        x=x,
        y=y,
        color=_score_colour(figure.points, cuts, palette),
        tooltip=[
            _tip("trial", "trial"),
            _tip("architecture", "architecture"),
            _tip("parameters", "parameters", ","),
            _tip("accuracy", "accuracy %", ".1f"),
            _tip("score", "design score", ".3f"),
        ],
    )
    layers: list[Any] = [front.encode(x=x, y=y), points.properties(name="trials")]
    layers += _ranks(base, figure.points, x, y, palette)
    chosen = alt.param(name=CHOSEN, value=figure.curves[0].trial if figure.curves else -1)
    layers += _chosen(base, figure, x, y, palette)
    layers[0] = layers[0].add_params(chosen)
    return _layered(*layers, height=HEIGHT + 60)


def _size_axis(points: Sequence[TrialPoint]) -> alt.X:
    scale, ticks = _log_scale(*_reach(point.parameters for point in points))
    axis = alt.Axis(values=ticks, format="~s", grid=False)
    return alt.X("parameters:Q", title="parameters (log scale)", scale=scale, axis=axis)


def _accuracy_axis(points: Sequence[TrialPoint]) -> alt.Y:
    """Logarithmic in the error and labelled with the accuracy, so that the best are told apart."""
    low, high = _roomy(*_reach(point.error for point in points))
    ticks = [tick for tick in ERROR_TICKS if low <= tick <= high]
    axis = alt.Axis(values=ticks, labelExpr="format(100 - datum.value, '~g')")
    title = "validation accuracy (%, finer towards 100)"
    scale = alt.Scale(type="log", domain=[low, high], nice=False, reverse=True)
    return alt.Y("error:Q", title=title, scale=scale, axis=axis)


def _score_cuts(points: Sequence[TrialPoint]) -> list[float]:
    """Between bands of design scores that as many trials each have, as far as they differ."""
    scores = sorted(point.score for point in points if point.score is not None)
    places = [i * len(scores) // SHADES for i in range(1, SHADES)] if scores else []
    return sorted({round(scores[place], 3) for place in places})


def _band(score: float | None, cuts: Sequence[float]) -> str:
    """The band that a score is in, in words."""
    if score is None:
        return UNSCORED
    above = bisect_right(cuts, score)
    if above == 0:
        return f"below {cuts[0]:.3f}" if cuts else "all"
    return f"from {cuts[above - 1]:.3f}"


def _score_colour(
    points: Sequence[TrialPoint], cuts: Sequence[float], palette: Palette
) -> alt.Color:
    """A shade for each band, and grey where there is no score."""
    used = {_band(point.score, cuts) for point in points}
    bands = [_band(-math.inf, cuts), *(_band(cut, cuts) for cut in cuts), UNSCORED]
    colours = [*sequence(len(cuts) + 1, palette), palette.muted]
    shown = [(band, c) for band, c in zip(bands, colours, strict=True) if band in used]
    legend = alt.Legend(orient="top", columns=3, symbolType="circle")
    return alt.Color(
        "band:N",
        title="design score",
        scale=alt.Scale(domain=[band for band, _ in shown], range=[c for _, c in shown]),
        legend=legend if len(shown) > 1 else None,
    )


def _ranks(
    base: alt.Chart, points: Sequence[TrialPoint], x: alt.X, y: alt.Y, palette: Palette
) -> list[Any]:
    """The ranks of recommendations, above and below in turn, for they are often close."""
    return [
        base.transform_filter(f"datum.rank === {rank}")
        .mark_text(dy=-12 if rank % 2 else 13, fontWeight="bold", fontSize=13, color=palette.ink)
        .encode(x=x, y=y, text="rank:N")
        for rank in sorted(point.rank for point in points if point.rank is not None)
    ]


def _chosen(
    base: alt.Chart, figure: TrialsFigure, x: alt.X, y: alt.Y, palette: Palette
) -> list[Any]:
    """A ring around the trial whose curve is shown."""
    if not figure.curves:
        return []
    ring = base.transform_filter(f"datum.trial === {CHOSEN}").mark_point(
        size=280, filled=False, stroke=palette.ink, strokeWidth=2, opacity=1
    )
    return [ring.encode(x=x, y=y)]


@chart.register
def _(figure: OverlayFigure, palette: Palette) -> Layers:
    taps = [tap for line in figure.lines for tap in line.taps]
    reach = _reach([value for tap in taps for value in (tap.training, tap.heldout)])
    return _several(figure.lines, palette, _log("D", reach), "curves")


@chart.register
def _(figure: DifferencesFigure, palette: Palette) -> Layers:
    height = HEIGHT - 40
    y = alt.Y("D:Q", title="difference of log D (nats)")
    zero = alt.Chart(_values([{}])).mark_rule(color=palette.muted).encode(y=alt.datum(0))
    return _layered(zero, _several(figure.lines, palette, y, "differences", height), height=height)


@chart.register
def _(figure: SizesFigure, palette: Palette) -> Layers:
    base = alt.Chart(_values([asdict(size) for size in figure.sizes]))
    names = list(dict.fromkeys(size.network for size in figure.sizes))
    kinds = list(dict.fromkeys(size.what for size in figure.sizes))
    y = alt.Y("what:N", sort=kinds, title=None, axis=_names())
    offset = alt.YOffset("network:N", sort=names)
    x = alt.X("share:Q", title="% of the original's", axis=alt.Axis(tickCount=5, grid=False))
    colour = _networks_colour(names, palette)
    bars = base.mark_bar().encode(
        y=y,
        yOffset=offset,
        x=x,
        color=colour,
        tooltip=[_tip("network", "network"), _tip("what", "of"), _tip("text", "share")],
    )
    said = base.mark_text(align="left", dx=4, color=palette.ink, fontSize=11).encode(
        y=y, yOffset=offset, x=x, text="text:N"
    )
    rows = len(figure.sizes) + len(kinds)
    return _layered(bars.properties(name="sizes"), said, height=ROW * rows)


def _several(
    lines: Sequence[Line], palette: Palette, y: alt.Y, name: str, height: int = HEIGHT + 40
) -> Layers:
    """Lines of several networks, on training and, dashed, on held-out data."""
    names = [line.network for line in lines]
    rows = [
        {"network": line.network, "index": tap.index, "layer": tap.layer, "on": on, "D": value}
        for line in lines
        for tap in line.taps
        for on, value in (("training", tap.training), ("held-out", tap.heldout))
        if value is not None
    ]
    indexes = [tap.index for line in lines for tap in line.taps]
    base = alt.Chart(_values(rows))
    x = _index_axis(min(indexes), max(indexes))
    colour = _networks_colour(names, palette)
    dash = alt.StrokeDash(
        "on:N",
        title=None,
        scale=alt.Scale(domain=["training", "held-out"], range=[[1, 0], [5, 4]]),
        legend=None,  # the caption says it, and beside the names there is no room on a phone
    )
    shape = alt.Shape(
        "network:N", title=None, scale=alt.Scale(domain=names, range=_cycled(SHAPES, len(names)))
    )
    tips = [
        _tip("network", "network"),
        _tip("layer", "layer"),
        _tip("on", "on"),
        _tip("D", "value", ".3f"),
    ]
    joined = base.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour, strokeDash=dash)
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=x, y=y, color=colour, shape=shape, tooltip=tips
    )
    return _layered(joined, points.properties(name=name), height=height)


def _networks_colour(names: Sequence[str], palette: Palette) -> alt.Color:
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
        legend=alt.Legend(orient="top", columns=2, labelLimit=230),
    )


def _cycled(values: Sequence[str], count: int) -> list[str]:
    return [values[i % len(values)] for i in range(count)]


def _layered(*layers: Any, height: int, **properties: Any) -> alt.LayerChart:
    """One on the other; whatever it has is said at once, for every later change copies all."""
    return alt.LayerChart(layer=list(layers), height=height, **properties)


def _curves(base: alt.Chart, palette: Palette, taps: Sequence[Tap]) -> list[Any]:
    """Both curves, and a bar over each layer, unseen, that tells all when it is pointed at."""
    x = _layer_axis(taps)
    tips = [
        _tip("layer", "layer"),
        _tip("training", "training", ".3f"),
        _tip("heldout", "held-out", ".3f"),
        _tip("line", "fitted line", ".3f"),
        _tip("null", "null", ".3f"),
    ]
    touch = base.mark_rule(
        strokeWidth=max(6, min(24, 400 // len(taps))), color=palette.muted, opacity=0
    ).encode(x=x, tooltip=tips)
    return [*_lines(base, palette, x, taps, _reach_of(taps)), touch.properties(name="touch")]


def _lines(
    base: alt.Chart,
    palette: Palette,
    x: alt.X,
    taps: Sequence[Tap],
    reach: tuple[float, float] | None,
) -> list[Any]:
    """Training solid with filled points, held-out dashed with open ones."""
    parts = (
        ("training", palette.training, [1, 0], True),
        ("heldout", palette.heldout, [5, 4], False),
    )
    layers: list[Any] = []
    for field, colour, dash, filled in parts:
        if all(getattr(tap, field) is None for tap in taps):
            continue
        y = _log(field, reach)
        line = base.mark_line(color=colour, strokeWidth=2, strokeDash=dash).encode(x=x, y=y)
        points = base.transform_filter(f"isValid(datum.{field})").mark_point(
            color=colour, fill=colour if filled else palette.raised, size=50, opacity=1
        )
        layers += [line, points.encode(x=x, y=y).properties(name=field)]
    return layers


def _ends(taps: Sequence[Tap], palette: Palette) -> list[Any]:
    """The names of the curves at their last points, in place of a legend."""
    last, reach = taps[-1], _reach_of(taps)
    named = [
        (text, value, colour)
        for text, value, colour in (
            ("training", last.training, palette.training),
            ("held-out", last.heldout, palette.heldout),
            ("null", last.null, palette.muted),
        )
        if value is not None
    ]
    places = _apart([value for _, value, _ in named], (reach[1] / reach[0]) ** (15 / HEIGHT))
    return [
        alt.Chart(_values([{"index": last.index, "value": place, "text": text}]))
        .mark_text(align="left", dx=9, color=colour, fontSize=12, fontWeight=600)
        .encode(x=_layer_axis(taps), y=_log("value", reach), text="text:N")
        for (text, _, colour), place in zip(named, places, strict=True)
    ]


def _apart(values: Sequence[float], ratio: float) -> list[float]:
    """The values, those moved up that are closer to a smaller one than the ratio."""
    moved = list(values)
    order = sorted(range(len(values)), key=values.__getitem__)
    for lower, upper in pairwise(order):
        moved[upper] = max(moved[upper], moved[lower] * ratio)
    return moved


def _bars(bars: Sequence[Bar], palette: Palette, title: str, tip: str) -> list[Any]:
    """Horizontal bars with intervals, and at the right edge what each is called."""
    base = alt.Chart(_rows_of(bars))
    y = alt.Y("layer:N", sort=[bar.layer for bar in bars], title=None, axis=_names())
    x = alt.X("value:Q", title=title, axis=alt.Axis(tickCount=5, grid=False))
    boxes = base.mark_bar(
        stroke=palette.ink, strokeOpacity=0.35, strokeWidth=0.7, height=12
    ).encode(y=y, x=x, color=_kinds(bars, palette), tooltip=_bar_tips(tip))
    said = base.mark_text(align="left", dx=8, color=palette.ink, fontSize=11).encode(
        y=y, x=alt.value("width"), text="said:N"
    )
    measured = any(bar.value is not None for bar in bars)
    boxed = [boxes.properties(name="bars")] if measured else []
    return [*boxed, *_intervals(base, bars, y, title, palette.ink), said]


def _intervals(
    base: alt.Chart, bars: Sequence[Bar], y: alt.Y, title: str, colour: str
) -> list[Any]:
    """A line over each interval, where there are any."""
    if all(bar.low is None for bar in bars):
        return []
    reach = base.mark_rule(color=colour, strokeWidth=1.4)
    return [reach.encode(y=y, x=alt.X("low:Q", title=title), x2=alt.X2("high"))]


def _bar_tips(tip: str) -> list[alt.Tooltip]:
    return [
        _tip("layer", "block"),
        _tip("value", tip, ".2f"),
        _tip("low", "from", ".2f"),
        _tip("high", "to", ".2f"),
        _tip("kind", "verdict"),
    ]


def _kinds(marked: Sequence[Any], palette: Palette) -> alt.Color:
    """Colour by verdict; the words beside the marks are the legend."""
    kinds = list(dict.fromkeys(one.kind for one in marked))
    colours = kind_colours(palette)
    scale = alt.Scale(domain=kinds, range=[colours[kind] for kind in kinds])
    return alt.Color("kind:N", scale=scale, legend=None)


def _rows_of(bars: Sequence[Bar]) -> alt.InlineData:
    return _values([{**asdict(bar), "said": f"{SIGNS[bar.kind]} {bar.kind}"} for bar in bars])


def _rows(bars: Sequence[Bar]) -> int:
    return max(2, len(bars)) * (ROW if len(bars) <= 32 else 14)


def _layer_axis(taps: Sequence[Tap]) -> alt.X:
    return _index_axis(taps[0].index, taps[-1].index)


def _index_axis(first: int, last: int) -> alt.X:
    scale = alt.Scale(domain=[first, max(last, first + 1)], nice=False, zero=False, padding=10)
    return alt.X("index:Q", title="layer (0 is the input)", axis=_whole(first, last), scale=scale)


def _whole(first: int, last: int) -> alt.Axis:
    """An axis of layers, of which at most twenty are written."""
    step = math.ceil((last - first + 1) / 20)
    values = list(range(first, last + 1, step))
    return alt.Axis(values=values, format="d", grid=False, labelOverlap=True)


def _every(count: int) -> alt.Axis:
    """Labels of so many layers, that do not run into each other."""
    every = 1 if count <= 20 else 4
    return alt.Axis(values=list(range(0, count, every)), labelAngle=0)


def _names() -> alt.Axis:
    return alt.Axis(labelLimit=190, labelOverlap=True, ticks=False, domain=False)


def _log(field: str, reach: tuple[float, float] | None) -> alt.Y:
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


def _reach(values: Iterable[float | None]) -> tuple[float, float]:
    """The least and the largest of those that are there."""
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if known else (0.1, 1.0)


def _reach_of(taps: Sequence[Tap]) -> tuple[float, float]:
    kinds = ("training", "heldout", "null", "null_low", "null_high", "line")
    return _reach(getattr(tap, kind) for tap in taps for kind in kinds)


def _tip(field: str, title: str, form: str = "") -> alt.Tooltip:
    if not form:
        return alt.Tooltip(field=field, type="nominal", title=title)
    return alt.Tooltip(field=field, type="quantitative", title=title, format=form)


def _data(taps: Sequence[Tap]) -> alt.InlineData:
    return _values([sparse(asdict(tap)) for tap in taps])


def _values(rows: Sequence[Mapping[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=list(rows))


def sparse(row: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not so or not there, of which there is much."""
    return {name: value for name, value in row.items() if value is not None and value is not False}


def sequence(count: int, palette: Palette) -> list[str]:
    """Colours from early to late, as many."""
    stops = (palette.early, palette.middle, palette.late)
    if count == 1:
        return [stops[-1]]
    places = [2 * i / (count - 1) for i in range(count)]
    return [
        _between(
            stops[min(int(place), 1)], stops[min(int(place), 1) + 1], place - min(int(place), 1)
        )
        for place in places
    ]


def _between(first: str, second: str, share: float) -> str:
    """A mixture in sRGB; the browser mixes what only it knows."""
    if first.startswith("var("):
        return f"color-mix(in srgb, {second} {100 * share:.0f}%, {first})"
    parts = [(int(first[i : i + 2], 16), int(second[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in parts)


def finished(charts: Any, palette: Palette, **properties: Any) -> dict[str, Any]:
    """The specification of a whole, with its type, grid and colours, which are the same for all.

    Properties of the whole are added here: Altair copies all data each time it is asked to.
    """
    return {**charts.to_dict(), **properties, "config": _config(palette).to_dict()}


def _config(palette: Palette) -> alt.Config:
    lines: dict[str, Any] = dict.fromkeys(
        ("gridColor", "domainColor", "tickColor"), palette.hairline
    )
    words: dict[str, Any] = {
        "labelColor": palette.muted,
        "titleColor": palette.muted,
        "titleFontWeight": "normal",
        "titleFontSize": 12,
        "labelFontSize": 11,
    }
    return alt.Config(
        background="transparent",
        font=FONT,
        padding={"left": 4, "right": 8, "top": 8, "bottom": 4},
        aria=False,
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(**lines, **words),
        legend=alt.LegendConfig(**words),
        title=alt.TitleConfig(
            color=palette.ink, subtitleColor=palette.muted, fontSize=14, anchor="start"
        ),
    )
