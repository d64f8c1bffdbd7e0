"""Processes that do the jobs of a claim."""

from __future__ import annotations

import subprocess
import sys

CLAIM = """
from benchmarks.processes import in_processes
if __name__ == "__main__":
    job = "import time; print('begun', flush=True); time.sleep(600)"
    list(in_processes(exec, [job, job], "jobs"))
"""


def test_the_processes_of_a_claim_that_is_killed_end_with_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM], stdout=subprocess.PIPE, text=True
    ) as claim:
        assert claim.stdout is not None
        assert [claim.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
        claim.kill()
        claim.communicate(timeout=30)  # its output ends when no process is left to write to it
