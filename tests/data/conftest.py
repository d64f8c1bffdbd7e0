"""Fixtures for tests of data."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.datasets import (
    Source,
)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    """Make ``made_up:data`` return the arguments, and return that name."""

    def make(*returned: Any) -> str:
        module = ModuleType("made_up")
        module.data = lambda: returned[0] if len(returned) == 1 else returned  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "made_up", module)
        return "made_up:data"

    return make


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder; additions to Python's path are undone afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    return tmp_path
