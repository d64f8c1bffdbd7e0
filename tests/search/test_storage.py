"""Storages of studies: addresses, waiting for them, caching, artifacts."""

from __future__ import annotations

import errno
import functools
import inspect
import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, BinaryIO

import optuna
import pytest
import sqlalchemy
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from designer.cli.app import WRONG_USE
from designer.errors import InvalidInputError, StorageError
from designer.search.storage import caching, opening, retrying
from designer.search.storage.artifacts import (
    Artifacts,
    PrefixedStore,
    check_store,
    make_store,
    open_store,
)
from designer.search.storage.caching import CachingStorage
from designer.search.storage.database import DatabaseStorage
from designer.search.storage.location import StudyLocation, parse_address
from designer.search.storage.opening import open_address, open_file
from designer.search.storage.retrying import RetryingStorage, RetryPolicy, unreachable_reason
from designer.search.storage.wrapper import Answer, Arguments, StorageWrapper
from tests.support.command import exit_code
from tests.support.postgres import free_port
from tests.support.searches import run

SECRET = "pa55word"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry quickly."""
    monkeypatch.setattr(retrying, "SHORTEST_PAUSE", 0.01)
    monkeypatch.setattr(retrying, "LONGEST_PAUSE", 0.02)


# --- addresses ---


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql+psycopg://me:{SECRET}@host/db",
        f"postgresql+psycopg://me@host/db?password={SECRET}",
        f"mysql://me:{SECRET}@host/db",
        f"postgresql://me:{SECRET}@host/db",
        f"sqlite:///x?password={SECRET}",
        f"me:{SECRET}@host",
        f"postgresql+psycopg://me:pa@{SECRET}@host/db",
        f"postgresql+psycopg://me:{SECRET}@m0re.0f.it@host/db",
        f"grpc://me:{SECRET}@m0re.0f.it@host:13000",
        f"postgresql+psycopg://me:{SECRET}@host:port/db",
        SECRET,
    ],
)
def test_no_password_is_ever_shown(address: str) -> None:
    with suppress(InvalidInputError):
        parse_address(address)
        assert SECRET not in StudyLocation(Path(), address, "a").title
        return
    with pytest.raises(InvalidInputError) as caught:
        parse_address(address)
    assert SECRET not in str(caught.value)


def test_addresses_of_no_shared_storage_are_refused() -> None:
    for address in ("sqlite:///study.db", "mysql://host/db", "nonsense", "grpc://"):
        with pytest.raises(InvalidInputError, match="Expected"):
            parse_address(address)
    with pytest.raises(InvalidInputError, match="kept in the run folder"):
        parse_address("sqlite:///study.db")


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(InvalidInputError, match=r"pip install 'equisep-designer\[postgres\]'"):
        parse_address("postgresql+psycopg://host/db")
    with pytest.raises(InvalidInputError, match=r"pip install 'equisep-designer\[s3\]'"):
        open_store("s3://bucket/runs")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("worker", "--study", "a"), "DESIGNER_STORAGE"),
        (("storage-proxy",), "DESIGNER_STORAGE"),
        (("search", "--study", "a"), "Expected --storage beside --study"),
        (("search", "--storage", f"mysql://me:{SECRET}@host/db"), "begins with 'mysql://'"),
        (("storage-proxy", "--storage", "grpc://host:1"), "got another proxy"),
    ],
)
def test_the_command_line_names_what_is_missing(
    arguments: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("DESIGNER_STORAGE", raising=False)
    assert exit_code(*arguments) == WRONG_USE
    stderr = capsys.readouterr().err
    assert message in stderr
    assert SECRET not in stderr


# --- waiting for a storage that does not answer ---


class Broken:
    """A call that fails a number of times before it answers."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left, self.error = times, error

    def __call__(self) -> str:
        if self.left:
            self.left -= 1
            raise self.error
        return "answer"


def refusal(words: str = "connection refused") -> Exception:
    """The error of a database that does not answer."""
    return sqlalchemy.exc.OperationalError("SELECT 1", {}, Exception(words))


def test_calls_are_repeated_until_answered_and_both_ends_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert RetryPolicy("the storage").call(Broken(3, refusal())) == "answer"
    assert [record.getMessage() for record in caplog.records] == [
        "the storage does not answer (connection refused); trying again for up to 60 s.",
        "the storage answers again after 0 s.",
    ]


def test_waiting_ends_after_its_time_or_on_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with pytest.raises(StorageError, match="run the same command again: it continues"):
        RetryPolicy("the storage", first_answer_seconds=0.05).call(Broken(999, refusal()))
    with pytest.raises(StorageError):
        RetryPolicy("the storage", stop=lambda: True).call(Broken(999, refusal()))


