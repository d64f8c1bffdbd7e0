"""A classification task as tensors, or as batches that a callable returns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from designer.choices import InputKind, Scaling
from designer.probing.calling import map_tensors, samples_at, tensors_of
from designer.results.layers import ReportWarning
from designer.results.search import DataSummary

Array = NDArray[Any]
"""A NumPy array of any dtype."""


LOGIT_VALUES, TOKEN_ROWS = 1 << 26, 1 << 15
"""A batch in which every token has a label has at most so many logits, 256 MiB as float32, and at
most so many tokens."""


BATCH_VALUES, SMALLEST_BATCH, LARGEST_BATCH = 1 << 20, 32, 4096
"""A batch holds about ``BATCH_VALUES`` input values, 4 MiB as float32, but never fewer samples
than ``SMALLEST_BATCH`` nor more than ``LARGEST_BATCH``."""


def fitting_size(values: int) -> int:
    """Return how many samples, of so many values each, a batch should have."""
    return min(max(BATCH_VALUES // max(values, 1), SMALLEST_BATCH), LARGEST_BATCH)


def sequences_at_once(labels: Tensor) -> int | None:
    """Return the most sequences in a batch if every token has a label; None for other labels.

    Args:
        labels: (n, tokens), where a negative one stands for none; or labels or targets (n,).
    """
    if labels.ndim != 2 or labels.is_floating_point() or not labels.numel():
        return None
    vocabulary = max(1, int(labels.max()) + 1)
    return max(1, min(LOGIT_VALUES // vocabulary, TOKEN_ROWS) // labels.shape[1])


@dataclass(frozen=True, eq=False)
class LabelledTensors:
    """The samples of one part of a data set."""

    inputs: Any
    """A tensor (n, ...): float32, or int64 for tokens; or several by name or as a tuple."""
    labels: Tensor
    """(n,) int64; (n, tokens) where every token has a label, and -100 stands for none."""

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.inputs, self.labels))

    @property
    def targets(self) -> Tensor:
        """Labels (rows,) of the samples, or of the tokens that have one."""
        return self.labels if self.labels.ndim == 1 else self.labels[self.labels >= 0]

    @property
    def chance(self) -> float:
        """Accuracy of always naming the largest class."""
        return float(torch.bincount(self.targets).max()) / len(self.targets)

    @property
    def device(self) -> torch.device:
        """The device of inputs and labels."""
        return self.labels.device

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, of the first of several."""
        return tuple(tensors_of(self.inputs)[0].shape[1:])

    @property
    def is_scaled(self) -> bool:
        """True if the inputs are one tensor of real numbers, which scaling is made for."""
        return isinstance(self.inputs, Tensor) and self.inputs.is_floating_point()

    @property
    def nbytes(self) -> int:
        """Bytes that the inputs and the labels take in memory."""
        return sum(tensor.nbytes for tensor in (*tensors_of(self.inputs), self.labels))

    def in_memory(self) -> LabelledTensors:
        """Return the same samples as tensors in memory."""
        return self

    def at(self, rows: slice | Tensor) -> LabelledTensors:
        """Return some samples: a slice of them, or those under a mask (n,) or at indices."""
        labels = self.labels[rows.to(self.device) if isinstance(rows, Tensor) else rows]
        return LabelledTensors(samples_at(self.inputs, rows), labels)

    def batches(self, size: int) -> Sequence[LabelledTensors]:
        """Return all samples in order as (inputs, labels), ``size`` samples at a time.

        Sequences with a label per token come in fewer, if their logits would take much memory.
        """
        size = min(size, sequences_at_once(self.labels) or size)
        return [self.at(slice(start, start + size)) for start in range(0, len(self), size)]

    def drawn(self, order: Tensor, size: int) -> Iterator[LabelledTensors]:
        """Yield the samples at indices (n,), on the device of the labels, ``size`` at a time."""
        return (self.at(rows) for rows in torch.split(order, size))

    def to(self, device: torch.device) -> LabelledTensors:
        """Return a copy on another device."""
        inputs = map_tensors(self.inputs, lambda tensor: tensor.to(device))
        return LabelledTensors(inputs, self.labels.to(device))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification task, ready to train on."""

    name: str
    """Name for reports."""
    train: LabelledTensors
    """Samples that weights are fitted to."""
    validation: LabelledTensors
    """Held-out samples that decisions are made on."""
    test: LabelledTensors
    """Held-out samples that no decision is made on."""
    class_names: tuple[str, ...]
    """(K,) classes as the source names them; labels are positions in it."""
    scaling: dict[str, list[float]]
    """``mean`` and ``scale`` per channel or feature that were applied: inputs are
    (raw - mean) / scale."""
    fingerprint: str
    """SHA-256 of the raw arrays as split, before scaling."""
    options: dict[str, Any] = field(default_factory=dict)
    """The arguments of ``load_dataset`` that it was made with, as JSON values."""
    shuffled_labels: bool = False
    """True if all labels were permuted."""
    warnings: tuple[ReportWarning, ...] = ()
    """What a reader of results on these data should know."""
    other_kind: InputKind | None = None
    """What the inputs may be as well, which nobody said; None for nothing."""
    split_here: bool = False
    """True if the source had no test set, so one was split off."""

    @property
    def recipe(self) -> dict[str, Any]:
        """Arguments of ``load_dataset`` that load the same data again."""
        in_numbers = self.options.get("scaling") == Scaling.GIVEN
        return {**self.options, "scaling": self.scaling} if in_numbers else dict(self.options)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: (features,), (length,) of tokens, (channels, time) or (channels,
        height, width); that of the first of several inputs."""
        return self.train.input_shape

    @property
    def is_scaled(self) -> bool:
        """True if the inputs are one tensor of real numbers, which scaling is made for."""
        return self.train.is_scaled

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return len(self.class_names)

    @property
    def chance(self) -> float:
        """Accuracy of always naming the largest class of the validation data."""
        return self.validation.chance

    def to(self, device: torch.device) -> Dataset:
        """Return a copy with all tensors on another device."""
        return replace(
            self,
            train=self.train.to(device),
            validation=self.validation.to(device),
            test=self.test.to(device),
        )

    def in_memory(self) -> Dataset:
        """Return the same data with all parts in memory, also images that would be streamed.

        Raises:
            DataError: if they take too much memory.
        """
        return replace(
            self,
            train=self.train.in_memory(),
            validation=self.validation.in_memory(),
            test=self.test.in_memory(),
        )

    def summary(self) -> DataSummary:
        """Return what a report says about the data."""
        return DataSummary(
            name=self.name,
            fingerprint=self.fingerprint,
            input_shape=self.input_shape,
            num_classes=self.num_classes,
            train=len(self.train),
            validation=len(self.validation),
            test=len(self.test),
            chance=self.chance,
            shuffled_labels=self.shuffled_labels,
        )


@dataclass(frozen=True, eq=False)
class BatchedData:
    """Training and held-out batches to analyze or prune a model with, as a callable returned them.

    A batch is a pair of inputs, which the model receives unchanged, and labels; or the inputs by
    name with ``labels`` among them. Inputs are a tensor (n, ...), or a tuple or dict of such
    tensors. Batches can be iterated more than once.
    """

    name: str
    """Name for reports."""
    train: Iterable[Any]
    """Batches of training data."""
    heldout: Iterable[Any] | None = None
    """Batches of held-out data, if there are any."""
    test: Iterable[Any] | None = None
    """Batches that no decision is made on, if there are any."""
    source: str = ""
    """How the callable, or the file with text, is named, as ``--data`` takes it."""
    options: dict[str, Any] = field(default_factory=dict)
    """Fields of ``DataOptions`` that text was cut into blocks with; empty for a callable."""
