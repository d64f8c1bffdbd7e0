"""Propose which blocks to remove first, and say how sure that is.

A criterion gives the order (see ``criteria``).  The decision on each block comes from its
contribution to the original network: the block is safe to remove if it is idle, to be kept if it is
surely needed, and doubtful otherwise (see ``analysis.need``).  That is about the block alone and
about the network as it is: of many needed blocks, some can go if what is left is repaired.  A block
in whose place a fitted map was measured is doubtful, too, if no layer behind it can be fitted, as
nothing can do then what the map did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from designer.analysis.advice import layer_reports
from designer.analysis.need import FITTED, is_idle
from designer.analysis.passes import PassProgress
from designer.analysis.profile import profile
from designer.choices import Criterion
from designer.pruning.criteria import Evidence, Ranking, rank_blocks
from designer.pruning.removable import Removable
from designer.pruning.splits import Splits
from designer.results.contribution import BlockContribution, Contribution
from designer.results.measured import SeparationProfile, measured
from designer.results.pruning import BlockProposal, Decision

NOT_MEASURED = BlockContribution("", "", None, "It was not measured.")
"""Stands for the contribution of a block where none was measured."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """All blocks of a model, and the order in which those that can go are removed."""

    blocks: tuple[BlockProposal, ...]
    """What is proposed for each block, in running order."""
    order: tuple[Removable, ...]
    """Blocks that can go, the least missed first."""
    profile: SeparationProfile
    """What was measured of the original network."""
    criterion: Criterion
    """What gave the order."""

    def begins_with(self, names: Sequence[str]) -> bool:
        """Return True if these names are those of the first blocks of the order, in any order."""
        return {block.name for block in self.order[: len(names)]} == set(names)


def propose(
    model: nn.Module,
    removables: Sequence[Removable],
    splits: Splits,
    criterion: Criterion,
    *,
    blocks: Sequence[str] | None,
    seed: int,
    progress: PassProgress,
    known_profile: SeparationProfile | None = None,
    contributions: Sequence[BlockContribution] = (),
    count: int | None = None,
) -> Proposal:
    """Return the blocks of a model in the order in which a criterion removes them.

    Args:
        model: unwrapped, in eval mode; left as it was.
        removables: its blocks in running order.
        splits: the data to measure it with.
        criterion: what gives the order; any but ``Criterion.BEST``.
        blocks: names of submodules; None if blocks are found.
        seed: seed of the resamples, and of the random criterion.
        progress: called while the model is measured.
        known_profile: what another proposal measured of the same model; None to measure it.
        contributions: what each block contributes, in running order; empty if not measured.
        count: how many blocks will go; None if that is open.

    Raises:
        ValueError: if the criterion gives no order.
    """
    measurement = known_profile or profile(
        model,
        splits.train,
        splits.validation,
        blocks,
        measure=splits.measure,
        permutations=0,
        seed=seed,
        progress=progress,
    )
    layers = layer_reports([measurement])
    evidence = Evidence(model, removables, layers, splits, blocks, seed, progress, count)
    ranking = rank_blocks(criterion, evidence)
    return Proposal(
        tuple(_block_proposals(evidence, ranking, contributions)),
        tuple(removables[i] for i in ranking.order),
        measurement,
        criterion,
    )


def _block_proposals(
    evidence: Evidence, ranking: Ranking, contributions: Sequence[BlockContribution]
) -> list[BlockProposal]:
    orders = {i: order for order, i in enumerate(ranking.order, start=1)}
    records = contributions or [NOT_MEASURED] * len(evidence.removables)
    return [
        BlockProposal(
            name=block.name,
            kind=block.kind,
            decision=_decision(block, record.contribution),
            order=orders.get(i),
            value=measured(ranking.values[i]),
            step=layer.step,
            step_heldout=layer.step_heldout,
            step_heldout_interval=layer.step_heldout_interval,
            removed=False,
            reason=block.reason,
            contribution=record.contribution,
            contribution_reason=record.reason,
        )
        for i, (block, layer, record) in enumerate(
            zip(evidence.removables, evidence.layers, records, strict=True)
        )
    ]


def _decision(block: Removable, contribution: Contribution | None) -> Decision:
    if not block.can_go:
        return Decision.FIXED
    if contribution is None:
        return Decision.DOUBTFUL
    if contribution.needed:
        return Decision.KEEP
    replaceable = contribution.stand_in not in FITTED or bool(block.fits)
    return Decision.SAFE if replaceable and is_idle(contribution) else Decision.DOUBTFUL