def test_errors_that_no_waiting_mends_end_at_once() -> None:
    for words in ("FATAL: password authentication failed", 'database "x" does not exist'):
        with pytest.raises(StorageError, match="Mend that"):
            RetryPolicy("the storage").call(Broken(1, refusal(words)))
    for words in ("database or disk is full", "could not extend file: No space left on device"):
        known = RetryPolicy("the storage")
        known.call(lambda: 0)
        with pytest.raises(StorageError, match="Free some space"):
            known.call(Broken(1, refusal(words)))


def test_a_database_that_has_answered_is_waited_for_while_it_starts_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)
    known = RetryPolicy("the storage")
    known.call(lambda: 0)
    assert known.call(Broken(1, refusal('role "me" does not exist'))) == "answer"


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(KeyError):
        RetryPolicy("the storage").call(Broken(1, KeyError("x")))
    assert unreachable_reason(ValueError("x")) is None
    wrapped = optuna.exceptions.StorageInternalError("x")
    wrapped.__cause__ = refusal()
    assert unreachable_reason(wrapped) == "connection refused"


def test_an_address_where_nobody_listens_is_an_error_in_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    impatient = functools.partial(RetryPolicy, first_answer_seconds=0.05)
    monkeypatch.setattr(opening, "RetryPolicy", impatient)
    for scheme in ("postgresql+psycopg", "grpc"):
        address = f"{scheme}://me:{SECRET}@127.0.0.1:{free_port()}/db"
        with pytest.raises(StorageError) as caught, open_address(address):
            pass
        assert "has not answered" in str(caught.value)
        assert SECRET not in str(caught.value)


def write_much(study: optuna.Study) -> None:
    for i in range(200):
        study.set_user_attr(f"key{i}", "x" * 2000)


def test_a_full_disk_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    database = DatabaseStorage(RDBStorage(f"sqlite:///{path}"))
    study = optuna.create_study(storage=RetryingStorage(database, RetryPolicy("the storage")))
    study.add_trial(create_trial(value=1.0))
    engine = database.engine
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    limit = f"PRAGMA max_page_count={pages}"
    sqlalchemy.event.listen(engine, "connect", lambda opened, _: opened.execute(limit))
    engine.dispose()
    with pytest.raises(StorageError, match=r"disk is full\. Free some space"):
        write_much(study)
    database.close()
    with closing(sqlite3.connect(path)) as rows:
        assert rows.execute("SELECT count(*) FROM trials").fetchone() == (1,)


# --- wrappers ---

STORAGE_METHODS = sorted(
    name
    for name, member in vars(BaseStorage).items()
    if callable(member) and not name.startswith("_") and name != "check_trial_is_updatable"
)
"""All methods that ask a storage; the one left out only checks its arguments."""


class FailingOnce:
    """Stands for any storage: every method fails once, then returns its own name."""

    def __init__(self) -> None:
        self.failed: set[str] = set()

    def __getattr__(self, name: str) -> Callable[..., str]:
        def method(*arguments: Any, **named: Any) -> str:
            if name not in self.failed:
                self.failed.add(name)
                raise refusal()
            return name

        return method


@pytest.mark.parametrize("name", STORAGE_METHODS)
def test_wrappers_forward_every_method_with_optunas_own_arguments(name: str) -> None:
    theirs = inspect.signature(getattr(BaseStorage, name)).parameters
    ours = inspect.signature(vars(StorageWrapper)[name]).parameters
    assert [(p.name, p.default, p.kind) for p in ours.values()] == [
        (p.name, p.default, p.kind) for p in theirs.values()
    ]


@pytest.mark.parametrize("name", [n for n in STORAGE_METHODS if n != "remove_session"])
def test_every_method_is_retried(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    inner: Any = FailingOnce()
    method = getattr(RetryingStorage(inner, RetryPolicy("the storage")), name)
    needed = [p for p in inspect.signature(method).parameters.values() if p.default is p.empty]
    answer = method(*[0 for _ in needed])
    assert inner.failed == {name}
    assert answer in (name, None)  # setters return nothing


class Counting(StorageWrapper):
    """Counts the questions to a storage in memory by the name of the method."""

    def __init__(self) -> None:
        super().__init__(InMemoryStorage())
        self.calls: dict[str, int] = {}

    def _read(
        self,
        method: Callable[Arguments, Answer],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Answer:
        self.calls[method.__name__] = self.calls.get(method.__name__, 0) + 1
        return method(*arguments, **named)

    _write = _read


def cached(counting: Counting) -> CachingStorage:
    return CachingStorage(RetryingStorage(counting, RetryPolicy("here")))


def test_all_trials_are_cached_until_this_process_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "CACHE_SECONDS", 60.0)
    counting = Counting()
    study = optuna.create_study(storage=cached(counting))
    trial = study.ask()
    study.get_trials()
    before = counting.calls["get_all_trials"]
    assert [t.state for t in study.get_trials(deepcopy=False)] == [TrialState.RUNNING]
    assert study.get_trials(states=(TrialState.COMPLETE,)) == []
    assert counting.calls["get_all_trials"] == before
    trial.set_user_attr("x", 1)
    assert study.get_trials()[0].user_attrs == {"x": 1}
    assert counting.calls["get_all_trials"] == before + 1
    monkeypatch.setattr(caching, "CACHE_SECONDS", -1.0)
    study.get_trials()
    assert counting.calls["get_all_trials"] == before + 2


def test_what_others_write_is_seen_after_forgetting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "CACHE_SECONDS", 60.0)
    counting = Counting()
    ours, theirs = cached(counting), cached(counting)
    study = optuna.create_study(storage=ours, study_name="a")
    assert study.get_trials() == []
    assert study.user_attrs == {}
    elsewhere = optuna.load_study(storage=theirs, study_name="a")
    elsewhere.ask()
    elsewhere.set_user_attr("x", 1)
    assert (study.get_trials(), study.user_attrs) == ([], {})
    ours.forget()
    assert len(study.get_trials()) == 1
    assert study.user_attrs == {"x": 1}


