"""Figures of the trials of a search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from designer.report.figures.figure import (
    Bar,
    Figure,
    LayerPoint,
    TableView,
    finite,
    interval_ends,
    positive,
    unique_names,
)
from designer.report.figures.network import curve_points
from designer.report.words import number, spec_label
from designer.results.front import pareto_front
from designer.results.layers import Curve
from designer.results.ranges import Measured
from designer.results.search import RankAgreement, Recommendation, TrialRow

TRIALS_LISTED = 100
"""Most rows of the table behind the chart of all trials."""


TRIALS_SPELT_OUT = 1000
"""Number of the best trials that name their architecture in the chart, which keeps it small."""


@dataclass(frozen=True)
class TrialPoint:
    """One complete trial in the chart of accuracy against size."""

    trial: int
    """Number of the trial."""
    architecture: str
    """Its spec in a few words; empty except for the best ``TRIALS_SPELT_OUT`` trials."""
    parameters: int
    """Number of parameters."""
    accuracy: float
    """Validation accuracy in percent."""
    error: float
    """100 - ``accuracy`` for a logarithmic axis; a perfect trial gets half of the least error."""
    score: Measured
    """Design score."""
    front: bool
    """True if no trial with fewer parameters is as accurate."""
    rank: int | None
    """Rank of the recommendation that came from the trial; None if none did."""
    curve: bool
    """True if the trial's curve of D was kept."""


@dataclass(frozen=True)
class TrialCurve:
    """D of every layer of one trial."""

    trial: int
    """Number of the trial."""
    title: str
    """Number and architecture of the trial."""
    figures: str
    """Accuracy, size and score of the trial in one sentence."""
    points: tuple[LayerPoint, ...]
    """Its layers in running order, the input first."""


@dataclass(frozen=True)
class TrialsFigure(Figure):
    """Accuracy against number of parameters, and the curves of the best trials."""

    points: tuple[TrialPoint, ...]
    """One for each complete trial."""
    curves: tuple[TrialCurve, ...]
    """Best design score first; empty where no curves were kept."""


@dataclass(frozen=True)
class AgreementFigure(Figure):
    """Rank correlation of each criterion with validation accuracy."""

    bars: tuple[Bar, ...]
    """One for each criterion."""


def trials_figure(
    trials: Sequence[TrialRow], recommendations: Sequence[Recommendation]
) -> TrialsFigure | None:
    """Return all trials that are complete and measured in one chart; None where there are none.

    Args:
        trials: the trials of a search, whatever their state.
        recommendations: the recommendations that came from them.
    """
    measured = [row for row in trials if _is_measured(row)]
    if not measured:
        return None
    best = sorted(measured, key=lambda row: -(finite(row.score) or -math.inf))
    ranks = {network.trial: network.rank for network in recommendations if not network.edits}
    front = frozenset(
        pareto_front({row.number: (_parameters(row), _percent(row)) for row in measured})
    )
    curves = tuple(
        _trial_curve(row, row.curve)
        for row in best
        if row.curve is not None and any(map(positive, row.curve.separation))
    )
    points = _trial_points(measured, best, front, ranks, curves)
    return TrialsFigure(
        name="trials",
        title="Accuracy against size",
        caption=_trials_caption(points, curves),
        table=_trials_table(best, front, ranks),
        points=points,
        curves=curves,
    )


def _trial_points(
    measured: Sequence[TrialRow],
    best: Sequence[TrialRow],
    front: frozenset[int],
    ranks: Mapping[int, int],
    curves: Sequence[TrialCurve],
) -> tuple[TrialPoint, ...]:
    least = min((100 - _percent(row) for row in measured if _percent(row) < 100), default=1.0) / 2
    spelt_out = {row.number for row in best[:TRIALS_SPELT_OUT]}
    with_curve = {curve.trial for curve in curves}
    return tuple(
        TrialPoint(
            trial=row.number,
            architecture=spec_label(row.spec) if row.number in spelt_out else "",
            parameters=_parameters(row),
            accuracy=_percent(row),
            error=round(max(100 - _percent(row), least), 3),
            score=_shortened(row.score),
            front=row.number in front,
            rank=ranks.get(row.number),
            curve=row.number in with_curve,
        )
        for row in measured
    )


