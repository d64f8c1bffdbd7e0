"""Arrays as a source returns them, checked before anything is computed from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor

from designer.data.dataset import Array
from designer.errors import DataError, first_line
from designer.results.layers import ReportWarning

RawInputs = Array | dict[str, Array] | tuple[Array, ...]
"""Inputs (n, ...): one array, or several by name or in a tuple."""


def arrays_of(x: RawInputs) -> list[Array]:
    """Return all arrays of inputs."""
    if isinstance(x, np.ndarray):
        return [x]
    return list(x.values() if isinstance(x, dict) else x)


def map_arrays(x: RawInputs, change: Callable[[Array], Any]) -> Any:
    """Return inputs of the same form, with ``change`` applied to every array."""
    if isinstance(x, dict):
        return {name: change(array) for name, array in x.items()}
    return tuple(map(change, x)) if isinstance(x, tuple) else change(x)


@dataclass(frozen=True)
class RawArrays:
    """Arrays as a source returned them."""

    x: RawInputs
    """(n, ...) training inputs."""
    y: Array
    """(n,) training labels: whole numbers or text."""
    x_test: RawInputs | None = None
    """(m, ...) test inputs; None if the source has no test set."""
    y_test: Array | None = None
    """(m,) test labels; None if the source has no test set."""
    warnings: tuple[ReportWarning, ...] = ()
    """What a reader of results on these arrays should know."""


ARRAYS = ("x_train", "y_train", "x_test", "y_test")
"""Names of the arrays of a source, the last two of which it need not have."""


def raw_from_mapping(arrays: Mapping[str, Any], where: str) -> RawArrays:
    """Return the arrays of a mapping with x_train, y_train and optionally x_test and y_test.

    Args:
        arrays: arrays by name; other names are ignored. Inputs may be several, as the values of a
            mapping or with names of their own, such as x_train.input_ids and x_train.mask.
        where: what the mapping is, for errors.

    Raises:
        DataError: if a name is missing, or a value is no array.
    """
    all_names = list(map(str, arrays))
    arrays = {**{name: arrays[name] for name in ARRAYS if name in arrays}, **_several(arrays)}
    missing = [name for name in ("x_train", "y_train") if name not in arrays]
    if missing:
        names = ", ".join(sorted(all_names)) or "nothing"
        raise DataError(f"Expected arrays x_train and y_train in {where}, found {names}.")
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise DataError(f"Expected both or neither of x_test and y_test in {where}.")
    return raw_arrays(*(arrays[name] for name in ARRAYS if name in arrays))


def raw_arrays(x: Any, y: Any, *test: Any) -> RawArrays:
    """Return array-like values as arrays.

    Args:
        x: (n, ...) training inputs; or several in a mapping or a tuple.
        y: (n,) or (n, 1) training labels.
        test: nothing, or test inputs and test labels.

    Raises:
        DataError: if NumPy cannot read one of them as an array.
    """
    labels = _as_labels(y, "training labels")
    training = _as_inputs(x, len(labels) if labels.ndim else 0, "training inputs"), labels
    if not test:
        return RawArrays(*training)
    x_test, y_test = test
    labels = _as_labels(y_test, "test labels")
    inputs = _as_inputs(x_test, len(labels) if labels.ndim else 0, "test inputs")
    return RawArrays(*training, inputs, labels)


def _several(arrays: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return inputs that have names of their own, such as x_train.input_ids, by x_train."""
    grouped: dict[str, dict[str, Any]] = {}
    for name in arrays:
        part, dot, own = str(name).partition(".")
        if dot and own and part in ("x_train", "x_test"):
            grouped.setdefault(part, {})[own] = arrays[name]
    return grouped


def _as_inputs(value: Any, samples: int, what: str) -> RawInputs:
    """Return inputs as one array, or as several if they are a mapping, or a tuple of arrays."""
    if isinstance(value, Mapping):
        return {str(name): as_array(part, f"{what} '{name}'") for name, part in value.items()}
    if isinstance(value, tuple) and value and all(_has_rows(part, samples) for part in value):
        return tuple(as_array(part, what) for part in value)
    return as_array(value, what)


