"""Hold a run folder: one leader at a time, and checked before anything is written to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from designer.errors import RunFolderError
from designer.folders import LOCK_FILE, STORAGE_FILE, make_writable, not_writable
from designer.search.progress import Phase
from designer.search.storage.retrying import check_space

LOCKED_SECONDS = 2.0
"""How long to wait for a storage that another program is writing to."""


@contextmanager
def hold_run_folder(folder: Path) -> Iterator[Path]:
    """Make a run folder where needed, and keep other processes from leading it.

    Raises:
        RunFolderError: if it cannot be written, another process holds it, or its storage is
            locked or damaged.
    """
    check_storage(folder / STORAGE_FILE)
    make_writable(folder)
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunFolderError(
            f"Another designer process is using '{folder}'. Wait for it, or choose another --out."
        ) from error
    except OSError as error:
        raise not_writable(folder, error) from error
    try:
        yield folder
    finally:
        lock.release()


def check_storage(path: Path) -> None:
    """Raise ``RunFolderError`` if ``path`` exists but is no study of ours, or is not writable."""
    try:
        if not path.exists():
            return
        uri = f"{path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, timeout=LOCKED_SECONDS)
        try:
            _check_content(connection, path)
        finally:
            connection.close()
    except OSError as error:
        raise not_writable(path.parent, error) from error
    except sqlite3.Error as error:
        check_space(f"'{path}'", error)
        if "locked" in str(error):
            raise RunFolderError(
                f"Another program has locked '{path}'. Close it and try again."
            ) from error
        raise RunFolderError(
            f"'{path}' is damaged or holds no study ({error}). Restore it, or choose another --out."
        ) from error


def _check_content(connection: sqlite3.Connection, path: Path) -> None:
    """Raise an error if a file cannot be written to, is damaged, or holds something else."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("ROLLBACK")
    if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
        raise RunFolderError(f"The study in '{path}' is damaged; choose another --out.")
    if not _is_ours(connection):
        raise RunFolderError(
            f"Expected '{path}' to hold a study of designer, but it holds something else; "
            f"choose another --out."
        )


def _is_ours(connection: sqlite3.Connection) -> bool:
    """True if the database is empty, or all its studies have names that a run uses."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not tables:
        return True
    if "studies" not in tables:
        return False
    names = {name for (name,) in connection.execute("SELECT study_name FROM studies")}
    return names <= set(Phase)
