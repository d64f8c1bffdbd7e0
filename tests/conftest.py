"""Fixtures that several test files use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from tests.support.command import Command, Outcome, exit_code

torch.set_num_threads(1)  # tests run side by side, and on small networks threads only wait


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and an environment that says nothing of terminals."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process."""

    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = exit_code(*arguments)
        return Outcome(code, *capsys.readouterr())

    return call