def _trials_caption(points: Sequence[TrialPoint], curves: Sequence[TrialCurve]) -> str:
    n, kept = len(points), len(curves)
    trials = (
        f"Each point is one of {n:,} trials; its colour shows its design score."
        if n > 1
        else "The point is the only trial."
    )
    clickable = "a point" if kept == n else f"one of the {kept:,} best points"
    click = f" Click on {clickable} to see the curve of its trial." if kept else ""
    return (
        f"{trials} The line joins the trials that are more accurate than all smaller ones. "
        f"Numbers are the ranks of recommendations.{click}"
    )


def _trials_table(
    best: Sequence[TrialRow], front: frozenset[int], ranks: Mapping[int, int]
) -> TableView:
    listed = best[:TRIALS_LISTED]
    rows = tuple(
        (
            str(row.number),
            spec_label(row.spec),
            f"{_parameters(row):,}",
            number(row.score, 3),
            number(_percent(row), 1),
            ", ".join(
                [
                    *(["on the line"] if row.number in front else []),
                    *([f"recommendation {ranks[row.number]}"] if row.number in ranks else []),
                ]
            ),
        )
        for row in listed
    )
    columns = ("trial", "architecture", "params", "score", "val %", "remark")
    part = "All" if len(listed) == len(best) else f"The best {len(listed):,} of"
    return TableView(
        f"{part} {len(best):,} trials, by design score",
        columns,
        rows,
        frozenset({"trial", "params", "score", "val %"}),
    )


def _is_measured(row: TrialRow) -> bool:
    return (
        row.state == "complete" and bool(row.parameters) and bool(finite(row.validation_accuracy))
    )


def _parameters(row: TrialRow) -> int:
    return row.parameters or 0


def _percent(row: TrialRow) -> float:
    return round(100 * (row.validation_accuracy or 0.0), 2)


def _shortened(value: Measured) -> Measured:
    known = finite(value)
    return None if known is None else round(known, 4)


def _trial_curve(row: TrialRow, curve: Curve) -> TrialCurve:
    return TrialCurve(
        trial=row.number,
        title=f"Trial {row.number}: {spec_label(row.spec)}",
        figures=(
            f"This trial has {number(_percent(row), 1)} % validation accuracy, "
            f"{_parameters(row):,} parameters and design score {number(row.score, 3)}."
        ),
        points=curve_points(curve),
    )


def agreement_figure(
    criterion: Mapping[str, RankAgreement], names: Mapping[str, str], table: TableView
) -> AgreementFigure | None:
    """Return how well each criterion ranks the trials.

    Args:
        criterion: agreement with validation accuracy by the criterion's name in report.json.
        names: how the reader sees a criterion, by that name.
        table: the same numbers as text.

    Returns:
        The figure, or None where no agreement was measured.
    """
    known = {
        name: agreement
        for name, agreement in criterion.items()
        if finite(agreement.spearman) is not None
    }
    if not known:
        return None
    best = max(known, key=lambda name: finite(known[name].spearman) or -1.0)
    labels = unique_names([names.get(name, name) for name in known])
    return AgreementFigure(
        name="agreement",
        title="How far each criterion can be trusted",
        caption=(
            f"A point is the rank correlation of a criterion with validation accuracy over the "
            f"trials of this study, with its 95 % interval. At 1 both rank the trials in the same "
            f"order; at 0 there is no relation. The highest is that of {names.get(best, best)}."
        ),
        table=table,
        bars=tuple(
            Bar(
                label,
                finite(agreement.spearman),
                *interval_ends(agreement.interval),
                "criterion",
            )
            for label, agreement in zip(labels, known.values(), strict=True)
        ),
    )
