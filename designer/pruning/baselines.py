"""What honesty asks for beside a pruned network: one of its size from scratch, and greedy ablation.

Greedy ablation removes, again and again, the block without which validation accuracy is best
after one epoch of recovery: the standard to compare with, at many times the cost.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import nn

from designer.analysis.passes import PassProgress
from designer.errors import ModelError, TrialFailed
from designer.models.surgery import Removal, remove, resize
from designer.pruning.cut import cut
from designer.pruning.evaluation import correct_mask
from designer.pruning.options import RecoveryOptions
from designer.pruning.recover import recover
from designer.pruning.removable import Removable
from designer.pruning.splits import Splits
from designer.training.trainer import Schedule, build_seeded, train

GREEDY_EPOCHS = 1


@dataclass(frozen=True, eq=False)
class Greedy:
    """What greedy ablation leaves."""

    model: nn.Module
    names: tuple[str, ...]


def from_scratch(
    smaller: nn.Module,
    removals: Sequence[Removal],
    parts: Splits,
    how: RecoveryOptions,
    epochs: int,
    build: Callable[[int], nn.Module] | None,
    progress: PassProgress,
) -> nn.Module:
    """A network of the same structure and size with fresh weights, fully trained."""
    device = parts.train.inputs.device

    def make() -> nn.Module:
        if build is None:
            return reset(smaller)
        made = build(how.seed)
        trained = _are_the_same(made, build(how.seed + 1))
        remove(made, removals)
        resize(made, {name: tensor.shape for name, tensor in smaller.state_dict().items()})
        return reset(made) if trained else made

    model = build_seeded(make, how.seed, device).float()
    with suppress(TrialFailed):  # where it diverges, that is what it is worth
        train(
            model,
            parts.train,
            epochs=epochs,
            learning_rate=how.learning_rate,
            seed=how.seed,
            schedule=Schedule.STEP,
            batch_size=how.batch_size,
            on_epoch=lambda epoch, _: progress("from scratch", epoch, epochs),
        )
    return model.eval()


def _are_the_same(one: nn.Module, other: nn.Module) -> bool:
    """Whether most of the weights do not depend on the seed: whoever builds them loads them."""
    same = everything = 0
    for p, q in zip(one.parameters(), other.parameters(), strict=False):
        if p.numel() > 1 and not torch.equal(p, p.flatten()[:1].expand_as(p)):  # drawn or loaded
            everything += p.numel()
            same += p.numel() if torch.equal(p, q) else 0
    return 2 * same > everything


def reset(model: nn.Module) -> nn.Module:
    """A copy with fresh weights: every layer's own initial ones; parameters outside of layers are
    drawn with the spread that they have."""
    fresh = copy.deepcopy(model)
    covered: set[nn.Parameter] = set()
    for module in fresh.modules():
        again = getattr(module, "reset_parameters", None) or getattr(
            module, "_reset_parameters", None
        )
        if callable(again):
            again()
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
    parts: Splits,
    how: RecoveryOptions,
    progress: PassProgress,
) -> tuple[Greedy, int]:
    """Remove ``count`` blocks greedily, then recover; with the epochs of all of that."""
    quick = replace(how, epochs=min(GREEDY_EPOCHS, how.epochs))
    order, epochs = greedy_order(model, pool, count, parts, quick, progress)
    blocks = [one for one in pool if one in order]
    final = cut(model, blocks, parts.train, fit=False).model
    epochs += recover(final, parts, how, model, progress)
    return Greedy(final, tuple(one.name for one in blocks)), epochs


def greedy_order(
    model: nn.Module,
    pool: Sequence[Removable],
    count: int,
    parts: Splits,
    how: RecoveryOptions,
    progress: PassProgress,
) -> tuple[list[Removable], int]:
    """Blocks in the order in which they are missed least, each time after trying all that are
    left with a recovery; with the epochs of all of them."""
    order: list[Removable] = []
    epochs, tried, total = 0, 0, sum(len(pool) - i for i in range(count))
    for _ in range(count):
        scores: dict[int, float] = {}
        for i, one in enumerate(pool):
            if one in order:
                continue
            tried += 1
            try:
                made = cut(model, [*order, one], parts.train, fit=False).model
            except ModelError:  # it cannot go together with those that are gone
                scores[i] = -1.0
                continue
            epochs += recover(made, parts, how, model)
            scores[i] = float(correct_mask(made, parts.validation).float().mean())
            progress("greedy ablation", tried, total)
        best = max(scores, key=lambda i: (scores[i], i))
        if scores[best] < 0:
            break
        order.append(pool[best])
    return order, epochs
