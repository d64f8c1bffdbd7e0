"""How large data may be, so that a small file cannot fill the memory."""

from __future__ import annotations

import math
import multiprocessing
import os

from designer.errors import DataError

DATA_LIMIT = "DESIGNER_MAX_DATA_GIB"
"""Environment variable with the largest size of data in GiB; processes pass it on."""

DEFAULT_GIB = 8.0
"""The largest size of data where ``DATA_LIMIT`` is not set."""

STREAMED_ABOVE = "DESIGNER_STREAM_ABOVE_GIB"
"""Environment variable with the size in GiB, as float32, above which the images of a folder are
decoded batch by batch instead of being kept in memory; processes pass it on."""

DEFAULT_STREAMED_GIB = 1.0
"""That size where ``STREAMED_ABOVE`` is not set."""

DECODING_WORKERS = "DESIGNER_DECODING_WORKERS"
"""Environment variable with the number of processes that decode images; 0 for none."""

MOST_DECODING_WORKERS = 8
"""The most processes that decode images where ``DECODING_WORKERS`` is not set."""

LARGEST_IMAGE_SIZE = 1024
"""Images are resized to at most this height and width, in pixels."""


def largest_data() -> float:
    """Return how many bytes the arrays of a source may take.

    Raises:
        DataError: if ``DATA_LIMIT`` is no positive number.
    """
    return _bytes_in(DATA_LIMIT, DEFAULT_GIB)


def largest_in_memory() -> float:
    """Return how many bytes the images of a folder may take as float32 before they are streamed.

    Raises:
        DataError: if ``STREAMED_ABOVE`` is no positive number.
    """
    return _bytes_in(STREAMED_ABOVE, DEFAULT_STREAMED_GIB)


def decoding_workers() -> int:
    """Return how many processes decode images: one per core that may be used, up to a limit.

    A daemonic process, such as a worker of a search, may start none, and decodes by itself.

    Raises:
        DataError: if ``DECODING_WORKERS`` is no whole number from 0 on.
    """
    text = os.environ.get(DECODING_WORKERS, "")
    if text and not text.isdecimal():
        raise DataError(f"Expected a whole number from 0 on in {DECODING_WORKERS}, got '{text}'.")
    if multiprocessing.current_process().daemon:
        return 0
    return int(text) if text else min(MOST_DECODING_WORKERS, _cores())


def _cores() -> int:
    """Return how many cores this process may use, or all where the system cannot tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _bytes_in(variable: str, default_gib: float) -> float:
    """Return the size that an environment variable says in GiB, or the default, in bytes."""
    text = os.environ.get(variable, "") or str(default_gib)
    try:
        gib = float(text)
    except ValueError:
        gib = math.nan
    if not gib > 0:
        raise DataError(f"Expected a positive number of GiB in {variable}, got '{text}'.")
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