def _has_rows(value: Any, samples: int) -> bool:
    """True for an array or a tensor with a row for each sample."""
    return isinstance(value, np.ndarray | Tensor) and value.ndim > 0 and len(value) == samples


def as_array(value: Any, what: str) -> Array:
    """Return a tensor, a sparse matrix or anything that NumPy reads as a dense array.

    Args:
        value: what to convert.
        what: its name in errors.

    Raises:
        DataError: if NumPy cannot read it.
    """
    try:
        if isinstance(value, Tensor):
            value = value.detach().cpu().numpy()
        array: Array = value.toarray() if hasattr(value, "toarray") else np.asarray(value)
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:  # the value is the user's and may do anything
        raise DataError(
            f"Expected {what} as one array, or rows of equal length, got {type(value).__name__} "
            f"that NumPy cannot read: {first_line(error)}."
        ) from error
    return array


def _as_labels(value: Any, what: str) -> Array:
    """Return labels (n,): a column (n, 1) flattened, bytes as text, objects as text or numbers."""
    labels = as_array(value, what)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind in "OT":
        labels = _unboxed(labels)
    return (
        np.char.decode(labels, "utf-8", "backslashreplace") if labels.dtype.kind == "S" else labels
    )


def _unboxed(labels: Array) -> Array:
    """Return labels that are Python objects as text or numbers; mixed ones stay unchanged."""
    for kind in (str, bytes, (Real, np.bool_)):
        if all(isinstance(label, kind) for label in labels.flat):
            return np.array(labels.tolist())
    return labels


def check_arrays(x: RawInputs, y: Array, which: str) -> None:
    """Raise ``DataError`` unless inputs and labels are those of a classification data set.

    Args:
        x: (n, features), (n, height, width) or (n, ...) with channels; numbers. Several inputs may
            have any shape (n, ...).
        y: (n,) whole numbers or text.
        which: name of the part in errors, for example "training".

    Raises:
        DataError: on other shapes or types, no samples, NaN or infinite inputs, labels that are no
            classes, and more or fewer labels than inputs.
    """
    parts = arrays_of(x)
    if not parts:
        raise DataError(f"Expected at least one array of {which} inputs, got none.")
    for part in parts:
        _check_inputs(part, which, least_axes=2 if isinstance(x, np.ndarray) else 1)
    _check_labels(y, which)
    for part in parts:
        if len(part) != len(y):
            raise DataError(
                f"Expected one label per {which} sample, got {len(part)} samples and {len(y)} "
                f"labels."
            )


def _check_inputs(x: Array, which: str, *, least_axes: int) -> None:
    if x.ndim < least_axes or x.ndim > 4 or x.dtype.kind not in "fiub":
        raise DataError(
            f"Expected {which} inputs as numbers of shape (n, features), (n, height, width) or "
            f"with channels, got shape {x.shape} of {x.dtype}."
        )
    if x.size == 0:
        raise DataError(f"Expected at least one {which} sample, got inputs of shape {x.shape}.")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).sum())
        raise DataError(
            f"Expected finite {which} inputs, got {bad} NaN or infinite values; fill or drop them."
        )


def _check_labels(y: Array, which: str) -> None:
    if y.ndim != 1:
        raise DataError(
            f"Expected {which} labels of shape (n,), one class each, got shape {y.shape}."
        )
    if y.dtype.kind not in "biufU":
        boxed = y.dtype.kind == "O"
        types = ", ".join(sorted({type(label).__name__ for label in y})) if boxed else str(y.dtype)
        raise DataError(
            f"Expected {which} labels that are all whole numbers or all text, got {types}; "
            f"name every class, and drop samples that have none."
        )
    if y.dtype.kind == "f" and not (np.isfinite(y).all() and (y == np.round(y)).all()):
        raise DataError(
            f"Expected {which} labels to be classes, got fractional, NaN or infinite numbers."
        )
