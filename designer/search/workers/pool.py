"""What all pools of workers do alike: start a phase, watch it, and give back what was lost."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Protocol

from designer.interrupts import Stop
from designer.search.job import Job
from designer.search.progress import Phase, ProgressCallback
from designer.search.storage.caching import CachingStorage
from designer.search.study.claims import TrialClaims, study_of
from designer.search.workers.heartbeat import HeartbeatMonitor
from designer.search.workers.phases import is_over, progress_of
from designer.search.workers.worker import poll_seconds, retry_silent_trials

SHUTDOWN_SECONDS = 10.0
"""How long a worker process that is shut down may take to end by itself."""

UNSIGNED_SECONDS = 10.0
"""How long a running trial may name no worker: after that, the one that began it has died."""


class PhaseRunner(Protocol):
    """Runs the phases of a study."""

    def run(self, phase: Phase, stop: Stop, progress: ProgressCallback) -> None:
        """Run trials until the phase is over, ``stop`` is true, or nothing is left to try.

        Args:
            phase: search or confirmation.
            stop: True once trials are to stop after their current epoch.
            progress: called with how far the phase has come.
        """
        ...


class Pool(ABC):
    """Run trials in worker processes, which stay for all phases; those that die are replaced.

    Args:
        job: what the search is asked for.
        storage: where the study is kept; each process opens it anew.
    """

    def __init__(self, job: Job, storage: CachingStorage) -> None:
        self._job = job
        self._storage = storage

    def run(self, phase: Phase, stop: Stop, progress: ProgressCallback) -> None:
        """See ``PhaseRunner``."""
        study = study_of(self._job, self._storage, phase)
        claims = TrialClaims(study, self._storage)
        monitor = HeartbeatMonitor(self._storage, self._job.options.heartbeat)
        now = progress_of(phase, study)
        progress(now)
        # No more workers than there is work for.
        self._begin(phase, min(self._job.options.worker_count, now.total - now.finished))
        while self._is_busy(ending=stop() or is_over(phase, study)):
            if stop():
                self._ask_to_stop()
            time.sleep(poll_seconds(self._job))
            self._replace_dead(phase, claims, stop)
            if self._job.location.shared:
                retry_silent_trials(claims, monitor)
            else:  # this process alone knows that a worker died before it signed its trial
                claims.release_unsigned(UNSIGNED_SECONDS)
            progress(progress_of(phase, study))
        if not self._job.location.shared:  # all workers are idle: what still runs has no worker
            claims.release_running("Its worker ended at once.")

    @abstractmethod
    def shut_down(self) -> None:
        """End all workers; those with a trial end after its epoch."""

    @abstractmethod
    def _begin(self, phase: Phase, workers: int) -> None:
        """Let all workers work on a phase; before that, start some until there are so many."""

    @abstractmethod
    def _is_busy(self, *, ending: bool) -> bool:
        """Return True while a worker is at work on the phase, and raise what one of them raised.

        Args:
            ending: True if the phase is over or is to stop.
        """

    @abstractmethod
    def _ask_to_stop(self) -> None:
        """Tell all workers to stop after their epoch; may be called several times."""

    @abstractmethod
    def _replace_dead(self, phase: Phase, claims: TrialClaims, stop: Stop) -> None:
        """Retry the trials of workers that died, and see to it that others take their place."""
