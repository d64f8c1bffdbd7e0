"""A storage that is waited for where it does not answer: databases restart, networks break.

What waiting cannot mend, such as a full disk or a wrong password, ends the run at once with a
sentence.
"""

from __future__ import annotations

import copy
import functools
import logging
import random
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Any, cast

import sqlalchemy
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from designer.errors import StorageError, first_line
from designer.search.stopping import Stop, never

FIRST_SECONDS = 60.0
"""How long a storage is waited for that has never answered; its address may be wrong."""


PATIENCE_SECONDS = 600.0
"""How long one is waited for that has."""


SHORTEST_WAIT, LONGEST_WAIT = 0.25, 5.0
"""Seconds between two attempts; they double, and are drawn so that workers do not come at once."""


LOOK_GOOD_FOR = 0.25
"""Seconds for which a look at all trials may be used again, from when it came."""


FULL = ("disk is full", "no space left", "disk full")


HOPELESS = (*FULL, "readonly", "read-only", "disk i/o error", "malformed", "not a database")
"""What no waiting mends, as databases say it."""


HOPELESS_AT_FIRST = (
    "password",
    "authentication",
    "does not exist",
    "no pg_hba.conf entry",
    "resolve host",
    "name or service not known",
    "permission denied",
)
"""What is a wrong address, unless the storage has answered before."""


log = logging.getLogger("designer")


@dataclass
class Patience:
    """How long to wait, and what was seen so far."""

    where: str
    """The storage, as it may be shown."""
    stop: Stop = never
    first: float = FIRST_SECONDS
    seconds: float = PATIENCE_SECONDS
    answering_since: float | None = field(default=None, init=False)
    """Monotonic seconds; None where it has never answered."""

    def asked(self, question: Callable[[], Any]) -> Any:
        """The answer, waited for.

        Raises:
            StorageError: where waiting is hopeless, was too long, or ``stop`` said so.
        """
        began: float | None = None
        wait = SHORTEST_WAIT
        while True:
            try:
                answer = question()
            except Exception as error:
                reason = trouble(error)
                if reason is None:
                    raise
                self._check(reason, began, error)
                began = time.monotonic() if began is None else began
                time.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - it spreads load
                wait = min(2 * wait, LONGEST_WAIT)
            else:
                self._answers(began)
                return answer

    def _check(self, reason: str, began: float | None, error: Exception) -> None:
        """Raise where it is of no use to wait on."""
        first = self.answering_since is None
        if _hopeless(reason, first=first):
            raise StorageError(_advice(self.where, reason)) from error
        limit = self.first if first else self.seconds
        if began is None:
            log.warning(
                "%s does not answer (%s); trying again for up to %.0f s.", self.where, reason, limit
            )
            return
        waited = time.monotonic() - began
        if waited > limit or self.stop():
            raise StorageError(
                f"Expected an answer from {self.where}, but for {waited:.0f} s there was none "
                f"({reason}); start it and run the same command again, it continues."
            ) from error

    def _answers(self, began: float | None) -> None:
        now = time.monotonic()
        if began is not None:
            log.warning("%s answers again after %.0f s.", self.where, now - began)
        if began is not None or self.answering_since is None:
            self.answering_since = now


def patient(storage: BaseStorage, patience: Patience) -> BaseStorage:
    """The same storage, waited for in every method, and not asked twice for what it just said.

    All trials that are under way are read anew whenever Optuna or one of our rules looks at the
    trials, several times per trial, and so is what a study says of itself. So a look is good for
    ``LOOK_GOOD_FOR`` seconds, unless this process has written something meanwhile: whoever writes
    first and then looks sees what is there, and whoever knows that others have written calls
    ``forget_looks``.
    """
    methods = {
        name: _waiting(name)
        for name in dir(BaseStorage)
        if callable(getattr(BaseStorage, name)) and not name.startswith("_")
    }
    methods["get_all_trials"] = _trials
    methods["get_study_user_attrs"] = _study_attributes
    made = type("PatientStorage", (BaseStorage,), methods)()
    made.inner, made.patience, made.looks = storage, patience, {}
    return cast("BaseStorage", made)


def forget_looks(storage: BaseStorage) -> None:
    """See to it that whatever is asked next is read anew."""
    vars(storage)["looks"] = {}


@dataclass(frozen=True)
class _Look:
    """What a storage said."""

    at: float
    """Monotonic seconds."""
    answer: Any


def _waiting(name: str) -> Callable[..., Any]:
    writes = name.startswith(("set_", "create_", "delete_"))

    @functools.wraps(getattr(BaseStorage, name), updated=())
    def method(self: Any, *given: Any, **named: Any) -> Any:
        try:
            return self.patience.asked(lambda: getattr(self.inner, name)(*given, **named))
        finally:
            if writes:
                self.looks = {}

    return method


def _looked(self: Any, key: tuple[str, int], question: Callable[[], Any]) -> Any:
    """What was said a moment ago, or is said now."""
    look = self.looks.get(key)
    if look is None or time.monotonic() - look.at > LOOK_GOOD_FOR:
        answer = self.patience.asked(question)
        self.looks[key] = look = _Look(time.monotonic(), answer)
    return look.answer


def _trials(
    self: Any,
    study_id: int,
    deepcopy: bool = True,
    states: Container[TrialState] | None = None,
) -> list[FrozenTrial]:
    """``BaseStorage.get_all_trials``."""
    trials = _looked(
        self, ("trials", study_id), lambda: self.inner.get_all_trials(study_id, deepcopy=False)
    )
    some = [trial for trial in trials if states is None or trial.state in states]
    return copy.deepcopy(some) if deepcopy else some


def _study_attributes(self: Any, study_id: int) -> dict[str, Any]:
    """``BaseStorage.get_study_user_attrs``."""
    question = lambda: self.inner.get_study_user_attrs(study_id)  # noqa: E731
    return dict(_looked(self, ("attributes", study_id), question))


def trouble(error: BaseException) -> str | None:
    """What a storage says that does not answer; None for any other error."""
    while True:
        if isinstance(error, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError):
            return first_line(error.orig or error)
        if isinstance(error, sqlalchemy.exc.DBAPIError) and error.connection_invalidated:
            return first_line(error.orig or error)
        if isinstance(error, sqlalchemy.exc.PendingRollbackError):  # the next session is a new one
            return "the connection broke"
        if (code := _grpc_code(error)) in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
            return f"the proxy is {code.lower().replace('_', ' ')}"
        if error.__cause__ is None:
            return None
        error = error.__cause__


def _grpc_code(error: BaseException) -> str:
    """Its status; empty for what is no error of a remote call."""
    code = getattr(error, "code", None)
    return getattr(code(), "name", "") if callable(code) else ""


def _hopeless(reason: str, *, first: bool) -> bool:
    words = HOPELESS + HOPELESS_AT_FIRST if first else HOPELESS
    return any(word in reason.lower() for word in words)


def _advice(where: str, reason: str) -> str:
    full = any(word in reason.lower() for word in FULL)
    what = "free some space" if full else "mend that"
    return (
        f"Expected {where} to take what is written, but it says: {reason}; {what} and run the "
        f"same command again, it continues."
    )
