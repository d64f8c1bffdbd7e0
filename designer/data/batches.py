"""Data to look at a model with: batches that can be had again, and the targets of all samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor

from designer.data.dataset import LabelledTensors
from designer.errors import DataError, InvalidInputError
from designer.probing.calling import Inputs, map_tensors, tensors_of

Batch = tuple[Inputs, Tensor]


LabelledData = Batch | LabelledTensors | Iterable[Batch]
"""(inputs, labels) in memory, or batches of such pairs that can be iterated more than once."""


BATCH_VALUES, SMALLEST_BATCH, LARGEST_BATCH = 1 << 20, 32, 4096
"""Input values of a batch, 4 MiB as float32, and the samples that it holds in any case."""


MOST_CLASSES = 1_000_000


TOKENS = "labels (n, tokens)"
"""The kind of targets where every token has one."""


AGAIN = "pass (inputs, labels), a list of batches or a DataLoader"


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches in an order that is always the same; a *row* is a sample, or a token where every
    token has a label."""

    source: Iterable[Batch]
    targets: Tensor
    """(rows,) labels, or (rows,) or (rows, q) real targets; on the CPU."""
    shapes: tuple[tuple[int, ...], ...]
    """Of the labels of each batch."""
    tokens: bool
    """Whether labels came as (n, tokens)."""

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def kind(self) -> str:
        """Of the targets, in words."""
        return TOKENS if self.tokens else _kind(self.targets)

    @property
    def real(self) -> bool:
        """Whether the targets are real numbers, not classes."""
        return self.targets.is_floating_point()

    @property
    def num_classes(self) -> int:
        """K; 0 for real targets."""
        return 0 if self.real else int(self.targets.max()) + 1

    @property
    def outputs(self) -> int:
        """K, or the number of real targets."""
        return self.targets[0].numel() if self.real else self.num_classes

    @property
    def chance(self) -> float:
        """Share of the largest class; nan for real targets."""
        if self.real:
            return float("nan")
        return float(torch.bincount(self.targets).max()) / len(self)

    def drawn(self, share: float, seed: int) -> Tensor:
        """(rows,) mask of a random share of the samples, with all their rows."""
        generator = torch.Generator().manual_seed(seed)
        masks = []
        for shape in self.shapes:
            chosen = torch.rand(shape[0], generator=generator) < share
            masks.append(chosen.repeat_interleave(shape[1]) if self.tokens else chosen)
        return torch.cat(masks)

    def __iter__(self) -> Iterator[tuple[Inputs, Tensor, slice]]:
        """Inputs, their targets, and which rows these are.

        Raises:
            InvalidInputError: where they are not those of the first time.
        """
        start = 0
        for inputs, labels in _iterated(self.source):
            targets = _by_row(labels, tokens=self.tokens)
            rows = slice(start, start + len(targets))
            if not torch.equal(targets, self.targets[rows]):
                raise InvalidInputError(
                    "Expected batches in the same order each time they are iterated, got other "
                    "labels the second time; use a DataLoader with shuffle=False."
                )
            yield inputs, targets, rows
            start = rows.stop
        if start != len(self):
            raise InvalidInputError(
                f"Expected data that can be iterated more than once, got {len(self)} samples the "
                f"first time and {start} the second; {AGAIN}."
            )


def batches_of(data: LabelledData, size: int | None = None) -> Batches:
    """Data as batches.

    Args:
        data: what to look with.
        size: of batches made from data in memory; by default up to 4,096 samples, and fewer where
            each is large.

    Raises:
        InvalidInputError: on anything that is not inputs with labels, and on a size below 1.
    """
    if size is not None and size < 1:
        raise InvalidInputError(f"Expected a batch size of at least 1, got {size}.")
    source = _in_memory(data, size)
    labels = [_checked_labels(batch) for batch in _iterated(source)]
    if not labels:
        raise InvalidInputError(
            f"Expected data that can be iterated more than once, got no batch; {AGAIN}."
        )
    tokens = _common_kind(labels) == TOKENS
    targets = torch.cat([_by_row(one, tokens=tokens) for one in labels])
    _check_targets(targets)
    return Batches(source, targets, tuple(tuple(one.shape) for one in labels), tokens)


