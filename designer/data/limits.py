"""How large data may be, so that a small file cannot fill the memory."""

from __future__ import annotations

import math
import os

from designer.errors import DataError

DATA_LIMIT = "DESIGNER_MAX_DATA_GIB"
"""Environment variable with the largest size of data in GiB; processes pass it on."""

DEFAULT_GIB = 8.0
"""The largest size of data where ``DATA_LIMIT`` is not set."""

LARGEST_IMAGE_SIZE = 1024
"""Images are resized to at most this height and width, in pixels."""


def largest_data() -> float:
    """Return how many bytes the arrays of a source may take.

    Raises:
        DataError: if ``DATA_LIMIT`` is no positive number.
    """
    text = os.environ.get(DATA_LIMIT, "") or str(DEFAULT_GIB)
    try:
        gib = float(text)
    except ValueError:
        gib = math.nan
    if not gib > 0:
        raise DataError(f"Expected a positive number of GiB in {DATA_LIMIT}, got '{text}'.")
    return gib * 2**30


def check_data_size(size: int, what: str) -> None:
    """Check that arrays are not too large, before they are made.

    Args:
        size: bytes that they take.
        what: what takes them, with which the error begins.

    Raises:
        DataError: if they take more than ``largest_data``.
    """
    most = largest_data()
    if size > most:
        raise DataError(
            f"{what} takes {size / 2**30:,.1f} GiB of memory, more than the {most / 2**30:g} GiB "
            f"that are allowed; raise the limit with --max-data-gib or {DATA_LIMIT}, if it is "
            f"meant."
        )
