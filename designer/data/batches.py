"""Data to measure a model with: batches that can be repeated, and the targets of all samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from designer.data.dataset import LabelledTensors, fitting_size, sequences_at_once
from designer.data.streamed import StreamedBatches, StreamedImages
from designer.errors import DataError, InvalidInputError
from designer.measures.checks import check_class_count
from designer.probing.calling import (
    Inputs,
    check_has_values,
    samples_at,
    tensors_of,
    token_mask,
)

Pair = tuple[Inputs, Tensor]
"""Inputs of n samples, and their labels or real targets."""


Batch = Pair | LabelledTensors | Mapping[str, Tensor]
"""A pair, or the inputs by name with ``labels`` among them, as Hugging Face's collators give."""


LabelledData = Batch | LabelledTensors | Iterable[Batch]
"""(inputs, labels) in memory, or batches of such pairs that can be iterated more than once."""


LABELS = ("labels", "label")
"""Names of the labels in a batch by name; the first that is there is taken."""


UNLABELLED = -100
"""Samples and tokens with this label are left out, as torch's cross-entropy does."""


MOST_BATCHES = 100_000
"""Data with more batches are taken for an iterator that never ends."""

TOKENS = "labels (n, tokens)"
"""The kind of targets where every token has a label."""


ADVICE = "pass (inputs, labels), a list of batches or a DataLoader"
"""What errors advise where data cannot be iterated twice."""


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches that come in the same order each time they are iterated.

    A *row* is a sample, or a token where every token has a label. Samples and tokens labelled
    ``UNLABELLED`` are no rows, and neither is padding that a mask in the inputs names.
    """

    source: Iterable[Batch]
    """The batches themselves."""
    targets: Tensor
    """(rows,) labels, or (rows,) or (rows, q) real targets; on the CPU."""
    shapes: tuple[tuple[int, ...], ...]
    """Shape of the labels of each batch."""
    tokens: bool
    """True if labels have the shape (n, tokens)."""
    counts: tuple[Tensor, ...] = ()
    """For each batch of tokens, the number of rows of each sample (n,); else empty."""
    input_shapes: frozenset[tuple[tuple[int, ...], ...]] = frozenset()
    """All shapes of a sample's inputs, of which there are several if batches are padded to
    different lengths."""
    least_classes: int = 0
    """The least number of classes, if other data are known to have so many."""

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def kind(self) -> str:
        """The kind of the targets, in words."""
        return TOKENS if self.tokens else _kind(self.targets)

    @property
    def real_targets(self) -> bool:
        """True if the targets are real numbers, not classes."""
        return self.targets.is_floating_point()

    @property
    def num_classes(self) -> int:
        """Number of classes K; 0 for real targets."""
        return 0 if self.real_targets else max(self.least_classes, int(self.targets.max()) + 1)

    @property
    def classes_present(self) -> int:
        """Number of classes that any target has; 0 for real targets."""
        return 0 if self.real_targets else len(torch.unique(self.targets))

    @property
    def outputs(self) -> int:
        """Number of classes K, or of real targets q."""
        return self.targets[0].numel() if self.real_targets else self.num_classes

    @property
    def chance(self) -> float:
        """Accuracy of always naming the largest class; NaN for real targets."""
        if self.real_targets:
            return float("nan")
        return float(torch.bincount(self.targets).max()) / len(self)

    def sample_mask(self, share: float, seed: int) -> Tensor:
        """Return a mask (rows,) that is true for all rows of a random share of the samples.

        Args:
            share: probability, from 0 to 1, that a sample is chosen.
            seed: seed of the draw.
        """
        generator = torch.Generator().manual_seed(seed)
        masks = []
        for number, shape in enumerate(self.shapes):
            chosen = torch.rand(shape[0], generator=generator) < share
            masks.append(chosen.repeat_interleave(self.counts[number]) if self.tokens else chosen)
        return torch.cat(masks)

    def pairs(self) -> Iterator[Pair]:
        """Yield inputs and labels of the samples that have any label, batch by batch."""
        return _labelled_pairs(self.source)

    def __iter__(self) -> Iterator[tuple[Inputs, Tensor, slice]]:
        """Yield inputs, their targets, and the slice of ``self.targets`` where these lie.

        Raises:
            InvalidInputError: if the batches differ from those of the first iteration.
        """
        for inputs, targets, rows, _ in self.with_masks():
            yield inputs, targets, rows

    def with_masks(self) -> Iterator[tuple[Inputs, Tensor, slice, Tensor | None]]:
        """Yield the same, and a mask (n, tokens) of the tokens that count; None if all do.

        Where every token has a label, these are the rows; else all that is no padding.

        Raises:
            InvalidInputError: if the batches differ from those of the first iteration.
        """
        start = 0
        for inputs, labels in self.pairs():
            mask = row_mask(inputs, labels) if self.tokens else token_mask(inputs)
            targets = _by_row(labels, mask if self.tokens else None)
            rows = slice(start, start + len(targets))
            if not torch.equal(targets, self.targets[rows]):
                raise InvalidInputError(
                    "Expected batches in the same order each time they are iterated, got other "
                    "labels the second time; use a DataLoader with shuffle=False."
                )
            yield inputs, targets, rows, mask
            start = rows.stop
        if start != len(self):
            raise InvalidInputError(
                f"Expected data that can be iterated more than once, got {len(self)} samples the "
                f"first time and {start} the second; {ADVICE}."
            )


def batches_of(data: LabelledData, size: int | None = None) -> Batches:
    """Return data of any accepted form as batches that can be iterated again and again.

    Args:
        data: (inputs, labels), or batches of such pairs.
        size: samples per batch for data in memory; by default up to 4,096, and fewer if samples
            are large. Data that come in batches keep theirs.

    Raises:
        InvalidInputError: if the data are not inputs with labels, or the size is below 1.
    """
    if size is not None and size < 1:
        raise InvalidInputError(f"Expected a batch size of at least 1, got {size}.")
    if isinstance(data, StreamedImages):
        return _streamed(data, size)
    source = _in_memory(data, size)
    labels, masks, shapes = [], list[Tensor | None](), set[tuple[tuple[int, ...], ...]]()
    for number, batch in enumerate(_iterated(source)):
        pair = _as_pair(batch)
        _checked_labels(pair)
        for inputs, kept in _with_labels(*pair):
            labels.append(kept)
            shapes.add(tuple(tuple(tensor.shape[1:]) for tensor in tensors_of(inputs)))
            masks.append(row_mask(inputs, kept) if _kind(kept) == TOKENS else None)
        if number >= MOST_BATCHES:
            raise InvalidInputError(
                f"Expected data that come to an end, got more than {MOST_BATCHES:,} batches; "
                f"{ADVICE}, or make the batches larger."
            )
    if not labels:
        raise InvalidInputError(_without_rows(source))
    tokens = _common_kind(labels) == TOKENS
    targets = torch.cat(list(map(_by_row, labels, masks)))
    _check_targets(targets)
    counts = tuple(map(_rows_per_sample, labels, masks)) if tokens else ()
    return Batches(
        source,
        targets,
        shapes=tuple(tuple(part.shape) for part in labels),
        tokens=tokens,
        counts=counts,
        input_shapes=frozenset(shapes),
    )


def _streamed(data: StreamedImages, size: int | None) -> Batches:
    """Return images that are decoded batch by batch; their labels and shapes are known."""
    source = data.batches(len(data)) if size is None else StreamedBatches(data, size)
    targets = data.labels.cpu()
    _check_targets(targets)
    shapes = tuple((count,) for count in source.counts)
    inputs = frozenset({(tuple(data.input_shape),)})
    return Batches(source, targets, shapes=shapes, tokens=False, input_shapes=inputs)


def _without_rows(source: Iterable[Batch]) -> str:
    """Return what is wrong with data in which no sample has a label."""
    if next(_iterated(source), None) is None:
        return f"Expected data that can be iterated more than once, got no batch; {ADVICE}."
    return f"Expected samples with labels, got none but {UNLABELLED}, which stands for no label."


def tensors_in_memory(data: LabelledData) -> list[Tensor]:
    """Return all inputs (n, ...) of data in memory; nothing for data that come in batches."""
    if isinstance(data, StreamedImages):
        return []
    if isinstance(data, LabelledTensors | Mapping):
        return tensors_of(_as_pair(data)[0])
    if isinstance(data, tuple) and len(data) == 2 and isinstance(data[1], Tensor):
        return tensors_of(data[0])
    return []


def check_heldout(heldout: Batches, train: Batches, *, allow_unseen: bool = False) -> None:
    """Raise ``InvalidInputError`` unless held-out targets fit those of training.

    Args:
        heldout: held-out data.
        train: training data.
        allow_unseen: accept classes that training data lack, up to the highest one that they have.

    Raises:
        InvalidInputError: if the targets are of another kind, or of an unknown class.
    """
    if heldout.kind != train.kind:
        raise InvalidInputError(
            f"Expected held-out data with {train.kind} as in the training data, got {heldout.kind}."
        )
    if train.real_targets:
        return
    known = (
        heldout.targets < train.num_classes
        if allow_unseen
        else torch.isin(heldout.targets, torch.unique(train.targets))
    )
    if not bool(known.all()):
        unknown = int(heldout.targets[~known].min())
        raise InvalidInputError(
            f"Expected held-out labels among the training classes, got class {unknown}, too."
        )


def _in_memory(data: LabelledData, size: int | None) -> Iterable[Batch]:
    """Return data in memory in batches of one size; return batches unchanged."""
    pair = isinstance(data, tuple) and len(data) == 2 and not _is_batch(data[1])
    if not isinstance(data, LabelledTensors | Mapping) and not pair:
        return _iterable(data)
    inputs, labels = _as_pair(data)
    _checked_labels((inputs, labels))
    fitting = fitting_size(sum(tensor[0].numel() for tensor in tensors_of(inputs)))
    size = size or min(fitting, sequences_at_once(labels) or fitting)
    parts = [slice(start, start + size) for start in range(0, len(labels), size)]
    return [(samples_at(inputs, rows), labels[rows]) for rows in parts]


def _is_batch(value: object) -> bool:
    """True for what may be a batch, and cannot be labels."""
    if isinstance(value, Mapping):
        return True
    return isinstance(value, tuple | list) and not all(isinstance(x, int | str) for x in value)


def _as_pair(batch: object) -> Pair:
    """Return a batch as inputs and labels.

    Raises:
        InvalidInputError: if it is no pair, and not by name with labels.
    """
    if isinstance(batch, Mapping):
        inputs = dict(batch)
        name = next((name for name in LABELS if name in inputs), None)
        if name is None:
            shown = ", ".join(map(str, inputs)) or "nothing"
            raise InvalidInputError(
                f"Expected labels under the name {LABELS[0]} in a batch by name, got {shown}."
            )
        labels = inputs.pop(name)
        return inputs, labels
    if isinstance(batch, LabelledTensors):
        return batch.inputs, batch.labels
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise InvalidInputError(
            f"Expected data as (inputs, labels) or batches of such pairs, got a batch of "
            f"{type(batch).__name__}."
        )
    inputs, labels = batch
    return inputs, labels


def _labelled_pairs(source: Iterable[Batch]) -> Iterator[Pair]:
    for batch in _iterated(source):
        yield from _with_labels(*_as_pair(batch))


def _with_labels(inputs: Inputs, labels: Tensor) -> Iterator[Pair]:
    """Yield a batch without the samples that have no label; nothing if none has any."""
    if labels.is_floating_point():
        yield inputs, labels
        return
    labelled = labels.long() != UNLABELLED  # in uint8, 156 would be equal to -100
    if _kind(labels) == TOKENS:
        mask = row_mask(inputs, labels)
        if mask is None or bool(mask.any()):
            yield inputs, labels
    elif bool(labelled.all()):
        yield inputs, labels
    elif bool(labelled.any()):
        yield samples_at(inputs, labelled), labels[labelled]


def row_mask(inputs: Inputs, labels: Tensor) -> Tensor | None:
    """Return the mask (n, tokens) of the tokens that count, on the CPU; None if all do.

    Args:
        inputs: n samples, perhaps with a mask of padding.
        labels: (n, tokens).
    """
    mask = labels.cpu().long() != UNLABELLED
    padding = token_mask(inputs)
    if padding is not None and padding.shape == mask.shape:
        mask &= padding.cpu()
    return None if bool(mask.all()) else mask


def _rows_per_sample(labels: Tensor, mask: Tensor | None) -> Tensor:
    return torch.full(labels.shape[:1], labels.shape[1]) if mask is None else mask.sum(1)


def _iterable(data: object) -> Iterable[Batch]:
    if not isinstance(data, Iterable) and not hasattr(data, "__getitem__"):
        raise InvalidInputError(
            f"Expected data that can be iterated, got {type(data).__name__}; {ADVICE}."
        )
    return cast("Iterable[Batch]", data)


def _iterated(source: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the batches; an error while iterating comes from the user's code."""
    batches = iter(source)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (KeyboardInterrupt, GeneratorExit, DataError):
            raise
        except BaseException as error:
            lines = str(error).strip().splitlines()
            raise DataError(
                f"Expected data that can be iterated, but they raised {type(error).__name__}: "
                f"{lines[-1] if lines else 'no message'}"
            ) from error
        yield batch


