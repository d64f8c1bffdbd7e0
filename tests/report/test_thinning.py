"""Charts of very many layers, epochs, trials or networks show some of them, and say so."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designer.report.charts.dispatch import chart_of
from designer.report.charts.palette import LIGHT
from designer.report.figures.comparison import NetworkCurve, overlay_figure
from designer.report.figures.figure import Figure, LayerPoint
from designer.report.figures.need import NeedFigure
from designer.report.figures.network import (
    ArchitectureFigure,
    CurveFigure,
    EmergenceFigure,
    ResidualsFigure,
    SharesFigure,
)
from designer.report.figures.thinning import (
    MOST_EPOCHS,
    MOST_LAYERS,
    MOST_ROWS,
    MOST_TRIAL_CURVES,
    MOST_TRIALS,
    spread,
    thinned,
)
from designer.report.figures.trials import TrialsFigure
from designer.report.html import html_report
from designer.report.views.page import figures_of
from designer.report.views.search import search_view
from designer.results.layers import Curve
from designer.results.search import SearchResult
from tests.support.sample_reports import contributing, typical


def figures(result: SearchResult) -> dict[type[Figure], Figure]:
    """Return the last figure of each class of a report."""
    return {type(figure): figure for figure in figures_of(search_view(result))}


def deep(count: int) -> SearchResult:
    """Return a report of one network with this many blocks."""
    result = contributing()
    best = result.recommendations[0]
    layers = tuple(
        replace(best.layers[i % len(best.layers)], name=f"b{i}", separation=100 * 0.99**i)
        for i in range(count)
    )
    law = replace(best.law, rho=0.99)
    return replace(result, recommendations=(replace(best, layers=layers, law=law),))


def long_trained(epochs: int) -> SearchResult:
    """Return a report of a network whose D is known after this many epochs."""
    result = typical()
    names = ("input", "a", "b")
    emergence = tuple(Curve(names, (9.0, 3.0, 1.0), epoch=epoch) for epoch in range(1, epochs + 1))
    best = replace(result.recommendations[0], emergence=emergence)
    return replace(result, recommendations=(best,))


def searched(trials: int) -> SearchResult:
    """Return a report of this many trials, each with a curve."""
    result = typical()
    row, curve = result.trials[0], Curve(("input", "a"), (9.0, 3.0))
    rows = tuple(
        replace(row, number=i, score=i / trials, validation_accuracy=0.5 + 0.4 * i / trials)
        for i in range(trials)
    )
    return replace(result, trials=tuple(replace(row, curve=curve) for row in rows))


def test_many_layers() -> None:
    result = deep(2100)
    drawn = figures(result)
    curve, shares = drawn[CurveFigure], drawn[SharesFigure]
    residuals, need = drawn[ResidualsFigure], drawn[NeedFigure]
    architecture = drawn[ArchitectureFigure]
    assert isinstance(curve, CurveFigure)
    assert isinstance(residuals, ResidualsFigure)
    assert isinstance(architecture, ArchitectureFigure)
    assert isinstance(shares, SharesFigure)
    assert isinstance(need, NeedFigure)
    assert len(curve.points) == len(residuals.points) == len(architecture.slabs) == MOST_LAYERS
    assert len(shares.bars) == len(need.rows) == MOST_ROWS
    assert (curve.points[0].index, curve.points[-1].index) == (0, 2100)
    assert len(curve.table.rows) == 2101
    for caption in (curve.caption, residuals.caption, architecture.caption):
        assert caption.endswith(f" Of 2,101 layers the chart shows {MOST_LAYERS}.")
    for caption in (shares.caption, need.caption):
        assert caption.endswith(f" Of 2,100 blocks the chart shows {MOST_ROWS}.")
    for figure in drawn.values():
        assert chart_of(figure, LIGHT).to_dict()


def test_many_epochs() -> None:
    figure = figures(long_trained(12_000))[EmergenceFigure]
    assert isinstance(figure, EmergenceFigure)
    epochs = sorted({point.epoch for point in figure.points})
    assert len(epochs) == MOST_EPOCHS
    assert (epochs[0], epochs[-1]) == (1, 12_000)
    assert len(figure.table.columns) == len(figure.table.rows[0]) == MOST_EPOCHS + 1
    assert figure.caption.endswith(f" Of 12,000 epochs the chart shows {MOST_EPOCHS}.")


def test_many_trials() -> None:
    result = searched(12_000)
    figure = figures(result)[TrialsFigure]
    assert isinstance(figure, TrialsFigure)
    assert len(figure.points) == MOST_TRIALS
    assert len(figure.curves) == MOST_TRIAL_CURVES
    clickable = {point.trial for point in figure.points if point.curve}
    assert clickable == {curve.trial for curve in figure.curves} == set(range(11_900, 12_000))
    ranked = {point.rank for point in figure.points if point.rank is not None}
    assert ranked == {recommendation.rank for recommendation in result.recommendations}
    assert any(point.front for point in figure.points)
    assert f"Of 12,000 trials the chart shows {MOST_TRIALS:,}." in figure.caption
    assert f"Of 12,000 curves the chart shows {MOST_TRIAL_CURVES}." in figure.caption
    assert len(html_report(search_view(result))) < 3_000_000


def test_many_networks() -> None:
    points = tuple(LayerPoint(i, f"b{i}", 9.0 / (i + 1), None) for i in range(1000))
    curves = [NetworkCurve(f"network {i}", points) for i in range(100)]
    figure = overlay_figure(curves, "title", "Caption.")
    assert figure is not None
    thin = thinned(figure)
    assert len(thin.curves) == MOST_EPOCHS  # type: ignore[attr-defined]
    assert {len(curve.points) for curve in thin.curves} == {MOST_LAYERS}  # type: ignore[attr-defined]
    assert thin.caption == (
        f"Caption. Of 100 networks the chart shows {MOST_EPOCHS}. Of 1,000 layers the chart shows "
        f"{MOST_LAYERS}."
    )


@pytest.mark.parametrize("result", [typical(), contributing()])
def test_what_can_be_drawn_stays_as_it_is(result: SearchResult) -> None:
    for figure in figures_of(search_view(result)):
        assert thinned(figure) == figure
        assert "the chart shows" not in figure.caption


@given(count=st.integers(0, 5000), most=st.integers(2, 500))
def test_spread(count: int, most: int) -> None:
    items = list(range(count))
    chosen = spread(items, most)
    assert len(chosen) == min(count, most)
    assert len(set(chosen)) == len(chosen)
    assert list(chosen) == sorted(chosen)
    assert chosen[:1] == tuple(items[:1])
    assert chosen[-1:] == tuple(items[-1:])
