"""Evidence for how a search scales."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.evidence.markdown import table
from benchmarks.result_files import read_result

TRIALS_PER_HOUR = 1.5
"""Trials per hour over those of a plain Optuna loop that are wanted."""


def scaling() -> Iterator[str]:
    """Yield cores, workers, the size of the study, and stacked training."""
    cores, plain = read_result("scaling_cores.json"), read_result("scaling_plain.json")
    ratios = "; ".join(
        f"{row['networks']}: {row['ratio']:.2f} times, measuring {row['measuring_share']:.0%} of "
        f"a trial"
        for row in plain["rows"]
    )
    yield from (
        "",
        f"**How does a search scale?** Two workers on {cores['meta']['machine']['cores']} cores "
        f"finish {cores['ratio']:.2f} times the trials per hour of one. Trials per hour over those "
        f"of a plain Optuna loop with a `DataLoader` and Adam with its defaults, one thread, "
        f"everything that we measure included: {ratios}. So looking inside costs no time against "
        f"that loop, but the lead is small: most of a trial is the training itself "
        f"(`python -m benchmarks.run scaling`).",
        "",
    )
    yield from workers()
    yield from _growth()
    yield from _stacked()


def workers() -> Iterator[str]:
    """Yield how much of the ideal rate many workers keep."""
    result = read_result("scaling_workers.json")
    yield (
        f"Workers whose training is a sleep of {result['sleep']:g} s, all of them and the database "
        f"on one machine of {result['meta']['machine']['cores']} cores, which for many workers is "
        f"the limit:"
    )
    yield from table(
        ("storage", "workers", "trials per second", "of the ideal"),
        (
            [
                row["storage"],
                str(row["workers"]),
                f"{row['per_second']:.1f}",
                f"{row['of_ideal']:.0%}",
            ]
            for row in result["rows"]
        ),
    )


def _growth() -> Iterator[str]:
    yield from ("", "What a trial costs besides training, by the number of trials in the study:")
    yield from table(
        ("storage", "trials", "ms in the storage", "ms in all", "questions"),
        (
            [
                row["storage"],
                f"{row['trials']:,}",
                f"{row['ms_in_storage']:.0f}",
                f"{row['ms_in_all']:.0f}",
                str(row["questions"]),
            ]
            for row in read_result("scaling_growth.json")["rows"]
        ),
    )


def _stacked() -> Iterator[str]:
    result = read_result("scaling_stacked.json")
    ratios = ", ".join(f"{row['ratio']:.2f} at depth {row['depth']}" for row in result["rows"])
    device = result["device"]
    where = "one thread of a processor, not on a GPU" if device == "cpu" else f"one {device}"
    yield from (
        "",
        f"Time of training {result['networks']} perceptrons of He & Su (width 100) one by one over "
        f"that of training all in one step, on {where}: {ratios}.",
    )