def _by_row(labels: Tensor, mask: Tensor | None) -> Tensor:
    """Return the targets of one batch by row, on the CPU."""
    labels = labels.detach().cpu()
    if labels.is_floating_point():
        return labels
    return labels.long().flatten() if mask is None else labels.long()[mask]


def _common_kind(labels: list[Tensor]) -> str:
    """Return the kind of targets that all batches have."""
    first, *others = dict.fromkeys(map(_kind, labels))
    if others:
        raise InvalidInputError(f"Expected {first} in every batch, got {others[0]}, too.")
    return first


def _kind(targets: Tensor) -> str:
    if targets.is_floating_point():
        return f"real targets (n, {targets.shape[1]})" if targets.ndim > 1 else "real targets (n,)"
    return TOKENS if targets.ndim > 1 else "labels (n,)"


def _is_single(label: object) -> bool:
    return isinstance(label, int) or (isinstance(label, Tensor) and label.ndim == 0)


def _remedy(labels: object) -> str:
    """Return how labels become a tensor; names of classes have to become numbers first."""
    values = np.asarray(labels, dtype=object).ravel()
    if len(values) and isinstance(values[0], str):
        return "number the classes from 0 on, and use torch.as_tensor"
    return "use torch.as_tensor"


def _checked_labels(batch: Pair) -> Tensor:
    """Return the labels of a batch, once it is known to be inputs with labels."""
    inputs, labels = batch
    if _is_single(labels):
        raise InvalidInputError(
            "Expected labels of many samples, got a single one; put a dataset of single samples "
            "into a DataLoader."
        )
    tensors = _checked_inputs(inputs)
    if not isinstance(labels, Tensor):
        raise InvalidInputError(
            f"Expected labels as a torch tensor, got {type(labels).__name__}; {_remedy(labels)}."
        )
    if labels.ndim not in (1, 2) or labels.dtype == torch.bool or labels.is_complex():
        raise InvalidInputError(
            f"Expected labels of shape (n,) or (n, tokens) and an integer dtype, or real targets "
            f"(n,) or (n, q), got shape {tuple(labels.shape)} and {labels.dtype}."
        )
    check_has_values(*tensors, labels)
    for tensor in tensors:
        if len(tensor) != len(labels):
            raise InvalidInputError(
                f"Expected one label per sample, got {len(tensor)} samples and "
                f"{len(labels)} labels."
            )
    if labels.numel() == 0:
        raise InvalidInputError("Expected at least one sample in every batch, got none.")
    return labels


