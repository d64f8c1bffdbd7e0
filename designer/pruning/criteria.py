"""The criteria that say which blocks go first.

Each criterion is one function in the table ``CRITERIA``: it looks at the evidence and returns a
``Ranking``.  Most measure every block once and let the least value go first (``least_first``).
Contribution is measured again after every removal and gives the order by itself (see
``contribution_order``).  To add a criterion: name it in ``designer.choices.Criterion``, write the
function, and enter it into the table.

Steps say what becomes visible behind a block, not what later blocks need, so they are no guide in
residual networks.  In plain networks held-out steps are a good one; steps on training data are not,
since the last blocks take the largest by collapsing what is already classified.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from designer.analysis.passes import PassProgress
from designer.choices import Criterion, Reduction
from designer.data.dataset import LabelledTensors
from designer.measures.features import Reducer
from designer.probing.calling import token_mask
from designer.probing.probes import probing
from designer.pruning.contribution_order import order_by_contribution
from designer.pruning.cut import cut
from designer.pruning.evaluation import mean_loss
from designer.pruning.removable import Removable
from designer.pruning.splits import Splits
from designer.results.layers import LayerReport

INFLUENCE_BATCH = 512


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a criterion may look at."""

    model: nn.Module
    """The original network, unwrapped, in eval mode; to be left as it is."""
    removables: Sequence[Removable]
    """All its blocks in running order, also those that must stay."""
    layers: Sequence[LayerReport]
    """What was measured of each block, in the same order."""
    splits: Splits
    """The data; criteria look at training and validation data only."""
    blocks: Sequence[str] | None
    """The names that the caller asked for; None if blocks are found."""
    seed: int
    """Seed of everything random."""
    progress: PassProgress
    """Called while the criterion is measured."""
    count: int | None = None
    """How many blocks will go, so that only their order matters; None if that is open."""


@dataclass(frozen=True)
class Ranking:
    """Which blocks go first, according to a criterion."""

    values: tuple[float, ...]
    """The criterion's value per block, in running order; infinite where it has none."""
    order: tuple[int, ...]
    """Places in running order of the blocks that can go, the least missed first."""


Rank = Callable[[Evidence], Ranking]
"""A criterion."""


BlockValues = Callable[[Evidence], Sequence[float | None]]
"""A value per block in running order; the block with the least is missed least."""


def rank_blocks(criterion: Criterion, evidence: Evidence) -> Ranking:
    """Return the ranking of a model's blocks by a criterion.

    Raises:
        ValueError: for ``Criterion.BEST``, which stands for several, see ``criteria_of``.
    """
    if criterion not in CRITERIA:
        raise ValueError(f"criterion '{criterion}' gives no order")
    return CRITERIA[criterion](evidence)


def criteria_of(criterion: Criterion) -> tuple[Criterion, ...]:
    """Return the criteria that are measured for an option: itself, or all that ``best`` tries."""
    return BEST_OF if criterion is Criterion.BEST else (criterion,)


def least_first(values_of: BlockValues) -> Rank:
    """Return the criterion that measures each block once and lets the least value go first.

    Blocks without a value (None or nan) go last; of equal ones the later block goes first.
    """

    def rank(evidence: Evidence) -> Ranking:
        values = [
            math.inf if value is None or math.isnan(value) else value
            for value in values_of(evidence)
        ]
        places = [i for i, block in enumerate(evidence.removables) if block.can_go]
        return Ranking(tuple(values), tuple(sorted(places, key=lambda i: (values[i], -i))))

    return rank


def heldout_steps(evidence: Evidence) -> Sequence[float | None]:
    """Return by how much each block lowers log D on held-out data (cross-fitted)."""
    return [layer.step_heldout for layer in evidence.layers]


def training_steps(evidence: Evidence) -> Sequence[float | None]:
    """Return by how much each block lowers log D on training data."""
    return [layer.step for layer in evidence.layers]


def heldout_influences(evidence: Evidence) -> Sequence[float | None]:
    """Return the Block Influence of each block on validation data."""
    return block_influence(evidence.model, evidence.splits.validation, evidence.blocks)


def losses_without(evidence: Evidence) -> Sequence[float | None]:
    """Return the validation loss without each block, in nats, after fitting what follows.

    It is None for a block that must stay.
    """
    validation = evidence.splits.validation
    losses: list[float | None] = []
    for done, block in enumerate(evidence.removables, start=1):
        if not block.can_go:
            losses.append(None)
            continue
        smaller = cut(evidence.model, [block], evidence.splits.train).model
        evidence.progress("ablation", done, len(evidence.removables))
        losses.append(mean_loss(smaller, validation))
    return losses


def places_from_the_end(evidence: Evidence) -> Sequence[float | None]:
    """Return values that let the last block go first."""
    return [-float(i) for i in range(len(evidence.removables))]


def random_places(evidence: Evidence) -> Sequence[float | None]:
    """Return a random order that depends on the seed only."""
    generator = np.random.default_rng(evidence.seed)
    return [float(place) for place in generator.permutation(len(evidence.removables))]


def contributions_anew(evidence: Evidence) -> Ranking:
    """Return the order by contribution, which is measured again after each removal.

    The values are those of the whole network, in nats.
    """
    result = order_by_contribution(
        evidence.model,
        evidence.removables,
        evidence.splits,
        evidence.blocks,
        seed=evidence.seed,
        count=evidence.count,
        progress=evidence.progress,
    )
    return Ranking(result.rises, result.order)


CRITERIA: dict[Criterion, Rank] = {
    Criterion.CONTRIBUTION: contributions_anew,
    Criterion.HELDOUT: least_first(heldout_steps),
    Criterion.TRAIN: least_first(training_steps),
    Criterion.BLOCK_INFLUENCE: least_first(heldout_influences),
    Criterion.ABLATION: least_first(losses_without),
    Criterion.LAST: least_first(places_from_the_end),
    Criterion.RANDOM: least_first(random_places),
}
"""Every criterion that gives an order of blocks."""


BEST_OF = (Criterion.CONTRIBUTION, Criterion.HELDOUT, Criterion.BLOCK_INFLUENCE)
"""What ``Criterion.BEST`` tries, the first of equals wins."""


@torch.no_grad()
def block_influence(
    model: nn.Module, data: LabelledTensors, blocks: Sequence[str] | None = None
) -> list[float]:
    """Return 1 - mean cosine of what each block receives and gives.

    The cosine is taken per sample; in its source per token: Men et al., "ShortGPT: Layers in large
    language models are more redundant than you expect", 2024.

    Args:
        model: unwrapped, in eval mode; left as it was.
        data: at least one sample. Padding does not count.
        blocks: names of submodules; by default those that ``designer.profile`` takes.

    Returns:
        A value from 0 to 2 per block, in running order; nan if the shapes differ.
    """
    sums: list[float] = []
    flatten = Reducer(Reduction.FLATTEN)
    with probing(model, blocks) as probe:
        for inputs, _ in data.batches(INFLUENCE_BATCH):
            mask = token_mask(inputs)
            flat = [flatten(tap, mask) for tap in probe.features(inputs)]
            influences = [
                float((1 - functional.cosine_similarity(a, b)).sum())
                if a.shape == b.shape
                else math.nan
                for a, b in pairwise(flat)
            ]
            sums = [a + b for a, b in zip(sums or [0.0] * len(influences), influences, strict=True)]
    return [total / len(data) for total in sums]
