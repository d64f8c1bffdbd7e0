"""Result files: the figures, and under ``meta`` what it takes to read and to repeat them.

A file names no host and no folder: paths in its command are cut down to file names, and addresses
of databases are not stored.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.claim import Figures, Result
from designer.results.provenance import versions

SHORT_LIST = re.compile(r"\[[^][{}]*\]")
"""A list of numbers or names, which stays on one line."""

RESULTS = Path(__file__).parent / "results"

ADDRESS = "ADDRESS"
"""What is stored in place of the address of a database."""

CPU_INFO = Path("/proc/cpuinfo")


def write_result(path: Path, result: Result, command: str, seconds: float) -> None:
    """Write the figures and their ``meta`` as strict, indented JSON.

    Args:
        path: the file.
        result: what was measured.
        command: the command line that repeats it, as ``command_line`` gives it.
        seconds: wall time of the whole run.
    """
    meta = {
        "command": command,
        "commit": commit(),
        "machine": machine(),
        "versions": {**versions(), "scipy": version("scipy")},
        "seeds": list(result.seeds),
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(seconds, 1),
        **result.about,
    }
    text = json.dumps({**result.figures, "meta": meta}, indent=2, allow_nan=False)
    text = SHORT_LIST.sub(lambda match: " ".join(match[0].split()), text)
    path.write_text(f"{text}\n", encoding="utf-8")


def read_result(name: str) -> Figures:
    """Return the figures of one of ``RESULTS``, with their ``meta``."""
    content: Figures = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return content


def is_measured(name: str) -> bool:
    """True if there is a result file of this name."""
    return (RESULTS / name).exists()


def command_line(claim: str, arguments: Sequence[str]) -> str:
    """Return the command line of a run, without folders and addresses."""
    return shlex.join(["python", "-m", "benchmarks.run", claim, *map(_shareable, arguments)])


def commit() -> str | None:
    """Return the commit that the code is at, with "-dirty" after changes; None outside of git."""
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(
            describe, cwd=RESULTS, capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def machine() -> dict[str, Any]:
    """Return what the times were measured on."""
    card = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        **card,
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _shareable(argument: str) -> str:
    if "://" in argument:
        option, equals, _ = argument.partition("=") if argument.startswith("--") else ("", "", "")
        return f"{option}{equals}{ADDRESS}"
    option, equals, value = argument.rpartition("=")
    return f"{option}{equals}{Path(value).name}" if os.sep in value else argument


def _cpu_model() -> str:
    if CPU_INFO.exists():
        for line in CPU_INFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
