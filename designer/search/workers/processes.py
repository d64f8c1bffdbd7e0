"""Run the trials of a phase: in this process, or in several on one storage."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    ExitStack,
    contextmanager,
    nullcontext,
    redirect_stdout,
    suppress,
)
from ctypes import c_byte
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Protocol

import torch
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from designer.search.job import Job
from designer.search.objective import run_confirmation_trials, run_search_trial, together
from designer.search.progress import Phase, Progress, ProgressCallback
from designer.search.stopping import Stop, never
from designer.search.storage.artifacts import Artifacts
from designer.search.storage.opening import open_storage, quiet_optuna
from designer.search.study import proposals
from designer.search.study.claims import (
    Rejected,
    claim,
    claim_waiting,
    release_running,
    release_unsigned,
    retry_of,
    retry_once,
    study_of,
)
from designer.search.study.trials import (
    Trials,
    failed,
    finished,
    rejected_in_a_row,
    running,
    trials_of,
    waiting,
    wanted_trials,
)
from designer.search.workers.heartbeat import Watch, beat_of, beating
from designer.training.trainer import single_threaded

MAX_REJECTED = 300
"""Proposals in a row that are known or over a limit, after which the space counts as used up."""


POLL_SECONDS = 0.2


SHARED_POLL_SECONDS = 1.0
"""The same where hundreds may ask one storage."""


DISMISS_SECONDS = 10.0


UNSIGNED_SECONDS = 10.0
"""A running trial that names no worker for so long was left by one that died at once."""


@contextmanager
def crew_for(job: Job, storage: BaseStorage) -> Iterator[Crew]:
    """Whoever runs the trials of all phases: this process, or ``job.effort.workers`` others."""
    if job.effort.workers == 1:
        yield Alone(job, storage)
        return
    team = Team(job, storage)
    try:
        yield team
    finally:
        team.dismiss()


class Crew(Protocol):
    """Runs the trials of a phase."""

    def run(self, phase: Phase, stop: Stop, progress: ProgressCallback) -> None:
        """Until the phase is done, or ``stop`` says so, or nothing is left to try."""
        ...


class Alone:
    """This process does it all."""

    def __init__(self, job: Job, storage: BaseStorage) -> None:
        self._job = job
        self._storage = storage

    def run(self, phase: Phase, stop: Stop, progress: ProgressCallback) -> None:
        """See ``Crew``."""
        study = study_of(self._job, self._storage, phase)

        def tell() -> None:
            progress(progress_of(phase, study))

        tell()
        _work(self._job, phase, study, stop, tell)


class Team:
    """Worker processes that stay for all phases; those that die are replaced."""

    def __init__(self, job: Job, storage: BaseStorage) -> None:
        self._job = job
        self._storage = storage
        self._context = multiprocessing.get_context("spawn")
        self._asked = self._context.RawValue("b", 0)  # no lock that a killed worker could keep
        self._members: list[_Member] = []
        self._deaths = 0

    def run(self, phase: Phase, stop: Stop, progress: ProgressCallback) -> None:
        """See ``Crew``."""
        study = study_of(self._job, self._storage, phase)
        watch = Watch(self._storage, self._job.effort.heartbeat)
        seen = progress_of(phase, study)
        progress(seen)
        while len(self._members) < min(self._job.effort.workers, seen.total - seen.finished):
            self._members.append(self._hire(self._free_device()))
        for member in self._members:
            member.start(phase)
        while any(member.busy() for member in self._members):
            if stop():
                self._asked.value = 1
            time.sleep(_poll_seconds(self._job))
            self._replace_dead(phase, study, stop)
            if self._job.location.shared:
                retry_gone(study, watch)
            else:
                release_unsigned(study, UNSIGNED_SECONDS)
            progress(progress_of(phase, study))
        if not self._job.location.shared:
            release_running(study, "Its worker ended at once.")

    def dismiss(self) -> None:
        """End all members; those at work end after their epoch."""
        self._asked.value = 1
        for member in self._members:
            member.dismiss()

    def _free_device(self) -> str:
        """The one that the fewest members use."""
        used = [member.device for member in self._members]
        return min(self._job.effort.devices, key=used.count)

    def _hire(self, device: str) -> _Member:
        ours, theirs = self._context.Pipe()
        job = replace(self._job, effort=replace(self._job.effort, devices=(device,)))
        process = self._context.Process(
            target=_worker_main, args=(job, theirs, self._asked), daemon=True
        )
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: the leader decides
        try:
            process.start()
        finally:
            signal.signal(signal.SIGINT, handler)
        return _Member(process, ours, device)

    def _replace_dead(self, phase: Phase, study: Study, stop: Stop) -> None:
        for member in [m for m in self._members if not m.process.is_alive()]:
            self._members.remove(member)
            self._deaths += 1
            _retry_of_dead(study, member.process)
            if self._deaths <= self._job.effort.trials and not stop():
                self._members.append(self._hire(member.device))
                self._members[-1].start(phase)


class _Member:
    """One worker process and the line to it."""

    def __init__(self, process: SpawnProcess, line: Connection, device: str) -> None:
        self.process, self.device = process, device
        self._line = line
        self._busy = False

    def start(self, phase: Phase) -> None:
        with suppress(BrokenPipeError):  # a member that died meanwhile is replaced later
            self._line.send(phase)
        self._busy = True

    def busy(self) -> bool:
        if self._busy and self._line.poll():
            with suppress(EOFError, OSError):
                self._line.recv()
                self._busy = False
        return self._busy

    def dismiss(self) -> None:
        with suppress(BrokenPipeError):
            self._line.send(None)
        self.process.join(timeout=DISMISS_SECONDS)
        self.process.kill()  # it does not heed SIGTERM
        self.process.join()


def is_over(phase: Phase, study: Study) -> bool:
    """Whether nothing is left to do in a phase, here or elsewhere."""
    trials = trials_of(study)
    if phase is Phase.CONFIRMATION:
        return not (waiting(trials) or running(trials))
    wanted = wanted_trials(study)
    return (
        len(finished(trials)) >= wanted
        or len(failed(trials)) > wanted
        or rejected_in_a_row(trials) >= MAX_REJECTED
    )


def progress_of(phase: Phase, study: Study) -> Progress:
    """How far a phase is."""
    trials = trials_of(study)
    done = finished(trials)
    values = [t.values[0] for t in done if t.state is TrialState.COMPLETE and t.values]
    total = len(done) + len(waiting(trials)) + len(running(trials))
    if phase is Phase.SEARCH:
        total = wanted_trials(study)
    return Progress(phase, len(done), total, len(failed(trials)), max(values, default=None))


def retry_gone(study: Study, watch: Watch) -> None:
    """Ask again for the trials whose workers do not move any more."""
    for trial in watch.gone(study):
        retry_once(study, trial, "Its worker was gone.")


def own_name() -> str:
    """Of this worker, wherever it runs."""
    return _name(os.getpid())


def _name(process: int | None) -> str:
    return f"{socket.gethostname()}:{process}"


@dataclass(frozen=True)
class _Bench:
    """What a worker works with."""

    job: Job
    phase: Phase
    study: Study
    artifacts: Artifacts

    def next_trials(self) -> list[Trial]:
        """One, or several to be run together; none where none is left for now.

        Raises:
            Rejected: where the one that was proposed is not worth training.
        """
        worker, lock = own_name(), self.job.location.claim_lock()
        if self.phase is Phase.CONFIRMATION:
            device = self.job.data.train.inputs.device
            return claim_waiting(self.study, worker, lock, together(device))

        def propose(trials: Trials) -> FrozenTrial:
            return proposals.propose(self.job, trials, worker)

        trial = claim(self.study, wanted_trials(self.study), worker, propose, lock)
        return [] if trial is None else [trial]

    def run(self, trials: Sequence[Trial], stop: Stop) -> None:
        with ExitStack() as stack:
            taken_away = [stack.enter_context(self._pulse(trial)) for trial in trials]
            stopped = lambda: stop() or any(taken() for taken in taken_away)  # noqa: E731
            if self.phase is Phase.CONFIRMATION:
                run_confirmation_trials(self.job, self.study, trials, stopped, self.artifacts)
            else:
                run_search_trial(self.job, self.study, trials[0], stopped)

    def _pulse(self, trial: Trial) -> AbstractContextManager[Stop]:
        if not self.job.location.shared:
            return nullcontext(never)
        return beating(beat_of(trial), self.job.effort.heartbeat)


def _work(
    job: Job, phase: Phase, study: Study, stop: Stop, after_trial: Callable[[], None]
) -> None:
    """One worker's loop."""
    device = torch.device(job.effort.devices[0])
    job = replace(job, data=job.data.to(device))
    bench = _Bench(job, phase, study, Artifacts(job.location.artifacts, study._storage))
    watch = Watch(study._storage, job.effort.heartbeat)
    with single_threaded():
        while not stop() and not is_over(phase, study):
            if job.location.shared and watch.due():
                retry_gone(study, watch)
            try:
                trials = bench.next_trials()
            except Rejected:
                after_trial()
                continue
            if not trials:  # the last ones are under way elsewhere, and may yet fail
                time.sleep(_poll_seconds(job))
                continue
            bench.run(trials, stop)
            after_trial()


def _poll_seconds(job: Job) -> float:
    return SHARED_POLL_SECONDS if job.location.shared else POLL_SECONDS


def _worker_main(job: Job, line: Connection, asked: c_byte) -> None:
    """Entry point of a worker process: run the phases that the leader names."""
    threading.Thread(target=_end_with_leader, daemon=True).start()

    def stop() -> bool:
        return bool(asked.value)

    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # schedulers send it to all: the leader decides
    prints = redirect_stdout(sys.stderr)  # the leader's output is for reports alone
    with prints, quiet_optuna(), open_storage(job.location, stop) as storage:
        while (phase := line.recv()) is not None:
            _work(job, phase, study_of(job, storage, phase), stop, lambda: None)
            line.send(phase)


def _end_with_leader() -> None:
    """A worker whose leader is gone, even by SIGKILL, ends at once."""
    leader = multiprocessing.parent_process()
    if leader is not None:
        leader.join()
        os._exit(1)


def _retry_of_dead(study: Study, process: SpawnProcess) -> None:
    code = process.exitcode or 0
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    retry_of(study, _name(process.pid), f"Its worker process {how}.")
