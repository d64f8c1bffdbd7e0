"""Run the phases of a study: in this process, in processes that it starts, or on Ray."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from ctypes import c_byte
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

from designer.choices import Engine
from designer.errors import first_line
from designer.interrupts import Stop, ignore_signals, inherited_by_children_as_blocked
from designer.search.job import Job
from designer.search.progress import Phase, ProgressCallback
from designer.search.storage.caching import CachingStorage
from designer.search.storage.opening import open_storage, quiet_optuna
from designer.search.study.claims import TrialClaims, study_of
from designer.search.workers.phases import progress_of
from designer.search.workers.pool import SHUTDOWN_SECONDS, PhaseRunner, Pool
from designer.search.workers.worker import work_on_phase, worker_name


@contextmanager
def phase_runner(job: Job, storage: CachingStorage) -> Iterator[PhaseRunner]:
    """Give what runs the phases: this process for one worker, else a pool of processes; or Ray.

    Args:
        job: what the search is asked for.
        storage: where the study is kept.

    Raises:
        InvalidInputError: if Ray cannot be reached, or has no place for any worker.
    """
    with ExitStack() as stack:
        pool: Pool
        if job.options.engine is Engine.RAY:
            from designer.search.workers.ray_cluster import ray_cluster
            from designer.search.workers.ray_pool import RayPool

            stack.enter_context(ray_cluster(job))
            pool = RayPool(job, storage)
        elif job.options.worker_count == 1:
            yield SingleWorker(job, storage)
            return
        else:
            pool = WorkerPool(job, storage)
        stack.callback(pool.shut_down)
        yield pool


class SingleWorker:
    """Run all trials in this process.

    Args:
        job: what the search is asked for.
        storage: where the study is kept.
    """

    def __init__(self, job: Job, storage: CachingStorage) -> None:
        self._job = job
        self._storage = storage

    def run(self, phase: Phase, stop: Stop, progress: ProgressCallback) -> None:
        """See ``PhaseRunner``."""
        study = study_of(self._job, self._storage, phase)

        def report() -> None:
            progress(progress_of(phase, study))

        report()
        work_on_phase(self._job, phase, TrialClaims(study, self._storage), stop, report)


class WorkerPool(Pool):
    """Run trials in processes that this one starts; see ``Pool``."""

    def __init__(self, job: Job, storage: CachingStorage) -> None:
        super().__init__(job, storage)
        self._context = multiprocessing.get_context("forkserver")
        # A server imports torch once, and all workers of this process are forks of it.
        self._context.set_forkserver_preload([__name__, "torch._dynamo"])
        # Without a lock: a worker that is killed while it holds one would block all others.
        self._stop_flag = self._context.RawValue("b", 0)
        self._workers: list[_WorkerProcess] = []
        self._deaths = 0

    def shut_down(self) -> None:
        """See ``Pool``."""
        self._ask_to_stop()
        for worker in self._workers:
            worker.shut_down()

    def _begin(self, phase: Phase, workers: int) -> None:
        while len(self._workers) < workers:
            self._workers.append(self._start_worker(self._free_device()))
        for worker in self._workers:
            worker.start(phase)

    def _is_busy(self, *, ending: bool) -> bool:  # noqa: ARG002 - all workers have begun
        return any(worker.busy() for worker in self._workers)

    def _ask_to_stop(self) -> None:
        self._stop_flag.value = 1

    def _free_device(self) -> str:
        """Return the device that the fewest workers use."""
        used = [worker.device for worker in self._workers]
        return min(self._job.options.worker_devices, key=used.count)

    def _start_worker(self, device: str) -> _WorkerProcess:
        ours, theirs = self._context.Pipe()
        job = replace(self._job, options=replace(self._job.options, devices=(device,)))
        process = self._context.Process(
            target=_worker_main,
            args=(job, theirs, self._stop_flag, dict(os.environ)),
            daemon=True,
        )
        # Ctrl-C goes to all processes of a terminal, and schedulers send SIGTERM to all of a job.
        # Workers never act on either: this process decides, and tells them by the flag.
        resource_tracker.ensure_running()  # else its start would end the blocking
        with inherited_by_children_as_blocked():
            process.start()  # the first start starts the server, too
        return _WorkerProcess(process, ours, device)

    def _replace_dead(self, phase: Phase, claims: TrialClaims, stop: Stop) -> None:
        for worker in [w for w in self._workers if not w.process.is_alive()]:
            self._workers.remove(worker)
            self._deaths += 1
            # The operating system says at once that it died: no need to wait for heartbeats.
            claims.retry_of(worker_name(worker.process.pid), worker.cause_of_death())
            # If more die than there are trials, something else kills them.
            if self._deaths <= self._job.options.trials and not stop():
                self._workers.append(self._start_worker(worker.device))
                self._workers[-1].start(phase)


class _WorkerProcess:
    """A worker process and the pipe to it: it gets a phase and sends it back when it is over."""

    def __init__(self, process: ForkServerProcess, pipe: Connection, device: str) -> None:
        self.process, self.device = process, device
        self._pipe = pipe
        self._busy = False

    def start(self, phase: Phase) -> None:
        """Let the process work on a phase."""
        with suppress(BrokenPipeError):  # it has died and is replaced later
            self._pipe.send(phase)
        self._busy = True

    def busy(self) -> bool:
        """Return True until the process has reported the end of its phase.

        Raises:
            Exception: what the process reports that it raised.
        """
        answer = None
        if self._busy and self._pipe.poll():
            with suppress(EOFError, OSError):
                answer = self._pipe.recv()
                self._busy = False
        if isinstance(answer, Exception):
            raise answer
        return self._busy

    def cause_of_death(self) -> str:
        """Return how the process ended, as a sentence."""
        code = self.process.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"Its worker process {how}."

    def shut_down(self) -> None:
        """End the process, by force if it does not end by itself."""
        with suppress(BrokenPipeError):
            self._pipe.send(None)
        self.process.join(timeout=SHUTDOWN_SECONDS)
        self.process.kill()  # workers ignore SIGTERM
        self.process.join()


def _worker_main(
    job: Job, pipe: Connection, stop_flag: c_byte, environment: Mapping[str, str]
) -> None:
    """Run the phases that the leader sends, until it sends None.

    Args:
        job: what the search is asked for.
        pipe: to the leader.
        stop_flag: 1 once trials are to stop.
        environment: that of the leader; the server, which this is a fork of, has an older one.
    """
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_end_with_leader, daemon=True).start()

    def stop() -> bool:
        return bool(stop_flag.value)

    ignore_signals()
    to_stderr = redirect_stdout(sys.stderr)  # the output of the leader is for reports alone
    with to_stderr, quiet_optuna(), suppress(EOFError, BrokenPipeError):  # the leader has ended
        try:
            with open_storage(job.location, stop, create=False) as storage:
                while (phase := pipe.recv()) is not None:
                    claims = TrialClaims(study_of(job, storage, phase), storage)
                    work_on_phase(job, phase, claims, stop, lambda: None)
                    pipe.send(phase)
        except (EOFError, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001 - the leader raises it
            pipe.send(_portable(error))


def _portable(error: Exception) -> Exception:
    """Return an error as it can be sent to another process; one with the same text if it cannot."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - it was made here
    except Exception:  # noqa: BLE001 - an error of a user's class may do anything
        return RuntimeError(f"{type(error).__name__}: {first_line(error)}")
    return error


def _end_with_leader() -> None:
    """End this process at once when its leader ends, even by SIGKILL."""
    leader = multiprocessing.parent_process()
    if leader is not None:
        leader.join()
        os._exit(1)  # sys.exit would end this thread alone
