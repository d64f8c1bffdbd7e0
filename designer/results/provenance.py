"""What a result was made with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

VERSION = "0.1.0"


def versions() -> dict[str, str]:
    """Of everything that can change the numbers."""
    found = {"python": platform.python_version()}
    for package in ("equisep-designer", "torch", "optuna", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
