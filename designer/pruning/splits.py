"""The data that pruning works with, in three splits: training, validation and test."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from designer.analysis.data_for_model import all_data_for_model
from designer.analysis.options import AnalysisOptions
from designer.choices import Measure, Scaling
from designer.data.batches import UNLABELLED, LabelledData, batches_of
from designer.data.dataset import BatchedData, Dataset, LabelledTensors
from designer.data.duplicates import Leak, leaks_of
from designer.data.gathering import gathered
from designer.data.language import data_for
from designer.data.loading import load_source
from designer.errors import DataError, InvalidInputError
from designer.models.loaded import LoadedModel
from designer.probing.calling import floating_inputs, map_tensors

PruningData = (
    str
    | Dataset
    | BatchedData
    | tuple[LabelledData, LabelledData]
    | tuple[LabelledData, LabelledData, LabelledData]
)
"""What pruning takes: a source for ``load_dataset``, whose data are used as they come, a
``Dataset``, or (train, heldout[, test]), each in any form that ``designer.profile`` takes."""


CHECKED_AT_ONCE = 256
"""Samples whose inputs are checked together."""


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
    measure: Measure = Measure.SEPARATION
    """What is measured behind every block."""

    @cached_property
    def leaks(self) -> tuple[Leak, ...]:
        """The leaks into validation and test data."""
        return leaks_of(self.train, self.validation, self.test)

    @property
    def num_classes(self) -> int:
        """The number of classes; of tokens that occur anywhere, where these are predicted."""
        parts = (self.train, self.validation, self.test) if self.language else (self.train,)
        return max(int(part.labels.max()) for part in parts if part is not None) + 1

    @property
    def language(self) -> bool:
        """True if tokens are predicted, so that perplexity says how well a network does."""
        return self.tokens and self.measure is Measure.RESIDUAL

    @property
    def tokens(self) -> bool:
        """True if every token has a label."""
        return self.train.labels.ndim > 1

    @property
    def chance(self) -> float:
        """The share of the largest class in the validation data."""
        return self.validation.chance

    def to(self, device: torch.device) -> Splits:
        """Return the same data on another device."""
        return replace(
            self,
            train=self.train.to(device),
            validation=self.validation.to(device),
            test=None if self.test is None else self.test.to(device),
        )


def splits_of(
    data: PruningData, model: nn.Module | None = None, measure: str | None = None
) -> Splits:
    """Return training, validation and test data, in whatever form they come.

    Args:
        data: see ``PruningData``. Labels are integers from 0, and -100 stands for none; an empty
            test part is left out. Batches are kept in memory.
        model: the model that is fed with them; None to load named data without checking that
            their scaling is the model's.
        measure: what is measured behind every block; None for what suits the model.

    Raises:
        InvalidInputError: if the data have another form, no held-out part, no samples, or held-out
            classes that the training data lack; or if they are named, and the model is clearly
            right about them under another scaling.
    """
    if isinstance(data, str):
        data = _loaded(data, model)
    if isinstance(data, Dataset):
        data = data.in_memory()
        chosen = _measure(data.train, model, measure)
        return Splits(data.name, data.train, data.validation, data.test, data.fingerprint, chosen)
    name = data.name if isinstance(data, BatchedData) else "data in memory"
    parts = _parts_of(data) if isinstance(data, BatchedData) else data
    if not isinstance(parts, tuple) or len(parts) not in (2, 3):
        raise InvalidInputError(
            "Expected data with a held-out part to decide on, as the name of a data set, a "
            f"Dataset, or (train, heldout[, test]), got {_shown(parts)}."
        )
    own = parts if model is None else [data_for(model, part) for part in parts]
    train, validation, *test = map(_labelled, own)
    _check_part_sizes(train, validation)
    chosen = _measure(train, model, measure)
    splits = Splits(name, train, validation, next(filter(len, test), None), measure=chosen)
    named = {"training": train, "held-out": validation, "test": splits.test}
    for part, samples in named.items():
        if samples is not None:
            _check_no_gaps(part, samples)
            _check_labels(train, part, samples, language=splits.language)
    return splits


def _measure(train: LabelledTensors, model: nn.Module | None, measure: str | None) -> Measure:
    """Return the measure that was asked for, else the one that suits a model and its data."""
    options = AnalysisOptions(measure=measure)
    if model is None or train.labels.ndim == 1:
        return options.measured
    return options.for_data(model, batches_of(train)).measured


def _parts_of(data: BatchedData) -> tuple[LabelledData, ...]:
    """Return the parts of batches that a callable returned.

    Raises:
        DataError: if there are no held-out batches.
    """
    if data.heldout is None:
        raise DataError(
            f"Expected held-out batches to decide on from '{data.name}', got train alone; return "
            f"heldout, too."
        )
    return data.train, data.heldout, *([] if data.test is None else [data.test])


def _loaded(source: str, model: nn.Module | None) -> Dataset | BatchedData:
    """Load a data set as it comes, and check that the model was trained on such data."""

    def show(scaling: Scaling) -> str:
        return f"load_dataset('{source}', scaling='{scaling}')"

    if model is None:
        return load_source(source, {"scaling": Scaling.NONE})
    return all_data_for_model(LoadedModel(model), source, show)


def _check_part_sizes(train: LabelledTensors, validation: LabelledTensors) -> None:
    """Check that there are samples to learn from and to decide on, with labels of one kind."""
    if not len(train) or not len(validation):
        split = "held-out data to decide on" if len(train) else "training data"
        raise InvalidInputError(f"Expected {split}, got no sample.")
    if train.labels.ndim != validation.labels.ndim:
        raise InvalidInputError(
            "Expected held-out labels of the same shape as in training, got labels (n,) in one and "
            "(n, tokens) in the other."
        )


def _check_no_gaps(part: str, samples: LabelledTensors) -> None:
    """Check that no input holds NaN, which averages over samples would spread.

    Infinity may stand for what a mask leaves out.
    """
    for tensor in floating_inputs(samples.inputs):
        bad = sum(int(rows.isnan().any(1).sum()) for rows in _slices(tensor))
        if bad:
            raise InvalidInputError(
                f"Expected inputs without gaps, got NaN in {bad} of {len(tensor)} {part} samples; "
                f"leave them out, or fill them in."
            )


def _slices(tensor: Tensor) -> Iterable[Tensor]:
    """Return the rows of a tensor (n, ...) as (m, p), so few at a time that they take no memory."""
    return torch.split(tensor.reshape(len(tensor), -1), CHECKED_AT_ONCE)


def _check_labels(
    train: LabelledTensors, part: str, samples: LabelledTensors, *, language: bool
) -> None:
    """Check that labels are among the training classes; text may hold tokens that are new."""
    known, own = (set(torch.unique(data.labels).tolist()) for data in (train, samples))
    unlabelled = {UNLABELLED} if train.labels.ndim > 1 else set()
    lowest = min(known - unlabelled)
    if lowest < 0:
        raise InvalidInputError(f"Expected labels from 0 on, got {lowest}.")
    unknown = own - known - unlabelled
    if unknown and not language:
        raise InvalidInputError(
            f"Expected {part} labels among the training classes, got class {min(unknown)}, too."
        )


def _labelled(part: LabelledData) -> LabelledTensors:
    """Return one part of the data in memory, floating inputs in float32."""
    plain = _plain(part)
    data = gathered(part) if plain is None else plain
    if data.labels.is_floating_point():
        raise InvalidInputError(
            f"Expected labels (n,) or (n, tokens) of an integer dtype, got real targets of shape "
            f"{tuple(data.labels.shape)}; pruning needs classes."
        )
    inputs = map_tensors(data.inputs, lambda t: t.float() if t.is_floating_point() else t)
    return LabelledTensors(inputs, data.labels.long())


def _plain(part: object) -> LabelledTensors | None:
    """Return tensors in memory as they are; they may be empty. None for data of other forms."""
    if isinstance(part, LabelledTensors):
        return part.in_memory()
    if not isinstance(part, tuple | list) or len(part) != 2:
        return None
    inputs, labels = part
    plain = isinstance(inputs, Tensor) and isinstance(labels, Tensor) and not len(labels)
    return LabelledTensors(inputs, labels) if plain and not len(inputs) else None


def _shown(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__
