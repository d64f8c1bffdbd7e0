"""Who may start the next trial, and what the sampler proposes."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from designer.errors import RunFolderError
from designer.search.artifacts import Artifacts
from designer.search.folder import check_storage, run_folder
from designer.search.phases import Phase
from designer.search.settings import StudySettings
from designer.search.storage import opened_file, quiet_optuna
from designer.search.study import (
    REJECTED,
    claim,
    claim_waiting,
    failed,
    open_study,
    reject,
    rejected_in_a_row,
    retry_of,
    running,
    trials_of,
)


@pytest.fixture
def study(tmp_path: Path) -> Iterator[optuna.Study]:
    with quiet_optuna(), opened_file(tmp_path / "study.db") as storage:
        yield open_study(storage, Phase.SEARCH, StudySettings())


def test_no_more_trials_than_wanted_are_under_way(study: optuna.Study) -> None:
    assert claim(study, 2, worker="1") is not None
    assert claim(study, 2, worker="2") is not None
    assert claim(study, 2, worker="3") is None


def test_of_two_that_ask_at_once_the_later_gives_way(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = study.ask

    def ask_twice() -> optuna.Trial:
        ask()  # another worker gets in between the look and the asking
        return ask()

    monkeypatch.setattr(study, "ask", ask_twice)
    assert claim(study, 1, worker="2") is None
    assert len(running(trials_of(study))) == 1
    assert not failed(trials_of(study))


def test_failed_trials_make_room_and_rejected_ones_count_as_nothing(study: optuna.Study) -> None:
    first = claim(study, 1, worker="1")
    assert first is not None
    study.tell(first, state=TrialState.FAIL)
    second = claim(study, 1, worker="1")
    assert second is not None
    reject(study, second, "known")
    assert claim(study, 1, worker="1") is not None
    assert [t.number for t in failed(trials_of(study))] == [first.number]


def test_rejections_in_a_row_are_counted_from_the_latest(study: optuna.Study) -> None:
    for why in ("a", "b"):
        reject(study, study.ask(), why)
    assert rejected_in_a_row(trials_of(study)) == 2
    study.tell(study.ask(), 1.0)
    assert rejected_in_a_row(trials_of(study)) == 0


def test_trials_of_a_dead_worker_are_released(study: optuna.Study) -> None:
    dead, alive = claim(study, 9, worker="7"), claim(study, 9, worker="8")
    assert dead is not None
    assert alive is not None
    assert retry_of(study, "7", "gone") == 1
    assert [t.number for t in running(trials_of(study))] == [alive.number]
    assert study.get_trials()[dead.number].user_attrs[REJECTED] == "gone"


def test_waiting_trials_are_taken_once(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 0.5}, user_attrs={"confirms": 0})
    taken = claim_waiting(study, worker="1")
    assert taken is not None
    assert taken.suggest_float("x", 0, 1) == 0.5
    assert claim_waiting(study, worker="2") is None


def proposals(study: optuna.Study, count: int) -> list[float]:
    values = []
    for _ in range(count):
        trial = study.ask()
        x = trial.suggest_float("x", 0, 1)
        values.append(x)
        study.tell(trial, -((x - 0.3) ** 2))
    return values


def test_proposals_depend_only_on_seed_number_and_history(tmp_path: Path) -> None:

    def drawn(name: str, count: int, seed: int = 0) -> list[float]:
        with quiet_optuna(), opened_file(tmp_path / name) as storage:
            return proposals(open_study(storage, Phase.SEARCH, StudySettings(seed=seed)), count)

    whole = drawn("a", 16)
    assert drawn("b", 12) + drawn("b", 4) == whole
    assert drawn("c", 16, seed=1) != whole
    assert len(set(whole)) == 16


def test_artifacts_come_back(study: optuna.Study, tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path / "artifacts"), study._storage)
    trial = study.ask()
    artifacts.keep(trial, "profile.json", b"{}")
    study.tell(trial, 1.0)
    frozen = study.get_trials()[0]
    assert artifacts.read(frozen, "profile.json") == b"{}"
    with pytest.raises(RunFolderError, match=r"model\.safetensors"):
        artifacts.read(frozen, "model.safetensors")


def test_a_folder_has_one_leader(tmp_path: Path) -> None:
    with run_folder(tmp_path / "run"):
        second = run_folder(tmp_path / "run")
        with pytest.raises(RunFolderError, match="another designer process"):
            second.__enter__()
    with run_folder(tmp_path / "run"):
        pass


def test_damaged_and_locked_storages_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["designer.search.folder"], "LOCKED_SECONDS", 0.1)
    path = tmp_path / "study.db"
    path.write_text("this is no database")
    with pytest.raises(RunFolderError, match="damaged"):
        check_storage(path)
    path.unlink()
    holder = sqlite3.connect(path)
    holder.execute("CREATE TABLE t (x)")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RunFolderError, match="locked"):
        check_storage(path)
    holder.close()
    with pytest.raises(RunFolderError, match="holds something else"):
        check_storage(path)
    path.unlink()
    path.touch()
    check_storage(path)


def test_an_optuna_study_of_somebody_else_is_refused(tmp_path: Path) -> None:
    other = optuna.create_study(
        storage=f"sqlite:///{tmp_path / 'study.db'}", study_name=Phase.SEARCH
    )
    other.add_trial(optuna.trial.create_trial(value=1.0))
    from designer import search

    with pytest.raises(RunFolderError, match="says nothing of data or space"):
        search("mlp", "digits", trials=1, epochs=1, out=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix == ".json") == []


def test_a_study_of_another_name_is_refused(tmp_path: Path) -> None:
    with quiet_optuna():
        optuna.create_study(storage=f"sqlite:///{tmp_path / 'study.db'}", study_name="mine")
    with pytest.raises(RunFolderError, match="holds something else"):
        check_storage(tmp_path / "study.db")


def test_what_a_stop_handed_back_is_proposed_again(tmp_path: Path) -> None:
    def drawn(name: str, stopped_at: int) -> list[float]:
        with quiet_optuna(), opened_file(tmp_path / name) as storage:
            study = open_study(storage, Phase.SEARCH, StudySettings())
            before = proposals(study, stopped_at)
            lost = study.ask()
            lost.suggest_float("x", 0, 1)
            reject(study, lost, "the run was stopped", lost=True)
            return before + proposals(study, 14 - stopped_at)

    assert drawn("a", 3) == drawn("b", 12)


@pytest.mark.parametrize("out", ["file/run", "file"])
def test_folders_that_cannot_be_written_are_refused(out: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    unwritable = run_folder(tmp_path / out)
    with pytest.raises(RunFolderError, match="choose another --out"):
        unwritable.__enter__()
