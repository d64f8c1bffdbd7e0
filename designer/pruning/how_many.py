"""How many blocks go: as many as asked for, as the size asks for, or as accuracy allows.

Blocks go in the order of the proposal, or in the better of several orders.  To see what that
costs, they are removed and what follows is fitted again, which needs no training: a first guess,
close in plain networks and too cautious in residual ones.  What it allows is then removed, trained
and judged, and from there more or less, by bisection.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from designer.analysis.advice import layer_reports
from designer.analysis.profile import PassProgress, profile
from designer.data.dataset import LabelledTensors
from designer.errors import InvalidInputError, ModelError
from designer.measures.proportions import drop_of
from designer.pruning.cut import Cut, cut
from designer.pruning.narrow import narrow
from designer.pruning.options import Recovery
from designer.pruning.parts import Parts
from designer.pruning.propose import mean_loss
from designer.pruning.recover import recover
from designer.pruning.removable import Removable
from designer.pruning.verify import right
from designer.results.pruning import RemovalTrial

SHAPES = 64
"""Training samples where only shapes matter."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A smaller network, recovered, and what it is right on."""

    cut: Cut
    right: Tensor
    """(n,) validation samples."""
    trial: RemovalTrial
    epochs: int
    narrowed: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Layers that lost units: how many they had and have."""

    @property
    def within(self) -> bool:
        """Whether what was allowed is kept to."""
        return self.trial.within is not False


class Trials:
    """Removes blocks from copies of a network, and remembers what came of it."""

    def __init__(
        self,
        model: nn.Module,
        parts: Parts,
        how: Recovery,
        max_drop: float | None,
        progress: PassProgress,
    ) -> None:
        self._model, self._parts, self._how = model, parts, how
        self._max_drop, self._progress = max_drop, progress
        self.right = right(model, parts.validation)
        """(n,) validation samples that the whole network is right on."""
        self.done: list[RemovalTrial] = []

    def best_of(self, choices: Sequence[Sequence[Removable]]) -> list[Removable]:
        """Of several choices of blocks the one without which more is left before any training;
        the first of equal ones."""
        distinct = list(
            {frozenset(_names(blocks)): blocks for blocks in reversed(choices)}.values()
        )
        if len(distinct) == 1:
            return list(distinct[0])
        scores = [self._score_without(blocks) for blocks in distinct]
        return list(distinct[scores.index(max(scores))])

    def _score_without(self, blocks: Sequence[Removable]) -> tuple[float, float]:
        try:
            return self._score(cut(self._model, blocks, self._parts.train).model)
        except ModelError:  # they cannot go together
            return -math.inf, -math.inf

    def fitted(self, blocks: Sequence[Removable]) -> bool:
        """Whether what was allowed is kept to without any training."""
        smaller = cut(self._model, blocks, self._parts.train)
        return self._judged(smaller, _names(blocks), epochs=0, recovered=False).within

    def recovered(self, blocks: Sequence[Removable]) -> Candidate:
        """Removed and trained, from where what follows was fitted and from where it was not:
        the better of the two, since one keeps more and the other learns more."""
        starts = [cut(self._model, blocks, self._parts.train, fit=fit) for fit in (True, False)]
        starts = starts if self._how.epochs else starts[:1]
        epochs = [
            recover(start.model, self._parts, self._how, self._model, self._progress)
            for start in starts
        ]
        scores = [self._score(start.model) for start in starts]
        best = scores.index(max(scores))
        return self._judged(starts[best], _names(blocks), epochs=sum(epochs), recovered=True)

    def narrowed(self, candidate: Candidate, blocks: Sequence[str] | None) -> Candidate:
        """The candidate with narrower layers, recovered again, where that keeps to what was
        allowed; else the candidate."""
        data = self._parts
        model = candidate.cut.model
        try:
            seen = profile(model, data.train, data.validation, blocks, seed=self._how.seed)
        except InvalidInputError:  # no blocks are left
            return candidate
        made = narrow(model, layer_reports([seen]), data.train, blocks)
        if not made.layers:
            return candidate
        epochs = recover(made.model, data, self._how, self._model, self._progress)
        narrower = self._judged(
            replace(candidate.cut, model=made.model),
            candidate.trial.removed,
            epochs=candidate.epochs + epochs,
            recovered=True,
        )
        return replace(narrower, narrowed=made.layers) if narrower.within else candidate

    def _score(self, model: nn.Module) -> tuple[float, float]:
        data = self._parts.validation
        loss = mean_loss(model, data.inputs, data.labels)
        return float(right(model, data).float().mean()), -loss

    def _judged(
        self,
        made: Cut,
        removed: tuple[str, ...],
        *,
        epochs: int,
        recovered: bool,
    ) -> Candidate:
        mask = right(made.model, self._parts.validation)
        drop = drop_of(self.right, mask)
        trial = RemovalTrial(
            removed=removed,
            recovered=recovered,
            validation_accuracy=float(mask.float().mean()),
            drop=drop.value,
            drop_bound=drop.bound,
            within=None if self._max_drop is None else drop.bound <= self._max_drop,
        )
        self.done.append(trial)
        return Candidate(made, mask, trial, epochs)


def most_within(orders: Sequence[Sequence[Removable]], trials: Trials) -> Candidate | None:
    """The most blocks, in one of these orders, whose removal keeps to what was allowed; None for
    none."""
    best: Candidate | None = None

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
    order: Sequence[Removable], model: nn.Module, parts: Parts, parameters: int
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


def _names(blocks: Sequence[Removable]) -> tuple[str, ...]:
    """In running order."""
    return tuple(block.name for block in sorted(blocks, key=lambda block: block.place))


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
