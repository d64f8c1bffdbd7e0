"""What the network loses without a block, as the effect that decides and in words."""

from __future__ import annotations

from designer.results.contribution import Contribution, Effect


def decisive_effect(contribution: Contribution | None) -> Effect | None:
    """Return the effect that says whether a block is needed; None where it was not measured.

    That is the rise of cross-entropy, or of log D at the end where there are no logits.
    """
    return None if contribution is None else contribution.cross_entropy or contribution.separation


def losses_in_words(contribution: Contribution) -> str:
    """Return by how much a network is worse without the block, without intervals."""
    if contribution.cross_entropy is None:
        return f"log D at the end {_moves(contribution.separation)}"
    accuracy, nats = contribution.accuracy, _moves(contribution.cross_entropy)
    if accuracy is None:
        return f"cross-entropy {nats}"
    points = _moves(accuracy, points=True)
    if accuracy.is_negative and contribution.cross_entropy.value < 0:
        return f"accuracy {points}, though cross-entropy {nats}, as the network is too sure"
    return f"cross-entropy {nats} and accuracy {points}"


def changes_in_words(contribution: Contribution) -> str:
    """Return how a network changes without the block, with intervals."""
    if contribution.cross_entropy is None:
        return f"log D at the end changes by {_with_interval(contribution.separation)} nats"
    text = f"cross-entropy changes by {_with_interval(contribution.cross_entropy)} nats"
    if contribution.accuracy is None:
        return text
    return f"{text} and accuracy by {_with_interval(contribution.accuracy, points=True)} points"


def _moves(effect: Effect | None, *, points: bool = False) -> str:
    value = 0.0 if effect is None else effect.value
    size = f"{abs(100 * value):.1f}" if points else f"{abs(value):.2f}"
    if float(size) == 0 and (points or value == 0):
        return "stays the same"
    if float(size) == 0:
        size = "less than 0.01"
    return f"{'rises' if value > 0 else 'falls'} by {size} {'points' if points else 'nats'}"


def _with_interval(effect: Effect | None, *, points: bool = False) -> str:
    if effect is None:
        return "an unknown number of"
    value, low, high = (_number(x, points=points) for x in (effect.value, *effect.interval))
    return f"{value} ({low} to {high})"


def _number(value: float, *, points: bool) -> str:
    text = f"{100 * value:.1f}" if points else f"{value:.2f}"
    return text.lstrip("-") if float(text) == 0 else text
