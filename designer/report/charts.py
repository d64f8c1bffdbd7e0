"""The charts, each defined once with Altair: for the page and for pictures.

A definition holds data as values alone: names from outside are never fields or expressions.
Interactive parts do nothing in a picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import singledispatch
from typing import Any, Literal

import altair as alt

from designer.report.figures import (
    AgreementFigure,
    ArchitectureFigure,
    Bar,
    CurveFigure,
    DifferencesFigure,
    EmergenceFigure,
    Figure,
    OverlayFigure,
    ResidualsFigure,
    SharesFigure,
    SizesFigure,
    StepsFigure,
    Tap,
    TrialsFigure,
)
from designer.report.palette import SIGNS, Palette, kind_colours

Width = int | Literal["container"]
Layers = alt.LayerChart

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"

HEIGHT = 300
"""Pixels of most charts."""

ROW = 22
"""Pixels of one bar, where they lie below each other."""

CHOSEN = "chosen"
"""Parameter that holds the trial that was clicked."""

TRIAL_CURVE_NAME = "trial-curve"
"""Name of the chart beside all trials."""

TRIAL_CURVE = "trial_curve"
"""Name of the data of the chart beside all trials, which is empty at first."""


def specification(figure: Figure, palette: Palette, width: Width = "container") -> dict[str, Any]:
    """The Vega-Lite specification of one chart."""
    return drawn(chart(figure, palette), palette, width, describe=figure.title)


def drawn(layers: Layers, palette: Palette, width: Width, *, describe: str = "") -> dict[str, Any]:
    """A specification of its own from what ``chart`` gives."""
    placed = layers.properties(width=width, description=describe)
    styled = _styled(placed, palette)
    made: dict[str, Any] = styled.to_dict()
    return made


def trial_curve_chart(palette: Palette) -> Layers:
    """The chart that shows the curve of the trial that was clicked."""
    data = alt.Data(name=TRIAL_CURVE, values=[])
    return _both_curves(alt.Chart(data), palette).properties(height=HEIGHT)


@singledispatch
def chart(figure: Figure, palette: Palette) -> Layers:
    """The layers of one chart, in the colours of a palette."""
    raise NotImplementedError(type(figure).__name__)


@chart.register
def _(figure: CurveFigure, palette: Palette) -> Layers:
    base = alt.Chart(_data(figure.taps))
    band = base.mark_area(color=palette.null, opacity=0.35, clip=True).encode(
        x=_layer_axis(figure.taps),
        y=_log("null_low", "D (log scale)"),
        y2=alt.Y2("null_high"),
    )
    null = base.mark_line(color=palette.null, strokeWidth=1).encode(
        x=_layer_axis(figure.taps), y=_log("null", "D (log scale)")
    )
    line = base.mark_line(color=palette.muted, strokeDash=[6, 4], strokeWidth=1.5).encode(
        x=_layer_axis(figure.taps), y=_log("line", "D (log scale)")
    )
    marks = [band, null, line, *_curves(base, palette, figure.taps), *_ends(figure.taps, palette)]
    return alt.layer(*marks).properties(height=HEIGHT)


@chart.register
def _(figure: ResidualsFigure, palette: Palette) -> Layers:
    base = alt.Chart(_data(figure.taps))
    x, y = _layer_axis(figure.taps), alt.Y("residual:Q", title="residual (nats)")
    zero = alt.Chart(_values([{}])).mark_rule(color=palette.muted).encode(y=alt.datum(0))
    stems = base.mark_rule(color=palette.training, strokeWidth=2).encode(x=x, y=y, y2=alt.datum(0))
    heads = base.mark_circle(color=palette.training, size=60, opacity=1).encode(
        x=x, y=y, tooltip=[_tip("layer", "layer"), _tip("residual", "residual", ".3f")]
    )
    return alt.layer(zero, stems, heads.properties(name="residuals")).properties(height=120)


@chart.register
def _(figure: SharesFigure, palette: Palette) -> Layers:
    bounds = [{"share": bound} for bound in figure.bounds]
    rules = alt.Chart(_values(bounds)).mark_rule(color=palette.muted, strokeDash=[4, 3])
    equal = alt.Chart(_values([{"share": 1.0}])).mark_rule(color=palette.hairline)
    bars = _bars(figure.bars, palette, "share of the mean step", "share")
    return alt.layer(equal.encode(x="share:Q"), *bars, rules.encode(x="share:Q")).properties(
        height=_rows(figure.bars)
    )


@chart.register
def _(figure: StepsFigure, palette: Palette) -> Layers:
    bars = _bars(figure.bars, palette, "step on held-out data (nats)", "step")
    return alt.layer(*bars).properties(height=_rows(figure.bars))


@chart.register
def _(figure: AgreementFigure, palette: Palette) -> Layers:
    base = alt.Chart(_rows_of(figure.bars))
    names = [bar.layer for bar in figure.bars]
    y = alt.Y("layer:N", sort=names, title=None, axis=_names())
    x = alt.X("value:Q", title="Spearman correlation", scale=alt.Scale(domain=[-1, 1]))
    zero = alt.Chart(_values([{}])).mark_rule(color=palette.muted).encode(x=alt.datum(0))
    reach = base.mark_rule(color=palette.training, strokeWidth=2, opacity=0.6).encode(
        y=y, x=alt.X("low:Q", title="Spearman correlation"), x2=alt.X2("high")
    )
    points = base.mark_circle(color=palette.training, size=90, opacity=1).encode(
        y=y, x=x, tooltip=_bar_tips("Spearman")
    )
    layers = alt.layer(zero, reach, points.properties(name="criteria"))
    return layers.properties(height=_rows(figure.bars))


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
    base = alt.Chart(_values(slabs))
    reach = max(slab.width for slab in figure.slabs) / 2
    x = alt.X("index:O", title="layer", axis=_every(len(slabs)))
    scale = alt.Scale(domain=[-1.2 * reach, 1.2 * reach], nice=False, zero=False)
    y = alt.Y("low:Q", title="width", axis=None, scale=scale)
    boxes = base.mark_rect(stroke=palette.ink, strokeOpacity=0.35, cornerRadius=2).encode(
        x=x,
        y=y,
        y2=alt.Y2("high"),
        color=_kinds(figure.slabs, palette),
        tooltip=[_tip("layer", "layer"), _tip("width", "width", ","), _tip("kind", "verdict")],
    )
    few = len(slabs) <= 16
    signs = base.mark_text(color=palette.ink, baseline="bottom", dy=-3, fontSize=11).encode(
        x=x, y=alt.Y("high:Q", scale=scale, axis=None), text="sign:N"
    )
    widths = base.mark_text(color=palette.muted, baseline="top", dy=4, fontSize=11).encode(
        x=x, y=y, text="said:N"
    )
    layers = [boxes.properties(name="slabs"), *([signs, widths] if few else [])]
    return alt.layer(*layers).properties(height=220)


@chart.register
def _(figure: EmergenceFigure, palette: Palette) -> Layers:
    moments = [asdict(moment) for moment in figure.moments if moment.training is not None]
    base = alt.Chart(_values(moments))
    indexes = sorted({moment.index for moment in figure.moments})
    x = _index_axis(indexes[0], indexes[-1])
    y = _log("training", "D (log scale)")
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
    return alt.layer(lines, points.properties(name="moments")).properties(height=HEIGHT)


@chart.register
def _(figure: TrialsFigure, palette: Palette) -> Layers:
    base = alt.Chart(_values([sparse(asdict(point)) for point in figure.points]))
    x = alt.X(
        "parameters:Q", title="parameters (log scale)", scale=alt.Scale(type="log", nice=False)
    )
    y = alt.Y("accuracy:Q", title="validation accuracy (%)", scale=alt.Scale(zero=False))
    line = base.transform_filter("datum.front").mark_line(
        interpolate="step-after", color=palette.muted, strokeWidth=1.5
    )
    colour = alt.Color(
        "score:Q",
        title="design score",
        scale=alt.Scale(type="quantize", range=sequence(SHADES, palette)),
        legend=alt.Legend(orient="top", type="symbol", format=".2f", columns=SHADES),
    )
    points = base.mark_circle(
        size=70 if len(figure.points) < 500 else 24,
        opacity=1,
        stroke=palette.ink,
        strokeOpacity=0.35,
        strokeWidth=0.7,
        cursor="pointer",
    ).encode(
        x=x,
        y=y,
        color=colour,
        tooltip=[
            _tip("trial", "trial"),
            _tip("architecture", "architecture"),
            _tip("parameters", "parameters", ","),
            _tip("accuracy", "accuracy %", ".1f"),
            _tip("score", "design score", ".3f"),
        ],
    )
    chosen = alt.param(name=CHOSEN, value=-1)
    ring = (
        base.transform_filter(f"datum.trial === {CHOSEN}")
        .mark_point(size=260, filled=False, stroke=palette.ink, strokeWidth=2, opacity=1)
        .encode(x=x, y=y)
    )
    ranks = (
        base.transform_filter("isValid(datum.rank)")
        .mark_text(dy=-11, fontWeight="bold", fontSize=12, color=palette.ink)
        .encode(x=x, y=y, text="rank:N")
    )
    layers = alt.layer(line.encode(x=x, y=y), points.properties(name="trials"), ring, ranks)
    return layers.add_params(chosen).properties(height=HEIGHT + 60)


@chart.register
def _(figure: OverlayFigure, palette: Palette) -> Layers:
    return _several(figure.lines, palette, _log("D", "D (log scale)"), "curves")


@chart.register
def _(figure: DifferencesFigure, palette: Palette) -> Layers:
    y = alt.Y("D:Q", title="step (nats)")
    return _several(figure.lines, palette, y, "steps")


@chart.register
def _(figure: SizesFigure, palette: Palette) -> Layers:
    base = alt.Chart(_values([asdict(size) for size in figure.sizes]))
    names = list(dict.fromkeys(size.network for size in figure.sizes))
    kinds = list(dict.fromkeys(size.what for size in figure.sizes))
    y = alt.Y("what:N", sort=kinds, title=None, axis=_names())
    offset = alt.YOffset("network:N", sort=names)
    x = alt.X("share:Q", title="% of the original's")
    colour = alt.Color(
        "network:N",
        title=None,
        sort=names,
        scale=alt.Scale(domain=names, range=_several_colours(palette, len(names))),
        legend=alt.Legend(orient="top", columns=2, labelLimit=260),
    )
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
    return alt.layer(bars.properties(name="sizes"), said).properties(height=ROW * rows)


def _several(lines: Sequence[Any], palette: Palette, y: alt.Y, name: str) -> Layers:
    """Lines of several networks, on training and, dashed, on held-out data."""
    names = [line.network for line in lines]
    rows = [
        {"network": line.network, "index": tap.index, "layer": tap.layer, "on": on, "D": value}
        for line in lines
        for tap in line.taps
        for on, value in (("training", tap.training), ("held-out", tap.heldout))
        if value is not None
    ]
    indexes = [row["index"] for row in rows] or [0]
    base = alt.Chart(_values(rows))
    x = _index_axis(min(indexes), max(indexes))
    colour = alt.Color(
        "network:N",
        title=None,
        scale=alt.Scale(domain=names, range=_several_colours(palette, len(names))),
        legend=alt.Legend(orient="top", columns=2, labelLimit=260),
    )
    dash = alt.StrokeDash(
        "on:N",
        title=None,
        scale=alt.Scale(domain=["training", "held-out"], range=[[1, 0], [5, 4]]),
        legend=alt.Legend(orient="top", symbolType="stroke"),
    )
    drawn_lines = base.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour, strokeDash=dash)
    shape = alt.Shape(
        "network:N",
        title=None,
        scale=alt.Scale(domain=names, range=_shapes(len(names))),
        legend=None,
    )
    points = base.mark_point(filled=True, size=55, opacity=1).encode(
        x=x,
        y=y,
        color=colour,
        shape=shape,
        tooltip=[
            _tip("network", "network"),
            _tip("layer", "layer"),
            _tip("on", "on"),
            _tip("D", "value", ".3f"),
        ],
    )
    layers = alt.layer(drawn_lines, points.properties(name=name))
    return layers.resolve_scale(shape="independent").properties(height=HEIGHT + 40)


def _shapes(count: int) -> list[str]:
    kinds = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down"]
    return [kinds[i % len(kinds)] for i in range(count)]


def _several_colours(palette: Palette, count: int) -> list[str]:
    kinds = [
        palette.training,
        palette.heldout,
        palette.ok,
        palette.fourth,
        palette.low,
        palette.muted,
    ]
    return [kinds[i % len(kinds)] for i in range(count)]


def _both_curves(base: alt.Chart, palette: Palette) -> Layers:
    """The curves of data that come later."""
    x = alt.X("index:Q", title="layer", axis=_whole(), scale=alt.Scale(nice=False, padding=8))
    return alt.layer(*_lines(base, palette, x))


def _curves(base: alt.Chart, palette: Palette, taps: Sequence[Tap]) -> list[Any]:
    """Both curves, and a bar over each layer that shows all its figures on hover."""
    hovered = alt.selection_point(
        name="hovered", on="pointerover", clear="pointerout", fields=["index"], empty=False
    )
    x = _layer_axis(taps)
    tips = [
        _tip("layer", "layer"),
        _tip("training", "training", ".3f"),
        _tip("heldout", "held-out", ".3f"),
        _tip("line", "fitted line", ".3f"),
        _tip("null", "null", ".3f"),
    ]
    touch = (
        base.mark_rule(strokeWidth=max(6, min(24, 400 // len(taps))), color=palette.muted)
        .encode(x=x, opacity=alt.condition(hovered, alt.value(0.22), alt.value(0)), tooltip=tips)
        .add_params(hovered)
    )
    return [*_lines(base, palette, x), touch.properties(name="touch")]


def _lines(base: alt.Chart, palette: Palette, x: alt.X) -> list[Any]:
    """Training solid with filled points, held-out dashed with open ones."""
    parts = (
        ("training", palette.training, [1, 0], True),
        ("heldout", palette.heldout, [5, 4], False),
    )
    layers: list[Any] = []
    for field, colour, dash, filled in parts:
        y = _log(field, "D (log scale)")
        line = base.mark_line(color=colour, strokeWidth=2, strokeDash=dash).encode(x=x, y=y)
        points = base.transform_filter(f"isValid(datum.{field})").mark_point(
            color=colour, fill=colour if filled else palette.raised, size=50, opacity=1
        )
        layers += [line, points.encode(x=x, y=y).properties(name=field)]
    return layers


def _ends(taps: Sequence[Tap], palette: Palette) -> list[Any]:
    """The names of the curves at their last points, in place of a legend."""
    last = taps[-1]
    named = (
        ("training", last.training, palette.training),
        ("held-out", last.heldout, palette.heldout),
        ("null", last.null, palette.muted),
    )
    return [
        alt.Chart(_values([{"index": last.index, "value": value, "text": text}]))
        .mark_text(align="left", dx=9, color=colour, fontSize=12, fontWeight=600)
        .encode(x=_layer_axis(taps), y=_log("value", "D (log scale)"), text="text:N")
        for text, value, colour in named
        if value is not None
    ]


def _bars(bars: Sequence[Bar], palette: Palette, title: str, tip: str) -> list[Any]:
    """Horizontal bars with intervals, and at the right edge what each is called."""
    base = alt.Chart(_rows_of(bars))
    y = alt.Y("layer:N", sort=[bar.layer for bar in bars], title=None, axis=_names())
    x = alt.X("value:Q", title=title)
    boxes = base.mark_bar(
        stroke=palette.ink, strokeOpacity=0.35, strokeWidth=0.7, height=12
    ).encode(y=y, x=x, color=_kinds(bars, palette), tooltip=_bar_tips(tip))
    reach = base.mark_rule(color=palette.ink, strokeWidth=1.2).encode(
        y=y, x=alt.X("low:Q", title=title), x2=alt.X2("high")
    )
    said = base.mark_text(align="left", dx=8, color=palette.ink, fontSize=11).encode(
        y=y, x=alt.value("width"), text="said:N"
    )
    return [boxes.properties(name="bars"), reach, said]


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


def _rows_of(bars: Sequence[Bar]) -> alt.Data:
    return _values([{**asdict(bar), "said": f"{SIGNS[bar.kind]} {bar.kind}"} for bar in bars])


def _rows(bars: Sequence[Bar]) -> int:
    return max(2, len(bars)) * (ROW if len(bars) <= 32 else 14)


def _layer_axis(taps: Sequence[Tap]) -> alt.X:
    return _index_axis(taps[0].index, taps[-1].index)


def _index_axis(first: int, last: int) -> alt.X:
    scale = alt.Scale(domain=[first, max(last, first + 1)], nice=False, zero=False, padding=10)
    return alt.X("index:Q", title="layer (0 is the input)", axis=_whole(), scale=scale)


def _whole() -> alt.Axis:
    return alt.Axis(tickMinStep=1, format="d", grid=False, tickCount=10)


def _every(count: int) -> alt.Axis:
    """Labels of so many layers, that do not run into each other."""
    every = 1 if count <= 20 else 4
    return alt.Axis(values=list(range(0, count, every)), labelAngle=0)


def _names() -> alt.Axis:
    return alt.Axis(labelLimit=150, labelOverlap=True, ticks=False, domain=False)


def _log(field: str, title: str) -> alt.Y:
    axis = alt.Axis(format="~g", tickCount=5)
    return alt.Y(f"{field}:Q", title=title, scale=alt.Scale(type="log", nice=True), axis=axis)


def _tip(field: str, title: str, form: str = "") -> alt.Tooltip:
    kind = "quantitative" if form else "nominal"
    return alt.Tooltip(field=field, type=kind, title=title, **({"format": form} if form else {}))


def _data(taps: Sequence[Tap]) -> alt.Data:
    return _values([sparse(asdict(tap)) for tap in taps])


def _values(rows: Sequence[Mapping[str, Any]]) -> alt.Data:
    return alt.Data(values=list(rows))


def sparse(row: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not so or not there, of which there is much."""
    return {name: value for name, value in row.items() if value is not None and value is not False}


SHADES = 6
"""Of the design score."""


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


def _styled(layers: Any, palette: Palette) -> Any:
    """Type, grid and colours, the same for all."""
    return (
        layers.configure(
            background="transparent",
            font=FONT,
            autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
            padding={"left": 4, "right": 78, "top": 8, "bottom": 4},
            aria=False,
        )
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=palette.muted,
            titleColor=palette.muted,
            titleFontWeight="normal",
            titleFontSize=12,
            labelFontSize=11,
            gridColor=palette.hairline,
            domainColor=palette.hairline,
            tickColor=palette.hairline,
        )
        .configure_legend(
            labelColor=palette.muted,
            titleColor=palette.muted,
            titleFontWeight="normal",
            titleFontSize=12,
            labelFontSize=11,
        )
        .configure_title(color=palette.ink, fontSize=14, anchor="start")
    )
