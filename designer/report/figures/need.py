"""The figure of what each block shows, beside what the network needs it for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from designer.report.figures.figure import Figure, TableView, finite, interval_ends, unique_names
from designer.report.words import interval_text, number
from designer.results.effects import decisive_effect
from designer.results.layers import LayerReport
from designer.results.measured import Verdict
from designer.results.pruning import BlockProposal, Decision
from designer.results.ranges import Measured


@dataclass(frozen=True)
class NeedRow:
    """What one block shows and what it is needed for, in nats."""

    layer: str
    """Name of the block, unique within the network."""
    step: Measured
    """Step on held-out data."""
    step_low: Measured
    """Lower end of its 95 % interval."""
    step_high: Measured
    """Upper end of its 95 % interval."""
    rise: Measured
    """Rise of cross-entropy, or of log D at the end, without the block."""
    rise_low: Measured
    """Lower end of its 95 % interval."""
    rise_high: Measured
    """Upper end of its 95 % interval."""
    kind: str
    """Verdict on the block, or what is proposed for it."""


@dataclass(frozen=True)
class NeedFigure(Figure):
    """The held-out step and the contribution of each block, side by side."""

    rows: tuple[NeedRow, ...]
    """One for each block, in running order."""
    quantity: str
    """What rises without a block: ``cross-entropy``, or ``log D at the end``."""


def need_figure(name: str, layers: Sequence[LayerReport]) -> NeedFigure | None:
    """Return the figure of what blocks show and are needed for; None without a contribution.

    Args:
        name: name of the figure, unique within the report.
        layers: the blocks in running order.
    """
    contributions = [layer.contribution for layer in layers if layer.contribution is not None]
    if not contributions:
        return None
    names = unique_names([layer.name for layer in layers])
    logits = any(contribution.cross_entropy for contribution in contributions)
    quantity = "cross-entropy" if logits else "log D at the end"
    needed = sum(contribution.needed for contribution in contributions)
    counts = Counter(layer.verdict for layer in layers)
    return NeedFigure(
        name=name,
        title="What each block shows, and what it is needed for",
        caption=(
            f"Circles show the step of each block on held-out data: what becomes visible. Bars "
            f"show its contribution: by how much {quantity} rises without it. Both are in nats, "
            f"with 95 % intervals. {needed} of {len(layers)} blocks are needed, "
            f"{counts[Verdict.IDLE]} idle; {counts[Verdict.PREPARES]} show little and prepare what "
            f"later blocks need."
        ),
        table=_table(names, layers),
        rows=tuple(
            _row(name, layer, layer.verdict) for name, layer in zip(names, layers, strict=True)
        ),
        quantity=quantity,
    )


def proposals_figure(blocks: Sequence[BlockProposal], table: TableView) -> NeedFigure | None:
    """Return what blocks show and are needed for before a pruning; None where nothing was measured.

    Args:
        blocks: all blocks of the original, in running order.
        table: the same figures as a table.
    """
    contributions = [block.contribution for block in blocks if block.contribution is not None]
    if not contributions and all(finite(block.step_heldout) is None for block in blocks):
        return None
    counts = Counter(block.decision for block in blocks)
    decisions = ", ".join(f"{counts[kind]} {kind}" for kind in Decision if counts[kind])
    names = unique_names(
        [f"{block.name} (removed)" if block.removed else block.name for block in blocks]
    )
    return NeedFigure(
        name="need",
        title="What each block shows, and what it is needed for",
        caption=(
            f"Circles show the step of each block on held-out data: what becomes visible. Bars "
            f"show by how much cross-entropy rises if this block alone is left out, before "
            f"anything is repaired. Both are in nats, with 95 % intervals. Proposals: {decisions}."
        ),
        table=table,
        rows=tuple(
            _row(name, block, block.decision) for name, block in zip(names, blocks, strict=True)
        ),
        quantity="cross-entropy",
    )


def _row(name: str, block: LayerReport | BlockProposal, kind: Verdict | Decision) -> NeedRow:
    effect = decisive_effect(block.contribution)
    return NeedRow(
        name,
        finite(block.step_heldout),
        *interval_ends(block.step_heldout_interval),
        None if effect is None else finite(effect.value),
        *interval_ends(None if effect is None else effect.interval),
        str(kind),
    )


def _table(names: Sequence[str], layers: Sequence[LayerReport]) -> TableView:
    numeric = ("held-out step", "95 % of the step", "contribution", "95 % of it", "points")
    rows = []
    for name, layer in zip(names, layers, strict=True):
        contribution = layer.contribution
        effect = decisive_effect(contribution)
        accuracy = None if contribution is None else contribution.accuracy
        rows.append(
            (
                name,
                number(layer.step_heldout),
                interval_text(layer.step_heldout_interval),
                number(None if effect is None else effect.value),
                interval_text(None if effect is None else effect.interval),
                number(None if accuracy is None else 100 * accuracy.value, 1),
                layer.contribution_reason if contribution is None else contribution.stand_in,
                str(layer.verdict),
            )
        )
    columns = ("block", *numeric, "in its place", "verdict")
    return TableView("What is shown and what is needed", columns, tuple(rows), frozenset(numeric))
