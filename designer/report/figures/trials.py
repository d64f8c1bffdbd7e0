"""Figures about the trials of a search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from designer.report.figures.figure import (
    Bar,
    Figure,
    TableView,
    Tap,
    ends,
    finite,
    positive,
    unlike,
)
from designer.report.words import number, spec_label
from designer.results.layers import Curve
from designer.results.measured import Measured
from designer.results.search import RankAgreement, Recommendation, TrialRow

TRIALS_LISTED = 100
"""Rows of the table behind the chart of all trials."""


TRIALS_SPELT_OUT = 1000
"""Points of that chart, the best, that name their architecture."""


@dataclass(frozen=True)
class TrialPoint:
    """One complete trial."""

    trial: int
    architecture: str
    parameters: int
    accuracy: float
    """Validation accuracy in percent."""
    error: float
    """What it lacks to 100, for a logarithmic axis: never less than half of what can be told."""
    score: Measured
    front: bool
    """Whether no other is as accurate with fewer parameters."""
    rank: int | None
    """Of the recommendation that it became."""
    curve: bool
    """Whether its curve is there."""


@dataclass(frozen=True)
class TrialCurve:
    """The curve of one trial."""

    trial: int
    title: str
    figures: str
    """Of the trial, in words."""
    taps: tuple[Tap, ...]


@dataclass(frozen=True)
class TrialsFigure(Figure):
    """Accuracy against parameters, and the curves of the best."""

    points: tuple[TrialPoint, ...]
    curves: tuple[TrialCurve, ...]


@dataclass(frozen=True)
class AgreementFigure(Figure):
    """Rank correlation of each criterion with validation accuracy."""

    bars: tuple[Bar, ...]


def trials_figure(
    trials: Sequence[TrialRow], recommendations: Sequence[Recommendation]
) -> TrialsFigure | None:
    """All trials that were completed and measured; None without any."""
    known = [row for row in trials if _placed(row)]
    if not known:
        return None
    best = sorted(known, key=lambda row: -(finite(row.score) or -math.inf))
    ranks = {one.trial: one.rank for one in recommendations}
    front = pareto_front({row.number: (_parameters(row), _percent(row)) for row in known})
    least = min((100 - _percent(row) for row in known if _percent(row) < 100), default=1.0) / 2
    spelt = {row.number for row in best[:TRIALS_SPELT_OUT]}
    curves = tuple(
        _trial_curve(row, row.curve)
        for row in best
        if row.curve is not None and any(map(positive, row.curve.separation))
    )
    shown = {curve.trial for curve in curves}
    points = tuple(
        TrialPoint(
            trial=row.number,
            architecture=spec_label(row.spec) if row.number in spelt else "",
            parameters=_parameters(row),
            accuracy=_percent(row),
            error=round(max(100 - _percent(row), least), 3),
            score=_shortened(row.score),
            front=row.number in front,
            rank=ranks.get(row.number),
            curve=row.number in shown,
        )
        for row in known
    )
    return TrialsFigure(
        name="trials",
        title="Accuracy against size",
        caption=_trials_caption(points, curves),
        table=_trials_table(best, front, ranks),
        points=points,
        curves=curves,
    )


def _trials_caption(points: Sequence[TrialPoint], curves: Sequence[TrialCurve]) -> str:
    n, kept = len(points), len(curves)
    said = f"{n:,} trials, coloured by design score. " if n > 1 else "One trial. "
    said += "The line joins those that no smaller one equals in accuracy; numbers are ranks of "
    said += "recommendations."
    if kept:
        whose = "A click on a point" if kept == n else f"A click on one of the {kept:,} best"
        said += f" {whose} shows its curve beside it."
    return said


def _trials_table(
    best: Sequence[TrialRow], front: frozenset[int], ranks: Mapping[int, int]
) -> TableView:
    shown = best[:TRIALS_LISTED]
    rows = tuple(
        (
            str(row.number),
            spec_label(row.spec),
            f"{_parameters(row):,}",
            number(row.score, 3),
            number(_percent(row), 1),
            ", ".join(
                [
                    *(["on the front"] if row.number in front else []),
                    *([f"recommendation {ranks[row.number]}"] if row.number in ranks else []),
                ]
            ),
        )
        for row in shown
    )
    columns = ("trial", "architecture", "params", "score", "val %", "what it is")
    part = "All" if len(shown) == len(best) else f"The best {len(shown):,} of"
    return TableView(
        f"{part} {len(best):,} trials, by design score",
        columns,
        rows,
        frozenset({"trial", "params", "score", "val %"}),
    )


def _placed(row: TrialRow) -> bool:
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
            f"{number(_percent(row), 1)} % validation accuracy, {_parameters(row):,} parameters, "
            f"design score {number(row.score, 3)}."
        ),
        taps=curve_taps(curve),
    )


def curve_taps(curve: Curve) -> tuple[Tap, ...]:
    """The points of a curve."""
    heldout = curve.separation_heldout or (None,) * len(curve.blocks)
    values = zip(unlike(list(curve.blocks)), curve.separation, heldout, strict=True)
    return tuple(
        Tap(index, name, positive(training), positive(held))
        for index, (name, training, held) in enumerate(values)
    )


def pareto_front(places: Mapping[int, tuple[int, float]]) -> frozenset[int]:
    """Those of (parameters, accuracy) that no other equals or beats with fewer parameters.

    Of several that are equal in both, the first.
    """
    front, highest = [], -math.inf
    for key, (_, accuracy) in sorted(
        places.items(), key=lambda item: (item[1][0], -item[1][1], item[0])
    ):
        if accuracy > highest:
            front.append(key)
            highest = accuracy
    return frozenset(front)


def agreement_figure(
    criterion: Mapping[str, RankAgreement], names: Mapping[str, str], table: TableView
) -> AgreementFigure | None:
    """How each criterion ranks the trials; None where that could not be measured."""
    known = {name: one for name, one in criterion.items() if finite(one.spearman) is not None}
    if not known:
        return None
    best = max(known, key=lambda name: finite(known[name].spearman) or -1.0)
    told = unlike([names.get(name, name) for name in known])
    return AgreementFigure(
        name="agreement",
        title="How far each criterion can be trusted",
        caption=(
            f"Rank correlation with validation accuracy over the trials of this study, with 95 % "
            f"intervals; 1 is the same order, 0 none. Highest here: {names.get(best, best)}."
        ),
        table=table,
        bars=tuple(
            Bar(name, finite(one.spearman), *ends(one.interval), "criterion")
            for name, one in zip(told, known.values(), strict=True)
        ),
    )
