"""Which blocks to remove first, and how sure that is.

The steps on held-out data say it, with class means and directions from training data: steps on
training data are the wrong guide in plain networks, whose last blocks take the largest steps by
collapsing what is already classified.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from designer.analysis.advice import layer_reports
from designer.analysis.passes import PassProgress
from designer.analysis.profile import profile
from designer.choices import Criterion
from designer.probing.probes import probing
from designer.pruning.cut import cut
from designer.pruning.evaluation import mean_loss
from designer.pruning.removable import Removable
from designer.pruning.splits import Splits
from designer.results.layers import LayerReport
from designer.results.measured import LOW_SHARE, SeparationProfile, measured
from designer.results.pruning import BlockProposal, Decision

INFLUENCE_BATCH = 512


@dataclass(frozen=True, eq=False)
class Proposal:
    """All blocks, and those that can go with the least missed first."""

    blocks: tuple[BlockProposal, ...]
    order: tuple[Removable, ...]
    seen: SeparationProfile
    """The whole network."""
    criterion: Criterion

    def begins_with(self, names: Sequence[str]) -> bool:
        """Whether these are the blocks at the front of the order."""
        return {one.name for one in self.order[: len(names)]} == set(names)


def propose(
    model: nn.Module,
    found: Sequence[Removable],
    parts: Splits,
    criterion: Criterion,
    *,
    blocks: Sequence[str] | None,
    seed: int,
    progress: PassProgress,
    seen: SeparationProfile | None = None,
) -> Proposal:
    """Rank the blocks of a model.

    Args:
        model: unwrapped, in eval mode; left as it was.
        found: its blocks in running order.
        parts: to look at it with.
        criterion: which blocks go first; one that gives an order.
        blocks: names of the blocks, see ``designer.profile``.
        seed: of resamples, and of the random criterion.
        progress: called while the model is looked at.
        seen: the profile of another proposal for the same model, instead of looking again.
    """
    seen = seen or profile(
        model,
        parts.train,
        parts.validation,
        blocks,
        permutations=0,
        seed=seed,
        progress=progress,
    )
    layers = layer_reports([seen])
    values = _values(criterion, model, found, layers, parts, blocks, seed, progress)
    ranked = sorted((i for i, one in enumerate(found) if one.can_go), key=lambda i: (values[i], -i))
    places = {i: place for place, i in enumerate(ranked, start=1)}
    bound = LOW_SHARE * _mean_step(layers)
    proposed = tuple(
        BlockProposal(
            name=one.name,
            kind=one.kind,
            decision=_decision(one, layer, bound),
            order=places.get(i),
            value=measured(values[i]),
            step=layer.step,
            step_heldout=layer.step_heldout,
            step_heldout_interval=layer.step_heldout_interval,
            removed=False,
            reason=one.reason,
        )
        for i, (one, layer) in enumerate(zip(found, layers, strict=True))
    )
    return Proposal(proposed, tuple(found[i] for i in ranked), seen, criterion)


def _values(
    criterion: Criterion,
    model: nn.Module,
    found: Sequence[Removable],
    layers: Sequence[LayerReport],
    parts: Splits,
    blocks: Sequence[str] | None,
    seed: int,
    progress: PassProgress,
) -> list[float]:
    """Per block what the criterion says; the least goes first, nan last."""
    count = len(found)
    if criterion is Criterion.HELDOUT:
        values = [layer.step_heldout for layer in layers]
    elif criterion is Criterion.TRAIN:
        values = [layer.step for layer in layers]
    elif criterion is Criterion.BLOCK_INFLUENCE:
        values = list(block_influence(model, parts.validation.inputs, blocks))
    elif criterion is Criterion.ABLATION:
        values = [
            _loss_without(model, one, parts, i, count, progress) if one.can_go else None
            for i, one in enumerate(found)
        ]
    elif criterion is Criterion.LAST:
        values = [-float(i) for i in range(count)]
    elif criterion is Criterion.RANDOM:
        values = np.random.default_rng(seed).permutation(count).astype(float).tolist()
    else:
        raise ValueError(f"criterion '{criterion}' gives no order")
    return [math.inf if v is None or math.isnan(v) else v for v in values]


@torch.no_grad()
def block_influence(
    model: nn.Module, inputs: Tensor, blocks: Sequence[str] | None = None
) -> list[float]:
    """1 - mean cosine of what each block receives and gives; nan where their shapes differ.

    Of "ShortGPT: Layers in large language models are more redundant than you expect" (Men et al.,
    2024), there per token, here per sample.
    """
    sums: list[float] = []
    with probing(model, blocks) as probe:
        for batch in torch.split(inputs, INFLUENCE_BATCH):
            first, *rest = probe.features(batch)
            flat = [first, *(tap.flatten(1) for tap in rest)]
            influences = [
                float((1 - functional.cosine_similarity(a, b)).sum())
                if a.shape == b.shape
                else math.nan
                for a, b in pairwise(flat)
            ]
            sums = [a + b for a, b in zip(sums or [0.0] * len(influences), influences, strict=True)]
    return [total / len(inputs) for total in sums]


def _loss_without(
    model: nn.Module, one: Removable, parts: Splits, done: int, count: int, progress: PassProgress
) -> float:
    smaller = cut(model, [one], parts.train).model
    progress("ablation", done + 1, count)
    return mean_loss(smaller, parts.validation.inputs, parts.validation.labels)


def _mean_step(layers: Sequence[LayerReport]) -> float:
    """Of the held-out steps."""
    steps = [layer.step_heldout for layer in layers if layer.step_heldout is not None]
    return max(sum(steps) / len(steps), 0.0) if steps else 0.0


def _decision(one: Removable, layer: LayerReport, bound: float) -> Decision:
    """Safe where the whole interval of the held-out step is below ``bound``, to be kept where all
    of it is above twice that, the mean step."""
    if not one.can_go:
        return Decision.FIXED
    if layer.step_heldout_interval is None:
        return Decision.DOUBTFUL
    low, high = layer.step_heldout_interval
    if high < bound:
        return Decision.SAFE
    return Decision.KEEP if low > bound / LOW_SHARE else Decision.DOUBTFUL
