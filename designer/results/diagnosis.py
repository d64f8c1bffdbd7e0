"""Records of what is wrong with a network as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

WHOLE_FIRST = "measure again: the network as a whole comes first"
"""The only advice on single blocks of a network that is not sound as a whole."""


class FindingKind(StrEnum):
    """What can be wrong with a network as a whole."""

    NOT_SOUND = "not trained far enough or not normalised"
    """D does not clearly fall from the input to the last block."""
    RATE_TOO_LOW = "learning rate too low"
    """The training loss stops falling, far from the end, once the rate goes down."""
    RATE_TOO_HIGH = "learning rate too high"
    """Runs diverge, or seeds end far apart."""
    OVER_DEEP = "over-deep"
    """Many blocks lie behind the first that separates held-out data about as well as any."""
    TOO_NARROW = "too narrow"
    """A block loses class directions."""
    DEAD_UNITS = "dead units"
    """At least half of the units of a part of a block give nothing but zero."""
    TOO_WIDE = "too wide"
    """A layer is far wider than others, and far fewer of its units do as well."""
    MEMORISING = "memorising"
    """The network is right far more often on training data than on held-out data."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a network as a whole, and what to do about it."""

    kind: FindingKind
    """What is wrong."""
    evidence: str
    """The measured numbers and the thresholds that they are beyond, in sentences."""
    advice: str
    """What to do, in sentences."""
    tried: bool = False
    """True if the advice was tried on this network."""
    outcome: str = ""
    """What came of it, where it was tried."""
