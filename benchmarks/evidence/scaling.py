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
    yield from _reports()
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
    result = read_result("scaling_growth.json")
    yield from (
        "",
        "What a trial costs besides training, by the number of trials in the study: as it is, with "
        "a sampler that learns from all trials, and with Optuna's own TPE and storage. Opening "
        "reads all trials once, in every process that works on the study. Processor time, but for "
        "the storage real time:",
    )
    yield from table(
        ("storage", "trials", "way", "ms in the storage", "ms in all", "s to open", "MiB"),
        (
            [
                row["storage"],
                f"{row['trials']:,}",
                row["way"],
                f"{row['ms_in_storage']:.0f}" if "ms_in_storage" in row else "",
                f"{row['ms_in_all']:.0f}",
                f"{row['seconds_to_open']:.1f}",
                f"{row['mib']:,}",
            ]
            for row in result["trials"]
        ),
    )


def _reports() -> Iterator[str]:
    yield from (
        "",
        "What a report takes, in processor time: from a finished study to `report.json`, and from "
        "there to Markdown and the page:",
    )
    yield from table(
        ("trials", "s to write", "s to show", "report in MiB", "page in MiB", "memory in MiB"),
        (
            [
                f"{row['trials']:,}",
                f"{row['seconds_to_write']:.1f}",
                f"{row['seconds_to_show']:.1f}",
                f"{row['report_mib']:.1f}",
                f"{row['page_mib']:.1f}",
                f"{row['mib']:,}",
            ]
            for row in read_result("scaling_growth.json")["reports"]
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
