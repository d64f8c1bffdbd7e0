"""What a pruned network is compared with: the same size from scratch, and greedy ablation.

Greedy ablation removes, again and again, the block without which validation accuracy, or for a
language model cross-entropy, is best after one epoch of recovery.  It is the standard to compare
with, at many times the cost.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from designer.analysis.passes import PassProgress
from designer.errors import ModelError, TrialFailed
from designer.models.surgery import Removal, remove, resize
from designer.pruning.cut import cut
from designer.pruning.evaluation import kind_of
from designer.pruning.options import RecoveryOptions
from designer.pruning.quality import quality_of
from designer.pruning.recover import recover
from designer.pruning.removable import Removable
from designer.pruning.splits import Splits
from designer.pruning.training_output import giving_logits
from designer.training.trainer import Schedule, build_seeded, train

if TYPE_CHECKING:
    from designer.pruning.options import Build

GREEDY_EPOCHS = 1
"""Epochs of recovery in each trial of greedy ablation."""

IMPOSSIBLE = (-math.inf, -math.inf)
"""The score of a removal that cannot be made."""


@dataclass(frozen=True, eq=False)
class Greedy:
    """What greedy ablation leaves."""

    model: nn.Module
    """The smaller network, recovered."""
    names: tuple[str, ...]
    """Names of the removed blocks, in running order."""


def from_scratch(
    smaller: nn.Module,
    removals: Sequence[Removal],
    splits: Splits,
    recovery: RecoveryOptions,
    epochs: int,
    build: Build | None,
    progress: PassProgress,
) -> nn.Module:
    """Return a network of the same structure and size with fresh weights, fully trained.

    Args:
        smaller: the pruned network; gives structure and shapes.
        removals: what was removed from the original.
        splits: the network is trained on the training data.
        recovery: how it is trained: learning rate, batch size and seed.
        epochs: how long it is trained; if it diverges, it is returned as it is then.
        build: builds the original anew for a seed; None to reset the layers of ``smaller``.
        progress: called after every epoch.
    """
    device = splits.train.device

    def untrained() -> nn.Module:
        if build is None:
            return reset(smaller)
        return _built_like(smaller, removals, build, recovery.seed)

    model = build_seeded(untrained, recovery.seed, device).float()
    for parameter in model.parameters():  # what is frozen in the original would stay random here
        parameter.requires_grad_(parameter.is_floating_point())
    # if it diverges, it is compared as it is
    with giving_logits(model, splits.train), suppress(TrialFailed):
        train(
            model,
            splits.train,
            epochs=epochs,
            learning_rate=recovery.learning_rate,
            seed=recovery.seed,
            schedule=Schedule.STEP,
            batch_size=recovery.batch_size,
            output_kind=kind_of(model, splits.train),
            on_epoch=lambda epoch, _: progress("from scratch", epoch, epochs),
        )
    return model.eval()


def _built_like(
    smaller: nn.Module, removals: Sequence[Removal], build: Build, seed: int
) -> nn.Module:
    """Build the original anew and give it the structure of the smaller network."""
    model = build(seed)
    loads_weights = _have_same_weights(model, build(seed + 1))
    remove(model, removals)
    resize(model, {name: tensor.shape for name, tensor in smaller.state_dict().items()})
    return reset(model) if loads_weights else model


def _have_same_weights(first: nn.Module, second: nn.Module) -> bool:
    """Return True if most weights do not depend on the seed, because they come from a file."""
    same = everything = 0
    for p, q in zip(first.parameters(), second.parameters(), strict=False):
        # constants, such as the ones of a norm, are neither drawn nor loaded
        if p.numel() > 1 and not torch.equal(p, p.flatten()[:1].expand_as(p)):
            everything += p.numel()
            same += p.numel() if torch.equal(p, q) else 0
    return 2 * same > everything


def reset(model: nn.Module) -> nn.Module:
    """Return a copy with fresh weights.

    Layers draw their own initial weights. Parameters outside of layers, which do not say how they
    begin, are drawn from a normal distribution with the spread that they have.
    """
    fresh = copy.deepcopy(model)
    covered: set[nn.Parameter] = set()
    for module in fresh.modules():
        draw = getattr(module, "reset_parameters", None) or getattr(
            module, "_reset_parameters", None
        )
        if callable(draw):
            draw()
            covered |= set(module.parameters(recurse=False))
    for parameter in fresh.parameters():
        if parameter not in covered and parameter.numel() > 1:
            with torch.no_grad():
                parameter.normal_(std=float(parameter.std()))
    return fresh


def greedy(
    model: nn.Module,
    pool: Sequence[Removable],
    count: int,
    splits: Splits,
    recovery: RecoveryOptions,
    progress: PassProgress,
) -> tuple[Greedy, int]:
    """Remove blocks greedily, then recover.

    Args:
        model: the original network; left as it was.
        pool: the blocks that can go, in running order.
        count: how many to remove; fewer go if no more can go together.
        splits: networks are trained on the training data and judged on the validation data.
        recovery: how to train what is left at the end; trials are shorter.
        progress: called after every trial and every epoch.

    Returns:
        What is left, and the epochs of all trials and of the recovery.
    """
    quick = replace(recovery, epochs=min(GREEDY_EPOCHS, recovery.epochs))
    order, epochs = greedy_order(model, pool, count, splits, quick, progress)
    blocks = [block for block in pool if block in order]
    final = cut(model, blocks, splits.train, fit=False).model
    epochs += recover(final, splits, recovery, model, progress)
    return Greedy(final, tuple(block.name for block in blocks)), epochs


def greedy_order(
    model: nn.Module,
    pool: Sequence[Removable],
    count: int,
    splits: Splits,
    recovery: RecoveryOptions,
    progress: PassProgress,
) -> tuple[list[Removable], int]:
    """Return blocks in the order in which greedy ablation removes them.

    At each step every remaining block is tried, and each trial includes a recovery.

    Args:
        model: the original network; left as it was.
        pool: the blocks that can go, in running order.
        count: how many to choose; fewer are chosen if no more can go together.
        splits: networks are trained on the training data and judged on the validation data.
        recovery: how to train after each trial.
        progress: called after every trial.

    Returns:
        The blocks, and the epochs of all recoveries.
    """
    order: list[Removable] = []
    epochs, tried, total = 0, 0, sum(len(pool) - i for i in range(count))
    for _ in range(count):
        scores: dict[int, tuple[float, float]] = {}
        for i, block in enumerate(pool):
            if block in order:
                continue
            tried += 1
            try:
                smaller = cut(model, [*order, block], splits.train, fit=False).model
            except ModelError:  # it cannot go together with those that are gone
                scores[i] = IMPOSSIBLE
                continue
            epochs += recover(smaller, splits, recovery, model)
            quality = quality_of(smaller, splits.validation, language=splits.language)
            scores[i] = quality.score if splits.language else (quality.accuracy, 0.0)
            progress("greedy ablation", tried, total)
        best = max(scores, key=lambda i: (scores[i], i))
        if scores[best] == IMPOSSIBLE:
            break
        order.append(pool[best])
    return order, epochs
