"""Wait for a storage that does not answer: databases restart and networks break.

What waiting cannot mend, such as a full disk or a wrong password, ends the run at once with one
line that says what to do.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import sqlalchemy
from optuna.storages import BaseStorage

from designer.errors import StorageError, first_line
from designer.interrupts import Stop, never
from designer.redaction import redact
from designer.search.storage.wrapper import Answer, Arguments, StorageWrapper

FIRST_ANSWER_SECONDS = 60.0
"""How long to wait for a storage that has never answered: its address may be wrong."""

RETRY_SECONDS = 600.0
"""How long to wait for a storage that has answered before."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
"""Seconds between two attempts; the pause doubles, and is random so that workers spread out."""

FULL_DISK = ("disk is full", "no space left", "disk full")
"""How databases say that nothing more fits."""

BROKEN_DISK = "disk i/o error"
"""How SQLite says that the disk fails, and on a full one that a helper file cannot grow."""

HOPELESS = (*FULL_DISK, BROKEN_DISK, "readonly", "read-only", "malformed", "not a database")
"""How databases say what no waiting mends."""

HOPELESS_AT_FIRST = (
    "password",
    "authentication",
    "does not exist",
    "no pg_hba.conf entry",
    "resolve host",
    "name or service not known",
    "permission denied",
)
"""What means a wrong address, unless the storage has answered before."""

UNREACHABLE_CODES = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
"""gRPC's names for a proxy that does not answer."""

log = logging.getLogger("designer")


@dataclass
class RetryPolicy:
    """How long to wait for one storage, and since when it answers."""

    storage: str
    """The storage as messages name it, without a password."""
    stop: Stop = never
    """True once the run is asked to stop: then nothing is waited for any longer."""
    first_answer_seconds: float = FIRST_ANSWER_SECONDS
    """Seconds to wait as long as the storage has never answered."""
    retry_seconds: float = RETRY_SECONDS
    """Seconds to wait once it has."""
    answering_since: float | None = field(default=None, init=False)
    """Monotonic seconds since which every call was answered; None before the first answer."""

    def call(
        self,
        method: Callable[Arguments, Answer],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Answer:
        """Call a method again and again until the storage answers.

        Returns:
            What the method returns.

        Raises:
            StorageError: if waiting is hopeless, took too long, or the run was asked to stop.
                Errors that do not come from an unreachable storage pass unchanged.
        """
        unreachable_since: float | None = None
        pause = SHORTEST_PAUSE
        while True:
            try:
                answer = method(*arguments, **named)
            except Exception as error:
                reason = unreachable_reason(error)
                if reason is None:
                    raise
                self._check(redact(reason), unreachable_since, error)
                if unreachable_since is None:
                    unreachable_since = time.monotonic()
                time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - it spreads load
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._note_answer(unreachable_since)
                return answer

    def _check(self, reason: str, unreachable_since: float | None, error: Exception) -> None:
        """Raise ``StorageError`` if it is of no use to wait on."""
        first = self.answering_since is None
        if _is_hopeless(reason, first=first):
            raise StorageError(_advice(self.storage, reason)) from error
        limit = self.first_answer_seconds if first else self.retry_seconds
        if unreachable_since is None:
            log.warning(
                "%s does not answer (%s); trying again for up to %.0f s.",
                self.storage,
                reason,
                limit,
            )
            return
        waited = time.monotonic() - unreachable_since
        if waited > limit or self.stop():
            raise StorageError(
                f"{self.storage} has not answered for {waited:.0f} s ({reason}). Start it and run "
                f"the same command again: it continues."
            ) from error

    def _note_answer(self, unreachable_since: float | None) -> None:
        now = time.monotonic()
        if unreachable_since is not None:
            log.warning("%s answers again after %.0f s.", self.storage, now - unreachable_since)
        if unreachable_since is not None or self.answering_since is None:
            self.answering_since = now


class RetryingStorage(StorageWrapper):
    """Wrap a storage: every call retries while the database is unreachable.

    Args:
        inner: the storage to wait for.
        policy: how long to wait.
    """

    def __init__(self, inner: BaseStorage, policy: RetryPolicy) -> None:
        super().__init__(inner)
        self.policy = policy

    def _read(
        self,
        method: Callable[Arguments, Answer],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Answer:
        return self.policy.call(method, *arguments, **named)

    _write = _read


def unreachable_reason(error: BaseException | None) -> str | None:
    """Return why a storage does not answer; None for an error of any other kind.

    Args:
        error: as raised by Optuna, which wraps the errors of databases: causes are searched, too.
    """
    while error is not None:
        if reason := _reason_of(error):
            return reason
        error = error.__cause__
    return None


def check_space(storage: str, error: Exception) -> None:
    """Check that it was no full or failing disk that raised an error.

    Args:
        storage: the storage as messages name it.
        error: as raised by Optuna or by SQLite.

    Raises:
        StorageError: if it was.
    """
    reason = str(error) if isinstance(error, sqlite3.Error) else unreachable_reason(error)
    if reason is not None and _blames_disk(reason):
        raise StorageError(_advice(storage, reason)) from error


def _reason_of(error: BaseException) -> str | None:
    """Return why a storage does not answer, by this error alone."""
    if isinstance(error, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError):
        return first_line(error.orig or error)
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.connection_invalidated:
        return first_line(error.orig or error)
    if isinstance(error, sqlalchemy.exc.PendingRollbackError):  # the next session is a new one
        return "the connection broke"
    code = _grpc_code(error)
    return f"the proxy is {code.lower().replace('_', ' ')}" if code in UNREACHABLE_CODES else None


def _grpc_code(error: BaseException) -> str:
    """Return the status of a remote call that failed; empty for any other error."""
    code = getattr(error, "code", None)
    return getattr(code(), "name", "") if callable(code) else ""


def _is_hopeless(reason: str, *, first: bool) -> bool:
    """True if no waiting mends what a storage says."""
    words = HOPELESS + HOPELESS_AT_FIRST if first else HOPELESS
    return any(word in reason.lower() for word in words)


def _blames_disk(reason: str) -> bool:
    """True if a storage says that nothing more fits, or that the disk fails."""
    return any(word in reason.lower() for word in (*FULL_DISK, BROKEN_DISK))


def _advice(storage: str, reason: str) -> str:
    action = "Free some space" if _blames_disk(reason) else "Mend that"
    if BROKEN_DISK in reason.lower():  # SQLite says so of a full disk, too
        action += ", or mend the disk,"
    return f"{storage} fails: {reason}. {action} and run the same command again: it continues."
