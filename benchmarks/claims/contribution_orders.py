"""The orders in which blocks go: by every criterion, at random, and by greedy ablation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.claim import Figures
from benchmarks.claims.contribution_criteria import RULERS, profile_of
from benchmarks.claims.contribution_networks import NetworkTask, Subject, subject_of
from benchmarks.claims.small_networks import FAMILIES, counting, ignore
from designer.choices import Criterion
from designer.pruning.baselines import greedy_order
from designer.pruning.options import RecoveryOptions
from designer.pruning.propose import propose

OURS = "contribution"
"""Contribution, measured again after each removal."""

BLOCK_INFLUENCE, HELDOUT = str(Criterion.BLOCK_INFLUENCE), str(Criterion.HELDOUT)

GREEDY = "greedy ablation"
"""Again and again the block goes without which validation accuracy is best after recovery."""

ONCE = {
    **{ruler: f"{ruler}, once" for ruler in RULERS},
    "gate gradient": "gate gradient",
    "signed gate gradient": "signed gate gradient",
    "parameter norm": "parameter norm",
    "saturation": "saturation",
}
"""Orders by a value that is measured once, by criterion."""

STEPS = (Criterion.HELDOUT, Criterion.TRAIN)
"""Criteria that a profile of the separation gives."""

ORDERS = (
    *(str(c) for c in Criterion if c not in {Criterion.BEST, Criterion.RANDOM}),
    GREEDY,
    *ONCE.values(),
)
"""All orders but random ones."""

SLOW = (Criterion.ABLATION,)
"""Criteria that fit layers once per block, which takes too long in a pretrained network."""

LARGE = 20
"""From this number of blocks on, fixed numbers go, otherwise a third and a half."""

COUNTS = (2, 4, 8, 12)

PUBLISHED_COUNTS = (9, 13, 16)
"""Numbers of blocks of a ResNet-56 that are about 35, 50 and 60 % of its operations."""


@dataclass(frozen=True)
class OrderJob:
    """An order to find."""

    task: NetworkTask
    order: str
    """The name of a criterion of the product, or ``GREEDY``."""


def counts_of(blocks: int) -> tuple[int, ...]:
    """Return how many of a network's blocks are removed."""
    if blocks >= LARGE:
        return COUNTS
    return tuple(dict.fromkeys(max(1, round(blocks / share)) for share in (3, 2)))


def order_names(task: NetworkTask) -> list[str]:
    """Return the orders that take measuring or training of their own."""
    alone = (Criterion.BEST, Criterion.RANDOM, *(SLOW if task.pretrained else ()))
    names = [str(criterion) for criterion in Criterion if criterion not in alone]
    return [*names, GREEDY] if task.family == "plain MLP" else names


def order_of(job: OrderJob) -> Figures:
    """Return the names of the first blocks of an order, and what it took to find them.

    That is in seconds, and in passes of as many samples as there are to train on through the whole
    network, a training step counted as three.
    """
    subject = subject_of(job.task)
    if job.order not in STEPS:
        profile_of(job.task)  # what a proposal shows beside the order is no part of its cost
    started = time.perf_counter()
    with counting() as counted:
        names = _greedy(subject) if job.order == GREEDY else _proposed(subject, job.order)
    return {
        "blocks": names,
        "seconds": round(time.perf_counter() - started, 1),
        "passes": round(counted[0] / len(subject.splits.train), 1),
    }


def _proposed(subject: Subject, criterion: str) -> list[str]:
    proposal = propose(
        subject.model,
        subject.removables,
        subject.splits,
        Criterion(criterion),
        blocks=None,
        seed=subject.task.seed,
        progress=ignore,
        known_profile=None if criterion in STEPS else profile_of(subject.task),
    )
    return [block.name for block in proposal.order]


def _greedy(subject: Subject) -> list[str]:
    family = FAMILIES[subject.task.family]
    recovery = RecoveryOptions(
        epochs=family.greedy_epochs, learning_rate=family.learning_rate, seed=subject.task.seed
    )
    pool = subject.pool
    blocks, _ = greedy_order(
        subject.model, pool, max(counts_of(len(pool))), subject.splits, recovery, ignore
    )
    return [block.name for block in blocks]


def orders_by_value(criteria: Figures) -> dict[str, list[str]]:
    """Return the orders by values that are measured once, from what ``criteria_of`` returns."""
    values = criteria["values"]
    return {
        order: least_first(criteria["blocks"], values[name])
        for name, order in ONCE.items()
        if name in values
    }


def least_first(names: Sequence[str], values: Sequence[float | None]) -> list[str]:
    """Return names by rising value; of equal ones the later first, those without a value last."""
    keys = [np.inf if value is None else value for value in values]
    return [names[i] for i in sorted(range(len(names)), key=lambda i: (keys[i], -i))]


def random_orders(names: Sequence[str], choices: int) -> list[list[str]]:
    """Return orders drawn at random, the same ones every time."""
    return [
        [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
        for seed in range(choices)
    ]