def _checked_inputs(inputs: object) -> list[Tensor]:
    """Return all tensors of the inputs, once they are known to be tensors."""
    parts: object = inputs
    if isinstance(inputs, Mapping):
        parts = list(inputs.values())
    elif isinstance(inputs, Tensor):
        parts = [inputs]
    if not isinstance(parts, tuple | list) or not parts:
        raise InvalidInputError(
            f"Expected inputs as a torch tensor, or a tuple or dict of tensors, got "
            f"{type(inputs).__name__}; use torch.as_tensor."
        )
    for part in parts:
        if not isinstance(part, Tensor) or part.ndim == 0:
            raise InvalidInputError(
                f"Expected inputs as torch tensors of shape (n, ...), got {_shown(part)}."
            )
    return list(parts)


def _check_targets(targets: Tensor) -> None:
    if targets.is_floating_point():
        if not bool(targets.isfinite().all()):
            raise InvalidInputError("Expected finite targets, got NaN or infinity.")
    elif int(targets.min()) < 0:
        raise InvalidInputError(f"Expected labels from 0 on, got {int(targets.min())}.")
    else:
        check_class_count(int(targets.max()) + 1)


def _shown(part: object) -> str:
    return "a tensor without axes" if isinstance(part, Tensor) else type(part).__name__
