"""A classification task as tensors, or as batches that a callable gave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from designer.choices import Scaling
from designer.results.layers import ReportWarning
from designer.results.search import DataSummary

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class LabelledTensors:
    """Inputs (n, ...) float32 and labels (n,) int64."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.inputs, self.labels))

    def batches(self, size: int) -> list[tuple[Tensor, Tensor]]:
        """All samples in order, ``size`` at a time."""
        pairs = zip(torch.split(self.inputs, size), torch.split(self.labels, size), strict=True)
        return list(pairs)

    def to(self, device: torch.device) -> LabelledTensors:
        """The same on another device."""
        return LabelledTensors(self.inputs.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification task, ready to train on."""

    name: str
    train: LabelledTensors
    validation: LabelledTensors
    test: LabelledTensors
    class_names: tuple[str, ...]
    scaling: dict[str, list[float]]
    """``mean`` and ``scale`` per channel or feature that were applied: inputs are
    (raw - mean) / scale."""
    fingerprint: str
    """SHA-256 of the raw arrays as split, before scaling."""
    options: dict[str, Any] = field(default_factory=dict)
    """The arguments of ``load_dataset`` that shaped it."""
    shuffled_labels: bool = False
    warnings: tuple[ReportWarning, ...] = ()
    split_here: bool = False
    """Whether the source had no test set, so that one was split off."""

    @property
    def recipe(self) -> dict[str, Any]:
        """Arguments of ``load_dataset`` that give the same data again."""
        given = self.options.get("scaling") == Scaling.GIVEN
        return {**self.options, "scaling": self.scaling} if given else dict(self.options)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, channels first."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    @property
    def chance(self) -> float:
        """Share of the largest class in the validation data."""
        counts = torch.bincount(self.validation.labels, minlength=self.num_classes)
        return float(counts.max()) / len(self.validation)

    def to(self, device: torch.device) -> Dataset:
        """The same with all tensors on another device."""
        return replace(
            self,
            train=self.train.to(device),
            validation=self.validation.to(device),
            test=self.test.to(device),
        )

    def summary(self) -> DataSummary:
        """What the report says about the data."""
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
    """Batches to look at a model with, as a callable gave them.

    Each is a pair of inputs, passed to the model as they are, and labels. Inputs are a tensor
    (n, ...), or a tuple or dict of such. They can be iterated more than once.
    """

    name: str
    train: Iterable[tuple[Any, Tensor]]
    heldout: Iterable[tuple[Any, Tensor]] | None = None
