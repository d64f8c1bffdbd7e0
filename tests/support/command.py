"""Run the command line in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import designer.cli.main
from designer.cli.app import WRONG_USE


class Outcome(NamedTuple):
    """How a command ended and what it wrote."""

    code: int
    """Exit code."""
    out: str
    """Text on stdout."""
    err: str
    """Text on stderr."""


Command = Callable[..., Outcome]
"""A function that takes the arguments of a command line and runs it."""


def exit_code(*arguments: str) -> int:
    """Run a command that exits, and return its exit code."""
    with pytest.raises(SystemExit) as ended:
        designer.cli.main.main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def refused(outcome: Outcome) -> str:
    """Assert that a command refused with one line and wrote nothing else; return that line."""
    assert outcome.code == WRONG_USE
    assert outcome.out == ""
    lines = outcome.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert not Path("runs").exists()
    return lines[0]
