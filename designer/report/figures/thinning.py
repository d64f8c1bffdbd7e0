"""Figures with no more marks than a chart can show, and a note that says what was left out."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from functools import singledispatch
from typing import TypeVar

from designer.report.figures.comparison import DifferencesFigure, NetworkCurve, OverlayFigure
from designer.report.figures.figure import Figure, TableView
from designer.report.figures.need import NeedFigure
from designer.report.figures.network import (
    ArchitectureFigure,
    CurveFigure,
    EmergenceFigure,
    ResidualsFigure,
    SharesFigure,
)
from designer.report.figures.trials import TrialsFigure

MOST_LAYERS = 400
"""Most layers along the horizontal axis of a chart."""

MOST_ROWS = 100
"""Most rows of a chart that has one for each block."""

MOST_EPOCHS = 24
"""Most curves in a chart that has one for each epoch, or for each network."""

MOST_TRIALS = 2000
"""Most points in the chart of all trials, with those that are always shown."""

MOST_TRIAL_CURVES = 100
"""Most trials whose curve can be looked at."""

Item = TypeVar("Item")


def spread(items: Sequence[Item], most: int) -> tuple[Item, ...]:
    """Return at most this many items, evenly spaced from the first to the last, in order.

    Args:
        items: any number of items.
        most: at least 2.
    """
    if len(items) <= most:
        return tuple(items)
    return tuple(items[i * (len(items) - 1) // (most - 1)] for i in range(most))


@singledispatch
def thinned(figure: Figure) -> Figure:
    """Return a figure whose chart can be drawn in little time, with a note of what it leaves out.

    The table keeps everything, except for columns of curves that are left out.
    """
    return figure


@thinned.register
def _(figure: CurveFigure) -> Figure:
    points = spread(figure.points, MOST_LAYERS)
    return _noted(replace(figure, points=points), len(figure.points), len(points), "layers")


@thinned.register
def _(figure: ResidualsFigure) -> Figure:
    points = spread(figure.points, MOST_LAYERS)
    return _noted(replace(figure, points=points), len(figure.points), len(points), "layers")


@thinned.register
def _(figure: ArchitectureFigure) -> Figure:
    slabs = spread(figure.slabs, MOST_LAYERS)
    return _noted(replace(figure, slabs=slabs), len(figure.slabs), len(slabs), "layers")


@thinned.register
def _(figure: SharesFigure) -> Figure:
    bars = spread(figure.bars, MOST_ROWS)
    return _noted(replace(figure, bars=bars), len(figure.bars), len(bars), "blocks")


@thinned.register
def _(figure: NeedFigure) -> Figure:
    rows = spread(figure.rows, MOST_ROWS)
    return _noted(replace(figure, rows=rows), len(figure.rows), len(rows), "blocks")


@thinned.register
def _(figure: EmergenceFigure) -> Figure:
    epochs = list(dict.fromkeys(point.epoch for point in figure.points))
    indexes = list(dict.fromkeys(point.index for point in figure.points))
    shown, layers = spread(epochs, MOST_EPOCHS), spread(indexes, MOST_LAYERS)
    kept, drawn = set(shown), set(layers)
    points = tuple(p for p in figure.points if p.epoch in kept and p.index in drawn)
    columns = {figure.table.columns[0], *(f"epoch {epoch}" for epoch in shown)}
    thin = replace(figure, points=points, table=_with_columns(figure.table, columns))
    noted = _noted(thin, len(epochs), len(shown), "epochs")
    return _noted(noted, len(indexes), len(layers), "layers")


@thinned.register
def _(figure: TrialsFigure) -> Figure:
    curves = figure.curves[:MOST_TRIAL_CURVES]
    clickable = {curve.trial for curve in curves}
    always = {p.trial for p in figure.points if p.front or p.rank is not None} | clickable
    others = [p.trial for p in figure.points if p.trial not in always]
    chosen = always.union(spread(others, max(2, MOST_TRIALS - len(always))))
    drawn = tuple(
        replace(p, curve=p.trial in clickable) for p in figure.points if p.trial in chosen
    )
    thin = replace(figure, points=drawn, curves=curves)
    noted = _noted(thin, len(figure.points), len(drawn), "trials")
    if len(drawn) < len(figure.points):
        rest = " They are all of the line and an even part of the others."
        noted = replace(noted, caption=noted.caption + rest)
    return _noted(noted, len(figure.curves), len(curves), "curves")


@thinned.register
def _(figure: OverlayFigure) -> Figure:
    curves = _thin_curves(figure.curves)
    return _noted_curves(replace(figure, curves=curves), figure.curves, curves)


@thinned.register
def _(figure: DifferencesFigure) -> Figure:
    curves = _thin_curves(figure.curves)
    return _noted_curves(replace(figure, curves=curves), figure.curves, curves)


def _thin_curves(curves: Sequence[NetworkCurve]) -> tuple[NetworkCurve, ...]:
    return tuple(
        replace(curve, points=spread(curve.points, MOST_LAYERS))
        for curve in spread(curves, MOST_EPOCHS)
    )


def _noted_curves(
    figure: Figure, before: Sequence[NetworkCurve], after: Sequence[NetworkCurve]
) -> Figure:
    noted = _noted(figure, len(before), len(after), "networks")
    longest = max(len(curve.points) for curve in before)
    return _noted(noted, longest, min(longest, MOST_LAYERS), "layers")


def _noted(figure: Figure, before: int, after: int, what: str) -> Figure:
    """Return a figure whose caption says what is left out, if anything is."""
    if before == after:
        return figure
    note = f" Of {before:,} {what} the chart shows {after:,}."
    return replace(figure, caption=figure.caption + note)


def _with_columns(table: TableView, columns: Container[str]) -> TableView:
    places = [i for i, column in enumerate(table.columns) if column in columns]
    return replace(
        table,
        columns=tuple(table.columns[i] for i in places),
        rows=tuple(tuple(row[i] for i in places) for row in table.rows),
    )
