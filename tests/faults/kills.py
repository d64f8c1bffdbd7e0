"""Kill a search with SIGKILL at random moments."""

from __future__ import annotations

import random
import time
from pathlib import Path

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
        process.join(None if count == kills else generator.uniform(0.1, 1) * seconds)
        if not process.is_alive():
            assert process.exitcode == 0, out.with_suffix(".log").read_text(encoding="utf-8")
            return count
        process.kill()
        process.join()
        check_whole(out)
    return kills
