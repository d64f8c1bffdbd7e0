"""What may be asked of pruning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from designer.choices import DEFAULT_BATCH_SIZE, Criterion, choice
from designer.errors import InvalidInputError


@dataclass(frozen=True)
class RemovalRequest:
    """How much shall go; exactly one of the three."""

    remove: int | tuple[str, ...] | None = None
    """So many blocks, or these."""
    max_drop: float | None = None
    """As many as cost no more validation accuracy than this, with 95 % confidence."""
    target_params: float | None = None
    """As few as leave no more than this share of the parameters."""

    def __post_init__(self) -> None:
        given = self.record()
        if len(given) != 1:
            raise InvalidInputError(
                f"Expected one of remove, max_drop and target_params, got "
                f"{' and '.join(given) or 'none of them'}; for example max_drop=0.01 "
                f"(--max-drop 0.01)."
            )
        if self.remove == () or (isinstance(self.remove, int) and self.remove < 1):
            raise InvalidInputError(f"Expected at least 1 block to remove, got {self.remove}.")
        if self.max_drop is not None and not 0 <= self.max_drop < 1:
            raise InvalidInputError(
                f"Expected a largest drop of accuracy from 0 to 1, such as 0.01, got "
                f"{self.max_drop:g}."
            )
        if self.target_params is not None and not 0 < self.target_params < 1:
            raise InvalidInputError(
                f"Expected a share of the parameters between 0 and 1, got {self.target_params:g}."
            )

    def record(self) -> dict[str, Any]:
        """The one that was given."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class RecoveryOptions:
    """How to train what is left."""

    epochs: int = 10
    """At the most; 0 for none."""
    learning_rate: float = 1e-3
    batch_size: int = DEFAULT_BATCH_SIZE
    patience: int = 4
    """Epochs without a better one after which to stop."""
    soft_targets: bool = False
    """Whether half of the targets are the whole network's outputs."""
    seed: int = 0
    scratch_epochs: int = 30
    """Of the network from scratch, trained in the same way."""

    def __post_init__(self) -> None:
        for epochs in (self.epochs, self.scratch_epochs):
            if epochs < 0:
                raise InvalidInputError(f"Expected at least 0 epochs, got {epochs}.")
        if not 0 < self.learning_rate < math.inf:
            raise InvalidInputError(
                f"Expected a positive learning rate, got {self.learning_rate:g}."
            )
        if self.batch_size < 2:
            raise InvalidInputError(f"Expected a batch size of at least 2, got {self.batch_size}.")


def measured_criteria(criterion: Criterion) -> tuple[Criterion, ...]:
    """Those that give an order of blocks."""
    if criterion is Criterion.BEST:
        return Criterion.HELDOUT, Criterion.BLOCK_INFLUENCE
    return (criterion,)


def criterion_of(name: str) -> Criterion:
    """The criterion of that name.

    Raises:
        InvalidInputError: where there is none.
    """
    return choice(Criterion, name, "a criterion")
