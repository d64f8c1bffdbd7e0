"""Which tensor to look at among several that a run of a submodule receives or gives."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from designer.probing.calling import first_tensor, floating_tensors


@dataclass(frozen=True)
class Place:
    """Which tensor to look at among those that a run received or gave.

    It is the first with a row for each sample, and among those that a run gave the first that is
    not just one that it received.
    """

    index: int | None = None
    """Which of the floating tensors is meant; None for the first, also if none has a row for each
    sample."""
    shape: tuple[int, ...] = ()
    """Shape of that tensor in the traced pass; empty if there is no tensor."""


def place_in(value: object, samples: int, left_out: Collection[int] = ()) -> Place:
    """Return which tensor in a value to look at.

    Args:
        value: what a run received or gave.
        samples: number of samples in the pass.
        left_out: ids of tensors that do not count if there is another one.
    """

    def suits(tensor: Tensor) -> bool:
        return samples in tensor.shape[:2] and id(tensor) not in left_out

    first = first_tensor(value)
    if first is None or suits(first):
        return Place(None, () if first is None else tuple(first.shape))
    suiting = ((i, t.shape) for i, t in enumerate(floating_tensors(value)) if suits(t))
    index, shape = next(suiting, (None, first.shape))
    return Place(index, tuple(shape))
