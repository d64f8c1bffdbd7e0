"""Removals that are tried on copies of a network, and what came of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from designer.analysis.advice import layer_reports
from designer.analysis.passes import PassProgress
from designer.analysis.profile import profile
from designer.errors import InvalidInputError, ModelError
from designer.measures.proportions import drop_of
from designer.pruning.cut import Cut, cut
from designer.pruning.evaluation import correct_mask, mean_loss
from designer.pruning.narrow import narrow
from designer.pruning.options import RecoveryOptions
from designer.pruning.recover import recover
from designer.pruning.removable import Removable
from designer.pruning.splits import Splits
from designer.results.pruning import RemovalTrial


@dataclass(frozen=True, eq=False)
class PrunedCandidate:
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


class RemovalTrials:
    """Removes blocks from copies of a network, and remembers what came of it."""

    def __init__(
        self,
        model: nn.Module,
        parts: Splits,
        how: RecoveryOptions,
        max_drop: float | None,
        progress: PassProgress,
    ) -> None:
        self._model, self._parts, self._how = model, parts, how
        self._max_drop, self._progress = max_drop, progress
        self.right = correct_mask(model, parts.validation)
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

    def recovered(self, blocks: Sequence[Removable]) -> PrunedCandidate:
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

    def narrowed(self, candidate: PrunedCandidate, blocks: Sequence[str] | None) -> PrunedCandidate:
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
        return float(correct_mask(model, data).float().mean()), -loss

    def _judged(
        self,
        made: Cut,
        removed: tuple[str, ...],
        *,
        epochs: int,
        recovered: bool,
    ) -> PrunedCandidate:
        mask = correct_mask(made.model, self._parts.validation)
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
        return PrunedCandidate(made, mask, trial, epochs)


def _names(blocks: Sequence[Removable]) -> tuple[str, ...]:
    """In running order."""
    return tuple(block.name for block in sorted(blocks, key=lambda block: block.place))
