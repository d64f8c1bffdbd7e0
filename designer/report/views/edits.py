"""The table of the edits that a search tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from designer.report.figures.edits import edits_figure, network_name
from designer.report.figures.figure import TableView, figure_section
from designer.report.words import MISSING
from designer.results.layers import PairedChange
from designer.results.search import TriedEdit


def tried_table(tried: Sequence[TriedEdit]) -> Iterator[TableView]:
    """Yield the edits that were trained, as a table and as a chart; nothing where none was."""
    trained = [edit for edit in tried if edit.runs]
    if not trained:
        return
    columns = ("network", "edit", "params", "points", "95 %", "outcome")
    rows = tuple(map(_row, trained))
    table = TableView("What was tried", columns, rows, frozenset(columns[2:5]))
    yield table
    yield from figure_section(edits_figure(trained, table))


def tried_notes(tried: Sequence[TriedEdit]) -> Iterator[str]:
    """Yield how edits were judged, and which of them could not be trained."""
    if any(edit.runs for edit in tried):
        yield (
            "Every edit that was tried was trained with the same seeds and as long as the network "
            "before it; points are the change of validation accuracy. An edit is kept if the whole "
            "interval is above 0, or if the network becomes smaller and stays within half a point "
            "of the best before it. Network 7.2 is that of trial 7 after 2 edits that were kept."
        )
    refused = [edit for edit in tried if not edit.runs]
    for (name, why), edits in groupby(refused, key=_network_and_obstacle):
        titles = ", ".join(edit.edit for edit in edits)
        yield f"Not possible for network {name}: {titles} ({why})."


def _network_and_obstacle(edit: TriedEdit) -> tuple[str, str]:
    return network_name(edit.trial, edit.before), edit.reason


def _row(edit: TriedEdit) -> tuple[str, ...]:
    kept = f"kept as {network_name(edit.trial, (*edit.before, edit.edit))}"
    return (
        network_name(edit.trial, edit.before),
        edit.edit,
        MISSING if edit.parameters is None else f"{edit.parameters:,}",
        *_change(edit.change),
        f"{kept if edit.kept else 'not kept'}: {edit.reason}",
    )


def _change(change: PairedChange | None) -> tuple[str, str]:
    """Return the change of accuracy in points, and its interval."""
    if change is None:
        return MISSING, MISSING
    if change.interval is None:
        return f"{100 * change.mean:+.1f}", MISSING
    low, high = change.interval
    return f"{100 * change.mean:+.1f}", f"{100 * low:+.1f} to {100 * high:+.1f}"
