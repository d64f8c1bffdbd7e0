"""Order blocks by what the network loses without them, measured again after each removal.

A stand-in takes the place of a block, and everything behind it runs.  The block goes whose absence
raises the held-out cross-entropy least.  It then stays away, and the blocks that were missed least
are measured once more: what one block did, a neighbour may have to do now, so blocks go from all
over the network and not from one place.  Nothing is trained, and the model is not changed.

Where layers behind a removal will be fitted or repaired, the stand-in is the linear map from what
the block receives to what it gives, fitted by least squares: it is about what those layers can take
up.  Elsewhere it is what the removal leaves, zeros or what the block receives.

Blocks that nothing flows past go from all stages alike: only a stage that has lost no larger share
of its blocks than any other may lose one more.  A stage is the blocks with outputs of one shape.
Training makes up for blocks as long as their stage still has some; a stage without any cannot learn
again what it did.

A network that is no better than chance has nothing left to tell blocks apart by, so from there on
the order of the last measurements holds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from designer.analysis.contribution import BATCH, SAMPLES
from designer.analysis.passes import PassProgress
from designer.analysis.stand_ins import NoStandIn, StandIn, stand_in_of
from designer.data.batches import Batches, batches_of
from designer.data.dataset import LabelledTensors
from designer.data.sampling import stratified_sample
from designer.errors import DesignerError
from designer.measures.logits import LogitReader
from designer.measures.proportions import accuracy_by_chance, beats_chance
from designer.probing.calling import Inputs, first_tensor, token_mask
from designer.probing.probes import Probe
from designer.probing.replay import Replayer, replaying
from designer.probing.spans import Span
from designer.pruning.removable import Removable
from designer.pruning.splits import Splits

AGAIN = 8
"""How many blocks are measured again after a removal: those that were missed least before.  Without
one more block the others are mostly missed more, so the next one is nearly always among them."""


Score = Callable[[object], tuple[float, Tensor]]
"""Returns summed cross-entropy in nats, and predicted classes, from what the network gives."""


@dataclass(frozen=True)
class ContributionOrder:
    """Which blocks go first, and what each costs at first."""

    rises: tuple[float, ...]
    """Rise of cross-entropy (nats) without each block alone, in running order; infinite for a
    block that must stay or that nothing can stand in for."""
    order: tuple[int, ...]
    """Places in running order of the blocks that can go, the least missed first."""


def order_by_contribution(
    model: torch.nn.Module,
    removables: Sequence[Removable],
    splits: Splits,
    blocks: Sequence[str] | None,
    *,
    seed: int,
    count: int | None = None,
    progress: PassProgress,
) -> ContributionOrder:
    """Return the blocks in the order in which the network can do without them.

    Args:
        model: unwrapped, in eval mode, gives logits (n, K); left as it was.
        removables: all its blocks in running order, also those that must stay.
        splits: linear maps are fitted to training data, losses come from validation data; up to
            ``SAMPLES`` of each.
        blocks: names of submodules; None if blocks are found.
        seed: seed of the draw of the samples.
        count: how many blocks will go; from there on, nothing is measured again. None for all.
        progress: called after every batch of every round.

    Raises:
        ModelError: if the model raises.
    """
    train, validation = (_sample(part, seed) for part in (splits.train, splits.validation))
    first_inputs, _, _ = next(iter(train))
    with replaying(model, blocks, first_inputs) as (probe, replayer):
        rounds = _Rounds(probe, replayer, _stand_ins(replayer, removables), progress)
        stages = _Stages(rounds.left)
        rises = rounds.losses_without(list(rounds.left), train, validation)
        first = tuple(rises.get(place, math.inf) for place in range(len(removables)))
        most = len(rises) if count is None else count
        while len(rises) > 1 and len(rounds.removed) + 1 < most and rounds.beats_chance():
            least = stages.next_of(rises)
            if math.isinf(rises[least]):  # nothing that is left can be measured
                break
            rounds.remove(least)
            del rises[least]
            again = [place for place in _least_first(rises) if place in rounds.left][:AGAIN]
            rises |= rounds.losses_without(again, train, validation)
    last = []
    while rises:
        last.append(stages.next_of(rises))
        del rises[last[-1]]
    without = [
        place
        for place, block in enumerate(removables)
        if block.can_go and place not in (*rounds.removed, *last)
    ]
    return ContributionOrder(first, (*rounds.removed, *last, *reversed(without)))


def _least_first(rises: Mapping[int, float]) -> list[int]:
    """Return places by their values; of equal ones the later block comes first."""
    return sorted(rises, key=lambda place: (rises[place], -place))


class _Stages:
    """Says which block may go next, so that plain stages lose their blocks alike.

    Args:
        stand_ins: what takes the place of each block that can go, by its place in running order.
    """

    def __init__(self, stand_ins: Mapping[int, StandIn]) -> None:
        self._stage = {place: _stage_of(stand_in.span) for place, stand_in in stand_ins.items()}
        self._sizes = Counter(self._stage.values())

    def next_of(self, rises: Mapping[int, float]) -> int:
        """Return the least missed of the blocks that are left and whose stage may lose one.

        Args:
            rises: the rise of cross-entropy without each block that is left, by place.
        """
        left = Counter(self._stage[place] for place in rises)
        shares = {stage: left[stage] / size for stage, size in self._sizes.items() if stage}
        most = max(shares.values(), default=0.0)
        stages = {stage for stage, share in shares.items() if share == most} | {None}
        return next(place for place in _least_first(rises) if self._stage[place] in stages)


def _stage_of(span: Span) -> tuple[int, ...] | None:
    """Return the shape of what a plain block gives for a sample; None if something flows past."""
    if span.output is None or span.added or not span.plain:
        return None
    return tuple(span.output.shape[1:])


def _sample(data: LabelledTensors, seed: int) -> Batches:
    return stratified_sample(batches_of(data), SAMPLES, seed, BATCH)


def _stand_ins(replayer: Replayer, removables: Sequence[Removable]) -> dict[int, StandIn]:
    """Return what takes the place of each block that can go, by its place in running order."""
    stand_ins = {}
    for place, (span, block) in enumerate(zip(replayer.spans, removables, strict=True)):
        if not block.can_go:
            continue
        try:
            stand_ins[place] = stand_in_of(span, linear=bool(block.fits))
        except NoStandIn:
            continue
    return stand_ins


@dataclass(eq=False)
class _Rounds:
    """Measures what a network loses without each block, in rounds with one block less each.

    Args:
        probe: puts inputs on the right device.
        replayer: runs the network, whole or without a block.
        left: the stand-ins of the blocks that can still go, by place.
        progress: called after every batch.
    """

    probe: Probe
    replayer: Replayer
    left: dict[int, StandIn]
    progress: PassProgress
    removed: list[int] = field(default_factory=list)
    """Places of the blocks that are gone, in the order of their removal."""
    _accuracy: float = 1.0
    """Accuracy on validation data without the blocks that are gone."""
    _by_chance: float = 0.0
    """Accuracy if these predictions did not depend on the labels."""
    _samples: int = 0

    def remove(self, place: int) -> None:
        """Leave a block out from now on."""
        self.replayer.standing |= self.left.pop(place).replacement(self.replayer)
        self.removed.append(place)

    def beats_chance(self) -> bool:
        """True if the network without what is gone is still better than chance."""
        return beats_chance(self._accuracy, self._samples, self._by_chance)

    def losses_without(
        self, places: Sequence[int], train: Batches, validation: Batches
    ) -> dict[int, float]:
        """Return the rise of cross-entropy (nats) without each of some blocks, by place."""
        self._fit(places, train)
        whole, predicted = 0.0, list[Tensor]()
        reader = LogitReader(max(train.num_classes, validation.num_classes))
        losses = {place: 0.0 if place in self.left else math.inf for place in places}
        places = [place for place in places if place in self.left]
        for batch, targets, rows, mask in validation.with_masks():
            inputs = self.probe.prepared(batch)
            read = partial(reader, samples=len(targets), mask=mask, tokens=validation.tokens)
            score = partial(_loss_and_predicted, targets=targets, read=read)
            loss, classes = score(self.replayer.first_pass(inputs))
            whole, predicted = whole + loss, [*predicted, classes]
            for place in places:
                losses[place] += self._loss_without(place, inputs, score)
            self.progress(f"contribution, {len(self.removed)} gone", rows.stop, len(validation))
        self._samples = len(validation)
        named = torch.cat(predicted)
        self._accuracy = int((named == validation.targets).sum()) / self._samples
        self._by_chance = accuracy_by_chance(named, validation.targets)
        return {
            place: (loss - whole) / self._samples if math.isfinite(loss) else math.inf
            for place, loss in losses.items()
        }

    def _fit(self, places: Sequence[int], train: Batches) -> None:
        """Fit the linear maps to the network without the blocks that are gone."""
        fitted = {place: self.left[place] for place in places if self.left[place].layer}
        if not fitted:
            return
        for stand_in in fitted.values():
            stand_in.forget()
        for inputs, _, _ in train:
            self.replayer.first_pass(self.probe.prepared(inputs))
            for place in list(fitted):
                with self._dropping(place, fitted):
                    fitted[place].observe(self.replayer, token_mask(inputs))
        for place in list(fitted):
            with self._dropping(place, fitted):
                fitted[place].fit()

    @contextmanager
    def _dropping(self, place: int, fitted: dict[int, StandIn]) -> Iterator[None]:
        """Measure a block no further if nothing can take its place after all."""
        try:
            yield
        except NoStandIn:
            del fitted[place], self.left[place]

    def _loss_without(self, place: int, inputs: Inputs, score: Score) -> float:
        """Return the summed cross-entropy without a block; infinite if the model raises."""
        instead = self.left[place].replacement(self.replayer)
        try:
            output = self.replayer.pass_without(place, instead, inputs)
        except DesignerError:
            return math.inf
        return score(output)[0]


def _loss_and_predicted(
    output: object, targets: Tensor, read: Callable[[Tensor | None], Tensor | None]
) -> tuple[float, Tensor]:
    """Return the summed cross-entropy in nats, and the predicted classes (rows,), -1 for none."""
    logits = read(first_tensor(output))
    if logits is None:
        return math.inf, torch.full_like(targets, -1)
    labels = targets.to(logits.device)
    loss = functional.cross_entropy(logits.float(), labels, reduction="sum")
    # a network that gives no number is the worst of all, not one that cannot be compared
    return float(loss) if loss.isfinite() else math.inf, logits.argmax(1).cpu()
