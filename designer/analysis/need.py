"""What a contribution says of a block: it is needed, it is idle, or that is open.

======  ==========================================================================================
word    condition on the 95 % intervals
======  ==========================================================================================
needed  the rise of cross-entropy (of log D, without logits) lies above zero, or the change of
        accuracy below it (``Contribution``)
idle    it is not needed, that rise reaches no further than to ``IDLE_RISE``, and accuracy falls by
        no more than ``IDLE_ACCURACY_LOSS``
open    anything else: there are too few samples to tell
======  ==========================================================================================
"""

from __future__ import annotations

from designer.analysis.stand_ins import Kind
from designer.results.contribution import Contribution
from designer.results.effects import changes_in_words, decisive_effect, losses_in_words

IDLE_ACCURACY_LOSS = 0.01
"""A block is idle only if the interval rules out that accuracy falls by more than this."""

IDLE_RISE = 0.1
"""A block is idle only if the interval rules out that cross-entropy, or log D without logits, rises
by more than this many nats.  It matters where few samples leave the accuracy as it was."""

FITTED = {Kind.LINEAR, Kind.CONVOLUTION}
"""Stand-ins that have parameters themselves."""


def is_idle(contribution: Contribution) -> bool:
    """Return True if the network surely does as well without the block."""
    decisive = decisive_effect(contribution)
    if decisive is None or contribution.needed or decisive.interval[1] > IDLE_RISE:
        return False
    accuracy = contribution.accuracy
    return accuracy is None or -accuracy.interval[0] <= IDLE_ACCURACY_LOSS


def prepares_in_words(contribution: Contribution) -> str:
    """Return that a block prepares what later layers need, with what is lost without it.

    Behind the last block that is the head.
    """
    return f"it prepares what later layers need: without it {losses_in_words(contribution)}"


def idle_in_words(
    contribution: Contribution, parameters: int | None, all_parameters: int | None
) -> str:
    """Return that the network does as well without a block, and what removing it would save.

    Without logits, what decides is fitted to the features behind the last block; the layers behind
    them, which are not fitted again, may give worse outputs.

    Args:
        contribution: of the block.
        parameters: how many parameters would go with the block; None if not counted.
        all_parameters: the number of parameters of the model; None if not counted.
    """
    fitted = contribution.stand_in in FITTED
    place = f"with {contribution.stand_in} in its place" if fitted else "without it"
    text = f"{place} {changes_in_words(contribution)}"
    if contribution.cross_entropy is None:
        text = f"{text}, which holds once the last layer is fitted again"
    if not parameters or not all_parameters:
        return text
    most = "at most " if fitted else ""
    share = 100 * parameters / all_parameters
    return f"{text}; removing it would save {most}{parameters:,} parameters ({share:.1f} %)"


def open_in_words(contribution: Contribution) -> str:
    """Return that it is open whether a block is needed, with the intervals that leave it open."""
    return f"whether it is needed is open, as without it {changes_in_words(contribution)}"
