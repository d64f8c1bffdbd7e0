"""The options of pruning, checked when they are built.

This file is read by the command line for its defaults, so it must load without torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from designer.choices import DEFAULT_BATCH_SIZE, Criterion, Measure, choice
from designer.errors import InvalidInputError

if TYPE_CHECKING:
    from torch import nn

    Build = Callable[[int], nn.Module]
    """Builds the original network anew, with the weights of a seed."""


@dataclass(frozen=True)
class RemovalRequest:
    """How much to remove: exactly one of three ways to say it.

    Raises:
        InvalidInputError: if none or several are given, or one is out of range.
    """

    remove: int | tuple[str, ...] | None = None
    """The number of blocks to remove, or their names."""
    max_drop: float | None = None
    """Remove as many blocks as possible while validation accuracy drops by no more than this, with
    95 % confidence; a fraction, 0.01 is one point. For a language model while perplexity rises by
    no more than this share, 0.05 is 5 %."""
    target_params: float | None = None
    """Remove the fewest blocks that leave at most this share of the parameters."""

    def __post_init__(self) -> None:
        names = list(self.record())
        if len(names) != 1:
            raise InvalidInputError(
                f"Expected one of remove, max_drop and target_params, got "
                f"{' and '.join(names) or 'none of them'}; for example max_drop=0.01 "
                f"(--max-drop 0.01)."
            )
        if self.remove == () or (isinstance(self.remove, int) and self.remove < 1):
            raise InvalidInputError(f"Expected at least 1 block to remove, got {self.remove}.")
        if self.max_drop is not None and not 0 <= self.max_drop < 1:
            raise InvalidInputError(
                f"Expected a largest drop of accuracy, or rise of perplexity, from 0 to 1, such as "
                f"0.01, got {self.max_drop:g}."
            )
        if self.target_params is not None and not 0 < self.target_params < 1:
            raise InvalidInputError(
                f"Expected a share of the parameters between 0 and 1, got {self.target_params:g}."
            )

    def record(self) -> dict[str, Any]:
        """Return what was asked for, by name, as reports keep it."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class RecoveryOptions:
    """How to train what is left after a removal.

    Raises:
        InvalidInputError: if a number is out of range.
    """

    epochs: int = 10
    """The most epochs to train for; 0 for none."""
    learning_rate: float = 1e-3
    """The learning rate of the first third of the epochs."""
    batch_size: int = DEFAULT_BATCH_SIZE
    """Samples per training step."""
    patience: int = 4
    """Stop after this many epochs without a better one."""
    soft_targets: bool = False
    """True if half of the targets are the original network's outputs."""
    seed: int = 0
    """Seed of the training."""
    scratch_epochs: int = 30
    """Epochs of the network from scratch, which is trained in the same way."""
    every: int | None = None
    """Train after this many removals, each time; None to train once, after all of them."""

    def __post_init__(self) -> None:
        for epochs in (self.epochs, self.scratch_epochs):
            if epochs < 0:
                raise InvalidInputError(f"Expected at least 0 epochs, got {epochs}.")
        if not 0 < self.learning_rate < math.inf:
            raise InvalidInputError(
                f"Expected a positive learning rate, got {self.learning_rate:g}."
            )
        if self.every is not None and self.every < 1:
            raise InvalidInputError(
                f"Expected at least 1 removal between two recoveries, got {self.every}."
            )
        if self.batch_size < 2:
            raise InvalidInputError(f"Expected a batch size of at least 2, got {self.batch_size}.")


@dataclass(frozen=True)
class PruningOptions:
    """Everything that a pruning is asked for, besides the model and its data.

    The request and the recovery check themselves when they are built, so options that exist are
    valid. What depends on the model is checked once it is known.
    """

    request: RemovalRequest
    """How much to remove."""
    criterion: Criterion = Criterion.BEST
    """Which blocks go first."""
    recovery: RecoveryOptions = RecoveryOptions()
    """How to train what is left; its seed is also the seed of everything else that is random."""
    blocks: Sequence[str] | None = None
    """Names of the submodules that are blocks; None to find them."""
    narrower: bool = False
    """True if layers that contribute too little for their width also lose output units."""
    build: Build | None = None
    """Builds the original anew for the network from scratch; None to reset its layers."""
    measure: str | None = None
    """What is measured behind every block, ``separation`` or ``residual``; None for what suits the
    model."""

    def __post_init__(self) -> None:
        if self.measure is not None:
            choice(Measure, self.measure, "a measure")
