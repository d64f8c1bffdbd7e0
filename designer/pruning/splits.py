"""What pruning works with: data in three parts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from designer.data.dataset import Dataset, LabelledTensors
from designer.data.loading import load_dataset
from designer.errors import InvalidInputError

Pair = LabelledTensors | tuple[Tensor, Tensor]


Data = str | Dataset | tuple[Pair, Pair] | tuple[Pair, Pair, Pair]
"""A source for ``load_dataset``, what it gave, or (train, heldout[, test]) as (inputs, labels)."""


@dataclass(frozen=True, eq=False)
class Splits:
    """Data for pruning."""

    name: str
    train: LabelledTensors
    """Blocks are judged and layers fitted on it."""
    validation: LabelledTensors
    """Held out: decisions are made on it."""
    test: LabelledTensors | None
    """Looked at only for the final table."""
    fingerprint: str = ""

    @property
    def num_classes(self) -> int:
        return int(self.train.labels.max()) + 1

    @property
    def chance(self) -> float:
        """Share of the largest class in the validation data."""
        return float(torch.bincount(self.validation.labels).max()) / len(self.validation)

    def to(self, device: torch.device) -> Splits:
        """The same on another device."""
        test = None if self.test is None else self.test.to(device)
        train, validation = self.train.to(device), self.validation.to(device)
        return Splits(self.name, train, validation, test, self.fingerprint)


def splits_of(data: Data) -> Splits:
    """Training, validation and test data, whatever they came as.

    Raises:
        InvalidInputError: on anything else, and where there are no held-out data.
    """
    if isinstance(data, str):
        data = load_dataset(data)
    if isinstance(data, Dataset):
        return Splits(data.name, data.train, data.validation, data.test, data.fingerprint)
    if not isinstance(data, tuple) or len(data) not in (2, 3):
        raise InvalidInputError(
            "Expected data with a held-out part to decide on, as the name of a data set, a "
            f"Dataset, or (train, heldout[, test]), got {_shown(data)}."
        )
    train, validation, *test = map(_pair, data)
    _check_labels(train, validation)
    return Splits("data in memory", train, validation, next(filter(len, test), None))


def _check_labels(train: LabelledTensors, validation: LabelledTensors) -> None:
    """Samples to learn from and to decide on, of the same classes."""
    if not len(train) or not len(validation):
        part = "held-out data to decide on" if len(train) else "training data"
        raise InvalidInputError(f"Expected {part}, got no sample.")
    if int(train.labels.min()) < 0:
        raise InvalidInputError(f"Expected labels from 0 on, got {int(train.labels.min())}.")
    unknown = set(validation.labels.tolist()) - set(train.labels.tolist())
    if unknown:
        raise InvalidInputError(
            f"Expected held-out labels among the training classes, got class {min(unknown)}, too."
        )


def _pair(given: object) -> LabelledTensors:
    if isinstance(given, LabelledTensors):
        return given
    if (
        isinstance(given, tuple | list)
        and len(given) == 2
        and all(isinstance(one, Tensor) for one in given)
        and len(given[0]) == len(given[1])
        and given[1].ndim == 1
        and not given[1].is_floating_point()
    ):
        inputs, labels = given
        return LabelledTensors(
            inputs.float() if inputs.is_floating_point() else inputs, labels.long()
        )
    raise InvalidInputError(
        f"Expected inputs (n, ...) and labels (n,) as torch tensors, got {_shown(given)}."
    )


def _shown(given: object) -> str:
    if isinstance(given, tuple | list):
        return f"{type(given).__name__} of {len(given)}"
    return type(given).__name__
