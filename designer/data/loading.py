"""Load a data set: read, check, split, resize and scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from designer.choices import Scaling
from designer.data.dataset import BatchedData, Dataset, LabelledTensors
from designer.data.images import to_inputs
from designer.data.raw import RawArrays, check_arrays
from designer.data.scaling import scale_inputs
from designer.data.sources import display_name, read_source
from designer.data.splitting import (
    TEST_FRACTION,
    check_classes,
    class_warnings,
    encoded_test_labels,
    fingerprint_of,
    round_up,
    stratified_split,
    validation_size,
)
from designer.errors import DataError


@dataclass(frozen=True)
class _Options:
    """The arguments of ``load_dataset`` besides the source."""

    train_size: int | None = None
    image_size: int | None = None
    validation_fraction: float = 0.25
    seed: int = 0
    shuffle_labels: bool = False
    scaling: str | Mapping[str, Sequence[float]] = Scaling.STANDARD

    def __post_init__(self) -> None:
        if not 0 < self.validation_fraction < 1:
            raise DataError(
                f"Expected a validation fraction between 0 and 1, got {self.validation_fraction:g}."
            )
        if not 0 <= self.seed < 2**31:
            raise DataError(f"Expected a seed from 0 to 2^31 - 1, got {self.seed}.")
        if not isinstance(self.scaling, Mapping) and self.scaling not in ("standard", "none"):
            raise DataError(
                f"Expected a scaling of standard or none, or a mapping with mean and scale, got "
                f"'{self.scaling}'."
            )

    def record(self) -> dict[str, Any]:
        """As plain values; a mapping that was given is only named."""
        given = isinstance(self.scaling, Mapping)
        return {**vars(self), "scaling": str(Scaling.GIVEN if given else self.scaling)}


def load_dataset(
    source: str,
    *,
    train_size: int | None = None,
    image_size: int | None = None,
    validation_fraction: float = 0.25,
    seed: int = 0,
    shuffle_labels: bool = False,
    scaling: str | Mapping[str, Sequence[float]] = Scaling.STANDARD,
) -> Dataset:
    """Load, check, split and scale a data set.

    Args:
        source: one of the forms in ``SOURCES``.
        train_size: images to train on; as many more as ``validation_fraction`` asks for are
            held out. All by default.
        image_size: height and width in pixels to resize images to.
        validation_fraction: share of the images in use that is held out for validation.
        seed: of the split and of ``shuffle_labels``.
        shuffle_labels: permute all labels, as a control that should find nothing.
        scaling: ``standard``, ``none`` (bytes as fractions of 255, all else as the source gave
            it), or a ``Dataset.scaling`` to apply, such as that of a model trained earlier.

    Raises:
        DataError: on anything that is not a usable classification data set.
    """
    options = _Options(
        train_size=train_size,
        image_size=image_size,
        validation_fraction=validation_fraction,
        seed=seed,
        shuffle_labels=shuffle_labels,
        scaling=scaling,
    )
    made = read_source(source, image_size)
    if isinstance(made, BatchedData):
        raise DataError(
            f"Expected arrays from '{source}', got batches; a search needs arrays: return x_train "
            f"and y_train."
        )
    return _prepared(source, made, options)


def load_source(source: str, **options: Any) -> Dataset | BatchedData:
    """Batches where a callable gives such, as they are; all else as ``load_dataset`` does.

    Args:
        source: one of the forms in ``SOURCES``.
        options: those of ``load_dataset``.

    Raises:
        DataError: as ``load_dataset``; on batches that cannot be iterated more than once, and on
            options that batches cannot follow.
    """
    chosen = _Options(**options)
    made = read_source(source, chosen.image_size)
    if not isinstance(made, BatchedData):
        return _prepared(source, made, chosen)
    for name, value in options.items():  # a scaling in numbers is that of the model, not asked for
        as_they_are = value in (None, False, Scaling.NONE) or isinstance(value, Mapping)
        if name != "seed" and not as_they_are:
            raise DataError(
                f"Expected arrays from '{source}' for the option {name.replace('_', ' ')}, got "
                f"batches, which are used as they are; leave it out."
            )
    return made


def _prepared(source: str, raw: RawArrays, options: _Options) -> Dataset:
    """Raw arrays, checked, split and scaled."""
    seed = options.seed
    check_arrays(raw.x, raw.y, "training")
    classes, counts = np.unique(raw.y, return_counts=True)
    check_classes(classes, counts, needed=2 if raw.x_test is not None else 3)
    x, y = raw.x, np.searchsorted(classes, raw.y)
    if raw.x_test is None or raw.y_test is None:
        x, y, x_test, y_test = stratified_split(x, y, round_up(TEST_FRACTION * len(y)), None, seed)
    else:
        x_test, y_test = raw.x_test, encoded_test_labels(raw.x_test, raw.y_test, x, classes)
    if options.shuffle_labels:
        generator = np.random.default_rng(seed)
        y, y_test = generator.permutation(y), generator.permutation(y_test)
    train_size, fraction = options.train_size, options.validation_fraction
    held_out = validation_size(len(y), len(classes), train_size, fraction)
    x, y, x_validation, y_validation = stratified_split(x, y, held_out, train_size, seed)
    parts = {"train": (x, y), "validation": (x_validation, y_validation), "test": (x_test, y_test)}
    inputs, scaling = scale_inputs(
        {name: to_inputs(a, options.image_size) for name, (a, _) in parts.items()},
        options.scaling,
    )
    tensors = {
        name: LabelledTensors(inputs[name], torch.as_tensor(labels, dtype=torch.int64))
        for name, (_, labels) in parts.items()
    }
    return Dataset(
        name=display_name(source),
        class_names=tuple(str(c) for c in classes),
        scaling=scaling,
        fingerprint=fingerprint_of([array for pair in parts.values() for array in pair]),
        options={"source": source, **options.record()},
        shuffled_labels=options.shuffle_labels,
        warnings=tuple(class_warnings(parts, classes)),
        split_here=raw.x_test is None,
        **tensors,
    )
