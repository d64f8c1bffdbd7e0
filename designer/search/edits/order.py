"""Which edits of a network are tried first: those that its report suggests, then the usual ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from designer.results.diagnosis import FindingKind
from designer.results.layers import LayerReport
from designer.results.measured import Verdict
from designer.search.confirmation import ConfirmedCandidate
from search_spaces.edits import Edit, EditKind

Wish = tuple[str, str | None]
"""A kind of edit and the name of the block that it changes; None for the whole network."""

REMEDIES: Mapping[FindingKind, tuple[EditKind, ...]] = {
    FindingKind.NOT_SOUND: (EditKind.NORMALISE, EditKind.HIGHER_RATE),
    FindingKind.RATE_TOO_LOW: (EditKind.HIGHER_RATE,),
    FindingKind.RATE_TOO_HIGH: (EditKind.LOWER_RATE,),
    FindingKind.OVER_DEEP: (EditKind.HALF_DEPTH,),
    FindingKind.TOO_NARROW: (
        EditKind.WIDEN_BLOCK,
        EditKind.REMOVE_BLOCK,
        EditKind.DOUBLE_WIDTH,
    ),
    FindingKind.DEAD_UNITS: (EditKind.HALF_WIDTH,),
    FindingKind.TOO_WIDE: (EditKind.HALF_WIDTH,),
    FindingKind.MEMORISING: (EditKind.HALF_WIDTH, EditKind.HALF_DEPTH),
}
"""What may help against each finding, in the order in which it is tried."""

ADVISED: Mapping[str, EditKind] = {
    "remove": EditKind.REMOVE_BLOCK,
    "narrow": EditKind.NARROW_BLOCK,
    "widen": EditKind.WIDEN_BLOCK,
}
"""The edit that an advice on a block names, by the first word of the advice."""

USUAL = (
    EditKind.HALF_DEPTH,
    EditKind.HALF_WIDTH,
    EditKind.ONE_BLOCK_FEWER,
    EditKind.HIGHER_RATE,
    EditKind.LOWER_RATE,
    EditKind.NORMALISE,
    EditKind.DOUBLE_WIDTH,
    EditKind.ONE_BLOCK_MORE,
)
"""Edits of the whole network that are tried in any case: first those that save most."""

OF_BLOCKS = frozenset({EditKind.REMOVE_BLOCK, EditKind.WIDEN_BLOCK, EditKind.NARROW_BLOCK})
"""Edits of a single block."""


def in_order(edits: Iterable[Edit], candidate: ConfirmedCandidate) -> list[Edit]:
    """Return the edits of a network that are worth a try, the most promising first.

    These are what its diagnosis and the advice on its blocks suggest, the usual ones, the widest
    block narrowed and the narrowest widened or removed, and kinds that only its space knows.

    Args:
        edits: what its space offers.
        candidate: the network with its diagnosis and its blocks.
    """
    offered = list(edits)
    wishes = [*suggested(candidate), *_usual(candidate.layers)]
    places = {wish: place for place, wish in reversed(list(enumerate(wishes)))}
    wanted = [edit for edit in offered if (edit.kind, edit.block) in places]
    wanted.sort(key=lambda edit: places[edit.kind, edit.block])
    return wanted + [edit for edit in offered if edit.kind not in set(EditKind)]


def advised_edit(layer: LayerReport) -> EditKind | None:
    """Return the edit that the advice on a block names; None if it names none."""
    return ADVISED.get(layer.advice.partition(":")[0])


def suggested(candidate: ConfirmedCandidate) -> Iterator[Wish]:
    """Yield what the report of a network suggests."""
    without_directions = [
        layer.name for layer in candidate.layers if layer.verdict is Verdict.DEGENERATE
    ]
    for finding in candidate.diagnosis:
        for kind in REMEDIES[finding.kind]:
            blocks: list[str | None] = [*without_directions] if kind in OF_BLOCKS else [None]
            yield from ((kind, block) for block in blocks)
    for layer in candidate.layers:
        advised = advised_edit(layer)
        if advised is not None:
            yield advised, layer.name


def _usual(layers: tuple[LayerReport, ...]) -> Iterator[Wish]:
    """Yield what is tried with every network."""
    yield from ((kind, None) for kind in USUAL)
    widest = max(layers, key=lambda layer: layer.width)
    narrowest = min(layers, key=lambda layer: layer.width)
    if widest.width > narrowest.width:
        yield EditKind.NARROW_BLOCK, widest.name
        yield EditKind.REMOVE_BLOCK, narrowest.name
        yield EditKind.WIDEN_BLOCK, narrowest.name
