"""Gather batches in memory, those that are padded to different lengths included."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from designer.data.batches import LABELS, UNLABELLED, LabelledData, Pair, batches_of, row_mask
from designer.data.dataset import LabelledTensors
from designer.data.streamed import StreamedImages
from designer.errors import InvalidInputError
from designer.probing.calling import (
    PADDING_MASKS,
    TOKEN_MASKS,
    Inputs,
    map_tensors,
    tensors_of,
)

MASKS = (*TOKEN_MASKS, *PADDING_MASKS)
"""Names of inputs that say which tokens are padding."""


def gathered(data: LabelledData) -> LabelledTensors:
    """Return data of any form in memory, without the samples that have no label.

    Where every token has a label, padding is labelled ``UNLABELLED``. Batches that are padded to
    different lengths are padded with zeros to the longest, if a mask says what is padding.

    Raises:
        InvalidInputError: if the data are malformed, or batches do not fit together.
    """
    if isinstance(data, StreamedImages):
        return data.in_memory()
    batches = batches_of(data, sys.maxsize)  # what is in memory stays in one piece
    pairs = []
    for inputs, labels in batches.pairs():
        kept = labels if labels.is_floating_point() else labels.long()
        mask = row_mask(inputs, labels) if batches.tokens else None
        pairs.append((inputs, kept if mask is None else kept.masked_fill(~mask, UNLABELLED)))
    inputs, labels = joined(pairs)
    return LabelledTensors(inputs, labels)


def joined(pairs: Sequence[Pair]) -> Pair:
    """Return batches as one.

    Batches of inputs by name with a mask of tokens may differ in their number of tokens: they are
    padded with zeros, or true where the mask is true at padding, and labels with ``UNLABELLED``.

    Raises:
        InvalidInputError: if the batches do not fit together.
    """
    if len(pairs) == 1:
        return pairs[0]
    columns = [_named_tensors(*pair) for pair in pairs]
    names = list(columns[0])
    if any(set(column) != set(names) for column in columns):
        raise InvalidInputError("Expected the same inputs in every batch, got others in some.")
    whole = {name: _joined_column([c[name] for c in columns], name, columns) for name in names}
    labels = whole.pop(LABELS[0])
    parts = iter(whole.values())
    return map_tensors(pairs[0][0], lambda _: next(parts)), labels


def _named_tensors(inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
    """Return the inputs, numbered where they have no names, and the labels."""
    named = inputs if isinstance(inputs, Mapping) else dict(_numbered(tensors_of(inputs)))
    return {**named, LABELS[0]: labels}


def _numbered(tensors: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
    return ((f"input {number}", tensor) for number, tensor in enumerate(tensors, 1))


def _joined_column(
    parts: list[Tensor], name: str, columns: Sequence[Mapping[str, Tensor]]
) -> Tensor:
    """Return one of the inputs of all batches, or their labels."""
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) == 1:
        return torch.cat(parts)
    masks = [next((c[m] for m in MASKS if m in c), None) for c in columns]
    by_token = [
        mask is not None and mask.ndim == 2 and part.shape[1:2] == mask.shape[1:]
        for part, mask in zip(parts, masks, strict=True)
    ]
    if not all(by_token) or len({shape[1:] for shape in shapes}) > 1:
        shown = " and ".join(str(("n", *shape)).replace("'", "") for shape in sorted(shapes)[:2])
        raise InvalidInputError(
            f"Expected {name} of one shape in all batches, got {shown}; pad sequences to one "
            f"length, or give a mask of the padding as attention_mask."
        )
    longest = max(part.shape[1] for part in parts)
    value = UNLABELLED if name == LABELS[0] else int(name in PADDING_MASKS)
    return torch.cat([_padded(part, longest, value) for part in parts])


def _padded(part: Tensor, length: int, value: int) -> Tensor:
    """Return a tensor (n, tokens, ...) with so many tokens."""
    longer = part.new_full((len(part), length, *part.shape[2:]), value)
    longer[:, : part.shape[1]] = part
    return longer
