"""Load a data set: read, check, split, resize and scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import numpy as np
import torch

from designer.choices import InputKind, Scaling
from designer.data.dataset import Array, BatchedData, Dataset, LabelledTensors
from designer.data.duplicates import equal_samples
from designer.data.image_folders import RawImages
from designer.data.image_scan import ImageScan
from designer.data.kinds import (
    NO_SCALING,
    check_bytes,
    check_unscaled,
    inputs_of,
    kind_of,
    other_kind,
)
from designer.data.limits import STREAMED_ABOVE
from designer.data.options import DataOptions
from designer.data.raw import RawArrays, RawInputs, arrays_of, check_arrays, map_arrays
from designer.data.scaling import scale_inputs, scaling_of_images
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
from designer.data.streamed import StreamedImages, StreamedInputs
from designer.errors import DataError
from designer.importing import Trust, typed

Samples = tuple[RawInputs, Array]
"""Inputs (n, ...) and labels (n,) of one part of a data set, as arrays."""


@dataclass(frozen=True)
class _Pool:
    """Samples that are still to be split."""

    x: RawInputs
    """(n, ...) inputs."""
    y: Array
    """(n,) labels from 0 on."""
    groups: Array | None
    """(n,) number that equal samples share; None if each may go its own way."""

    def split(self, held_out: int, keep: int | None, seed: int) -> tuple[_Pool, Samples]:
        """Return the samples that are kept, and those that are held out."""
        kept, held = stratified_split(self.y, self.groups, held_out, keep, seed)
        groups = None if self.groups is None else np.unique(self.groups[kept], return_inverse=True)
        x_kept, x_held = (map_arrays(self.x, itemgetter(rows)) for rows in (kept, held))
        pool = _Pool(x_kept, self.y[kept], None if groups is None else groups[1])
        return pool, (x_held, self.y[held])


def load_dataset(
    source: str,
    *,
    train_size: int | None = None,
    image_size: int | None = None,
    validation_fraction: float = 0.25,
    seed: int = 0,
    shuffle_labels: bool = False,
    split_duplicates: bool = False,
    scaling: str | Mapping[str, Sequence[float]] = Scaling.STANDARD,
    input: str | None = None,  # noqa: A002 - the name of the option on the command line
) -> Dataset:
    """Load, check, split and scale a data set.

    Args:
        source: one of the forms in ``designer.data.sources.SOURCES``. A callable is imported and
            called, so pass no name that only a file says.
        train_size: samples to train on; ``validation_fraction`` says how many more are held out.
            By default all samples are used.
        image_size: height and width in pixels that images are resized to.
        validation_fraction: share of training and validation samples together that is held out
            for validation, between 0 and 1.
        seed: seed of the split and of ``shuffle_labels``.
        shuffle_labels: permute all labels, as a control in which a search should find nothing.
        split_duplicates: split equal samples as if they differed. By default they stay together,
            so that no held-out sample stands in the training data, too.
        scaling: ``standard``; ``none``, which divides bytes by 255 and leaves other values as
            they are; ``0..1``, ``0..255`` or ``imagenet`` for pixel values, see ``Scaling``; or a
            ``Dataset.scaling`` to apply, for example that of a trained model. Tokens and several
            inputs are not scaled.
        input: what the inputs are: ``image``, ``series`` (n, channels, time), ``tokens`` (n,
            length), which stay whole numbers, or ``tabular``. By default arrays (n, p) are tabular,
            and others are images, unless they have no more than 3 rows of at least 16 numbers,
            which are series. Several inputs, in a dict or a tuple, are used as they come.

    Returns:
        Training, validation and test tensors, and how they were made.

    Raises:
        DataError: if an option is out of its range, or the source does not hold a classification
            data set.
    """
    options = DataOptions(
        train_size=train_size,
        image_size=image_size,
        validation_fraction=validation_fraction,
        seed=seed,
        shuffle_labels=shuffle_labels,
        split_duplicates=split_duplicates,
        scaling=scaling,
        input=input,
    )
    return load_with_options(source, options, typed(source))


def load_with_options(source: str, options: DataOptions, trust: Trust) -> Dataset:
    """Load, check, split and scale a data set, with options that are already checked.

    Args:
        source: one of the forms in ``designer.data.sources.SOURCES``.
        options: how to split, resize and scale.
        trust: which callables may be imported.

    Raises:
        DataError: if the source does not hold a classification data set.
        TrustError: if the source is a callable that may not be imported.
    """
    raw = read_source(source, options.image_size, trust)
    if isinstance(raw, BatchedData):
        raise DataError(
            f"Expected arrays from '{source}', got batches; a search needs arrays: return x_train "
            f"and y_train."
        )
    return _prepared(source, raw, options)


def load_source(
    source: str, defaults: Mapping[str, Any] | None = None, **options: Any
) -> Dataset | BatchedData:
    """Load batches where a callable returns them; load any other source as ``load_dataset`` does.

    Args:
        source: one of the forms in ``designer.data.sources.SOURCES``; a callable is imported.
        defaults: fields of ``DataOptions`` for arrays, where ``options`` does not say them.
        options: fields of ``DataOptions`` that the caller asks for.

    Returns:
        A data set, or the batches unchanged.

    Raises:
        DataError: as ``load_dataset``; also if batches can be iterated only once, or if an option
            is asked for that batches cannot follow.
    """
    checked = DataOptions(**{**(defaults or {}), **options})
    return _load(source, checked, options, typed(source))


def load_recorded(recipe: Mapping[str, Any], trust: Trust) -> Dataset | BatchedData:
    """Load the data that a file records, as ``load_source`` does.

    Args:
        recipe: the source, and fields of ``DataOptions``.
        trust: which callables may be imported.

    Raises:
        DataError: as ``load_source``.
        TrustError: if the source is a callable that may not be imported.
    """
    options = {name: value for name, value in recipe.items() if name != "source"}
    return _load(recipe["source"], DataOptions(**options), options, trust)


def _load(
    source: str, checked: DataOptions, options: Mapping[str, Any], trust: Trust
) -> Dataset | BatchedData:
    """Load a source by its options, of which batches can follow only some."""
    raw = read_source(source, checked.image_size, trust)
    if not isinstance(raw, BatchedData):
        return _prepared(source, raw, checked)
    _check_options_of_batches(source, options)
    return raw


def _check_options_of_batches(source: str, options: Mapping[str, Any]) -> None:
    """Raise ``DataError`` if an option was asked for that would change batches."""
    for name, value in options.items():
        if name != "seed" and value not in (None, False, Scaling.NONE):
            raise DataError(
                f"Expected arrays from '{source}' for the option {name.replace('_', ' ')}, got "
                f"batches, which are used as they are; leave it out."
            )


def _prepared(source: str, raw: RawArrays | RawImages, options: DataOptions) -> Dataset:
    """Check, split, resize and scale raw arrays, or images that stay in their files."""
    if isinstance(raw, RawImages):
        return _streamed(source, raw, options)
    classes, parts = _split(raw, lambda: equal_samples(arrays_of(raw.x)), options)
    tensors, scaling = _tensors(parts, options)
    return Dataset(
        name=display_name(source),
        class_names=tuple(str(label) for label in classes),
        scaling=scaling,
        fingerprint=fingerprint_of(
            [array for x, y in parts.values() for array in (*arrays_of(x), y)]
        ),
        options={"source": source, **options.record()},
        shuffled_labels=options.shuffle_labels,
        warnings=(*raw.warnings, *class_warnings(parts, classes)),
        split_here=raw.x_test is None,
        other_kind=other_kind(raw.x, options.input),
        **tensors,
    )


def _streamed(source: str, raw: RawImages, options: DataOptions) -> Dataset:
    """Split images that stay in their files, as arrays are split; scale them when decoded."""
    if options.input not in (None, InputKind.IMAGE):
        raise DataError(
            f"Expected '{source}' as images, which are too large for the memory, got "
            f"{options.input}; leave it out, or raise the limit with {STREAMED_ABOVE}."
        )
    scan = ImageScan.of(raw.files)
    rows = np.arange(len(raw.files))[:, None]  # in place of the pixels
    n = len(raw.y)
    test = () if raw.y_test is None else (rows[n:], raw.y_test)
    indices = RawArrays(rows[:n], raw.y, *test)
    classes, parts = _split(indices, lambda: scan.groups(n), options)
    flat = {name: (np.asarray(x).reshape(-1), y) for name, (x, y) in parts.items()}
    mean, scale = scaling_of_images(scan.moments(flat["train"][0]), options.scaling)
    streamed: dict[str, Any] = {
        name: StreamedImages(
            StreamedInputs(raw.files, x, mean, scale, scan.digests[x]),
            torch.as_tensor(y, dtype=torch.int64),
        )
        for name, (x, y) in flat.items()
    }
    return Dataset(
        name=display_name(source),
        class_names=tuple(str(label) for label in classes),
        scaling={"mean": mean.flatten().tolist(), "scale": scale.flatten().tolist()},
        fingerprint=scan.fingerprint(list(flat.values())),
        options={"source": source, **options.record()},
        shuffled_labels=options.shuffle_labels,
        warnings=(*raw.warnings, *class_warnings(parts, classes)),
        split_here=raw.y_test is None,
        **streamed,
    )


def _split(
    raw: RawArrays, groups_of_equal: Callable[[], Array | None], options: DataOptions
) -> tuple[Array, dict[str, Samples]]:
    """Return the classes, and the samples of each part with labels from 0 on.

    Args:
        raw: inputs and labels.
        groups_of_equal: returns a number (n,) that equal training samples share, or None if all
            differ; called once the inputs are checked.
        options: how to split.
    """
    classes = _checked_classes(raw)
    groups = None if options.split_duplicates else groups_of_equal()
    trainval, test = _with_test_set(raw, classes, groups, options)
    if options.shuffle_labels:
        trainval, test = _with_shuffled_labels(trainval, test, options.seed)
    train, validation = _with_validation_set(trainval, len(classes), options)
    return classes, {"train": train, "validation": validation, "test": test}


def _checked_classes(raw: RawArrays) -> Array:
    """Return the classes (K,) of the training labels, sorted, once each has enough samples."""
    check_arrays(raw.x, raw.y, "training")
    classes, counts = np.unique(raw.y, return_counts=True)
    check_classes(classes, counts, needed=2 if raw.x_test is not None else 3)
    return classes


def _with_test_set(
    raw: RawArrays, classes: Array, groups: Array | None, options: DataOptions
) -> tuple[_Pool, Samples]:
    """Return training and validation samples together, and the test set; labels are 0..K-1."""
    pool = _Pool(raw.x, np.searchsorted(classes, raw.y), groups)
    if raw.x_test is not None and raw.y_test is not None:
        return pool, (raw.x_test, encoded_test_labels(raw.x_test, raw.y_test, raw.x, classes))
    size = max(round_up(TEST_FRACTION * len(raw.y)), len(classes))  # at least one of each class
    return pool.split(size, None, options.seed)


def _with_shuffled_labels(trainval: _Pool, test: Samples, seed: int) -> tuple[_Pool, Samples]:
    generator = np.random.default_rng(seed)
    x_test, y_test = test
    shuffled = replace(trainval, y=generator.permutation(trainval.y))
    return shuffled, (x_test, generator.permutation(y_test))


def _with_validation_set(
    trainval: _Pool, num_classes: int, options: DataOptions
) -> tuple[Samples, Samples]:
    """Return the training and the validation samples."""
    share = options.validation_fraction
    size = validation_size(len(trainval.y), num_classes, options.train_size, share)
    train, validation = trainval.split(size, options.train_size, options.seed)
    return (train.x, train.y), validation


def _tensors(
    parts: Mapping[str, Samples], options: DataOptions
) -> tuple[dict[str, LabelledTensors], dict[str, list[float]]]:
    """Return all parts as scaled tensors, and the mean and scale that were applied."""
    kind = kind_of(parts["train"][0], options.input)
    kinds = {name: kind_of(x, options.input) and kind for name, (x, _) in parts.items()}
    inputs = {n: inputs_of(x, kinds[n], options.image_size) for n, (x, _) in parts.items()}
    if kind in (InputKind.TOKENS, None):
        check_unscaled(options.scaling)
        scaling = NO_SCALING
    else:
        check_bytes(parts["train"][0], parts["test"][0])
        inputs, scaling = scale_inputs(inputs, options.scaling)
    labels = {name: torch.as_tensor(y, dtype=torch.int64) for name, (_, y) in parts.items()}
    return {name: LabelledTensors(inputs[name], labels[name]) for name in parts}, scaling
