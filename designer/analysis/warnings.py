"""Warnings that an analysis and a search both give about the law of a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from designer.measures.law import MEMORISED_GAP, ROUNDING
from designer.results.layers import LawSummary, LayerReport, ReportWarning
from designer.results.measured import LawStatus

_LAW_CODES = {
    LawStatus.TOO_FEW_LAYERS: ("too_few_layers", "has too few layers for the law"),
    LawStatus.NOT_DECREASING: ("not_decreasing", "does not follow the law"),
    LawStatus.DEGENERATE: ("degenerate", "cannot be judged by the law"),
}
"""Statuses that a reader must know of: the code of the warning, and what it says of a network."""


def law_warnings(
    subject: str, law: LawSummary, layers: Sequence[LayerReport]
) -> Iterator[ReportWarning]:
    """Yield what makes the law of a network doubtful.

    Args:
        subject: name of the network that begins each message, for example "Recommendation 1".
        law: the law over all blocks.
        layers: all blocks.
    """
    if law.status in _LAW_CODES:
        code, predicate = _LAW_CODES[law.status]
        yield ReportWarning(code, f"{subject} {predicate}. {law.reason}")
    rising = [layer.name for layer in layers if layer.step is not None and layer.step < -ROUNDING]
    if rising:
        yield ReportWarning(
            "non_monotone", f"{subject} makes D rise instead of fall at {', '.join(rising)}."
        )


def memorised_warnings(
    subject: str, train_accuracy: float, heldout_accuracy: float, heldout_part: str
) -> Iterator[ReportWarning]:
    """Yield a warning if a network has memorised its labels, since the law holds for them, too.

    Args:
        subject: name of the network that begins the message.
        train_accuracy: 0..1; nan gives no warning.
        heldout_accuracy: 0..1; nan gives no warning.
        heldout_part: name of the held-out data, for example "validation".
    """
    gap = train_accuracy - heldout_accuracy
    if gap > MEMORISED_GAP:
        yield ReportWarning(
            "memorised_labels",
            f"{subject} is right {100 * gap:.0f} points more often on training than on "
            f"{heldout_part} data: it has memorised labels, and the law holds for memorised "
            f"labels, too.",
        )


def no_normalisation_warning(subject: str) -> ReportWarning:
    """Return the warning that a network has no normalisation.

    Args:
        subject: name of the network that begins the message.
    """
    return ReportWarning(
        "no_normalisation",
        f"{subject} has no normalisation: the law is not expected in deep networks of that kind.",
    )
