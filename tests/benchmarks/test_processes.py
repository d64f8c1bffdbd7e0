"""Processes that do the jobs of a claim, and what is kept of them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.kept_outcomes import KeptOutcomes
from benchmarks.processes import in_processes

CLAIM = """
from benchmarks.processes import in_processes
if __name__ == "__main__":
    job = "import time; print('begun', flush=True); time.sleep(600)"
    in_processes(exec, [job, job], "jobs")
"""


@dataclass(frozen=True)
class Job:
    """A job that fails as soon as another one is kept, or one that is done at once."""

    kept: str
    fails: bool


def do(job: Job) -> dict[str, int]:
    if not job.fails:
        return {"done": 1}
    for _ in range(3000):  # so that it ends, too, where nothing is kept
        if Path(job.kept).exists():
            break
        time.sleep(0.01)
    raise ArithmeticError


def test_an_outcome_is_kept_although_an_earlier_job_fails_later(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    jobs = [Job(str(path), fails=fails) for fails in (True, False)]
    with pytest.raises(ArithmeticError):
        KeptOutcomes(path).measure(do, jobs, "jobs")
    (row,) = map(json.loads, path.read_text().splitlines())
    assert row["outcome"] == {"done": 1}
    assert not row["job"]["fails"]


def test_outcomes_come_in_the_order_of_the_tasks() -> None:
    assert in_processes(abs, [-3, 2, -1, 0], "numbers") == [3, 2, 1, 0]
    assert in_processes(abs, [], "numbers") == []


def test_the_processes_of_a_claim_that_is_killed_end_with_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM], stdout=subprocess.PIPE, text=True
    ) as claim:
        assert claim.stdout is not None
        assert [claim.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
        claim.kill()
        claim.communicate(timeout=30)  # its output ends when no process is left to write to it
