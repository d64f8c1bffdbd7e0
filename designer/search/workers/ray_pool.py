"""Run the phases of a study on Ray, which places workers and says at once when one dies.

Ray could start a dead worker again by itself. In a full cluster that may take for ever, and its
trial would wait for it. Here the trial is free at once, and Ray finds a place for a new worker.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

from designer.interrupts import Stop
from designer.search.job import Job
from designer.search.progress import Phase
from designer.search.storage.caching import CachingStorage
from designer.search.storage.opening import open_storage, quiet_optuna
from designer.search.study.claims import TrialClaims, study_of
from designer.search.study.keys import HANDSHAKE
from designer.search.workers.handshake import find_artifacts
from designer.search.workers.pool import SHUTDOWN_SECONDS, Pool
from designer.search.workers.worker import own_name, work_on_phase

PLACING_SECONDS = 30.0
"""How long Ray may look for places before a message says that workers wait."""

DIED = "Its worker process died."
"""Why a trial is done again."""

log = logging.getLogger("designer")


class RayWorker:
    """A worker as a Ray actor.

    Args:
        name: what its trials are signed with.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._stop = threading.Event()

    def process(self) -> int:
        """Return the id of its process, once Ray has placed it."""
        return os.getpid()

    def work(self, pickled_job: bytes, phase: Phase) -> None:
        """Run trials until the phase is over or ``stop`` was called.

        Args:
            pickled_job: what the search is asked for, from Ray's object store.
            phase: the part of the run.
        """
        job: Job = pickle.loads(pickled_job)  # noqa: S301 - the search made it
        stop = self._stop.is_set
        with quiet_optuna(), open_storage(job.location, stop, create=False) as storage:
            if job.location.shared:
                leader = study_of(job, storage, Phase.SEARCH)
                find_artifacts(leader.user_attrs[HANDSHAKE], job.location)
            claims = TrialClaims(study_of(job, storage, phase), storage)
            work_on_phase(job, phase, claims, stop, name=self._name)

    def stop(self) -> None:
        """Let the trial stop after its epoch."""
        self._stop.set()


@dataclass
class _Handle:
    """What the search knows of a worker."""

    name: str
    actor: Any
    placed: Any
    """Reference to the answer of ``RayWorker.process``."""
    run: Any = None
    """Reference to the answer of ``RayWorker.work``; None while it has nothing to do."""

    def start(self, job: Any, phase: Phase) -> None:
        """Let it work on a phase of a job in Ray's object store."""
        self.run = self.actor.work.remote(job, phase)


class RayPool(Pool):
    """Run trials in actors of the Ray that this process is connected to; see ``Pool``."""

    def __init__(self, job: Job, storage: CachingStorage) -> None:
        super().__init__(job, storage)
        import ray

        self._ray = ray
        # As bytes: what goes wrong where they are read, say a missing module, is then an error of
        # the worker, and not one of Ray.
        pickler: Any = ray.cloudpickle
        self._stored_job = ray.put(pickler.dumps(_job_of_workers(job)))
        self._handles: list[_Handle] = []
        self._started = self._deaths = 0
        self._warns_at = time.monotonic() + PLACING_SECONDS

    def shut_down(self) -> None:
        """See ``Pool``."""
        self._ask_to_stop()
        runs = [h.run for h in self._handles if h.run is not None and self._ended(h.placed)]
        if runs:
            self._ray.wait(runs, num_returns=len(runs), timeout=SHUTDOWN_SECONDS)
        for handle in self._handles:
            self._ray.kill(handle.actor)

    def _begin(self, phase: Phase, workers: int) -> None:
        while len(self._handles) < workers:
            self._handles.append(self._start_worker())
        for handle in self._handles:
            if handle.run is None:  # else Ray has not found a place for it yet
                handle.start(self._stored_job, phase)

    def _is_busy(self, *, ending: bool) -> bool:
        # Workers that Ray finds no place for must not keep a phase from ending.
        return any(
            handle.run is not None and not (ending and not self._ended(handle.placed))
            for handle in self._handles
        )

    def _ask_to_stop(self) -> None:
        for handle in self._handles:
            handle.actor.stop.remote()

    def _replace_dead(self, phase: Phase, claims: TrialClaims, stop: Stop) -> None:
        from ray.exceptions import RayError, RayTaskError

        for handle in [h for h in self._handles if h.run is not None and self._ended(h.run)]:
            try:
                self._ray.get(handle.run)
                handle.run = None
            except RayTaskError as error:
                raise error.cause from None  # what the worker raised
            except RayError:
                self._handles.remove(handle)
                self._deaths += 1
                claims.retry_of(handle.name, DIED)
                # If more die than there are trials, something else kills them.
                if self._deaths <= self._job.options.trials and not stop():
                    self._handles.append(self._start_worker())
                    self._handles[-1].start(self._stored_job, phase)
        self._warn_of_waiting()
        if not self._job.location.shared:  # workers of a search that was killed may live on briefly
            claims.retry_strangers([h.name for h in self._handles], DIED)

    def _warn_of_waiting(self) -> None:
        """Say once that Ray has no place for some workers."""
        if time.monotonic() < self._warns_at:
            return
        self._warns_at = float("inf")
        waiting = sum(not self._ended(handle.placed) for handle in self._handles)
        if waiting:
            log.warning(
                "%d of %d workers wait until Ray has a CPU and %g GPUs free for each.",
                waiting,
                len(self._handles),
                self._job.options.gpus_per_worker,
            )

    def _ended(self, reference: Any) -> bool:
        return bool(self._ray.wait([reference], timeout=0)[0])

    def _start_worker(self) -> _Handle:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = self._ray.get_runtime_context().get_node_id()
        shared, options = self._job.location.shared, self._job.options
        self._started += 1
        name = f"{own_name()}/{self._started}"
        actor: Any = (
            self._ray.remote(RayWorker)
            .options(
                num_cpus=1,
                num_gpus=options.gpus_per_worker,
                # SQLite lies on this machine: workers elsewhere would not find it.
                scheduling_strategy="DEFAULT"
                if shared
                else NodeAffinitySchedulingStrategy(here, soft=False),
                max_concurrency=2,  # `stop` must not wait for `work`
            )
            .remote(name)
        )
        return _Handle(name, actor, actor.process.remote())


def _job_of_workers(job: Job) -> Job:
    """Return the job as it is for workers in other folders, whom Ray shows their GPUs alone."""
    device = "cuda" if job.options.gpus_per_worker else "cpu"
    location = replace(job.location, folder=job.location.folder.absolute())
    return replace(
        job,
        options=replace(job.options, device=device, devices=None),
        location=replace(location, files=job.location.artifacts),
    )
