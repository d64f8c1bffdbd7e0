"""Try removals on copies of a network, and record what each costs."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from designer.analysis.advice import layer_reports
from designer.analysis.passes import PassProgress
from designer.analysis.profile import profile
from designer.errors import InvalidInputError, ModelError
from designer.measures.proportions import drop_of
from designer.pruning.cut import Cut, cut
from designer.pruning.narrow import narrow
from designer.pruning.options import RecoveryOptions
from designer.pruning.quality import Quality, quality_of
from designer.pruning.recover import recover
from designer.pruning.removable import FEW, Removable, names_left, removable_blocks
from designer.pruning.splits import Splits
from designer.results.measured import measured
from designer.results.pruning import RemovalTrial

REMEMBERED_CUTS = 4
"""How many fitted networks are kept: one per order that is compared, and the best so far."""


@dataclass(frozen=True, eq=False)
class PrunedCandidate:
    """A smaller network that may be the result."""

    cut: Cut
    """The network, recovered, and what was removed from it."""
    quality: Quality
    """How well it does on validation data."""
    trial: RemovalTrial
    """What its removal cost."""
    epochs: int
    """Epochs of recovery, summed over all starts."""
    narrowed: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By name of a layer that lost output units: how many it had, and how many it has."""

    @property
    def within(self) -> bool:
        """True if the bound on the drop is within ``max_drop``, or no ``max_drop`` was given."""
        return self.trial.within is not False


