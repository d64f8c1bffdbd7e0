"""The view of a pruning: what was removed from a model, why, and what it cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from designer.report.figures.comparison import before_after, sizes_figure
from designer.report.figures.figure import (
    TableView,
    figure_section,
    known_figures,
    sparklines_of,
)
from designer.report.figures.need import proposals_figure
from designer.report.views.network import coverage_sentence
from designer.report.views.page import (
    ReportView,
    Tile,
    accuracy_points,
    percent_with_margin,
    provenance_table,
    readable,
    short_count,
)
from designer.report.words import MISSING, interval_text, number
from designer.results.effects import decisive_effect
from designer.results.pruning import BlockProposal, NetworkFigures, PruningReport, RemovalTrial
from designer.results.ranges import Measured

ORIGINAL = "original"
"""Name of the network that the others are compared with."""


NEED_COLUMNS = ("needed", "95 %", "points")
"""Titles of what the original loses without a block: nats, and points of accuracy."""


OWN_COLUMN = {"block-influence": "influence", "ablation": "loss"}
"""Title of the column with a criterion's values, for criteria other than steps."""


def pruning_view(report: PruningReport) -> ReportView:
    """Return what every renderer shows of a pruning, with all text on one line."""
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
        provenance=provenance_table(report.data.fingerprint, report.versions, report.settings),
        command=report.command,
    )
    return readable(view)


def _pruning_tiles(report: PruningReport) -> Iterator[Tile]:
    by_name = {network.name: network for network in report.networks}
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
        yield Tile("time", f"{pruned.latency:.2f}", "of the original's time")
    if pruned.validation_perplexity is not None:
        risen = f"{accuracy_points(pruned.perplexity_rise, '+')} % risen"
        yield Tile("validation perplexity", number(pruned.validation_perplexity), risen)
    accuracy = pruned.validation_accuracy
    lost = f"{accuracy_points(pruned.drop, '+')} points lost"
    yield Tile("validation accuracy", f"{100 * accuracy.value:.1f} %", lost)


def _pruning_facts(report: PruningReport) -> Iterator[str]:
    data = report.data
    yield (
        f"Data: {data.train:,} training and {data.heldout:,} validation samples in "
        f"{data.num_classes} classes. Blocks were chosen on validation data by the criterion "
        f"'{report.criterion}'."
    )
    embeddings = report.model.embedding_parameters > 0
    if report.model.coverage is not None:
        yield coverage_sentence(report.model.coverage, embeddings=embeddings)
    if report.removed:
        yield f"Removed blocks: {', '.join(report.removed)}."
    if report.fitted:
        yield f"Layers fitted again to their new inputs: {', '.join(report.fitted)}."
    for layer, (before, after) in report.narrowed.items():
        yield f"Narrowed layer: {layer}, from {before} to {after} units."


LOST_BOUND = "95 % bound"
"""Title of the upper confidence bound on the points lost."""


JUDGED_BY_ACCURACY = ("validation %", "points lost", LOST_BOUND)
"""Titles of what decides between classifiers."""

RISE_BOUND = "95 % bound, rise"
"""Title of the upper confidence bound on the rise of perplexity."""


ROWS: dict[str, Callable[[NetworkFigures], str]] = {
    "blocks": lambda network: str(network.blocks),
    "parameters": lambda network: short_count(network.parameters),
    "operations": lambda network: short_count(network.flops),
    "time": lambda network: "1.00" if network.latency is None else f"{network.latency:.2f}",
    "perplexity": lambda network: _known(network.validation_perplexity),
    "rise %": lambda network: _lost(network, network.perplexity_rise, "+"),
    RISE_BOUND: lambda network: _lost(network, network.perplexity_rise_bound),
    "test perplexity": lambda network: _known(network.test_perplexity),
    "validation %": lambda network: percent_with_margin(network.validation_accuracy),
    "points lost": lambda network: _lost(network, network.drop, "+"),
    LOST_BOUND: lambda network: _lost(network, network.drop_bound),
    "test %": lambda network: percent_with_margin(network.test_accuracy),
    "rho of the law": lambda network: number(network.law.rho) if network.law else MISSING,
}
"""Rows of the table that compares the networks, with how a cell is written."""


def _known(value: Measured) -> str:
    """Return a number as text; empty for None, so that a row without any number is left out."""
    return "" if value is None else number(value)


def _lost(network: NetworkFigures, drop: Measured, sign: str = "") -> str:
    """Return lost accuracy in points; empty for the original, which the others lose against."""
    return accuracy_points(None if network.name == ORIGINAL else drop, sign)


def _networks(networks: Sequence[NetworkFigures]) -> Iterator[TableView]:
    """Yield the table that compares the networks, and its charts as sections of their own."""
    curves = {
        network.name: network.curve.separation for network in networks if network.curve is not None
    }
    table = replace(_side_by_side(networks), sparklines=sparklines_of(curves))
    yield table
    yield from figure_section(before_after(networks))
    yield from figure_section(sizes_figure(networks, table))


