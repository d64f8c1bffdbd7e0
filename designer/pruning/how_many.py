"""How many blocks go: as many as asked for, as the size asks for, or as accuracy allows.

Blocks go in the order of the proposal, or in the better of several orders.  To see what that
costs, they are removed and what follows is fitted again, which needs no training: a first guess,
close in plain networks and too cautious in residual ones.  What it allows is then removed, trained
and judged, and from there more or less, by bisection.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from torch import nn

from designer.data.dataset import LabelledTensors
from designer.errors import InvalidInputError, ModelError
from designer.pruning.cut import cut
from designer.pruning.removable import Removable
from designer.pruning.removal_trials import PrunedCandidate, RemovalTrials
from designer.pruning.splits import Splits

SHAPES = 64
"""Training samples where only shapes matter."""


def most_within(
    orders: Sequence[Sequence[Removable]], trials: RemovalTrials
) -> PrunedCandidate | None:
    """The most blocks, in one of these orders, whose removal keeps to what was allowed; None for
    none."""
    best: PrunedCandidate | None = None

    @functools.cache
    def first(count: int) -> list[Removable]:
        return trials.best_of([order[:count] for order in orders])

    def fitted(count: int) -> bool:
        try:
            return trials.fitted(first(count))
        except ModelError:  # so many cannot go together
            return False

    def allowed(count: int) -> bool:
        nonlocal best
        try:
            candidate = trials.recovered(first(count))
        except ModelError:
            return False
        if candidate.within:
            best = candidate
        return candidate.within

    most = len(orders[0])
    guess = max(_largest(1, most, fitted), 1)
    if allowed(guess):
        _largest(guess + 1, most, allowed)
    else:
        _largest(1, guess - 1, allowed)
    return best


def fewest_for(
    order: Sequence[Removable], model: nn.Module, parts: Splits, parameters: int
) -> list[Removable]:
    """The fewest blocks, in that order, without which a model has so few parameters.

    Raises:
        InvalidInputError: where that is not even so without all of them.
    """
    few = LabelledTensors(*(tensor[:SHAPES] for tensor in parts.train))
    sizes = [sum(p.numel() for p in model.parameters())]
    for count in range(1, len(order) + 1):
        try:
            smaller = cut(model, order[:count], few, fit=False).model
        except ModelError:  # so many cannot go together, but perhaps more
            continue
        sizes.append(sum(p.numel() for p in smaller.parameters()))
        if sizes[-1] <= parameters:
            return list(order[:count])
    raise InvalidInputError(
        f"Expected a size that can be reached, got {parameters:,} parameters: by removing the "
        f"{len(order)} blocks that can go one after the other, no fewer than {min(sizes):,} are "
        f"left; ask for more."
    )


def _largest(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The largest number from ``low`` to ``high`` for which it holds, by bisection, given that it
    holds for all smaller ones; ``low - 1`` for none. Far ones are tried first, so that one
    unlucky training does not end it."""
    while low <= high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle + 1
        else:
            high = middle - 1
    return low - 1
