"""The long forms of the fault tests: 20 kills, and a disk that fills up at each step of writing.

Run by ``make faults``, which gives the process a right to mount small disks that nobody else sees.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from designer.folders import STORAGE_FILE
from tests.faults.kills import run_undisturbed, run_with_kills
from tests.faults.search import arguments_of, check_one_line, check_whole, recommended
from tests.support.processes import start_command
from tests.support.toy import TRUSTED

KILLS, KILLS_AT_ONCE = 20, 5
"""Kills in all, and the most during one search."""

TRIALS, EPOCHS = 8, 6

DISK = 64 << 20
"""Bytes of the small disk; far more than a search needs."""

FIRST_STEP, GROWTH = 4096, 1.15
"""Bytes that are free at first, and the factor by which they grow after each failure."""


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def kills(folder: Path) -> None:
    """Kill searches at random moments, and compare what they recommend in the end."""
    alone = folder / "alone"
    seconds = run_undisturbed(alone, TRIALS, EPOCHS)
    say(f"A search takes {seconds:.1f} s undisturbed.")
    generator, killed, searches = random.Random(1), 0, 0
    while killed < KILLS:
        out = folder / f"killed{searches}"
        most = min(KILLS_AT_ONCE, KILLS - killed)
        count = run_with_kills(out, TRIALS, EPOCHS, most, 0.7 * seconds, generator)
        assert recommended(out) == recommended(alone), out
        killed, searches = killed + count, searches + 1
        say(f"Killed {count} times, then the same recommendations as undisturbed.")
    say(f"{killed} kills in {searches} searches: all recommend the same in the end.")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small disk."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def leave_free(disk: Path, ballast: Path, free: int) -> None:
    """Fill a disk with ballast until only a number of bytes is free."""
    ballast.unlink(missing_ok=True)
    with ballast.open("wb") as file:
        left = shutil.disk_usage(disk).free - free
        file.write(bytes(max(left, 0)))


def run_until_it_fits(arguments: list[str], disk: Path, log: Path, name: str) -> None:
    """Repeat a command with more and more space until it is done.

    Args:
        arguments: of the command.
        disk: the disk that it writes to.
        log: what it prints, on another disk.
        name: the command, for the output of this program.
    """
    ballast, free, failures = disk / "ballast", FIRST_STEP, 0
    where: dict[str, int] = {}
    while True:
        leave_free(disk, ballast, free)
        process = start_command(arguments, log)
        process.join()
        text = log.read_text(encoding="utf-8")
        check_whole(disk / "run")
        if process.exitcode == 0:
            break
        assert process.exitcode == 1, text
        check_one_line(text, disk)
        failures += 1
        last = text.splitlines()[-1].partition("'")[2].partition("'")[0]
        where[last] = where.get(last, 0) + 1
        free = int(free * GROWTH) + FIRST_STEP
    ballast.unlink()
    say(f"{name}: full {failures} times, each with one line and exit code 1, then done.")
    for path, count in sorted(where.items()):
        say(f"    {count} times at {path}")
    assert failures


def full_disks(folder: Path) -> None:
    """Let a search, an analysis and a pruning meet a full disk at each of their steps."""
    alone, log = folder / "undisturbed", folder / "log"
    run_undisturbed(alone, TRIALS, EPOCHS)
    with small_disk(folder / "disk") as disk:
        run = disk / "run"
        run_until_it_fits(arguments_of(run, TRIALS, EPOCHS), disk, log, "search")
        assert recommended(run) == recommended(alone)
        assert (run / STORAGE_FILE).exists()
        model = [str(run / "best" / "1"), *TRUSTED]
        analyze = [
            "analyze",
            *model,
            "--contribution-samples=0",
            f"--out={disk / 'analysis'}",
        ]
        run_until_it_fits(analyze, disk, log, "analyze")
        prune = [
            "prune",
            *model,
            "--remove=1",
            "--no-baselines",
            f"--out={disk / 'small'}",
        ]
        run_until_it_fits(prune, disk, log, "prune")
        for name in ("analysis", "small"):
            check_whole(disk / name)
    say("A disk that is full at any step loses nothing, and the same command continues.")


def main() -> None:
    """Run what the arguments name, or both."""
    tests = {"kills": kills, "disks": full_disks}
    for name in sys.argv[1:] or tests:
        with tempfile.TemporaryDirectory() as folder:
            tests[name](Path(folder))


if __name__ == "__main__":
    main()
