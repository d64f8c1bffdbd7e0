"""Whatever is killed or full, a search recommends the same in the end, and no file is cut off."""

from __future__ import annotations

import errno
import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

import designer
from designer.search.storage import opening
from tests.faults.kills import run_undisturbed, run_with_kills
from tests.faults.search import arguments_of, check_one_line, check_whole, recommended
from tests.support.command import Command, exit_code
from tests.support.toy import TRUSTED

TRIALS, EPOCHS = 3, 1


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a search that nothing disturbed."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert exit_code(*arguments_of(out, TRIALS, EPOCHS)) == 0
    return out


def test_kill_9(tmp_path: Path) -> None:
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    seconds = run_undisturbed(alone, TRIALS, EPOCHS)
    assert run_with_kills(killed, TRIALS, EPOCHS, 3, 0.4 * seconds, random.Random(0)) >= 1
    assert recommended(killed) == recommended(alone)


Allow = Callable[[int], None]
"""Lets a number of writing steps succeed; the disk is full afterwards."""


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Allow:
    """A disk on which a number of files find place."""
    left = 0

    def fsync(_descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)

    def allow(number: int) -> None:
        nonlocal left
        left = number

    return allow


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Allow:
    """A disk on which a number of pages of a database find place."""
    limit = 0
    connect = opening._connect

    def connect_with_limit(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute(f"PRAGMA max_page_count = {limit}")
        return connection

    monkeypatch.setattr(opening, "_connect", connect_with_limit)

    def allow(number: int) -> None:
        nonlocal limit
        limit = number

    return allow


@pytest.mark.parametrize(("disk", "first", "more"), [("files", 0, 3), ("pages", 1, 6)])
def test_a_disk_that_is_full_at_each_step_of_a_search(
    disk: str,
    first: int,
    more: int,
    tmp_path: Path,
    undisturbed: Path,
    request: pytest.FixtureRequest,
    command: Command,
) -> None:
    allow: Allow = request.getfixturevalue(disk)
    out = tmp_path / "run"
    failures = 0
    while True:
        allow(first + more * failures)
        done = command(*arguments_of(out, TRIALS, EPOCHS))
        if done.code == 0:
            break
        failures += 1
        assert (done.code, done.out) == (1, "")
        check_one_line(done.err, out)
        check_whole(out)
    assert failures >= 4
    assert recommended(out) == recommended(undisturbed)


def test_a_disk_that_is_full_keeps_what_analyze_and_prune_wrote_before(
    tmp_path: Path, undisturbed: Path, files: Allow, command: Command
) -> None:
    model, small = [str(undisturbed / "best" / "1"), *TRUSTED], tmp_path / "small"
    analyze = [
        "analyze",
        *model,
        "--contribution-samples=0",
        f"--out={tmp_path / 'analysis'}",
    ]
    prune = [
        "prune",
        *model,
        "--remove=1",
        "--epochs=0",
        "--no-baselines",
        f"--out={small}",
    ]
    for arguments in (analyze, prune):
        files(1000)
        assert command(*arguments).code == 0
        before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
        for steps in range(3):
            files(steps)
            done = command(*arguments, "--seed=1")
            assert (done.code, done.out) == (1, "")
            check_one_line(done.err, tmp_path)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    assert designer.load(small, trust=True).removed