class RemovalTrials:
    """Removes blocks from copies of a network, and remembers what each removal cost.

    Args:
        model: the original network, unwrapped, in eval mode, in float32; left as it was.
        splits: layers are fitted and trained on the training data, judged on validation data.
        recovery: how to train what is left.
        max_drop: the largest drop of validation accuracy that is allowed, or for a language model
            the largest rise of perplexity, as a fraction; None if it is not asked for.
        progress: called during recovery.
        removables: all blocks of the original, for a recovery after every few removals.
        blocks: the names that the caller asked for; None if blocks are found.
    """

    def __init__(
        self,
        model: nn.Module,
        splits: Splits,
        recovery: RecoveryOptions,
        max_drop: float | None,
        progress: PassProgress,
        removables: Sequence[Removable] = (),
        blocks: Sequence[str] | None = None,
    ) -> None:
        self._model, self._splits, self._recovery = model, splits, recovery
        self._max_drop, self._progress = max_drop, progress
        self._removables, self._blocks = removables, blocks
        self._cuts: dict[tuple[str, ...], Cut] = {}
        self.quality = self._quality(model)
        """How well the original does on validation data."""
        self.done: list[RemovalTrial] = []
        """All trials so far."""

    def best_of(self, choices: Sequence[Sequence[Removable]]) -> list[Removable]:
        """Return the choice of blocks whose removal leaves the best network before any training.

        Of equally good choices the first is returned. A single choice is returned untried.
        """
        by_names: dict[frozenset[str], Sequence[Removable]] = {}
        for blocks in choices:
            by_names.setdefault(frozenset(_names(blocks)), blocks)
        distinct = list(by_names.values())
        if len(distinct) == 1:
            return list(distinct[0])
        scores = [self._score_without(blocks) for blocks in distinct]
        return list(distinct[scores.index(max(scores))])

    def _score_without(self, blocks: Sequence[Removable]) -> tuple[float, float]:
        try:
            return self._quality(self._fitted_cut(blocks).model).score
        except ModelError:  # they cannot go together
            return -math.inf, -math.inf

    def _fitted_cut(self, blocks: Sequence[Removable]) -> Cut:
        """Return the original without the blocks, fitted; the latest few are remembered."""
        names = _names(blocks)
        if names in self._cuts:
            self._cuts[names] = self._cuts.pop(names)
        else:
            self._cuts[names] = cut(self._model, blocks, self._splits.train)
        for oldest in list(self._cuts)[:-REMEMBERED_CUTS]:
            del self._cuts[oldest]
        return self._cuts[names]

    def fitted(self, blocks: Sequence[Removable]) -> bool:
        """Return True if accuracy stays within ``max_drop`` before any recovery training.

        Raises:
            ModelError: if the blocks cannot go together.
        """
        smaller = self._fitted_cut(blocks)
        return self._judge(smaller, _names(blocks), epochs=0, recovered=False).within

    def recovered(self, blocks: Sequence[Removable]) -> PrunedCandidate:
        """Return the network without the blocks, after recovery training.

        If recovery is asked for after every few removals, the blocks go step by step.

        Args:
            blocks: what is removed, at least one, in the order in which it goes.

        Raises:
            ModelError: if the blocks cannot go together.
        """
        every = self._recovery.every or len(blocks)
        first = self._fitted_cut(blocks[:every])
        start = replace(first, model=copy.deepcopy(first.model))  # training changes it
        smaller, epochs = self._better_recovered(start, self._model, blocks[:every])
        fitted = dict.fromkeys(smaller.fitted)
        for done in range(every, len(blocks), every):
            here = self._found_again(smaller.model, blocks[:done], blocks[done : done + every])
            start = cut(smaller.model, here, self._splits.train)
            smaller, trained = self._better_recovered(start, smaller.model, here)
            epochs += trained
            fitted |= dict.fromkeys(smaller.fitted)
        in_order = sorted(blocks, key=lambda block: block.place)
        removals = tuple(removal for block in in_order for removal in block.removals)
        left = Cut(smaller.model, removals, tuple(fitted))
        return self._judge(left, _names(blocks), epochs=epochs, recovered=True)

    def _better_recovered(
        self, fit: Cut, model: nn.Module, blocks: Sequence[Removable]
    ) -> tuple[Cut, int]:
        """Return a model without the blocks after recovery, and the epochs that it took.

        Training begins twice: once after what follows was fitted, which keeps more of the original,
        and once without fitting, which learns more. The better network is returned.

        Args:
            fit: the fitted one; trained in place.
            model: the network that the blocks are cut from.
            blocks: what goes.
        """
        starts = [fit]
        if self._recovery.epochs:
            starts.append(cut(model, blocks, self._splits.train, fit=False))
        epochs = [
            recover(start.model, self._splits, self._recovery, self._model, self._progress)
            for start in starts
        ]
        scores = [self._quality(start.model).score for start in starts]
        return starts[scores.index(max(scores))], sum(epochs)

    def _found_again(
        self, smaller: nn.Module, gone: Sequence[Removable], wanted: Sequence[Removable]
    ) -> list[Removable]:
        """Return blocks of the original as they are found in a smaller network.

        Raises:
            ModelError: if they are not found there, or can no longer go.
        """
        names = _names(gone)
        left = [block for block in self._removables if block.name not in names]
        few = self._splits.train.at(slice(FEW)).inputs
        here = removable_blocks(smaller, few, names_left(self._removables, names, self._blocks))
        by_name = dict(zip((block.name for block in left), here, strict=False))
        if len(left) != len(here) or not all(by_name[block.name].can_go for block in wanted):
            raise ModelError(
                f"Expected blocks that can go one after the other, but without "
                f"{', '.join(names)} the next ones cannot; recover once, after all removals."
            )
        return [by_name[block.name] for block in wanted]

    def narrowed(self, candidate: PrunedCandidate, blocks: Sequence[str] | None) -> PrunedCandidate:
        """Return the candidate with narrower layers, recovered again.

        Args:
            candidate: returned as it is if no layer can be narrower, or if the narrower network
                does not stay within ``max_drop`` or is surely worse than it.
            blocks: names of its blocks; None if blocks are found.
        """
        model, splits = candidate.cut.model, self._splits
        try:
            measurement = profile(
                model,
                splits.train,
                splits.validation,
                blocks,
                measure=splits.measure,
                seed=self._recovery.seed,
            )
        except InvalidInputError:  # no blocks are left
            return candidate
        smaller = narrow(model, layer_reports([measurement]), splits.train, blocks)
        if not smaller.layers:
            return candidate
        epochs = recover(smaller.model, splits, self._recovery, self._model, self._progress)
        narrower = self._judge(
            replace(candidate.cut, model=smaller.model),
            candidate.trial.removed,
            epochs=candidate.epochs + epochs,
            recovered=True,
            narrower=True,
        )
        worse = candidate.quality.drop_from(narrower.quality).bound < 0
        if worse or not narrower.within:
            return candidate
        return replace(narrower, narrowed=smaller.layers)

    def _quality(self, model: nn.Module) -> Quality:
        return quality_of(model, self._splits.validation, language=self._splits.language)

    def _judge(
        self,
        smaller: Cut,
        removed: tuple[str, ...],
        *,
        epochs: int,
        recovered: bool,
        narrower: bool = False,
    ) -> PrunedCandidate:
        """Compare a smaller network with the original on validation data, and note the trial."""
        quality = self._quality(smaller.model)
        decisive = quality.drop_from(self.quality)
        accuracy = drop_of(self.quality.correct, quality.correct)
        trial = RemovalTrial(
            removed=removed,
            recovered=recovered,
            validation_accuracy=quality.accuracy,
            drop=accuracy.value,
            drop_bound=accuracy.bound,
            within=None if self._max_drop is None else decisive.bound <= self._max_drop,
            perplexity=measured(quality.perplexity),
            perplexity_rise=measured(decisive.value) if quality.language else None,
            perplexity_rise_bound=measured(decisive.bound) if quality.language else None,
            narrower=narrower,
        )
        self.done.append(trial)
        return PrunedCandidate(smaller, quality, trial, epochs)


def _names(blocks: Sequence[Removable]) -> tuple[str, ...]:
    """Return the names of blocks in running order."""
    return tuple(block.name for block in sorted(blocks, key=lambda block: block.place))
