"""Heartbeats: a worker counts up a number beside its trial, and others watch whether it changes.

Nobody's clock is compared with anybody else's: a monitor notes by its own clock when a number last
changed. Optuna's own heartbeats need ``Study.optimize`` and a database without a proxy, so they
cannot be used here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from optuna.trial import FrozenTrial, Trial

from designer.interrupts import Stop
from designer.search.storage.caching import CachingStorage
from designer.search.study.keys import HEARTBEAT
from designer.search.study.trials import running

MISSED_HEARTBEATS = 6
"""Heartbeats that fail to come before a worker counts as gone."""


@contextmanager
def send_heartbeats(send: Callable[[int], None], seconds: float) -> Iterator[Stop]:
    """Call ``send`` with 1, 2, ... in a thread of its own until the block ends.

    Args:
        send: stores the number that it gets.
        seconds: between two calls.

    Yields:
        A function that is true once heartbeats can no longer be stored: another process has ended
        the trial, or its storage is gone.
    """
    left, rejected = threading.Event(), threading.Event()

    def run() -> None:
        count = 0
        while not left.wait(seconds):
            count += 1
            try:
                send(count)
            except Exception:  # noqa: BLE001 - whatever it is, the trial's own calls meet it, too
                rejected.set()
                return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield rejected.is_set
    finally:
        left.set()
        thread.join()


def trial_heartbeat(trial: Trial) -> Callable[[int], None]:
    """Return what stores the heartbeat of a trial's worker."""
    return lambda count: trial.set_user_attr(HEARTBEAT, count)


class HeartbeatMonitor:
    """Note when heartbeats last changed, and name those that stand still for too long.

    Args:
        storage: where heartbeats are stored.
        seconds: between two heartbeats.
        clock: seconds that only ever rise.
    """

    def __init__(
        self,
        storage: CachingStorage,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage, self._clock = storage, clock
        self._seconds = seconds
        self._next_check = float("-inf")
        self._last_changes: dict[str | int, tuple[object, float]] = {}

    def due(self) -> bool:
        """Return True once per heartbeat: more often there is nothing new to see."""
        now = self._clock()
        if now < self._next_check:
            return False
        self._next_check = now + self._seconds
        return True

    def silent(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Return the running trials whose worker's heartbeat has stood still for too long.

        Args:
            trials: of the one study that this monitor watches.
        """
        return [
            trial
            for trial in running(trials)
            if self.stands_still(trial.number, trial.user_attrs.get(HEARTBEAT))
        ]

    def stands_still(self, owner: str | int, heartbeat: object) -> bool:
        """Return True if a heartbeat has not changed for ``MISSED_HEARTBEATS`` beats.

        Args:
            owner: number of a trial, or name of a process.
            heartbeat: what is stored now.
        """
        now = self._clock()
        before, since = self._last_changes.setdefault(owner, (heartbeat, now))
        if before != heartbeat:
            self._last_changes[owner] = heartbeat, now
            return False
        # While the storage was unreachable nobody could store a heartbeat: that time is not held
        # against anybody, or every worker would count as gone when the database comes back.
        return now - max(since, self._storage.answering_since) > MISSED_HEARTBEATS * self._seconds
