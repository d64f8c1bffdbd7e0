"""Versions that a result was made with."""

from __future__ import annotations

import platform

VERSION = "0.1.0"
"""The version of this package."""


def versions() -> dict[str, str]:
    """Return the versions of everything that can change the numbers, by name."""
    packages = ("equisep-designer", "torch", "optuna", "numpy")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
