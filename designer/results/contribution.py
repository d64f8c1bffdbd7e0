"""Records of what a network loses without one of its blocks."""

from __future__ import annotations

from dataclasses import dataclass

from designer.results.ranges import Interval, Number


@dataclass(frozen=True)
class Effect:
    """The network without a block minus the whole network, paired sample by sample."""

    value: Number
    """The difference on held-out data."""
    interval: Interval
    """Its 95 % interval over held-out samples."""

    @property
    def is_positive(self) -> bool:
        """True if the whole interval lies above zero."""
        return self.interval[0] > 0

    @property
    def is_negative(self) -> bool:
        """True if the whole interval lies below zero."""
        return self.interval[1] < 0


@dataclass(frozen=True)
class Contribution:
    """What the network loses on held-out data if a stand-in takes the place of one block.

    Everything behind the block runs on what the stand-in gives.

    Every effect is None if it does not exist: ``cross_entropy`` and ``accuracy`` without logits,
    ``separation`` if D has no logarithm.
    """

    stand_in: str
    """What takes the place of the block, in words."""
    separation: Effect | None
    """Rise of log D (or of the log of the residual) behind the last block, in nats. Class means
    and directions come from training data that pass through the network without the block."""
    cross_entropy: Effect | None
    """Rise of the mean cross-entropy, in nats."""
    accuracy: Effect | None
    """Change of accuracy, as a fraction; below 0 where accuracy falls."""

    @property
    def needed(self) -> bool:
        """True if a whole interval says that the network gets worse without the block.

        The cross-entropy decides; without logits the separation decides. Where the accuracy surely
        falls, a block is needed, too: without it a network that is too sure of itself can have a
        lower cross-entropy and more errors.
        """
        decisive = self.cross_entropy or self.separation
        less_accurate = self.accuracy is not None and self.accuracy.is_negative
        return less_accurate or (decisive is not None and decisive.is_positive)


@dataclass(frozen=True)
class BlockContribution:
    """The contribution of one block, or why it has none."""

    name: str
    """Path of the block in the model."""
    kind: str
    """Class of the block."""
    contribution: Contribution | None
    """None if nothing can take the place of the block."""
    reason: str = ""
    """Why there is no contribution; empty if there is one."""
