"""Tasks in parallel processes of one thread each."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.process import BaseProcess
from typing import TypeVar

from benchmarks.command import say
from designer.training.trainer import single_threaded

PROCESSES = 2

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")


def in_processes(
    function: Callable[[Task], Outcome],
    tasks: Sequence[Task],
    what: str,
    processes: int = PROCESSES,
) -> list[Outcome]:
    """Return the outcomes in the order of the tasks, from processes of one thread each.

    Args:
        function: a function of a module, so that a new process can import it.
        tasks: its arguments.
        what: the tasks' name in the progress on stderr.
        processes: how many run at the same time.
    """
    outcomes = dict(as_they_finish(function, tasks, what, processes))
    return [outcomes[i] for i in range(len(tasks))]


def as_they_finish(
    function: Callable[[Task], Outcome],
    tasks: Sequence[Task],
    what: str,
    processes: int = PROCESSES,
) -> Iterator[tuple[int, Outcome]]:
    """Yield the place of each task and its outcome as soon as it is there.

    Args:
        function: a function of a module, so that a new process can import it.
        tasks: its arguments.
        what: the tasks' name in the progress on stderr.
        processes: how many run at the same time.
    """
    if not tasks:
        return
    started = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    count = min(processes, len(tasks))
    with ProcessPoolExecutor(count, context, initializer=_end_with_parent) as pool:
        places = {pool.submit(_on_one_thread, function, task): i for i, task in enumerate(tasks)}
        try:
            for done, future in enumerate(as_completed(places), start=1):
                if 10 * done // len(tasks) != 10 * (done - 1) // len(tasks):
                    say(f"{what}: {done}/{len(tasks)} after {time.perf_counter() - started:.0f} s")
                yield places[future], future.result()
        finally:  # if a task raises, those that have not begun do not begin
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Let this process end as soon as the one that started it does, also if that one is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=[parent], daemon=True).start()


def _exit_after(process: BaseProcess) -> None:
    process.join()
    os._exit(1)


def _on_one_thread(function: Callable[[Task], Outcome], task: Task) -> Outcome:
    with single_threaded():
        return function(task)
