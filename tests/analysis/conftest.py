"""Fixtures for tests of analysis."""

from __future__ import annotations

from importlib import import_module

import pytest


@pytest.fixture
def not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep no features in memory, as if they were too many."""
    monkeypatch.setattr(import_module("designer.analysis.passes"), "KEEP_FEATURES", 0)
