"""The figure of the edits that a search tried: where each led in size and accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from designer.report.figures.figure import Figure, TableView
from designer.results.search import TriedEdit

START, KEPT, NOT_KEPT = "recommended before", "kept", "not kept"
"""What became of a network in the chart."""


@dataclass(frozen=True)
class EditPoint:
    """One network: as it was found, or after an edit."""

    network: str
    """What led to it, in a few words."""
    parameters: int
    """Number of parameters."""
    points: float
    """Percentage points of validation accuracy that it is above the network as it was found."""
    fate: str
    """``START``, ``KEPT`` or ``NOT_KEPT``."""
    parameters_before: int | None = None
    """Number of parameters before the edit; None without one."""
    points_before: float | None = None
    """The same of the accuracy."""


@dataclass(frozen=True)
class EditsFigure(Figure):
    """The size and accuracy that each edit led to."""

    points: tuple[EditPoint, ...]
    """Networks as they were found, and one for each edit that was trained."""


def network_name(trial: int, edits: Sequence[str]) -> str:
    """Return what a network is called: its trial, and how many edits of it were kept."""
    return f"{trial}.{len(edits)}" if edits else str(trial)


def edits_figure(tried: Sequence[TriedEdit], table: TableView) -> EditsFigure | None:
    """Return where edits led; None if none was trained to its end.

    Args:
        tried: edits in the order in which they were tried.
        table: the same as text.
    """
    places: dict[str, EditPoint] = {}
    points = []
    for edit in tried:
        if edit.change is None or edit.parameters is None:
            continue
        before = network_name(edit.trial, edit.before)
        if before not in places:
            places[before] = EditPoint(before, edit.parameters_before, 0.0, START)
            points.append(places[before])
        point = _after(edit, edit.parameters, edit.change.mean, places[before])
        points.append(point)
        if edit.kept:
            places[network_name(edit.trial, (*edit.before, edit.edit))] = point
    if not points:
        return None
    return EditsFigure(
        name="edits",
        title="Where edits led",
        caption=(
            "Each line is an edit that was trained with the same seeds as the network before it. "
            "Filled points are networks that were found or kept, crosses are edits that were not "
            "kept. To the left a network is smaller, further up it is more accurate than the "
            "network was before any edit."
        ),
        table=table,
        points=tuple(points),
    )


def _after(edit: TriedEdit, parameters: int, change: float, origin: EditPoint) -> EditPoint:
    return EditPoint(
        network=f"{network_name(edit.trial, edit.before)}, {edit.edit}",
        parameters=parameters,
        points=round(origin.points + 100 * change, 2),
        fate=KEPT if edit.kept else NOT_KEPT,
        parameters_before=origin.parameters,
        points_before=origin.points,
    )
