"""Where a study is kept: addresses, waiting, full disks, files."""

from __future__ import annotations

import errno
import functools
import logging
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import optuna
import pytest
import sqlalchemy
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from designer.cli.app import WRONG_USE
from designer.errors import InvalidInputError, StorageError
from designer.search.progress import Phase
from designer.search.settings import StudySettings
from designer.search.storage import opening as storages
from designer.search.storage import retrying
from designer.search.storage.artifacts import Artifacts, Prefixed, store_at
from designer.search.storage.opening import opened_address, opened_file
from designer.search.storage.location import checked_address, shown
from designer.search.storage.retrying import Patience, patient, trouble
from designer.search.study.claims import claim, hand_back, open_study, retry_once
from designer.search.study.trials import (
    REASON,
    REJECTED,
    RETRY_OF,
    SPEC,
    Trials,
    failed,
    finished,
    retried,
    running,
    trials_of,
)
from designer.search.workers.heartbeat import BEATS_MISSED, PULSE, Watch, beat_of, beating
from tests.support.command import exit_code
from tests.support.postgres import free_port

SECRET = "pa55word"


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql+psycopg://me:{SECRET}@host/db",
        f"postgresql+psycopg://me@host/db?password={SECRET}",
        f"mysql://me:{SECRET}@host/db",
        f"postgresql://me:{SECRET}@host/db",
        f"sqlite:///x?password={SECRET}",
        f"me:{SECRET}@host",
        f"postgresql+psycopg://me:{SECRET}@host:port/db",
        SECRET,
    ],
)
def test_no_password_is_ever_shown(address: str) -> None:
    assert SECRET not in shown(address)
    with suppress(InvalidInputError):
        checked_address(address)
        return
    with pytest.raises(InvalidInputError) as caught:
        checked_address(address)
    assert SECRET not in str(caught.value)