def test_cached_trials_are_not_changed_by_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "CACHE_SECONDS", 60.0)
    storage = cached(Counting())
    study = optuna.create_study(storage=storage)
    study.ask()
    study.get_trials()[0].user_attrs["x"] = 1
    assert study.get_trials()[0].user_attrs == {}
    assert optuna.create_study(storage=storage).get_trials() == []
    assert len(study.get_trials()) == 1


def test_ids_are_asked_for_once() -> None:
    counting = Counting()
    storage = cached(counting)
    study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "a")
    for _ in range(2):
        assert storage.get_study_id_from_name("a") == study_id
    own = storage.create_new_trial(study_id)
    assert storage.get_trial(own).number == 0
    other = counting.create_new_trial(study_id)
    for _ in range(2):
        assert storage.get_trial_id_from_study_id_trial_number(study_id, 0) == own
        assert storage.get_trial_id_from_study_id_trial_number(study_id, 1) == other
    assert counting.calls["get_study_id_from_name"] == 1
    assert counting.calls["get_trial_id_from_study_id_trial_number"] == 1  # of the other one alone
    storage.delete_study(study_id)
    with pytest.raises(KeyError):
        storage.get_study_id_from_name("a")


# --- artifacts ---


def test_artifacts_that_cannot_be_written_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_file(tmp_path / "study.db") as storage:
        trial = optuna.create_study(storage=storage).ask()
        make_store(str(tmp_path / "artifacts"))
        artifacts = Artifacts(str(tmp_path / "artifacts"), storage)
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"artifacts': No space left on device\. Free some"):
            artifacts.keep(trial, "profile.json", b"{}")
        assert list((tmp_path / "artifacts").iterdir()) == []


def test_a_folder_of_artifacts_that_was_removed_is_not_made_again(tmp_path: Path) -> None:
    with open_file(tmp_path / "study.db") as storage:
        trial = optuna.create_study(storage=storage).ask()
        make_store(str(tmp_path / "artifacts"))
        artifacts = Artifacts(str(tmp_path / "artifacts"), storage)
        (tmp_path / "artifacts").rmdir()
        with pytest.raises(StorageError, match=r"artifacts': No such file or directory"):
            artifacts.keep(trial, "profile.json", b"{}")
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize("name", ["file", "file/below", "x" * 300])
def test_a_folder_of_artifacts_that_cannot_be_written_is_refused_at_once(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for check in (check_store, make_store):
        with pytest.raises(InvalidInputError, match=r"Cannot write to .* another --artifacts\.$"):
            check(str(tmp_path / name))
    with pytest.raises(InvalidInputError, match=r"another --artifacts\.$"):
        run(tmp_path / "run", artifacts=str(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_prefix_keeps_studies_apart_in_one_store(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    whole = FileSystemArtifactStore(tmp_path)
    for name in ("a", "b"):
        path = tmp_path / name / "content"
        path.write_text(name)
        with path.open("rb") as content:
            PrefixedStore(whole, f"{name}/").write("x", content)

    def read(prefix: str) -> bytes:
        reader: BinaryIO = PrefixedStore(whole, prefix).open_reader("x")
        with reader:
            return reader.read()

    assert (read("a/"), read("b/")) == (b"a", b"b")
    PrefixedStore(whole, "a/").remove("x")
    assert not (tmp_path / "a" / "x").exists()
    assert read("b/") == b"b"


def test_artifacts_are_in_a_folder_or_in_a_bucket() -> None:
    with pytest.raises(InvalidInputError, match=r"Expected a folder or s3://BUCKET"):
        open_store("ftp://host/x")


@pytest.mark.parametrize(
    "address",
    [
        f"http://user:{SECRET}@host/x",
        f"http://user:pa@{SECRET}@host/x",
        f"s3://user:{SECRET}@bucket/x",
        f"s3://bucket/x?aws_secret_access_key={SECRET}",
    ],
)
def test_no_password_of_artifacts_is_shown(address: str) -> None:
    with pytest.raises(InvalidInputError, match=r"Expected .*\*\*\*") as caught:
        open_store(address)
    assert SECRET not in str(caught.value)
