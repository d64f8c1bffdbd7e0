"""What can be changed in one candidate: edits, which a space may offer to be tried."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar, runtime_checkable

from search_spaces.base import Spec

RATE_FACTOR = 3.0
"""Factor by which an edit raises or lowers the learning rate."""

WIDEN_BY = 4
"""Factor by which a single block is widened: where it loses class directions, 2 is often too
little."""


class EditKind(StrEnum):
    """Kinds of edits that are tried where they promise most; a space may offer others, too."""

    HALF_DEPTH = "half the blocks"
    ONE_BLOCK_FEWER = "one block fewer"
    ONE_BLOCK_MORE = "one block more"
    HALF_WIDTH = "half the width"
    DOUBLE_WIDTH = "double the width"
    NORMALISE = "batch normalisation"
    HIGHER_RATE = "three times the learning rate"
    LOWER_RATE = "a third of the learning rate"
    REMOVE_BLOCK = "without this block"
    WIDEN_BLOCK = "this block four times as wide"
    NARROW_BLOCK = "this block half as wide"


@dataclass(frozen=True)
class Edit:
    """A change of one candidate, as the parameters that propose the changed one."""

    kind: str
    """What is changed, in a few words; one of ``EditKind`` where it is one of these."""
    params: Mapping[str, Any]
    """What ``Space.suggest`` must be given to propose the changed candidate, by name."""
    block: str | None = None
    """Name of the block that is changed, as in ``block_names``; None if it is the whole network."""


SpecT_contra = TypeVar("SpecT_contra", bound=Spec, contravariant=True)


@runtime_checkable
class EditableSpace(Protocol[SpecT_contra]):
    """A space that says how its candidates can be changed; it is optional for a space."""

    def edits(self, spec: SpecT_contra) -> Iterable[Edit]:
        """Return changes of a candidate that are worth a try.

        Changes may lead outside of the space's bounds or to the same candidate; these are not
        tried.

        Args:
            spec: what ``suggest`` proposed.
        """
        ...


def rate_edits(params: Mapping[str, Any]) -> Iterator[Edit]:
    """Return edits that raise and lower the learning rate of a candidate with these parameters."""
    rate = params["learning_rate"]
    yield Edit(EditKind.HIGHER_RATE, {**params, "learning_rate": rate * RATE_FACTOR})
    yield Edit(EditKind.LOWER_RATE, {**params, "learning_rate": rate / RATE_FACTOR})


def resampled(values: Sequence[int], count: int) -> tuple[int, ...]:
    """Return this many of the values, evenly spaced over all of them; empty for none."""
    if count <= 1:
        return tuple(values[:count])
    return tuple(values[round(i * (len(values) - 1) / (count - 1))] for i in range(count))
