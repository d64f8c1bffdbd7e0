"""The data that pruning works with, in three splits: training, validation and test."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from designer.analysis.data_for_model import all_data_for_model
from designer.choices import Scaling
from designer.data.dataset import BatchedData, Dataset, LabelledTensors
from designer.data.duplicates import Leak, leaks_of
from designer.data.loading import load_source
from designer.errors import DataError, InvalidInputError
from designer.models.loaded import LoadedModel

Pair = LabelledTensors | tuple[Tensor, Tensor]
"""Inputs (n, ...) and labels (n,)."""


PruningData = str | Dataset | tuple[Pair, Pair] | tuple[Pair, Pair, Pair]
"""What pruning takes: a source for ``load_dataset``, whose data are used as they come, a
``Dataset``, or (train, heldout[, test])."""


@dataclass(frozen=True, eq=False)
class Splits:
    """Training, validation and test data."""

    name: str
    """Name of the data set."""
    train: LabelledTensors
    """Blocks are judged and layers fitted on it."""
    validation: LabelledTensors
    """Held out; decisions are made on it."""
    test: LabelledTensors | None
    """Only reported on, if there is any."""
    fingerprint: str = ""
    """Identifies the samples; empty for data in memory."""

    @cached_property
    def leaks(self) -> tuple[Leak, ...]:
        """The leaks into validation and test data."""
        return leaks_of(self.train, self.validation, self.test)

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return int(self.train.labels.max()) + 1

    @property
    def chance(self) -> float:
        """The share of the largest class in the validation data."""
        return self.validation.chance

    def to(self, device: torch.device) -> Splits:
        """Return the same data on another device."""
        test = None if self.test is None else self.test.to(device)
        train, validation = self.train.to(device), self.validation.to(device)
        return Splits(self.name, train, validation, test, self.fingerprint)


def splits_of(data: PruningData, model: nn.Module | None = None) -> Splits:
    """Return training, validation and test data, in whatever form they come.

    Args:
        data: see ``PruningData``. Labels are integers from 0; an empty test part is left out.
        model: the model that is fed with them; None to load named data without checking that
            their scaling is the model's.

    Raises:
        InvalidInputError: if the data have another form, no held-out part, no samples, or held-out
            classes that the training data lack; or if they are named, and the model is clearly
            right about them under another scaling.
    """
    if isinstance(data, str):
        data = _loaded(data, model)
    if isinstance(data, Dataset):
        return Splits(data.name, data.train, data.validation, data.test, data.fingerprint)
    if not isinstance(data, tuple) or len(data) not in (2, 3):
        raise InvalidInputError(
            "Expected data with a held-out part to decide on, as the name of a data set, a "
            f"Dataset, or (train, heldout[, test]), got {_shown(data)}."
        )
    train, validation, *test = map(_labelled, data)
    _check_labels(train, validation)
    return Splits("data in memory", train, validation, next(filter(len, test), None))


def _loaded(source: str, model: nn.Module | None) -> Dataset:
    """Load a data set as it comes, and check that the model was trained on such data."""

    def show(scaling: Scaling) -> str:
        return f"load_dataset('{source}', scaling='{scaling}')"

    loaded = (
        load_source(source, {"scaling": Scaling.NONE})
        if model is None
        else all_data_for_model(LoadedModel(model), source, show)
    )
    return arrays_of(loaded)


def arrays_of(loaded: Dataset | BatchedData) -> Dataset:
    """Return data that were loaded as arrays.

    Raises:
        DataError: if they come in batches.
    """
    if isinstance(loaded, BatchedData):
        raise DataError(
            f"Expected arrays from '{loaded.name}', got batches; pruning trains what is left, so "
            f"return x_train and y_train."
        )
    return loaded


def _check_labels(train: LabelledTensors, validation: LabelledTensors) -> None:
    """Check that there are samples to learn from and to decide on, of the same classes."""
    if not len(train) or not len(validation):
        split = "held-out data to decide on" if len(train) else "training data"
        raise InvalidInputError(f"Expected {split}, got no sample.")
    if int(train.labels.min()) < 0:
        raise InvalidInputError(f"Expected labels from 0 on, got {int(train.labels.min())}.")
    unknown = set(validation.labels.tolist()) - set(train.labels.tolist())
    if unknown:
        raise InvalidInputError(
            f"Expected held-out labels among the training classes, got class {min(unknown)}, too."
        )


def _labelled(pair: object) -> LabelledTensors:
    if isinstance(pair, LabelledTensors):
        return pair
    if (
        isinstance(pair, tuple | list)
        and len(pair) == 2
        and all(isinstance(tensor, Tensor) for tensor in pair)
        and len(pair[0]) == len(pair[1])
        and pair[1].ndim == 1
        and not pair[1].is_floating_point()
    ):
        inputs, labels = pair
        return LabelledTensors(
            inputs.float() if inputs.is_floating_point() else inputs, labels.long()
        )
    raise InvalidInputError(
        f"Expected inputs (n, ...) and labels (n,) as torch tensors, got {_shown(pair)}."
    )


def _shown(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__