def _side_by_side(networks: Sequence[NetworkFigures]) -> TableView:
    columns = ("", *(network.name for network in networks))
    rows = ((title, *map(cell, networks)) for title, cell in ROWS.items())
    known = tuple(row for row in rows if any(row[1:]))
    return TableView("Side by side", columns, known, frozenset(columns[1:]))


def _proposal(report: PruningReport) -> TableView:
    own = OWN_COLUMN.get(report.criterion)
    columns = ("block", "order", *([own] if own else []), "held-out", *NEED_COLUMNS)
    rows = tuple(
        (
            block.name,
            MISSING if block.order is None else str(block.order),
            *([number(block.value, 3)] if own else []),
            number(block.step_heldout),
            *_need(block),
            str(block.decision),
            "yes" if block.removed else "",
        )
        for block in report.blocks
    )
    numeric = frozenset(columns[1:])
    table = TableView("Block by block", (*columns, "proposal", "removed"), rows, numeric)
    return replace(table, figures=known_figures(proposals_figure(report.blocks, table)))


def _need(block: BlockProposal) -> Iterator[str]:
    """Yield what is lost without a block: the rise of cross-entropy, its interval, and points."""
    effect = decisive_effect(block.contribution)
    accuracy = None if block.contribution is None else block.contribution.accuracy
    yield number(None if effect is None else effect.value)
    yield interval_text(None if effect is None else effect.interval)
    yield number(None if accuracy is None else 100 * accuracy.value, 1)


def _ways(blocks: Sequence[BlockProposal]) -> TableView:
    """Return how blocks are removed or why they must stay, in one row for each reason."""
    names_by_way: dict[tuple[bool, str], list[str]] = {}
    for block in blocks:
        names_by_way.setdefault((block.order is not None, block.reason), []).append(block.name)
    rows = tuple(
        (", ".join(names), f"can go: {reason}" if can_go else f"must stay: {reason}")
        for (can_go, reason), names in names_by_way.items()
    )
    return TableView("How blocks are removed, or why they must stay", ("blocks", "how"), rows)


def _removal_trials(report: PruningReport) -> TableView:
    limited = any(trial.within is not None for trial in report.trials)
    language = any(trial.perplexity is not None for trial in report.trials)
    judged = ("perplexity", "rise %", LOST_BOUND) if language else JUDGED_BY_ACCURACY
    columns = ("removed", "recovery", *judged)
    rows = tuple(
        (
            str(len(trial.removed)),
            _recovery(trial),
            *(_perplexity_cells(trial) if language else _accuracy_cells(trial)),
            *(["yes" if trial.within else "no"] if limited else []),
        )
        for trial in report.trials
    )
    numeric = frozenset({"removed", *columns[2:]})
    titles = (*columns, *(["allowed"] if limited else []))
    return TableView("Removals that were tried", titles, rows, numeric)


def _recovery(trial: RemovalTrial) -> str:
    """Say what was done after a removal."""
    if trial.narrower:
        return "narrower, trained"
    return "trained" if trial.recovered else "fitted only"


def _accuracy_cells(trial: RemovalTrial) -> tuple[str, str, str]:
    return (
        number(100 * trial.validation_accuracy, 1),
        accuracy_points(trial.drop, "+"),
        accuracy_points(trial.drop_bound),
    )


def _perplexity_cells(trial: RemovalTrial) -> tuple[str, str, str]:
    return (
        number(trial.perplexity),
        accuracy_points(trial.perplexity_rise, "+") or MISSING,
        accuracy_points(trial.perplexity_rise_bound) or MISSING,
    )


def _pruning_notes(report: PruningReport) -> Iterator[str]:
    yield (
        "Time is the duration of a forward pass divided by the original's. Points lost are "
        "percentage points of validation accuracy, and the 95 % bound is their upper confidence "
        "bound. 'Held-out' is the step of a block on held-out data. 'Needed' is the rise of "
        "held-out cross-entropy, in nats, if this block alone is left out and nothing is "
        "repaired; the points beside it are the change of accuracy. A block is to be kept if the "
        "whole interval lies above zero, and safe to remove if the network does as well without "
        "it. Some of the blocks to keep can still go if what is left is repaired and trained: "
        "the removals that were tried tell."
    )
    if any(network.validation_perplexity is not None for network in report.networks):
        yield (
            "Perplexity is exp of the mean cross-entropy per token of held-out text. The rise is "
            "relative to the original's, and its 95 % bound counts sequences, not tokens. For a "
            "language model it decides in the place of accuracy."
        )
    if len(report.networks) > 2:
        yield (
            "Greedy ablation removes each block in turn, trains the rest for one epoch, keeps the "
            "removal that leaves the best validation accuracy, and repeats this."
        )
