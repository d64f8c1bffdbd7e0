"""One worker: claim the trials of a phase one after another, and run them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace

import torch
from optuna.trial import FrozenTrial, Trial

from designer.interrupts import Stop, never
from designer.search.job import Job
from designer.search.objective import run_confirmation_trials, run_search_trial, together
from designer.search.progress import Phase
from designer.search.storage.artifacts import Artifacts
from designer.search.study.claims import Rejected, TrialClaims
from designer.search.study.history import History, history_of
from designer.search.study.proposals import propose
from designer.search.study.trials import wanted_trials
from designer.search.workers.heartbeat import HeartbeatMonitor, send_heartbeats, trial_heartbeat
from designer.search.workers.phases import is_over
from designer.training.trainer import single_threaded

POLL_SECONDS = 0.2
"""Seconds between two looks for something to do, in a run folder."""

SHARED_POLL_SECONDS = 1.0
"""Seconds between two looks at a storage that hundreds of workers may ask."""


def work_on_phase(
    job: Job,
    phase: Phase,
    claims: TrialClaims,
    stop: Stop,
    after_trial: Callable[[], None] = lambda: None,
    name: str | None = None,
) -> None:
    """Claim and run trials until the phase is over or ``stop`` is true.

    Args:
        job: what the search is asked for; the first of its devices is used.
        phase: the part of the run.
        claims: claims on the trials of the phase.
        stop: True once the worker is to stop after the current epoch.
        after_trial: called after each trial and each rejected proposal.
        name: what trials are signed with, unique among all workers; None for that of this process.

    Raises:
        SpaceError: if the space breaks its contract.
        StorageError: if the storage does not answer.
    """
    worker = _Worker.on_phase(job, phase, claims, name or own_name())
    with single_threaded():
        while not stop() and not is_over(phase, worker.claims.study):
            worker.retry_silent_trials()
            try:
                trials = worker.claim_trials()
            except Rejected:
                after_trial()
                continue
            if not trials:  # the last trials run elsewhere, and may yet be handed back
                time.sleep(poll_seconds(job))
                continue
            worker.run(trials, stop)
            after_trial()


def retry_silent_trials(claims: TrialClaims, monitor: HeartbeatMonitor) -> None:
    """Enqueue the trials again whose workers send no heartbeats any more."""
    for trial in monitor.silent(history_of(claims.study).running):
        claims.retry_once(trial, "Its worker was gone.")


def poll_seconds(job: Job) -> float:
    """Return the seconds between two looks at the storage of a job."""
    return SHARED_POLL_SECONDS if job.location.shared else POLL_SECONDS


def own_name() -> str:
    """Return the name of this process, unique among all machines."""
    return worker_name(os.getpid())


def worker_name(process: int | None) -> str:
    """Return the name of a process of this machine, unique among all machines."""
    return f"{socket.gethostname()}:{process}"


@dataclass(frozen=True)
class _Worker:
    """A worker on one phase of a study."""

    name: str
    job: Job
    phase: Phase
    claims: TrialClaims
    artifacts: Artifacts
    monitor: HeartbeatMonitor

    @classmethod
    def on_phase(cls, job: Job, phase: Phase, claims: TrialClaims, name: str) -> _Worker:
        device = torch.device(job.options.worker_devices[0])
        return cls(
            name=name,
            job=replace(job, data=job.data.to(device)),
            phase=phase,
            claims=claims,
            artifacts=Artifacts(job.location.artifacts, claims.storage),
            monitor=HeartbeatMonitor(claims.storage, job.options.heartbeat),
        )

    def retry_silent_trials(self) -> None:
        """Every worker looks for others that are gone: the leader itself may be."""
        if self.job.location.shared and self.monitor.due():
            retry_silent_trials(self.claims, self.monitor)

    def claim_trials(self) -> list[Trial]:
        """Return a trial, or several to run together; empty if none is left for now.

        Raises:
            Rejected: if the trial that was proposed is not worth training.
        """
        name, lock = self.name, self.job.location.claim_lock()
        if self.phase is not Phase.SEARCH:
            device = self.job.data.train.device
            return self.claims.claim_waiting(name, lock, together(device))

        def propose_trial(history: History) -> FrozenTrial:
            return propose(self.job, history, name)

        trial = self.claims.claim(wanted_trials(self.claims.study), name, propose_trial, lock)
        return [] if trial is None else [trial]

    def run(self, trials: Sequence[Trial], stop: Stop) -> None:
        """Run the trials; others learn from their heartbeats that this worker is alive."""
        with ExitStack() as stack:
            # If others took this worker for gone and ended its trial, its work is of no use.
            taken_away = [stack.enter_context(self._heartbeats(trial)) for trial in trials]

            def stop_or_taken() -> bool:
                return stop() or any(taken() for taken in taken_away)

            if self.phase is Phase.SEARCH:
                run_search_trial(self.job, self.claims, trials[0], stop_or_taken)
            else:
                run_confirmation_trials(
                    self.job, self.claims, trials, stop_or_taken, self.artifacts
                )

    def _heartbeats(self, trial: Trial) -> AbstractContextManager[Stop]:
        if not self.job.location.shared:  # the process that started this one sees it die
            return nullcontext(never)
        return send_heartbeats(trial_heartbeat(trial), self.job.options.heartbeat)
