"""Notice that the SQLite file of a study is moved, removed, replaced or damaged while it is in use.

SQLite goes on writing to a file that has lost its name, and reads what it can of a damaged one: a
run would end as if all was well.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import BaseStorage

from designer.errors import StorageError, first_line
from designer.folders import BEST_FOLDER, REPORT_FILE
from designer.search.storage.tables import METADATA
from designer.search.storage.wrapper import Answer, Arguments, StorageWrapper

EXPECTED_ERRORS = (KeyError, DuplicatedStudyError, UpdateFinishedTrialError)
"""Errors that are answers: they say nothing of the file."""

DELETED = " (deleted)"
"""How Linux ends the name of an open file that has none any more."""


class WatchedFile:
    """A SQLite file, as it was when it was opened.

    Args:
        path: the file, which exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity = _identity(path)
        self._uri = f"{path.absolute().as_uri()}?mode=ro"

    def check(self) -> None:
        """Check that the path still leads to the file that was opened.

        Raises:
            StorageError: if not; it says what is lost and what is kept.
        """
        try:
            if _identity(self.path) == self._identity:
                return
        except OSError:  # it has no such name any more
            pass
        raise StorageError(self._what_happened())

    def check_content(self) -> None:
        """Check that the file is a whole database with the tables of a study.

        Raises:
            StorageError: if not.
        """
        if damage := self.damage():
            raise StorageError(
                f"'{self.path}' was damaged during the run ({damage}); the models and reports in "
                f"'{self.path.parent}' are kept. Restore it, or choose another --out."
            )

    def damage(self) -> str | None:
        """Return what is wrong with the content of the file; None if nothing is."""
        try:
            with closing(
                sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)
            ) as db:
                result = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
                names = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        except sqlite3.Error as error:
            # neither says anything of the content; a disk that is full or fails is told elsewhere
            return None if re.search("locked|disk I/O error", str(error)) else str(error)
        if result != "ok":
            return first_line(Exception(result))
        return None if names >= set(METADATA.tables) else "its tables are gone"

    def _what_happened(self) -> str:
        what = "replaced by another file" if self.path.exists() else "removed"
        now_at = self._name_now()
        if now_at is None:
            return (
                f"'{self.path}' was {what} during the run: its trials are lost. {self._kept()} Run "
                f"the same command again to start anew."
            )
        return (
            f"'{self.path}' was moved to '{now_at}' during the run: it keeps all finished trials, "
            f"but nothing else was written. Move it back and run the same command again."
        )

    def _name_now(self) -> Path | None:
        """Return the name of the opened file now; None if it has none, or nobody knows."""
        for descriptor in Path("/proc/self/fd").glob("*"):
            with suppress(OSError):
                if _identity(descriptor) == self._identity:
                    name = str(descriptor.readlink())
                    return None if name.endswith(DELETED) else Path(name)
        return None

    def _kept(self) -> str:
        """Say what an earlier run has left in the folder."""
        folder = self.path.parent
        kept = [name for name in (REPORT_FILE, BEST_FOLDER) if (folder / name).exists()]
        if not kept:
            return f"Nothing is kept in '{folder}'."
        return f"What an earlier run wrote is kept: {' and '.join(kept)} in '{folder}'."


class WatchedStorage(StorageWrapper):
    """Wrap a storage in a file: once the file is another one or damaged, no call is answered.

    Args:
        inner: the storage that answers.
        file: where it keeps everything.
    """

    def __init__(self, inner: BaseStorage, file: WatchedFile) -> None:
        super().__init__(inner)
        self._file = file

    def _read(
        self,
        method: Callable[Arguments, Answer],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Answer:
        self._file.check()
        try:
            return method(*arguments, **named)
        except EXPECTED_ERRORS:
            raise
        except Exception as error:
            if "locked" not in str(error):
                self._file.check()
                self._file.check_content()
            raise

    _write = _read


def _identity(path: Path) -> tuple[int, int]:
    """Return what tells a file from all others, whatever its name."""
    status = os.stat(path)  # noqa: PTH116 - it follows links in /proc to files without a name
    return status.st_dev, status.st_ino
