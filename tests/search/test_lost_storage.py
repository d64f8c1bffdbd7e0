"""A study that is moved, removed or damaged while it is in use ends the run with one sentence."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from designer.errors import StorageError
from designer.results.serialisation import read_result
from designer.search.progress import Progress
from tests.support.searches import run, studies

Act = Callable[[Path], object]


def after_two_trials(act: Act, out: Path) -> Callable[[Progress], None]:
    """Return a callback that does something to a run folder once two trials are finished."""
    done: list[object] = []

    def callback(progress: Progress) -> None:
        if progress.finished >= 2 and not done:
            done.append(act(out))

    return callback


def remove_database(out: Path) -> None:
    for path in out.glob("study.db*"):
        path.unlink()


def replace_by_a_copy(out: Path) -> None:
    shutil.copy(out / "study.db", out / "copy")
    (out / "copy").rename(out / "study.db")


def write_all_to_the_file(out: Path) -> Path:
    """Let SQLite keep nothing in its log, and return the path of the database."""
    path = out / "study.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return path


def truncate(out: Path) -> None:
    write_all_to_the_file(out).write_bytes(b"")


def overwrite(start: int) -> Act:
    """Return what overwrites a database from a byte on."""

    def act(out: Path) -> None:
        path = write_all_to_the_file(out)
        length = path.stat().st_size - start
        with path.open("r+b") as file:
            file.seek(start)
            file.write(b"\xa5" * length)

    return act


def halve(out: Path) -> None:
    path = write_all_to_the_file(out)
    os.truncate(path, path.stat().st_size // 2)


def drop_a_table(out: Path) -> None:
    with closing(sqlite3.connect(out / "study.db")) as database:
        database.execute("DROP TABLE trials")
        database.commit()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (shutil.rmtree, r"was removed during the run: its trials are lost\. Nothing is kept in"),
        (remove_database, r"was removed during the run: its trials are lost\. Nothing is kept in"),
        (replace_by_a_copy, r"was replaced by another file during the run: its trials are lost\."),
        (truncate, r"was damaged during the run \(its tables are gone\)"),
        (overwrite(0), r"was damaged during the run \(file is not a database\)"),
        (overwrite(4096), r"was damaged during the run \(database disk image is malformed\)"),
        (halve, r"was damaged during the run \(database disk image is malformed\)"),
        (drop_a_table, r"was damaged during the run \(its tables are gone\)"),
    ],
)
def test_a_run_without_its_study_fails(act: Act, message: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(StorageError, match=rf"^'{out}/study\.db' {message}"):
        run(out, progress=after_two_trials(act, out))
    assert not (out / "report.json").exists()
    assert not (out / "best").exists()


@pytest.mark.parametrize("name", ["run", "run/study.db"])
def test_a_study_that_was_moved_keeps_its_trials(name: str, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "run", tmp_path / "elsewhere"

    def move(_out: Path) -> None:
        (tmp_path / name).rename(elsewhere)

    with pytest.raises(StorageError, match=rf"was moved to '{elsewhere}.* keeps all finished"):
        run(out, progress=after_two_trials(move, out))
    assert not list(out.glob("[!.]*.json"))
    if name == "run":  # it holds nothing but locks
        shutil.rmtree(out, ignore_errors=True)
    elsewhere.rename(tmp_path / name)
    assert len(studies(out)[0].get_trials()) >= 2
    assert len(run(out).trials) == 6


def test_what_an_earlier_run_wrote_is_kept_and_named(tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = run(out)
    with pytest.raises(StorageError, match=r"What an earlier run wrote is kept: report\.json and"):
        run(out, trials=7, progress=lambda _: remove_database(out))
    assert read_result(out) == first
    assert (out / "best" / "1" / "model.safetensors").exists()


def test_a_study_that_is_lost_at_the_very_end_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    def report(_result: object) -> str:
        remove_database(out)
        return "{}"

    monkeypatch.setattr(sys.modules["designer.search.session"], "report_to_json", report)
    with pytest.raises(StorageError, match="was removed during the run"):
        run(out)


def test_no_worker_shows_a_traceback(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    with pytest.raises(StorageError, match="was damaged during the run"):
        run(out, workers=2, trials=9, epochs=40, progress=after_two_trials(overwrite(0), out))
    assert capfd.readouterr() == ("", "")
