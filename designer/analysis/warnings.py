"""Warnings that an analysis and a search both give about the law of a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from designer.data.batches import LabelledData, tensors_in_memory
from designer.data.duplicates import leaks_between, leaks_between_images
from designer.data.streamed import StreamedImages
from designer.measures.law import ROUNDING
from designer.results.layers import LawSummary, LayerReport, ReportWarning
from designer.results.measured import BypassedParts, LawStatus

_LAW_CODES = {
    LawStatus.TOO_FEW_LAYERS: ("too_few_layers", "has too few layers for the law"),
    LawStatus.NOT_DECREASING: ("not_decreasing", "does not follow the law"),
    LawStatus.DEGENERATE: ("degenerate", "cannot be judged by the law"),
}
"""Statuses that a reader must know of: the code of the warning, and what it says of a network."""

LEAST_COVERAGE = 0.6
"""Share of the parameters in blocks below which the blocks may be the wrong ones."""


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


def leak_warnings(train: LabelledData, heldout: LabelledData | None) -> Iterator[ReportWarning]:
    """Yield a warning if held-out samples also stand in the training data.

    Data that come in batches are not compared.

    Args:
        train: training data.
        heldout: held-out data, if there are any.
    """
    if isinstance(train, StreamedImages) and isinstance(heldout, StreamedImages):
        yield from (leak.warning() for leak in leaks_between_images(train, heldout))
    known = tensors_in_memory(train)
    held = [] if heldout is None else tensors_in_memory(heldout)
    if len(known) == len(held) > 0:
        yield from (leak.warning() for leak in leaks_between(known, held))


def coverage_warnings(subject: str, coverage: float | None) -> Iterator[ReportWarning]:
    """Yield a warning if the blocks hold too little of a network to stand for it.

    Args:
        subject: the network in the message, for example "the model".
        coverage: share of the parameters outside of embeddings that lie in blocks; None if unknown.
    """
    if coverage is not None and coverage < LEAST_COVERAGE:
        yield ReportWarning(
            "low_coverage",
            f"The blocks hold only {100 * coverage:.0f} % of the parameters of {subject}, so they "
            f"may be the wrong parts: look at them with `designer analyze --list-blocks`, and name "
            f"better ones with --blocks.",
        )


def bypass_warnings(bypassed: BypassedParts | None) -> Iterator[ReportWarning]:
    """Yield a warning if parts are no blocks that a reader may take for them.

    Args:
        bypassed: those parts; None if there are none.
    """
    if bypassed is None:
        return
    parts = f"Part of the input flows past {bypassed.count} parts of class {bypassed.kind}"
    names = ",".join(bypassed.patterns)
    if bypassed.within_blocks:
        message = (
            f"{parts} within the blocks, so each block is judged as a whole: to judge "
            f'each part, name them with --blocks "{names}".'
        )
    else:
        message = (
            f'{parts}, such as "{names}", so they are not among the blocks, although others of '
            f"that class are: to judge them, too, name all blocks with --blocks."
        )
    yield ReportWarning("bypassed_parts", message)


def unseen_warnings(block: str | None) -> Iterator[ReportWarning]:
    """Yield a warning if the last block cannot be judged, as no module receives what it gives.

    Args:
        block: its name; None if there is no such block.
    """
    if block is not None:
        yield ReportWarning(
            "unseen_block",
            f"'{block}' is like the blocks, but is not among them, and is not judged: functions "
            f"make the logits of what it gives, so no module receives that. To judge it, too, put "
            f"the last layer into a module of its own.",
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
