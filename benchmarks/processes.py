"""Tasks in parallel processes of one thread each."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
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
) -> Iterator[Outcome]:
    """Yield the outcomes in the order of the tasks, from processes of one thread each.

    Args:
        function: a function of a module, so that a new process can import it.
        tasks: its arguments.
        what: the tasks' name in the progress on stderr.
        processes: how many run at the same time.
    """
    started = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    count = min(processes, len(tasks))
    with ProcessPoolExecutor(count, context, initializer=_end_with_parent) as pool:
        outcomes = pool.map(partial(_on_one_thread, function), tasks)
        for done, outcome in enumerate(outcomes, start=1):
            if 10 * done // len(tasks) != 10 * (done - 1) // len(tasks):
                say(f"{what}: {done}/{len(tasks)} after {time.perf_counter() - started:.0f} s")
            yield outcome


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
