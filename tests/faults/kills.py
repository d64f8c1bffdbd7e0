"""Kill a search with SIGKILL at random moments."""

from __future__ import annotations

import random
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from designer.folders import STORAGE_FILE
from tests.faults.search import arguments_of, check_whole
from tests.support.processes import start_command


def run_undisturbed(out: Path, trials: int, epochs: int) -> float:
    """Run a search to its end and return the seconds that it took."""
    began = time.monotonic()
    process = start_command(arguments_of(out, trials, epochs), out.with_suffix(".log"))
    process.join()
    assert process.exitcode == 0, out.with_suffix(".log").read_text(encoding="utf-8")
    return time.monotonic() - began


def run_with_kills(
    out: Path, trials: int, epochs: int, kills: int, seconds: float, generator: random.Random
) -> int:
    """Kill a search again and again until it ends by itself.

    The first time it is killed as soon as its study exists, so that a machine that is faster now
    than before does not let it end; later at random moments.

    Args:
        out: its folder.
        trials: of the search.
        epochs: of each trial.
        kills: number of kills after which it is left alone.
        seconds: the longest time after which it is killed.
        generator: draws the moments.

    Returns:
        How often it was killed.
    """
    for count in range(kills + 1):
        process = start_command(arguments_of(out, trials, epochs), out.with_suffix(".log"))
        if count == 0:
            _wait_for(out / STORAGE_FILE, process)
        else:
            process.join(None if count == kills else generator.uniform(0.1, 1) * seconds)
        if not process.is_alive():
            assert process.exitcode == 0, out.with_suffix(".log").read_text(encoding="utf-8")
            return count
        process.kill()
        process.join()
        check_whole(out)
    return kills


def _wait_for(path: Path, process: ForkServerProcess) -> None:
    """Return when a file exists, or when the process that is to write it has ended."""
    while process.is_alive() and not path.exists():
        time.sleep(0.01)
