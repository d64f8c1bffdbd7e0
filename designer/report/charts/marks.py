"""One function per figure that draws it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import singledispatch
from itertools import pairwise
from typing import Any

import altair as alt

from designer.report.charts.axes import (
    FREE,
    accuracy_axis,
    index_axis,
    layer_axis,
    layer_tick_axis,
    log_separation_axis,
    name_axis,
    separation_range,
    size_axis,
    value_range,
    whole_layer_axis,
)
from designer.report.charts.palette import SIGNS, Palette, kind_colours
from designer.report.charts.theme import Layers, sequence
from designer.report.figures.figure import Bar, Figure, Tap
from designer.report.figures.network import (
    ArchitectureFigure,
    CurveFigure,
    EmergenceFigure,
    ResidualsFigure,
    SharesFigure,
)
from designer.report.figures.networks import (
    DifferencesFigure,
    Line,
    OverlayFigure,
    SizesFigure,
    StepsFigure,
)
from designer.report.figures.trials import AgreementFigure, TrialCurve, TrialPoint, TrialsFigure

HEIGHT = 300
"""Pixels of most charts."""


ROW = 22
"""Pixels of one bar, where they lie below each other."""


SHADES = 6
"""Of the design score."""


SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
"""Of networks, in turn."""


UNSCORED = "unknown"


CHOSEN = "chosen"
"""Parameter that holds the trial that was clicked."""


TRIAL_CURVE_NAME = "trial-curve"
"""Name of the chart beside all trials."""


TRIAL_CURVE = "trial_curve"
"""Name of the data of the chart beside all trials, which is empty at first."""


def trial_curve_chart(curves: Sequence[TrialCurve], palette: Palette) -> Layers:
    """The chart of the trial that was clicked, the first one to begin with."""
    rows = [sparse(asdict(tap)) for tap in curves[0].taps]
    base = alt.Chart(alt.InlineData(values=rows, name=TRIAL_CURVE))
    taps = [tap for curve in curves for tap in curve.taps]
    last = max(tap.index for tap in taps)
    x = alt.X("index:Q", title="layer (0 is the input)", axis=whole_layer_axis(0, last), scale=FREE)
    return _layered(*_lines(base, palette, x, taps, None), height=HEIGHT)


@singledispatch
def chart(figure: Figure, palette: Palette) -> Layers:
    """The layers of one chart, in the colours of a palette."""
    raise NotImplementedError(type(figure).__name__)


@chart.register
def _(figure: CurveFigure, palette: Palette) -> Layers:
    base, x, reach = (
        alt.Chart(_data(figure.taps)),
        layer_axis(figure.taps),
        separation_range(figure.taps),
    )
    band = base.mark_area(color=palette.null, opacity=0.35).encode(
        x=x, y=log_separation_axis("null_low", reach), y2=alt.Y2("null_high")
    )
    null = base.mark_line(color=palette.null, strokeWidth=1).encode(
        x=x, y=log_separation_axis("null", reach)
    )
    line = base.mark_line(color=palette.muted, strokeDash=[2, 3], strokeWidth=1.5).encode(
        x=x, y=log_separation_axis("line", reach)
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
    x, y = layer_axis(figure.taps), alt.Y("residual:Q", title="residual (nats)")
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
    y = alt.Y("layer:N", sort=names, title=None, axis=name_axis())
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
        axis=layer_tick_axis(len(slabs)),
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
    x = index_axis(indexes[0], indexes[-1])
    y = log_separation_axis("training", value_range(moment.training for moment in figure.moments))
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
    x, y = size_axis(figure.points), accuracy_axis(figure.points)
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
    reach = value_range([value for tap in taps for value in (tap.training, tap.heldout)])
    return _several(figure.lines, palette, log_separation_axis("D", reach), "curves")


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
    y = alt.Y("what:N", sort=kinds, title=None, axis=name_axis())
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
    x = index_axis(min(indexes), max(indexes))
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
    x = layer_axis(taps)
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
    return [*_lines(base, palette, x, taps, separation_range(taps)), touch.properties(name="touch")]


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
        y = log_separation_axis(field, reach)
        line = base.mark_line(color=colour, strokeWidth=2, strokeDash=dash).encode(x=x, y=y)
        points = base.transform_filter(f"isValid(datum.{field})").mark_point(
            color=colour, fill=colour if filled else palette.raised, size=50, opacity=1
        )
        layers += [line, points.encode(x=x, y=y).properties(name=field)]
    return layers


def _ends(taps: Sequence[Tap], palette: Palette) -> list[Any]:
    """The names of the curves at their last points, in place of a legend."""
    last, reach = taps[-1], separation_range(taps)
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
        .encode(x=layer_axis(taps), y=log_separation_axis("value", reach), text="text:N")
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
    y = alt.Y("layer:N", sort=[bar.layer for bar in bars], title=None, axis=name_axis())
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
