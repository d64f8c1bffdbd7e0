"""What a pruning led to, in a few sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from designer.results.pruning import NetworkFigures, RemovalTrial
from designer.results.ranges import Measured


def conclusion(
    networks: Sequence[NetworkFigures], blocks: int, scratch_standing: str
) -> Iterator[str]:
    """Yield what was removed, what is left, and how good that is.

    Args:
        networks: the original, the pruned network and the baselines.
        blocks: number of blocks of the original.
        scratch_standing: how good the network from scratch is beside the pruned one, as a
            predicate; empty without that network.
    """
    by_name = {network.name: network for network in networks}
    original, pruned = by_name["original"], by_name["pruned"]
    yield (
        f"{len(pruned.removed)} of {blocks} blocks were removed. "
        f"{100 * pruned.parameters / original.parameters:.0f} % of the parameters and "
        f"{100 * pruned.flops / max(original.flops, 1):.0f} % of the operations are left. "
        f"{_quality_in_words(pruned)}."
    )
    scratch = by_name.get("from scratch")
    if scratch is not None:
        epochs = f"{scratch.epochs} {'epoch' if scratch.epochs == 1 else 'epochs'}"
        yield (
            f"A network of this size, trained from scratch for {epochs}, {scratch_standing} "
            f"({_figure(scratch)})."
        )


def may_change(allowed: float, *, language: bool) -> str:
    """Return that a network may get worse than is allowed, as a clause.

    Args:
        allowed: the largest drop of accuracy, or rise of perplexity, as a fraction.
        language: True for a language model.
    """
    percent = 100 * allowed
    if language:
        return f"validation perplexity may rise by more than {percent:g} %"
    points = "point" if percent == 1 else "points"
    return f"validation accuracy may drop by more than {percent:g} {points}"


def changes_at_most(trial: RemovalTrial) -> str:
    """Return by how much a removal makes a network worse at the most, as a clause."""
    if trial.perplexity is None:
        return f"accuracy drops by no more than {100 * trial.drop_bound:.1f} points"
    return f"perplexity rises by no more than {_percent(trial.perplexity_rise_bound)}"


def _quality_in_words(pruned: NetworkFigures) -> str:
    if pruned.validation_perplexity is None:
        accuracy = 100 * pruned.validation_accuracy.value
        return f"Validation accuracy is {accuracy:.1f} % ({_accuracy_change(pruned)})"
    rise = pruned.perplexity_rise or 0.0
    change = f"{_percent(abs(rise))} {'more' if rise > 0 else 'less'} than before"
    most = _percent(pruned.perplexity_rise_bound)
    return (
        f"Validation perplexity is {pruned.validation_perplexity:.2f} ({change}, no more than "
        f"{most} more with 95 % confidence)"
    )


def _figure(network: NetworkFigures) -> str:
    """Return the figure that decides between networks."""
    if network.validation_perplexity is None:
        return f"{100 * network.validation_accuracy.value:.1f} %"
    return f"perplexity {network.validation_perplexity:.2f}"


def _percent(share: Measured) -> str:
    return "an unknown share" if share is None else f"{100 * share:.1f} %"


def _accuracy_change(pruned: NetworkFigures) -> str:
    """Return how accuracy changed, and how much at most."""
    points = 100 * (pruned.drop or 0.0)
    change = "unchanged"
    if abs(points) >= 0.05:
        change = f"{points:.1f} points lost" if points > 0 else f"{-points:.1f} points gained"
    most = max(100 * (pruned.drop_bound or 0.0), 0)
    return f"{change}, no more than {most:.1f} lost with 95 % confidence"
