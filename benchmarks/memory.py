"""The peak memory of this process."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

PROCESS_STATUS = Path("/proc/self/status")


def highest_mib() -> float:
    """Return the peak resident memory in MiB."""
    if PROCESS_STATUS.exists():  # Linux hands ru_maxrss down from the process that started this
        lines = PROCESS_STATUS.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest / (1 << 20) if sys.platform == "darwin" else highest / 1024
