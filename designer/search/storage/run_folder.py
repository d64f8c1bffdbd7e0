"""The run folder: one leader at a time, and checked before anything is written to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from designer.errors import RunFolderError
from designer.folders import LOCK_FILE, STORAGE_FILE, make_writable, not_writable
from designer.search.progress import Phase

LOCKED_SECONDS = 2.0
"""How long a storage that somebody is writing to is waited for."""


@contextmanager
def run_folder(folder: Path) -> Iterator[Path]:
    """Make the folder where needed, and hold it.

    Raises:
        RunFolderError: where it cannot be written, another process holds it, or its storage
            is locked or damaged.
    """
    check_storage(folder / STORAGE_FILE)
    make_writable(folder)
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunFolderError(
            f"Expected '{folder}' to be free, but another designer process is using it; "
            f"wait for it or choose another --out."
        ) from error
    except OSError as error:
        raise not_writable(folder, error) from error
    try:
        yield folder
    finally:
        lock.release()


def check_storage(path: Path) -> None:
    """Raise ``RunFolderError`` where ``path`` exists and is no usable SQLite file."""
    try:
        if not path.exists():
            return
        uri = f"{path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, timeout=LOCKED_SECONDS)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
            sound = connection.execute("PRAGMA quick_check").fetchone()[0] == "ok"
            ours = _is_ours(connection)
        finally:
            connection.close()
    except OSError as error:
        raise not_writable(path.parent, error) from error
    except sqlite3.Error as error:
        locked = "locked" in str(error)
        raise RunFolderError(
            f"Expected to read and write '{path}', but "
            + (
                "another program has locked it; close that and try again."
                if locked
                else f"it is damaged or no study ({error}); choose another --out or restore it."
            )
        ) from error
    if not sound:
        raise RunFolderError(
            f"Expected a sound study in '{path}', but it is damaged; choose another --out."
        )
    if not ours:
        raise RunFolderError(
            f"Expected '{path}' to hold a study of designer, but it holds something else; "
            f"choose another --out."
        )


def _is_ours(connection: sqlite3.Connection) -> bool:
    """Whether the database is new, or holds only studies of the names that a run uses."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not tables:
        return True
    if "studies" not in tables:
        return False
    names = {name for (name,) in connection.execute("SELECT study_name FROM studies")}
    return names <= set(Phase)
