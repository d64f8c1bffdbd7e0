"""Charts of the trials of a search."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import altair as alt

from designer.report.charts.axes import FREE, accuracy_axis, size_axis, whole_layer_axis
from designer.report.charts.bars import (
    bar_data,
    bar_tooltips,
    interval_layers,
    row_axis,
    rows_height,
)
from designer.report.charts.network import curve_lines
from designer.report.charts.palette import Palette
from designer.report.charts.parts import (
    HEIGHT,
    inline_data,
    layered,
    tooltip,
    without_empty,
    zero_line,
)
from designer.report.charts.theme import colour_ramp
from designer.report.figures.trials import AgreementFigure, TrialCurve, TrialPoint, TrialsFigure

SHADES = 6
"""Most bands of design scores that differ in colour."""


UNSCORED = "unknown"
"""Band of the trials without a design score."""


CHOSEN = "chosen"
"""Parameter of the chart that holds the number of the trial whose curve is shown."""


TRIAL_CURVE_NAME = "trial-curve"
"""Name of the chart beside the chart of all trials."""


TRIAL_CURVE_DATA = "trial_curve"
"""Name of the data of the chart beside the chart of all trials, which the page replaces."""


def trial_curve_chart(curves: Sequence[TrialCurve], palette: Palette) -> alt.LayerChart:
    """Return the chart of the chosen trial's curve, which shows the first curve at first."""
    rows = [without_empty(asdict(point)) for point in curves[0].points]
    base = alt.Chart(alt.InlineData(values=rows, name=TRIAL_CURVE_DATA))
    points = [point for curve in curves for point in curve.points]
    last = max(point.index for point in points)
    x = alt.X("index:Q", title="layer (0 is the input)", axis=whole_layer_axis(0, last), scale=FREE)
    return layered(*curve_lines(base, palette, x, points, None), height=HEIGHT)


def trials_chart(figure: TrialsFigure, palette: Palette) -> alt.LayerChart:
    """Return accuracy against number of parameters; a click on a point chooses its trial."""
    cuts = _score_cuts(figure.points)
    rows = [{**without_empty(asdict(p)), "band": _band(p.score, cuts)} for p in figure.points]
    base = alt.Chart(inline_data(rows))
    x, y = size_axis(figure.points), accuracy_axis(figure.points)
    front = base.transform_filter("datum.front").mark_line(
        interpolate="step-after", color=palette.muted, strokeWidth=1.5
    )
    chosen = alt.param(name=CHOSEN, value=figure.curves[0].trial if figure.curves else -1)
    colour = _score_colour(figure.points, cuts, palette)
    return layered(
        front.encode(x=x, y=y).add_params(chosen),
        _trial_marks(base, figure, palette).encode(x=x, y=y, color=colour),
        *_rank_labels(base, figure.points, x, y, palette),
        *_chosen_ring(base, figure, x, y, palette),
        height=HEIGHT + 60,
    )


def _trial_marks(base: alt.Chart, figure: TrialsFigure, palette: Palette) -> alt.Chart:
    """Return a point for each trial, still without axes and colours."""
    tips = [
        tooltip("trial", "trial"),
        tooltip("architecture", "architecture"),
        tooltip("parameters", "parameters", ","),
        tooltip("accuracy", "accuracy %", ".1f"),
        tooltip("score", "design score", ".3f"),
    ]
    marks: alt.Chart = base.mark_circle(
        size=80 if len(figure.points) < 500 else 24,
        opacity=1,
        stroke=palette.ink,
        strokeOpacity=0.4,
        strokeWidth=0.7,
        cursor="pointer" if figure.curves else "default",
    )
    return marks.encode(tooltip=tips).properties(name="trials")


def _score_cuts(points: Sequence[TrialPoint]) -> list[float]:
    """Return the bounds between bands of design scores, which hold about equally many trials."""
    scores = sorted(point.score for point in points if point.score is not None)
    places = [i * len(scores) // SHADES for i in range(1, SHADES)] if scores else []
    return sorted({round(scores[place], 3) for place in places})


def _band(score: float | None, cuts: Sequence[float]) -> str:
    """Return the band that a score lies in, as the legend names it."""
    if score is None:
        return UNSCORED
    above = bisect_right(cuts, score)
    if above == 0:
        return f"below {cuts[0]:.3f}" if cuts else "all"
    return f"from {cuts[above - 1]:.3f}"


def _score_colour(
    points: Sequence[TrialPoint], cuts: Sequence[float], palette: Palette
) -> alt.Color:
    """Return a shade for each band that occurs, and grey for trials without a score."""
    used = {_band(point.score, cuts) for point in points}
    bands = [_band(-math.inf, cuts), *(_band(cut, cuts) for cut in cuts), UNSCORED]
    colours = [*colour_ramp(len(cuts) + 1, palette), palette.muted]
    shown = [(band, colour) for band, colour in zip(bands, colours, strict=True) if band in used]
    legend = alt.Legend(orient="top", columns=3, symbolType="circle")
    return alt.Color(
        "band:N",
        title="design score",
        scale=alt.Scale(domain=[band for band, _ in shown], range=[c for _, c in shown]),
        legend=legend if len(shown) > 1 else None,
    )


def _rank_labels(
    base: alt.Chart, points: Sequence[TrialPoint], x: alt.X, y: alt.Y, palette: Palette
) -> list[Any]:
    """Return the ranks of recommendations, above and below in turn since points may be close."""
    return [
        base.transform_filter(f"datum.rank === {rank}")
        .mark_text(dy=-12 if rank % 2 else 13, fontWeight="bold", fontSize=13, color=palette.ink)
        .encode(x=x, y=y, text="rank:N")
        for rank in sorted(point.rank for point in points if point.rank is not None)
    ]


def _chosen_ring(
    base: alt.Chart, figure: TrialsFigure, x: alt.X, y: alt.Y, palette: Palette
) -> list[Any]:
    """Return a ring around the trial whose curve is shown; nothing where there are no curves."""
    if not figure.curves:
        return []
    ring = base.transform_filter(f"datum.trial === {CHOSEN}").mark_point(
        size=280, filled=False, stroke=palette.ink, strokeWidth=2, opacity=1
    )
    return [ring.encode(x=x, y=y)]


def agreement_chart(figure: AgreementFigure, palette: Palette) -> alt.LayerChart:
    """Return the rank correlation of each criterion as a point with its interval."""
    title, bars = "Spearman correlation", figure.bars
    base = alt.Chart(bar_data(bars))
    x = alt.X(
        "value:Q",
        title=title,
        scale=alt.Scale(domain=[-1, 1]),
        axis=alt.Axis(tickCount=5),
    )
    points = base.mark_circle(color=palette.training, size=90, opacity=1).encode(
        y=row_axis(bars), x=x, tooltip=bar_tooltips("Spearman")
    )
    return layered(
        zero_line(palette, x=alt.datum(0)),
        *interval_layers(base, bars, title, palette.training),
        points.properties(name="criteria"),
        height=rows_height(bars),
    )
