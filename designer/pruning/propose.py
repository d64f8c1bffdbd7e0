"""Propose which blocks to remove first, and say how sure that is.

A criterion gives the order (see ``criteria``).  The decision on each block comes from the interval
of its held-out step: the block is safe to remove if the whole interval is small, to be kept if the
whole interval is large, and doubtful otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from designer.analysis.advice import layer_reports
from designer.analysis.passes import PassProgress
from designer.analysis.profile import profile
from designer.choices import Criterion
from designer.pruning.criteria import Evidence, Ranking, rank_blocks
from designer.pruning.removable import Removable
from designer.pruning.splits import Splits
from designer.results.layers import LayerReport
from designer.results.measured import LOW_SHARE, SeparationProfile, measured
from designer.results.pruning import BlockProposal, Decision


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

    Raises:
        ValueError: if the criterion gives no order.
    """
    measurement = known_profile or profile(
        model,
        splits.train,
        splits.validation,
        blocks,
        permutations=0,
        seed=seed,
        progress=progress,
    )
    layers = layer_reports([measurement])
    evidence = Evidence(model, removables, layers, splits, blocks, seed, progress)
    ranking = rank_blocks(criterion, evidence)
    return Proposal(
        tuple(_block_proposals(evidence, ranking)),
        tuple(removables[i] for i in ranking.order),
        measurement,
        criterion,
    )


def _block_proposals(evidence: Evidence, ranking: Ranking) -> list[BlockProposal]:
    orders = {i: order for order, i in enumerate(ranking.order, start=1)}
    bound = LOW_SHARE * _mean_step(evidence.layers)
    return [
        BlockProposal(
            name=block.name,
            kind=block.kind,
            decision=_decision(block, layer, bound),
            order=orders.get(i),
            value=measured(ranking.values[i]),
            step=layer.step,
            step_heldout=layer.step_heldout,
            step_heldout_interval=layer.step_heldout_interval,
            removed=False,
            reason=block.reason,
        )
        for i, (block, layer) in enumerate(zip(evidence.removables, evidence.layers, strict=True))
    ]


def _mean_step(layers: Sequence[LayerReport]) -> float:
    """Return the mean held-out step; 0 if it is negative, or no step was measured."""
    steps = [layer.step_heldout for layer in layers if layer.step_heldout is not None]
    return max(sum(steps) / len(steps), 0.0) if steps else 0.0


def _decision(block: Removable, layer: LayerReport, bound: float) -> Decision:
    """Decide by the interval of the held-out step.

    ``bound`` is ``LOW_SHARE`` times the mean step: below it a block contributes too little. A block
    is to be kept if all of its interval is above the mean step.
    """
    if not block.can_go:
        return Decision.FIXED
    if layer.step_heldout_interval is None:
        return Decision.DOUBTFUL
    low, high = layer.step_heldout_interval
    if high < bound:
        return Decision.SAFE
    return Decision.KEEP if low > bound / LOW_SHARE else Decision.DOUBTFUL
