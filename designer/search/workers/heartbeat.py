"""Whether workers are alive: each counts up a number beside its trial, and others watch it.

Nobody's clock is compared with anybody else's: a watcher notes by its own clock when a number last
changed.  Optuna's heartbeats do less here: they need ``Study.optimize``, and a database without a
proxy.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from designer.errors import StorageError
from designer.search.stopping import Stop
from designer.search.study.trials import running, trials_of

PULSE = "pulse"
"""Key of a trial's, and of a leader's, number."""


BEATS_MISSED = 6
"""After which a worker counts as gone."""


@contextmanager
def beating(beat: Callable[[int], None], seconds: float) -> Iterator[Stop]:
    """Call ``beat`` with 1, 2, ... every so many seconds, in a thread of its own.

    Yields:
        Whether that has ended: the trial was taken away, or its storage is gone.
    """
    ended, over = threading.Event(), threading.Event()

    def run() -> None:
        count = 0
        while not ended.wait(seconds):
            count += 1
            try:
                beat(count)
            except (UpdateFinishedTrialError, StorageError, KeyError):
                over.set()
                return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield over.is_set
    finally:
        ended.set()
        thread.join()


def beat_of(trial: Trial) -> Callable[[int], None]:
    """What says that a trial's worker is alive."""
    return lambda count: trial.set_user_attr(PULSE, count)


class Watch:
    """Notes when the pulses of a study's trials last changed."""

    def __init__(
        self,
        storage: BaseStorage,
        beat_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage, self._clock = storage, clock
        self._beat = beat_seconds
        self._grace = BEATS_MISSED * beat_seconds
        self._next = float("-inf")
        self._seen: dict[tuple[str, int], tuple[object, float]] = {}

    def due(self) -> bool:
        """Whether it is time to look again: once per beat."""
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + self._beat
        return True

    def gone(self, study: Study) -> list[FrozenTrial]:
        """Trials under way whose worker has not moved for too long."""
        return [
            t
            for t in running(trials_of(study))
            if self.still(study.study_name, t.number, _pulse(t))
        ]

    def still(self, name: str, number: int, pulse: object) -> bool:
        """Whether this pulse is the same as it was for too long."""
        now = self._clock()
        before, since = self._seen.setdefault((name, number), (pulse, now))
        if before != pulse:
            self._seen[name, number] = pulse, now
            return False
        return now - max(since, self._answering_since()) > self._grace

    def _answering_since(self) -> float:
        """While a storage was away no pulse could be seen to change."""
        patience = getattr(self._storage, "patience", None)
        return getattr(patience, "answering_since", None) or 0.0


def _pulse(trial: FrozenTrial) -> object:
    return trial.user_attrs.get(PULSE)
