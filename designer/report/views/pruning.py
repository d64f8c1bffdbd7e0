"""The view of a pruning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from designer.errors import one_line
from designer.report.figures.figure import TableView, known_figures, sparks_of
from designer.report.figures.networks import before_after, sizes_figure, steps_figure
from designer.report.views.page import (
    ReportView,
    Tile,
    accuracy_points,
    made_of,
    percent_with_margin,
    rewritten,
    short_count,
)
from designer.report.words import MISSING, interval_text, number
from designer.results.pruning import BlockProposal, NetworkFigures, PruningReport

ORIGINAL = "original"
"""Network that the others are compared with."""


OWN_COLUMN = {"block-influence": "influence", "ablation": "loss"}
"""Criteria for pruning that are no steps."""


def pruning_view(report: PruningReport) -> ReportView:
    """The view of what was removed from a model; all its text is ``one_line``."""
    view = ReportView(
        title=f"Pruning: {report.model.name} on {report.data.name}",
        headline=report.conclusion,
        facts=tuple(_pruning_facts(report)),
        warnings=tuple(warning.message for warning in report.warnings),
        sections=(
            *_networks(report.networks),
            _proposal(report),
            _ways(report.blocks),
            _removal_trials(report),
        ),
        notes=tuple(_pruning_notes(report)),
        tiles=tuple(_pruning_tiles(report)),
        made=made_of(report.data.fingerprint, report.versions, report.settings),
        command=report.command,
    )
    plain: ReportView = rewritten(view, one_line)
    return plain


def _pruning_tiles(report: PruningReport) -> Iterator[Tile]:
    by_name = {one.name: one for one in report.networks}
    original, pruned = by_name.get(ORIGINAL), by_name.get("pruned")
    if original is None or pruned is None:
        return
    yield Tile("blocks", str(pruned.blocks), f"of {original.blocks}")
    for what, before, after in (
        ("parameters", original.parameters, pruned.parameters),
        ("operations", original.flops, pruned.flops),
    ):
        share = f"{100 * after / max(before, 1):.0f} % of {short_count(before)}"
        yield Tile(what, short_count(after), share)
    if pruned.latency is not None:
        yield Tile("time", f"{pruned.latency:.2f}", "of the original's")
    accuracy = pruned.validation_accuracy
    lost = f"{accuracy_points(pruned.drop, '+')} points lost"
    yield Tile("validation accuracy", f"{100 * accuracy.value:.1f} %", lost)


def _pruning_facts(report: PruningReport) -> Iterator[str]:
    data = report.data
    yield (
        f"{data.train:,} training and {data.heldout:,} validation samples in {data.num_classes} "
        f"classes; decided on validation data, criterion {report.criterion}."
    )
    if report.removed:
        yield f"Removed: {', '.join(report.removed)}."
    if report.fitted:
        yield f"Fitted to what they receive now: {', '.join(report.fitted)}."
    for layer, (before, after) in report.narrowed.items():
        yield f"Narrowed: {layer} from {before} to {after} units."


FIGURES: dict[str, Callable[[NetworkFigures], str]] = {
    "blocks": lambda one: str(one.blocks),
    "parameters": lambda one: short_count(one.parameters),
    "FLOPs per sample": lambda one: short_count(one.flops),
    "time": lambda one: "1.00" if one.latency is None else f"{one.latency:.2f}",
    "validation %": lambda one: percent_with_margin(one.validation_accuracy),
    "points lost": lambda one: accuracy_points(None if one.name == ORIGINAL else one.drop, "+"),
    "at most": lambda one: accuracy_points(None if one.name == ORIGINAL else one.drop_bound),
    "test %": lambda one: percent_with_margin(one.test_accuracy),
    "rho of the law": lambda one: number(one.law.rho) if one.law else MISSING,
}
"""What is said of every network, row by row."""


def _networks(networks: Sequence[NetworkFigures]) -> Iterator[TableView]:
    curves = {one.name: one.curve.separation for one in networks if one.curve is not None}
    table = replace(_side_by_side(networks), sparks=sparks_of(curves))
    yield table
    overlaid = before_after(networks)
    if overlaid is not None:
        yield replace(overlaid.table, rows=(), figures=(overlaid,))
    sizes = sizes_figure(networks, table)
    if sizes is not None:
        yield replace(table, title=sizes.title, rows=(), figures=(sizes,))


def _side_by_side(networks: Sequence[NetworkFigures]) -> TableView:
    columns = ("", *(one.name for one in networks))
    rows = ((title, *map(figure, networks)) for title, figure in FIGURES.items())
    known = tuple(row for row in rows if any(row[1:]))
    return TableView("Side by side", columns, known, frozenset(columns[1:]))


def _proposal(report: PruningReport) -> TableView:
    own = OWN_COLUMN.get(report.criterion)
    columns = ("block", "order", *([own] if own else []), "step", "held-out", "95 % interval")
    rows = tuple(
        (
            one.name,
            MISSING if one.order is None else str(one.order),
            *([number(one.value, 3)] if own else []),
            number(one.step),
            number(one.step_heldout),
            interval_text(one.step_heldout_interval),
            str(one.decision),
            "yes" if one.removed else "",
        )
        for one in report.blocks
    )
    numeric = frozenset(columns[1:])
    table = TableView("Block by block", (*columns, "proposal", "removed"), rows, numeric)
    return replace(table, figures=known_figures(steps_figure(report.blocks, table)))


def _ways(blocks: Sequence[BlockProposal]) -> TableView:
    """How blocks go and why they stay, those of the same kind together."""
    alike: dict[tuple[bool, str], list[str]] = {}
    for one in blocks:
        alike.setdefault((one.order is not None, one.reason), []).append(one.name)
    rows = tuple(
        (", ".join(names), f"can go: {reason}" if can_go else f"must stay: {reason}")
        for (can_go, reason), names in alike.items()
    )
    return TableView("How they go, or why not", ("blocks", "how"), rows)


def _removal_trials(report: PruningReport) -> TableView:
    asked = any(one.within is not None for one in report.trials)
    columns = ("removed", "recovered", "validation %", "points lost", "at most")
    rows = tuple(
        (
            str(len(one.removed)),
            "trained" if one.recovered else "fitted only",
            number(100 * one.validation_accuracy, 1),
            accuracy_points(one.drop, "+"),
            accuracy_points(one.drop_bound),
            *(["yes" if one.within else "no"] if asked else []),
        )
        for one in report.trials
    )
    numeric = frozenset({"removed", *columns[2:]})
    return TableView("Trial removals", (*columns, *(["allowed"] if asked else [])), rows, numeric)


def _pruning_notes(report: PruningReport) -> Iterator[str]:
    yield (
        "Time is that of a forward pass over the original's. Points lost are those of validation "
        "accuracy, at most with 95 % confidence. A block is safe to remove where its held-out "
        "step is surely below half of the mean step, and proposed to be kept where it is surely "
        "above the mean."
    )
    if len(report.networks) > 2:
        yield (
            "Greedy ablation removes the block that is missed least, one after the other, after "
            "trying each with an epoch of recovery."
        )
