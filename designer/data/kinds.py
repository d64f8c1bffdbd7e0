"""Tell images, series, tokens and tabular data apart, and make the inputs of a network of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from designer.choices import InputKind, Scaling
from designer.data.dataset import Array
from designer.data.images import to_inputs
from designer.data.raw import RawInputs, arrays_of, map_arrays
from designer.errors import DataError

MOST_ROWS, SHORTEST = 3, 16
"""Numbers of shape (n, rows, columns) are series rather than images if they have at most
``MOST_ROWS`` rows, of at least ``SHORTEST`` values each; bytes never are."""

FORMS = {
    InputKind.IMAGE: ("numbers (n, height, width), or with channels", (3, 4)),
    InputKind.SERIES: ("numbers (n, channels, time)", (3,)),
    InputKind.TOKENS: ("whole numbers (n, length) from 0 on", (2,)),
    InputKind.TABULAR: ("numbers (n, features)", (2,)),
}
"""What arrays of each kind hold, and how many axes they have."""

NO_SCALING: dict[str, list[float]] = {"mean": [], "scale": []}
"""The scaling of inputs that are used as they come."""


def kind_of(x: RawInputs, asked: str | None) -> InputKind | None:
    """Return what an array holds: what the caller says, else what its shape and dtype say.

    Numbers (n, p) are tabular also if they are whole, and numbers (n, a, b) are images unless there
    are too few rows a.

    Args:
        x: (n, ...) inputs.
        asked: a value of ``InputKind``; None if the caller does not say it.

    Returns:
        The kind; None for several inputs, which are used as they come.

    Raises:
        DataError: if the inputs cannot be what the caller says.
    """
    if not isinstance(x, np.ndarray):
        if asked is not None:
            raise DataError(
                f"Expected one array of inputs for {asked}, got {len(x)}; several inputs are used "
                f"as they come, so leave it out."
            )
        return None
    if asked is not None:
        return _checked(x, InputKind(asked))
    if x.ndim == 2:
        return InputKind.TABULAR
    few_rows = x.ndim == 3 and x.shape[1] <= MOST_ROWS and x.shape[2] >= SHORTEST
    return InputKind.SERIES if few_rows and x.dtype != np.uint8 else InputKind.IMAGE


def other_kind(x: RawInputs, asked: str | None) -> InputKind | None:
    """Return what an array may hold as well, if the caller does not say it; None for nothing."""
    if asked is not None or not isinstance(x, np.ndarray):
        return None
    if x.ndim == 2 and x.dtype.kind in "iu":
        return InputKind.TOKENS
    return InputKind.SERIES if x.ndim == 3 and kind_of(x, None) is InputKind.IMAGE else None


def inputs_of(x: RawInputs, kind: InputKind | None, image_size: int | None) -> Any:
    """Return a copy of inputs as what a network takes, before any scaling.

    Args:
        x: (n, ...) inputs, as ``kind_of`` was asked about.
        kind: what they hold; None for several inputs.
        image_size: height and width in pixels to resize images to; None keeps the size.

    Returns:
        Tokens (n, length) int64; (n, p), (n, channels, time) or (n, channels, height, width)
        floating. Of several inputs, whole numbers are int64, and others float32.

    Raises:
        DataError: if an image size is asked for and they are no images.
    """
    if kind in (InputKind.TOKENS, None) or not isinstance(x, np.ndarray):
        if image_size is not None:
            raise DataError(f"Expected images for an image size of {image_size}, got none.")
        return map_arrays(x, _as_they_come)
    return to_inputs(x, image_size, series=kind is InputKind.SERIES)


def check_bytes(x: RawInputs, x_test: RawInputs) -> None:
    """Check that training and test inputs are both bytes, which are divided by 255, or neither is.

    Raises:
        DataError: if one is and the other is not.
    """
    types = [array.dtype for part in (x, x_test) for array in arrays_of(part)]
    if np.uint8 in types and len(set(types)) > 1:
        raise DataError(
            f"Expected test inputs of type {types[0]} as in training, got {types[-1]}: only bytes "
            f"are divided by 255. Convert one of them."
        )


def check_unscaled(scaling: str | Mapping[str, Sequence[float]]) -> None:
    """Check that no scaling is asked for that tokens or several inputs cannot have.

    Raises:
        DataError: if one is; the default is none of these.
    """
    in_numbers = isinstance(scaling, Mapping) and any(map(len, scaling.values()))
    named = not isinstance(scaling, Mapping) and scaling not in (Scaling.STANDARD, Scaling.NONE)
    if in_numbers or named:
        shown = "numbers" if in_numbers else f"'{scaling}'"
        raise DataError(
            f"Expected no scaling for tokens or several inputs, which are used as they come, got "
            f"{shown}; leave it out."
        )


def _checked(x: Array, kind: InputKind) -> InputKind:
    form, axes = FORMS[kind]
    is_token = x.dtype.kind in "iu" and (x.size == 0 or x.min() >= 0)
    if x.ndim not in axes or (kind is InputKind.TOKENS and not is_token):
        shape = f"(n, {', '.join(map(str, x.shape[1:]))})"
        lowest = f" from {x.min()} on" if x.dtype.kind == "i" and x.size else ""
        raise DataError(f"Expected {kind} as {form}, got {x.dtype} of shape {shape}{lowest}.")
    return kind


def _as_they_come(array: Array) -> Tensor:
    kind = {"b": np.bool_, "i": np.int64, "u": np.int64}.get(array.dtype.kind, np.float32)
    return torch.from_numpy(np.array(array, dtype=kind, order="C"))