def check_known(heldout: Batches, train: Batches, *, unseen: bool = False) -> None:
    """Raise ``InvalidInputError`` unless held-out targets are of the kind of those of training,
    and labels among theirs; those below the highest one are fine where ``unseen`` ones are."""
    if heldout.kind != train.kind:
        raise InvalidInputError(
            f"Expected held-out data with {train.kind} such as those of training, got "
            f"{heldout.kind}."
        )
    if train.real:
        return
    known = (
        heldout.targets < train.num_classes
        if unseen
        else torch.isin(heldout.targets, torch.unique(train.targets))
    )
    if not bool(known.all()):
        unknown = int(heldout.targets[~known].min())
        raise InvalidInputError(
            f"Expected held-out labels among the training classes, got class {unknown}, too."
        )


def _in_memory(data: LabelledData, size: int | None) -> Iterable[Batch]:
    """Batches of data in memory; what are batches already as they are."""
    inputs: Inputs
    if isinstance(data, LabelledTensors):
        inputs, labels = data.inputs, data.labels
    elif isinstance(data, tuple) and len(data) == 2 and not isinstance(data[1], tuple | list):
        inputs, labels = data
    else:
        return _iterable(data)
    _checked_labels((inputs, labels))
    size = size or _fitting(tensors_of(inputs))
    parts = [slice(start, start + size) for start in range(0, len(labels), size)]
    return [(map_tensors(inputs, partial(_part, rows=rows)), labels[rows]) for rows in parts]


def _iterable(data: object) -> Iterable[Batch]:
    if not isinstance(data, Iterable) and not hasattr(data, "__getitem__"):
        raise InvalidInputError(
            f"Expected data that can be iterated, got {type(data).__name__}; {AGAIN}."
        )
    return cast("Iterable[Batch]", data)


def _iterated(source: Iterable[Batch]) -> Iterator[Batch]:
    """The batches; what raises in between is the user's."""
    batches = iter(source)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (Exception, SystemExit) as error:
            said = str(error).strip().splitlines()
            raise DataError(
                f"Expected data that can be iterated, but they raised {type(error).__name__}: "
                f"{said[-1] if said else 'without a word'}"
            ) from error
        yield batch


def _fitting(tensors: list[Tensor]) -> int:
    """Samples per batch whose inputs have about ``BATCH_VALUES`` values."""
    values = sum(tensor[0].numel() for tensor in tensors)
    return min(max(BATCH_VALUES // max(values, 1), SMALLEST_BATCH), LARGEST_BATCH)


def _part(tensor: Tensor, rows: slice) -> Tensor:
    return tensor[rows]


def _by_row(labels: Tensor, *, tokens: bool) -> Tensor:
    labels = labels.detach().cpu()
    labels = labels if labels.is_floating_point() else labels.long()
    return labels.flatten() if tokens else labels


def _common_kind(labels: list[Tensor]) -> str:
    """Of the targets of every batch."""
    first, *others = dict.fromkeys(map(_kind, labels))
    if others:
        raise InvalidInputError(f"Expected {first} in every batch, got {others[0]}, too.")
    return first


def _kind(targets: Tensor) -> str:
    if targets.is_floating_point():
        return f"real targets (n, {targets.shape[1]})" if targets.ndim > 1 else "real targets (n,)"
    return TOKENS if targets.ndim > 1 else "labels (n,)"


def _checked_labels(batch: object) -> Tensor:
    """The labels of a batch that is one."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise InvalidInputError(
            f"Expected data as (inputs, labels) or batches of such pairs, got a batch of "
            f"{type(batch).__name__}."
        )
    inputs, labels = batch
    tensors = _checked_inputs(inputs)
    if not isinstance(labels, Tensor):
        raise InvalidInputError(
            f"Expected labels as a torch tensor, got {type(labels).__name__}; use torch.as_tensor."
        )
    if labels.ndim not in (1, 2) or labels.dtype == torch.bool or labels.is_complex():
        raise InvalidInputError(
            f"Expected labels of shape (n,) or (n, tokens) and an integer dtype, or real targets "
            f"(n,) or (n, q), got shape {tuple(labels.shape)} and {labels.dtype}."
        )
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
    """All tensors of inputs that are some."""
    parts: object = inputs
    if isinstance(inputs, Mapping):
        parts = list(inputs.values())
    elif isinstance(inputs, Tensor):
        parts = [inputs]
    if not isinstance(parts, tuple | list) or not parts:
        raise InvalidInputError(
            f"Expected inputs as a torch tensor, or a tuple or dict of such, got "
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
    elif int(targets.max()) >= MOST_CLASSES:
        raise InvalidInputError(
            f"Expected labels below {MOST_CLASSES:,}, got {int(targets.max()):,}; number the "
            f"classes from 0 on."
        )


def _shown(part: object) -> str:
    return "a tensor without axes" if isinstance(part, Tensor) else type(part).__name__
