"""File names of a run, and the permission to write to a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from designer.errors import RunFolderError, first_line

STORAGE_FILE = "study.db"


ARTIFACTS_FOLDER = "artifacts"


CLAIM_LOCK = ".claim"
"""Held while a worker takes a trial: SQLite gives the same waiting trial to two at once."""


MARKDOWN_FILE, HTML_FILE = "report.md", "report.html"


REPORT_FILE = "report.json"


BEST_FOLDER = "best"


SPEC_FILE = "spec.json"


PRUNED_FILE = "model.json"


WEIGHTS_FILE = "model.safetensors"


def check_writable(folder: Path) -> None:
    """Raise ``RunFolderError`` where a folder, which need not exist, cannot be written to."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        what = "cannot be written to" if there.is_dir() else "is a file"
        raise _not_writable(folder, f"'{there}' {what}")


def _not_writable(folder: Path, why: object) -> RunFolderError:
    return RunFolderError(f"Expected to write to '{folder}', but {why}; choose another --out.")


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Makes a folder; whatever then cannot be written there is a ``RunFolderError``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, SafetensorError) as error:
        raise _not_writable(folder, f"that failed: {first_line(error)}") from error
