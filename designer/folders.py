"""File names of a run, the permission to write to a folder, and files written as a whole."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from designer.errors import RunFolderError, first_line

STORAGE_FILE = "study.db"
"""SQLite storage of a search."""

ARTIFACTS_FOLDER = "artifacts"
"""Weights and profiles of trials."""

LOCK_FILE = ".lock"
"""Lock that the process which leads a run holds."""

CLAIM_LOCK = ".claim"
"""Lock that a worker holds while it takes a trial: SQLite gives a waiting trial to two at once."""

REPORT_FILE = "report.json"
"""Any report as JSON."""

MARKDOWN_FILE = "report.md"
"""The same report as Markdown."""

HTML_FILE = "report.html"
"""The same report as one HTML page."""

BEST_FOLDER = "best"
"""Recommended models, one folder per rank."""

SPEC_FILE = "spec.json"
"""Architecture and data of a recommended model."""

PRUNED_FILE = "model.json"
"""Origin of a pruned model, and what was removed from it."""

WEIGHTS_FILE = "model.safetensors"
"""Weights of a recommended or pruned model."""

LARGEST_JSON = 256 << 20
"""JSON files of more bytes are not read."""

DEEPEST_JSON = 64
"""JSON files that are nested deeper are not read."""

TOO_DEEP = f"it is nested deeper than {DEEPEST_JSON} levels"


def check_writable(folder: Path) -> None:
    """Check that a folder can be written to, without making it.

    Args:
        folder: need not exist; then the nearest parent that exists must be writable.

    Raises:
        RunFolderError: if the folder cannot be written to, or is a file.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise not_writable(folder, f"'{nearest}' is a file")
    if not os.access(nearest, os.W_OK):
        raise not_writable(folder, f"'{nearest}' is read-only")


def make_writable(folder: Path) -> None:
    """Make a folder, and prove by an empty file, removed at once, that it can be written to.

    Raises:
        RunFolderError: if it cannot.
    """
    with writing_to(folder):
        probe = folder / f".writable-{uuid.uuid4().hex}"
        probe.touch()
        probe.unlink()


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Make a folder; within the context, turn every failure to write into one error.

    Args:
        folder: made with its parents where it does not exist.

    Raises:
        RunFolderError: if the folder cannot be made, or ``OSError`` or ``SafetensorError`` is
            raised within the context.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, SafetensorError) as error:
        raise not_writable(folder, error) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file beside ``path``, which replaces it on leaving.

    Readers see the old file or the new one, never a part. If the context raises, the old file
    stays. Links are followed; devices and pipes are written to directly.

    Args:
        path: the file to write; its folder is made where it does not exist.

    Raises:
        RunFolderError: as ``writing_to``.
    """
    with writing_to(path.parent):
        if path.exists() and not path.is_file():
            yield path
            return
        target = path.resolve()
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            yield temporary
            temporary.replace(target)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file as a whole: nobody ever reads a part of it.

    Raises:
        RunFolderError: if it cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 as a whole, as ``write_bytes`` does.

    Raises:
        RunFolderError: if it cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path, largest: int = LARGEST_JSON) -> Any:
    """Return what a JSON file holds, unless it is so large or deep that it would do harm.

    Args:
        path: the file.
        largest: the most bytes that it may have.

    Raises:
        OSError: if there is no such file, or it cannot be read.
        ValueError: if it is no regular file, larger than allowed, nested deeper than
            ``DEEPEST_JSON``, or no JSON.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is no regular file")
    size = path.stat().st_size
    if size > largest:
        raise ValueError(f"it has {size >> 20:,} MiB, more than the {largest >> 20} allowed")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    _check_depth(content)
    return content


def _check_depth(content: object) -> None:
    """Raise ``ValueError`` for values that are nested deeper than ``DEEPEST_JSON``."""
    level = [content]
    for _ in range(DEEPEST_JSON):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise ValueError(TOO_DEEP)


def not_writable(folder: Path, reason: Exception | str) -> RunFolderError:
    """Return the error that says why a folder cannot be written to, and what to do."""
    if isinstance(reason, Exception):
        reason = getattr(reason, "strerror", None) or first_line(reason)
    return RunFolderError(f"Cannot write to '{folder}': {reason}; choose another --out.")
