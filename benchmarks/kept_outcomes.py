"""Outcomes of jobs that take long, kept in a file so that a run that was stopped goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.claim import Figures
from benchmarks.processes import PROCESSES, as_they_finish

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class KeptOutcomes:
    """Does jobs, and reads those that are already done from a file of JSON lines.

    Args:
        path: the file, to which every outcome is added as soon as it is there; None to keep them
            in memory only.
        processes: how many jobs run at the same time.
    """

    def __init__(self, path: Path | None, processes: int = PROCESSES) -> None:
        self._path = path
        self._processes = processes
        lines = path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []
        rows = {key_of(row["job"]): row for row in map(json.loads, lines)}
        self._outcomes: dict[str, Figures] = {key: row["outcome"] for key, row in rows.items()}
        self._seconds = {key: row.get("seconds", 0.0) for key, row in rows.items()}
        self.earlier_seconds = 0.0
        """Wall time that earlier runs spent on the outcomes that were asked for, in seconds."""

    def measure(
        self,
        function: Callable[[Any], Figures],
        jobs: Sequence[DataclassInstance],
        what: str,
    ) -> list[Figures]:
        """Return the outcomes of jobs, in their order; equal jobs are done once.

        Args:
            function: does a job; a function of a module, so that a new process can import it.
            jobs: frozen dataclasses whose fields JSON takes, among them one that tells the jobs of
                different functions apart.
            what: the jobs' name in the progress on stderr.
        """
        for key in dict.fromkeys(map(_key, jobs)):  # what is measured below counts as this run's
            self.earlier_seconds += self._seconds.pop(key, 0.0) / self._processes
        missing = [job for job in dict.fromkeys(jobs) if _key(job) not in self._outcomes]
        timed = partial(_timed, function)
        for i, (outcome, seconds) in as_they_finish(timed, missing, what, self._processes):
            self._outcomes[_key(missing[i])] = outcome
            self._keep(missing[i], outcome, seconds)
        return [self._outcomes[_key(job)] for job in jobs]

    def _keep(self, job: DataclassInstance, outcome: Figures, seconds: float) -> None:
        row = {"job": asdict(job), "outcome": outcome, "seconds": round(seconds, 1)}
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(row)}\n")


def _timed(function: Callable[[Any], Figures], job: Any) -> tuple[Figures, float]:
    """Return the outcome of a job, and how many seconds it took."""
    started = time.perf_counter()
    return function(job), time.perf_counter() - started


def key_of(job: Figures) -> str:
    """Return a key that is the same for equal jobs, also for one that was read from a file."""
    return json.dumps(job, sort_keys=True)


def _key(job: DataclassInstance) -> str:
    return key_of(asdict(job))
