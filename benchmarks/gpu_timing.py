"""Times on a device that computes while Python goes on, and one failure that spoils no other."""

from __future__ import annotations

import statistics
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.claim import Figures
from benchmarks.command import say

SEED = 0

KERNELS = 14
"""Number of rows of a profile that are printed."""


@dataclass(frozen=True)
class Setting:
    """The device that is measured, and how much is measured."""

    device: torch.device
    """The device that is compared with the processor, or with itself."""
    quick: bool
    """True for tiny networks and data."""
    profile: Path | None = None
    """File that is told where the device's time goes; None for no such profile."""


def seconds(call: Callable[[], Any], device: torch.device) -> float:
    """Return the time of a call, with all that it leaves to the device."""
    wait(device)
    started = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - started


def wait(device: torch.device) -> None:
    """Wait until a device has computed all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def in_turns(
    calls: Sequence[Callable[[], Any]], device: torch.device, rounds: int, limit: float
) -> list[list[float]]:
    """Return the seconds of several calls that run in turns, every second round in reverse.

    Args:
        calls: what to time.
        device: where they compute.
        rounds: how often each runs.
        limit: seconds after which no further round begins; there are at least two of several.
    """
    times: list[list[float]] = [[] for _ in calls]
    began = time.perf_counter()
    for number in range(rounds):
        if number > 1 and time.perf_counter() - began > limit:
            break
        order = range(len(calls)) if number % 2 == 0 else reversed(range(len(calls)))
        for place in order:
            times[place].append(seconds(calls[place], device))
    return times


def against(ours: Sequence[float], plain: Sequence[float]) -> Figures:
    """Return the medians of two lists of seconds, and of their ratios, pair by pair."""
    ratios = [a / b for a, b in zip(ours, plain, strict=True)]
    return {
        "seconds": significant(statistics.median(ours)),
        "plain_seconds": significant(statistics.median(plain)),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "rounds": len(ratios),
    }


def significant(value: float, digits: int = 4) -> float:
    """Return a number with a few significant digits."""
    return float(f"{value:.{digits}g}")


def or_error(call: Callable[[], Figures]) -> Figures:
    """Return the figures of a call, or its error: what comes next is measured all the same."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - one failure must not cost all other figures
        say(traceback.format_exc())
        return {"error": f"{type(error).__name__}: {error}"[:500]}


def note_profile(call: Callable[[], Any], setting: Setting, title: str) -> None:
    """Add which kernels and calls take the time of a call to the profile, if there is to be one."""
    if setting.profile is None:
        return
    or_error(partial(_profiled, call, setting.device, title, setting.profile))


def _profiled(call: Callable[[], Any], device: torch.device, title: str, file: Path) -> Figures:
    kinds = [torch.profiler.ProfilerActivity.CPU]
    columns = ["self_cpu_time_total"]
    if device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
        columns.insert(0, "self_cuda_time_total")
    with torch.profiler.profile(activities=kinds) as profiled:
        call()
        wait(device)
    averages = profiled.key_averages()
    with file.open("a", encoding="utf-8") as notes:
        for column in columns:
            table = averages.table(sort_by=column, row_limit=KERNELS, max_name_column_width=60)
            notes.write(f"{title}, by {column}\n{_narrow(table)}\n\n")
    return {}


def _narrow(table: str) -> str:
    """Return the lines of a profile without rules and needless spaces."""
    lines = (" ".join(line.split()) for line in table.splitlines())
    return "\n".join(line for line in lines if line and not set(line) <= set("- "))
