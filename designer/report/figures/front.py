"""The figure of all networks that were confirmed: size against accuracy, and the front of both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from designer.report.figures.edits import network_name
from designer.report.figures.figure import Figure, TableView
from designer.report.words import percent, spec_label
from designer.results.front import pareto_front
from designer.results.search import ConfirmedRow, Recommendation


@dataclass(frozen=True)
class FrontPoint:
    """One confirmed network."""

    network: str
    """Its trial, and how many edits of that were kept."""
    architecture: str
    """Its spec in a few words."""
    parameters: int
    """Number of parameters."""
    accuracy: float
    """Mean validation accuracy in percent."""
    low: float
    """``accuracy`` minus one standard deviation over the seeds."""
    high: float
    """``accuracy`` plus one standard deviation over the seeds."""
    front: bool
    """True if no network with fewer parameters is as accurate."""
    rank: int | None
    """Rank of the recommendation; None if it is not recommended."""


@dataclass(frozen=True)
class FrontFigure(Figure):
    """Confirmed networks by size and accuracy."""

    points: tuple[FrontPoint, ...]
    """One for each network, the smallest first."""


def front_figure(
    confirmed: Sequence[ConfirmedRow], recommendations: Sequence[Recommendation]
) -> FrontFigure | None:
    """Return all confirmed networks in one chart; None for fewer than two.

    Args:
        confirmed: networks that were trained with the confirmation seeds.
        recommendations: those of them that are recommended.
    """
    known = sorted(
        (row for row in confirmed if math.isfinite(row.validation_accuracy.mean)),
        key=lambda row: row.parameters,
    )
    if len(known) < 2:
        return None
    ranks = {(network.trial, network.edits): network.rank for network in recommendations}
    sizes = {
        (row.trial, row.edits): (row.parameters, row.validation_accuracy.mean) for row in known
    }
    front = set(pareto_front(sizes))
    points = [
        _point(row, (row.trial, row.edits) in front, ranks.get((row.trial, row.edits)))
        for row in known
    ]
    columns = ("network", "architecture", "params", "val %", "#")
    rows = tuple(
        (
            point.network,
            point.architecture,
            f"{point.parameters:,}",
            percent(row.validation_accuracy),
            "" if point.rank is None else str(point.rank),
        )
        for point, row in zip(points, known, strict=True)
    )
    return FrontFigure(
        name="front",
        title="Confirmed networks: accuracy against size",
        caption=(
            "Each point is a network that was trained with all confirmation seeds, or an edit that "
            "was kept; bars are one standard deviation over the seeds. The line joins the networks "
            "that are more accurate than all smaller ones. Numbers are ranks of recommendations."
        ),
        table=TableView("Confirmed networks", columns, rows, frozenset(columns) - {columns[1]}),
        points=tuple(points),
    )


def _point(row: ConfirmedRow, on_front: bool, rank: int | None) -> FrontPoint:
    accuracy = 100 * row.validation_accuracy.mean
    spread = 100 * (row.validation_accuracy.sd or 0.0)
    return FrontPoint(
        network=network_name(row.trial, row.edits),
        architecture=spec_label(row.spec),
        parameters=row.parameters,
        accuracy=round(accuracy, 2),
        low=round(accuracy - spread, 2),
        high=round(accuracy + spread, 2),
        front=on_front,
        rank=rank,
    )
