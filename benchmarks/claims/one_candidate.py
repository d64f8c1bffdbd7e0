"""A space with one candidate, whose edits lead into the space that the candidate is from.

``designer.search`` over it confirms this candidate and tries its edits, as its report advises or in
random order.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from torch import nn

from designer.data.dataset import Dataset
from designer.search.candidates import train_spec
from designer.search.edits.order import USUAL
from designer.training.trainer import Schedule, accuracy
from search_spaces import Edit, EditKind, Space, Spec, Trial

EDITED = "edited"
"""A parameter that tells the candidates that edits lead to from the first one."""

AnySpec = TypeVar("AnySpec", bound=Spec)

OF_EXTREMES = (EditKind.NARROW_BLOCK, EditKind.REMOVE_BLOCK, EditKind.WIDEN_BLOCK)
"""What is tried with the widest block, and with the narrowest."""


class Order(StrEnum):
    """Orders in which edits are tried."""

    ADVISED = "advised"
    """As the report advises."""
    USUAL = "usual, at random"
    """The usual edits and those of the widest and the narrowest block, in random order."""
    ANY = "any, at random"
    """All edits, in random order: each kind is as likely, and each block within a kind."""


@dataclass(frozen=True)
class OneCandidate:
    """A space with one candidate.

    Args:
        space: the space that the candidate is from; it offers edits.
        start: the candidate.
        order: in which order its edits are tried.
        seed: seed of a random order.
    """

    space: Any
    start: Spec
    order: Order = Order.ADVISED
    seed: int = 0

    name: ClassVar[str] = "one candidate"

    def suggest(self, trial: Trial) -> Spec:
        """Return the candidate, or the one that the parameters of an edit describe."""
        edited = trial.suggest_float(EDITED, 0.0, 1.0) == 1.0  # which no sampler proposes
        proposed: Spec = self.space.suggest(trial) if edited else self.start
        return proposed

    def build(self, spec: Spec, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        """Return a network."""
        model: nn.Module = self.space.build(spec, input_shape, num_classes)
        return model

    def edits(self, spec: Spec) -> Iterable[Edit]:
        """Return the edits of a candidate, so that they are tried in the order wanted."""
        edits = [
            replace(edit, params={**edit.params, EDITED: 1.0}) for edit in self.space.edits(spec)
        ]
        chance = random.Random(f"{self.seed} {spec}")
        if self.order is Order.ADVISED:
            return edits
        if self.order is Order.USUAL:
            edits = _usual(edits, spec)
            chance.shuffle(edits)
        else:
            edits = _shuffled(edits, chance)
        return [_unranked(edit) for edit in edits]


def spec_of(values: Mapping[str, Any], kind: type[AnySpec]) -> AnySpec:
    """Return the spec of a network as its space knows it.

    Args:
        values: the spec as JSON values, by field.
        kind: the class of the specs of its space.
    """
    fields = {k: tuple(value) if isinstance(value, list) else value for k, value in values.items()}
    return kind(**fields)


def long_accuracies(
    space: Space[AnySpec], spec: AnySpec, data: Dataset, epochs: int, seeds: Iterable[int]
) -> list[float]:
    """Return accuracies on test data after training with a rate that falls in steps, by seed.

    Args:
        space: the space of the network.
        spec: the network.
        data: training and test data.
        epochs: epochs of the training.
        seeds: seeds of the training.
    """
    models = (
        train_spec(space, spec, data, seed=seed, epochs=epochs, schedule=Schedule.STEP)[0]
        for seed in seeds
    )
    return [round(accuracy(model, data.test), 5) for model in models]


def _usual(edits: Iterable[Edit], spec: Any) -> list[Edit]:
    """Return the usual edits of a perceptron, and those of its widest and narrowest block."""
    widest = f"blocks.{spec.widths.index(max(spec.widths))}"
    narrowest = f"blocks.{spec.widths.index(min(spec.widths))}"
    places = {(kind, None) for kind in USUAL} | {
        (kind, narrowest if kind is not EditKind.NARROW_BLOCK else widest) for kind in OF_EXTREMES
    }
    return [edit for edit in edits if (edit.kind, edit.block) in places]


def _shuffled(edits: list[Edit], chance: random.Random) -> list[Edit]:
    """Return edits in random order, in which the first of every kind is as likely to be early."""
    edits = chance.sample(edits, len(edits))
    before: Counter[str] = Counter()
    rounds = []
    for edit in edits:
        rounds.append(before[edit.kind] + chance.random())
        before[edit.kind] += 1
    return [edit for _, edit in sorted(zip(rounds, edits, strict=True), key=lambda pair: pair[0])]


def _unranked(edit: Edit) -> Edit:
    """Return an edit under a name that no rule knows, so that it is tried as it comes."""
    return Edit(f"{edit.kind} ({edit.block or 'all'})", edit.params)
