"""File names of a run, the permission to write to a folder, and files written as a whole."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from designer.errors import RunFolderError, StorageError, first_line

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

TEMPORARY = ".part"
"""End of the names of files that are being written."""

DISK_ERRORS = {
    errno.ENOSPC: "Free some space",
    errno.EDQUOT: "Free some space",
    errno.EFBIG: "Raise the limit",
    errno.EIO: "Mend the disk",
}
"""What a user can do against errors for which no other folder need be chosen, by their numbers."""


def check_writable(folder: Path, option: str = "--out") -> None:
    """Check that a folder can be written to, without making it.

    Args:
        folder: need not exist; then the nearest parent that exists must be writable.
        option: the option of the command line that names another folder.

    Raises:
        RunFolderError: if the folder cannot be written to, is a file, or can have no such name.
    """
    try:
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    except OSError as error:
        raise not_writable(folder, error, option) from error
    if not nearest.is_dir():
        raise not_writable(folder, f"'{nearest}' is a file", option)
    if not os.access(nearest, os.W_OK):
        raise not_writable(folder, f"'{nearest}' is read-only", option)


def make_writable(folder: Path, option: str = "--out") -> None:
    """Make a folder, and prove by an empty file, removed at once, that it can be written to.

    Args:
        folder: made with its parents where it does not exist.
        option: the option of the command line that names another folder.

    Raises:
        RunFolderError, StorageError: as ``writing_to``.
    """
    with writing_to(folder, option):
        probe = folder / f".writable-{uuid.uuid4().hex}"
        probe.touch()
        probe.unlink()


@contextmanager
def writing_to(folder: Path, option: str = "--out") -> Iterator[None]:
    """Make a folder; within the context, turn every failure to write into one error.

    Args:
        folder: made with its parents where it does not exist.
        option: the option of the command line that names another folder.

    Raises:
        RunFolderError: if the folder cannot be made, or ``OSError`` or ``SafetensorError`` is
            raised within the context.
        StorageError: if the disk is full or fails.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except StorageError:
        raise
    except (OSError, SafetensorError) as error:
        raise not_writable(folder, error, option) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file beside ``path``, which replaces it on leaving.

    Readers see the old file or the new one, never a part, also after a crash of the machine. If
    the context raises, or the disk is full, the old file stays. Links are followed; devices and
    pipes are written to directly.

    Args:
        path: the file to write; its folder is made where it does not exist.

    Raises:
        RunFolderError, StorageError: as ``writing_to``.
    """
    with _staged(path) as temporary:
        yield temporary
        _flush_to_disk(temporary)


@contextmanager
def _staged(path: Path) -> Iterator[Path]:
    """Do as ``replacing`` does, but leave it to the caller to flush the temporary file."""
    with writing_to(path.parent):
        if path.exists() and not path.is_file():
            yield path
            return
        target = path.resolve()
        temporary = target.with_name(f".{uuid.uuid4().hex}{TEMPORARY}")
        try:
            yield temporary
            temporary.replace(target)
            _flush_folder(target.parent)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path``, which replaces it with all that it holds on leaving.

    If the context raises, or the disk is full, the old folder stays. An empty folder only removes
    the old one. Links are followed. What a killed process left behind is tidied up first; it has
    hidden names that nobody chooses.

    Args:
        path: the folder to replace; it need not exist.

    Raises:
        RunFolderError, StorageError: as ``writing_to``.
    """
    path = path.resolve()
    new, old = (path.with_name(f".{path.name}.{part}{TEMPORARY}") for part in ("new", "old"))
    with writing_to(path.parent):
        _tidy_up(path, new, old)
        new.mkdir()
        try:
            yield new
            if path.exists():
                path.rename(old)
            if any(new.iterdir()):
                new.rename(path)
            _flush_folder(path.parent)
        finally:
            _tidy_up(path, new, old)


def _tidy_up(path: Path, new: Path, old: Path) -> None:
    """Remove what is left of replacing a folder; if its new content never came, keep the old."""
    if old.exists() and not path.exists() and new.exists() and any(new.iterdir()):
        old.rename(path)
    for leftover in (new, old):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            with suppress(OSError):
                leftover.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file as a whole: nobody ever reads a part of it.

    Raises:
        RunFolderError, StorageError: if it cannot be written.
    """
    write_all({path: content})


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 as a whole, as ``write_bytes`` does.

    Raises:
        RunFolderError, StorageError: if it cannot be written.
    """
    write_all({path: text.encode()})


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


def write_all(contents: Mapping[Path, bytes]) -> None:
    """Write several files as wholes; if one of them cannot be written, none is replaced.

    Args:
        contents: what to write, by the path of the file.

    Raises:
        RunFolderError, StorageError: if one cannot be written.
    """
    with ExitStack() as stack:
        for path, content in contents.items():  # all are on the disk before the first is replaced
            temporary = stack.enter_context(_staged(path))
            temporary.write_bytes(content)
            _flush_to_disk(temporary)


def not_writable(
    folder: Path, reason: Exception | str, option: str = "--out"
) -> RunFolderError | StorageError:
    """Return the error that says why a folder cannot be written to, and what to do.

    Args:
        folder: the folder.
        reason: what is in the way.
        option: the option of the command line that names another folder.
    """
    shown = reason if isinstance(reason, str) else _reason_of(reason)
    if isinstance(reason, Exception) and _errno_of(reason) in DISK_ERRORS:
        return StorageError(
            f"Cannot write to '{folder}': {shown}. {DISK_ERRORS[_errno_of(reason)]} and run the "
            f"same command again; what was there is kept."
        )
    return RunFolderError(f"Cannot write to '{folder}': {shown}; choose another {option}.")


def _flush_to_disk(path: Path) -> None:
    """Return once the content of a file is on the disk, where a crash leaves it."""
    if not path.is_file():  # a device or a pipe
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Return once the names in a folder are on the disk, where its file system knows how."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _errno_of(error: Exception) -> int:
    """Return the number that the operating system gives to an error; 0 if it gives none."""
    number = getattr(error, "errno", None)
    if number is None and (stated := re.search(r"\(os error (\d+)\)", str(error))):
        number = int(stated[1])  # how safetensors states it
    return number or 0


def _reason_of(error: Exception) -> str:
    """Return what the operating system says of an error, else what the error says of itself."""
    number = _errno_of(error)
    return os.strerror(number) if number else first_line(error)
