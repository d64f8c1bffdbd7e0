"""Result files: the figures, and under ``meta`` what it takes to read them.

A file names no host and no folder: arguments that are paths are cut down to file names.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from designer.results.provenance import versions

SHORT_LIST = re.compile(r"\[[^][{}]*\]")
"""A list of numbers or names, which stays on one line."""

RESULTS = Path(__file__).parent / "results"

CPU_INFO = Path("/proc/cpuinfo")


def write_result(path: Path, figures: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Write ``figures`` with ``meta`` beside them as strict, indented JSON."""
    text = json.dumps({**figures, "meta": dict(meta)}, indent=2, allow_nan=False)
    text = SHORT_LIST.sub(lambda found: " ".join(found[0].split()), text)
    path.write_text(f"{text}\n", encoding="utf-8")


def read_result(name: str) -> dict[str, Any]:
    """The figures of one of ``RESULTS``, and their ``meta``."""
    found: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return found


def is_measured(name: str) -> bool:
    """Whether there is such a result."""
    return (RESULTS / name).exists()


def meta_of(
    program: str, arguments: Sequence[str], *, seeds: Sequence[int], seconds: float
) -> dict[str, Any]:
    """Where figures come from.

    Args:
        program: module name within ``benchmarks``.
        arguments: of its command line.
        seeds: all that were used.
        seconds: wall time of the whole benchmark.
    """
    return {
        "command": command(program, arguments),
        "machine": machine(),
        "versions": {**versions(), "scipy": version("scipy")},
        "seeds": list(seeds),
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(seconds, 1),
    }


def command(program: str, arguments: Sequence[str]) -> str:
    """The command line, with paths cut down to file names."""
    return shlex.join(["python", "-m", f"benchmarks.{program}", *map(_without_folder, arguments)])


def machine() -> dict[str, Any]:
    """What the times were measured on."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _without_folder(argument: str) -> str:
    option, equals, value = argument.rpartition("=")
    return f"{option}{equals}{Path(value).name}" if os.sep in value else argument


def _cpu_model() -> str:
    if CPU_INFO.exists():
        for line in CPU_INFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