def test_what_is_no_shared_storage_is_refused() -> None:
    for address in ("sqlite:///study.db", "mysql://host/db", "nonsense", "grpc://"):
        with pytest.raises(InvalidInputError, match="Expected"):
            checked_address(address)
    with pytest.raises(InvalidInputError, match="kept in the run folder"):
        checked_address("sqlite:///study.db")


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(InvalidInputError, match=r"pip install 'equisep-designer\[postgres\]'"):
        checked_address("postgresql+psycopg://host/db")
    with pytest.raises(InvalidInputError, match=r"pip install 'equisep-designer\[s3\]'"):
        store_at("s3://bucket/runs")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("worker", "--study", "a"), "DESIGNER_STORAGE"),
        (("storage-proxy",), "DESIGNER_STORAGE"),
        (("search", "--study", "a"), "Expected --storage beside --study"),
        (("search", "--storage", f"mysql://me:{SECRET}@host/db"), "begins with 'mysql://'"),
        (("storage-proxy", "--storage", "grpc://host:1"), "got another proxy"),
    ],
)
def test_the_command_line_says_what_is_missing(
    arguments: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("DESIGNER_STORAGE", raising=False)
    assert exit_code(*arguments) == WRONG_USE
    told = capsys.readouterr().err
    assert said in told
    assert SECRET not in told


# --- waiting ---


class Broken:
    """Does not answer the first times that it is asked."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left, self.error = times, error

    def __call__(self) -> str:
        if self.left:
            self.left -= 1
            raise self.error
        return "answer"


def refusal(words: str = "connection refused") -> Exception:
    return sqlalchemy.exc.OperationalError("SELECT 1", {}, Exception(words))


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "SHORTEST_WAIT", 0.01)
    monkeypatch.setattr(retrying, "LONGEST_WAIT", 0.02)


def test_what_does_not_answer_is_waited_for_and_that_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert Patience("the storage").asked(Broken(3, refusal())) == "answer"
    assert [record.getMessage() for record in caplog.records] == [
        "the storage does not answer (connection refused); trying again for up to 60 s.",
        "the storage answers again after 0 s.",
    ]


def test_patience_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with pytest.raises(StorageError, match="run the same command again, it continues"):
        Patience("the storage", first=0.05).asked(Broken(999, refusal()))
    with pytest.raises(StorageError):
        Patience("the storage", stop=lambda: True).asked(Broken(999, refusal()))


def test_what_waiting_does_not_mend_is_said_at_once() -> None:
    for words in ("FATAL: password authentication failed", 'database "x" does not exist'):
        broken = Broken(1, refusal(words))
        with pytest.raises(StorageError, match="mend that"):
            Patience("the storage").asked(broken)
    for words in ("database or disk is full", "could not extend file: No space left on device"):
        known = Patience("the storage")
        known.asked(lambda: 0)
        with pytest.raises(StorageError, match="free some space"):
            known.asked(Broken(1, refusal(words)))


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(KeyError):
        Patience("the storage").asked(Broken(1, KeyError("x")))
    assert trouble(ValueError("x")) is None
    wrapped = optuna.exceptions.StorageInternalError("x")
    wrapped.__cause__ = refusal()
    assert trouble(wrapped) == "connection refused"


def test_an_address_where_nobody_listens_is_an_error_in_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    short = functools.partial(Patience, first=0.05)
    monkeypatch.setattr(storages, "Patience", short)
    for scheme in ("postgresql+psycopg", "grpc"):
        address = f"{scheme}://me:{SECRET}@127.0.0.1:{free_port()}/db"
        with pytest.raises(StorageError) as caught, opened_address(address):
            pass
        assert "Expected an answer" in str(caught.value)
        assert SECRET not in str(caught.value)


def write_much(study: optuna.Study) -> None:
    for i in range(200):
        study.set_user_attr(f"key{i}", "x" * 2000)


def test_a_full_disk_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    with opened_file(path) as storage:
        study = open_study(storage, Phase.SEARCH, StudySettings())
        study.add_trial(optuna.trial.create_trial(value=1.0))
        engine = storage.inner._backend.engine  # type: ignore[attr-defined]
        with engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        limit = f"PRAGMA max_page_count={pages}"
        sqlalchemy.event.listen(engine, "connect", lambda one, _: one.execute(limit))
        engine.dispose()
        with pytest.raises(StorageError, match="disk is full; free some space"):
            write_much(study)
    assert sqlite3.connect(path).execute("SELECT count(*) FROM trials").fetchone() == (1,)


# --- files ---


def test_artifacts_that_cannot_be_written_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with opened_file(tmp_path / "study.db") as storage:
        trial = open_study(storage, Phase.SEARCH, StudySettings()).ask()
        kept = Artifacts(str(tmp_path / "artifacts"), storage)
        monkeypatch.setattr(FileSystemArtifactStore, "write", full)
        with pytest.raises(StorageError, match="No space left on device; mend that"):
            kept.keep(trial, "profile.json", b"{}")


def test_a_prefix_keeps_studies_apart_in_one_store(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    whole = FileSystemArtifactStore(tmp_path)
    for name in ("a", "b"):
        path = tmp_path / name / "content"
        path.write_text(name)
        with path.open("rb") as content:
            Prefixed(whole, f"{name}/").write("x", content)

    def read(prefix: str) -> bytes:
        opened: BinaryIO = Prefixed(whole, prefix).open_reader("x")
        with opened:
            return opened.read()

    assert (read("a/"), read("b/")) == (b"a", b"b")
    Prefixed(whole, "a/").remove("x")
    assert not (tmp_path / "a" / "x").exists()
    assert read("b/") == b"b"


def test_artifacts_lie_in_a_folder_or_in_a_bucket() -> None:
    with pytest.raises(InvalidInputError, match=r"Expected a folder or s3://BUCKET"):
        store_at("ftp://host/x")


class Counting(InMemoryStorage):
    """Counts how often all trials are asked for."""

    looks = 0

    def get_all_trials(self, *given: Any, **named: Any) -> list[FrozenTrial]:
        self.looks += 1
        return super().get_all_trials(*given, **named)


def test_a_look_is_used_again_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "LOOK_GOOD_FOR", 60.0)
    counting = Counting()
    study = optuna.create_study(storage=patient(counting, Patience("here")))
    trial = study.ask()
    study.get_trials()
    before = counting.looks
    assert [t.state for t in study.get_trials(deepcopy=False)] == [TrialState.RUNNING]
    assert study.get_trials(states=(TrialState.COMPLETE,)) == []
    assert counting.looks == before
    trial.set_user_attr("x", 1)
    assert study.get_trials()[0].user_attrs == {"x": 1}  # what was written is seen at once
    assert counting.looks == before + 1
    monkeypatch.setattr(retrying, "LOOK_GOOD_FOR", -1.0)
    study.get_trials()
    assert counting.looks == before + 2


def test_what_was_looked_at_is_not_changed_by_who_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "LOOK_GOOD_FOR", 60.0)
    study = optuna.create_study(storage=patient(Counting(), Patience("here")))
    study.ask()
    study.get_trials()[0].user_attrs["x"] = 1
    assert study.get_trials()[0].user_attrs == {}
    other = optuna.create_study(storage=study._storage)
    assert other.get_trials() == []
    assert len(study.get_trials()) == 1


# --- signs of life, and trials done again ---


@pytest.fixture
def study() -> optuna.Study:
    quick = patient(optuna.storages.InMemoryStorage(), Patience("memory"))
    return open_study(quick, Phase.SEARCH, StudySettings())


def test_a_worker_that_stands_still_is_gone_by_the_watchers_own_clock(
    study: optuna.Study,
) -> None:
    now = [time.monotonic()]
    dead, alive = study.ask(), study.ask()
    watch = Watch(study._storage, 1, lambda: now[0])
    assert watch.gone(study) == []
    for beat in range(1, 2 * BEATS_MISSED):
        now[0] += 1
        alive.set_user_attr(PULSE, beat)
        gone = [t.number for t in watch.gone(study)]
        assert gone == ([dead.number] if beat > BEATS_MISSED else [])


def test_while_the_storage_was_away_nobody_was_gone(
    study: optuna.Study,
) -> None:
    now = [time.monotonic()]
    study.ask()
    watch = Watch(study._storage, 1, lambda: now[0])
    assert watch.gone(study) == []
    now[0] += 100
    study._storage.patience.answering_since = now[0]  # type: ignore[attr-defined]
    assert watch.gone(study) == []
    now[0] += BEATS_MISSED + 1
    assert len(watch.gone(study)) == 1


def test_a_pulse_goes_on_until_the_trial_is_taken_away(study: optuna.Study) -> None:
    trial = study.ask()
    with beating(beat_of(trial), 0.01) as taken_away:
        while study.get_trials()[0].user_attrs.get(PULSE, 0) < 3:
            assert not taken_away()
        study.tell(trial, state=TrialState.FAIL)
        while not taken_away():
            pass


def nothing_else(_: Trials) -> FrozenTrial:
    raise AssertionError("A new trial was proposed where one waits.")


def asked(study: optuna.Study, x: float) -> optuna.Trial:
    trial = study.ask()
    trial.suggest_float("x", x, x + 1e-9)
    trial.set_user_attr(SPEC, {"x": x})
    return trial


def test_a_lost_trial_is_done_again_once_and_then_counts_as_failed(study: optuna.Study) -> None:
    first = asked(study, 0.5)
    lost = running(trials_of(study))[0]
    retry_once(study, lost, "Its worker was gone.")
    retry_once(study, lost, "Its worker was gone.")  # another watcher says so, too
    again = claim(study, 1, "b", nothing_else)
    assert again is not None
    assert again.suggest_float("x", 0, 1) == first.params["x"]
    assert again.user_attrs[RETRY_OF] == first.number
    assert claim(study, 1, "c", nothing_else) is None
    assert failed(trials_of(study)) == []
    retry_once(study, running(trials_of(study))[0], "Its worker was gone.")
    assert [t.user_attrs[REASON] for t in failed(trials_of(study))] == [
        "Its worker was gone. So it had before."
    ]
    assert retried(trials_of(study)) == 1
    assert [t.state for t in study.get_trials()] == [TrialState.FAIL] * 2


def test_what_is_handed_back_is_no_retry(study: optuna.Study) -> None:
    hand_back(study, asked(study, 0.5))
    again = claim(study, 1, "b", nothing_else)
    assert again is not None
    study.tell(again, 1.0)
    assert len(finished(trials_of(study))) == 1
    assert retried(trials_of(study)) == 0
    assert study.get_trials()[0].user_attrs[REJECTED] == "its worker left"
