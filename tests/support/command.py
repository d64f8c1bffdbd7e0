"""Running the command line in this process."""

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
    out: str
    err: str


Command = Callable[..., Outcome]


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        designer.cli.main.main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def refused(outcome: Outcome) -> str:
    """The message of a refusal, which is one line and nothing else."""
    assert outcome.code == WRONG_USE
    assert outcome.out == ""
    lines = outcome.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert not Path("runs").exists()
    return lines[0]
