"""Split samples into training, validation and test data, stratified and seeded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from designer.data.dataset import Array
from designer.data.duplicates import split_groups
from designer.data.raw import RawInputs, arrays_of, check_arrays
from designer.errors import DataError, first_line
from designer.results.layers import ReportWarning

TEST_FRACTION = 0.2
"""Share of all samples that becomes the test set where the source has none."""


def check_classes(classes: Array, counts: Array, needed: int) -> None:
    """Raise ``DataError`` unless there are two classes, each with enough samples.

    Args:
        classes: (K,) labels, each once.
        counts: (K,) samples of each class.
        needed: samples that every class must have.

    Raises:
        DataError: if there are fewer than two classes, or one of them has too few samples.
    """
    if len(classes) < 2:
        raise DataError(f"Expected at least 2 classes in the training labels, got {len(classes)}.")
    rarest = int(counts.argmin())
    if counts[rarest] < needed:
        raise DataError(
            f"Expected at least {needed} samples of every class to split them, got "
            f"{counts[rarest]} of class {classes[rarest]}; drop it or add samples."
        )


def encoded_test_labels(x_test: RawInputs, y_test: Array, x: RawInputs, classes: Array) -> Array:
    """Return the test labels (n,) as positions in ``classes``, once they fit the training data.

    Args:
        x_test: (n, ...) test inputs.
        y_test: (n,) test labels as the source has them.
        x: (m, ...) training inputs.
        classes: (K,) sorted training labels, each once.

    Raises:
        DataError: if test inputs have another shape than training inputs, or test labels another
            type or classes that training lacks.
    """
    check_arrays(x_test, y_test, "test")
    _check_same_form(x_test, x)
    if (y_test.dtype.kind == "U") != (classes.dtype.kind == "U"):
        raise DataError(
            f"Expected test labels of the kind of the training labels, {classes.dtype}, got "
            f"{y_test.dtype}."
        )
    unknown = np.setdiff1d(y_test, classes)
    if len(unknown):
        raise DataError(f"Expected test labels known from training, got class {unknown[0]}, too.")
    labels: Array = np.searchsorted(classes, y_test)
    return labels


def _check_same_form(x_test: RawInputs, x: RawInputs) -> None:
    """Check that test inputs have the names and the shapes of training inputs."""
    names, test_names = (list(part) if isinstance(part, dict) else [] for part in (x, x_test))
    if set(names) != set(test_names):
        shown = ", ".join(test_names) or "no names"
        wanted = ", ".join(names) or "none"
        raise DataError(f"Expected test inputs named {wanted} as in training, got {shown}.")
    if isinstance(x, dict) and isinstance(x_test, dict):
        x_test = {name: x_test[name] for name in x}
    parts, test_parts = arrays_of(x), arrays_of(x_test)
    if len(parts) != len(test_parts):
        raise DataError(
            f"Expected {len(parts)} arrays of test inputs as in training, got {len(test_parts)}."
        )
    for part, test_part in zip(parts, test_parts, strict=True):
        if test_part.shape[1:] != part.shape[1:]:
            raise DataError(
                f"Expected test inputs of shape (n, {', '.join(map(str, part.shape[1:]))}) as in "
                f"training, got {test_part.shape}."
            )


def validation_size(n: int, classes: int, train_size: int | None, fraction: float) -> int:
    """Return how many of ``n`` samples to hold out for validation, at least one per class.

    Args:
        n: samples for training and validation together.
        classes: number of classes K.
        train_size: samples to train on; None for all that are not held out.
        fraction: share of the samples in use that is held out, between 0 and 1.

    Raises:
        DataError: if ``train_size`` and its validation samples do not fit into ``n``.
    """
    if train_size is None:
        return min(max(round_up(fraction * n), classes), n - classes)

    def held_out(size: int) -> int:
        return max(round_up(size * fraction / (1 - fraction)), classes)

    largest = int(n * (1 - fraction)) + 1
    while largest + held_out(largest) > n:
        largest -= 1
    if largest < classes:
        raise DataError(
            f"Expected a validation fraction that leaves one training sample per class "
            f"({classes}), got {fraction:g} of {n} samples; lower it."
        )
    if not classes <= train_size <= largest:
        raise DataError(
            f"Expected a train size from {classes} (one per class) to {largest} (what a "
            f"validation fraction of {fraction:g} leaves of {n} samples), got {train_size}."
        )
    return held_out(train_size)


def stratified_split(
    y: Array, groups: Array | None, held_out: int, keep: int | None, seed: int
) -> tuple[Array, Array]:
    """Return the positions of the samples that are kept and of those that are held out.

    Both parts have the classes in the same proportions, as far as whole samples and groups allow.

    Args:
        y: (n,) labels.
        groups: (n,) number of the group of each sample, which stays together if it can; None if
            every sample is a group of its own.
        held_out: samples to hold out.
        keep: samples to keep; None for all others.
        seed: seed of the split.

    Raises:
        DataError: if a class has too few samples to be split.
    """
    from sklearn.model_selection import train_test_split

    whole = None if groups is None else split_groups(y, groups, held_out, keep, seed)
    if whole is not None:
        return whole
    keep = len(y) - held_out if keep is None else keep
    try:
        kept, held = train_test_split(
            np.arange(len(y)), train_size=keep, test_size=held_out, stratify=y, random_state=seed
        )
    except ValueError as error:
        raise DataError(
            f"Expected enough samples of every class to split {len(y)} into {keep} and "
            f"{held_out}: {first_line(error)}."
        ) from error
    return kept, held


def class_warnings(
    parts: dict[str, tuple[RawInputs, Array]], classes: Array
) -> Iterator[ReportWarning]:
    """Yield a warning for every part of the data that lacks a class.

    Args:
        parts: inputs and labels, by the name of the part; labels are positions in ``classes``.
        classes: (K,) names of the classes.
    """
    for name, (_, labels) in parts.items():
        missing = [str(c) for i, c in enumerate(classes) if not (labels == i).any()]
        if missing:
            yield ReportWarning(
                f"class_missing_from_{name}",
                f"The {name} set has no sample of class {', '.join(missing[:5])}"
                f"{' and others' if len(missing) > 5 else ''}, so nothing is known of it there.",
            )


def fingerprint_of(arrays: list[Array]) -> str:
    """Return the SHA-256 of the dtypes, shapes and bytes of arrays, in hexadecimal digits."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def round_up(x: float) -> int:
    """Return the next whole number at or above ``x``, ignoring rounding errors below 1e-6.

    The product 70 * 0.1 is slightly more than 7 in binary; it gives 7.
    """
    return int(np.ceil(round(x, 6)))
