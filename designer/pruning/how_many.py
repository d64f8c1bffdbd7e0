"""Decide how many blocks go: as many as accuracy allows, or as a size asks for.

Blocks go in the order of a proposal, or in the better of several orders, so only their number is
searched for.  A first guess needs no training: it is the largest number of blocks for which it is
enough to fit again what follows them.  The guess is close in plain networks and too low in residual
ones.  That many blocks are removed, and the network is trained and judged; then more blocks are
tried if it is good enough, or fewer if not, by bisection.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from torch import nn

from designer.errors import InvalidInputError, ModelError
from designer.pruning.cut import cut
from designer.pruning.removable import Removable
from designer.pruning.removal_trials import PrunedCandidate, RemovalTrials
from designer.pruning.splits import Splits

SHAPE_SAMPLES = 64
"""Training samples to cut with where only shapes matter."""


def most_within(
    orders: Sequence[Sequence[Removable]], trials: RemovalTrials
) -> PrunedCandidate | None:
    """Return the smallest network that stays within ``max_drop``; None if no block may go.

    Args:
        orders: one or several orders of the same blocks; for each number the better one is taken.
        trials: knows the network and ``max_drop``.
    """
    best: PrunedCandidate | None = None

    @functools.cache
    def first_blocks(count: int) -> list[Removable]:
        return trials.best_of([order[:count] for order in orders])

    def allowed_before_training(count: int) -> bool:
        try:
            return trials.fitted(first_blocks(count))
        except ModelError:  # these cannot go together
            return False

    def allowed(count: int) -> bool:
        nonlocal best
        try:
            candidate = trials.recovered(first_blocks(count))
        except ModelError:
            return False
        if candidate.within:
            best = candidate
        return candidate.within

    most = len(orders[0])
    # at least one removal is trained: the guess may be too low
    guess = max(_largest(1, most, allowed_before_training), 1)
    if allowed(guess):
        _largest(guess + 1, most, allowed)
    else:
        _largest(1, guess - 1, allowed)
    return best


def fewest_for(
    order: Sequence[Removable], model: nn.Module, splits: Splits, parameters: int
) -> list[Removable]:
    """Return the shortest start of an order that has to be removed to reach a size.

    Args:
        order: blocks that can go, the least missed first.
        model: unwrapped, in eval mode, in float32; left as it was.
        splits: the data, of which a few training samples are used.
        parameters: the most parameters that may be left.

    Raises:
        InvalidInputError: if the model has more parameters even without all of them.
    """
    few = splits.train.at(slice(SHAPE_SAMPLES))
    sizes = [sum(p.numel() for p in model.parameters())]
    for count in range(1, len(order) + 1):
        try:
            smaller = cut(model, order[:count], few, fit=False).model
        except ModelError:  # these cannot go together, but perhaps more can
            continue
        sizes.append(sum(p.numel() for p in smaller.parameters()))
        if sizes[-1] <= parameters:
            return list(order[:count])
    raise InvalidInputError(
        f"Expected a size that can be reached, got {parameters:,} parameters: by removing the "
        f"{len(order)} blocks that can go one after the other, no fewer than {min(sizes):,} are "
        f"left; allow more parameters."
    )


def _largest(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Return the largest number from ``low`` to ``high`` for which it holds; ``low - 1`` for none.

    Bisection, given that it holds for all smaller ones. The upper middle is tried first, so that
    one unlucky training does not end the search early.
    """
    while low <= high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle + 1
        else:
            high = middle - 1
    return low - 1
