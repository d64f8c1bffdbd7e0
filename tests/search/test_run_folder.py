"""The folder of a run: who may use it, and what lies in it."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import optuna
import pytest

from designer.errors import RunFolderError
from designer.search.options import SearchOptions
from designer.search.progress import Phase
from designer.search.search import search
from designer.search.storage.artifacts import Artifacts, make_store
from designer.search.storage.opening import open_file, quiet_optuna
from designer.search.storage.run_folder import check_storage, hold_run_folder
from designer.search.study.claims import open_study


def test_artifacts_come_back(tmp_path: Path) -> None:
    with quiet_optuna(), open_file(tmp_path / "study.db") as storage:
        study = open_study(storage, Phase.SEARCH, SearchOptions())
        make_store(str(tmp_path / "artifacts"))
        artifacts = Artifacts(str(tmp_path / "artifacts"), storage)
        trial = study.ask()
        artifacts.keep(trial, "profile.json", b"{}")
        study.tell(trial, 1.0)
        frozen = study.get_trials()[0]
        assert artifacts.read(frozen, "profile.json") == b"{}"
        with pytest.raises(RunFolderError, match=r"model\.safetensors"):
            artifacts.read(frozen, "model.safetensors")


def test_a_folder_has_one_leader(tmp_path: Path) -> None:
    with hold_run_folder(tmp_path / "run"):
        second = hold_run_folder(tmp_path / "run")
        with pytest.raises(RunFolderError, match="Another designer process"):
            second.__enter__()
    with hold_run_folder(tmp_path / "run"):
        pass


def test_damaged_and_locked_storages_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["designer.search.storage.run_folder"], "LOCKED_SECONDS", 0.1)
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
    with pytest.raises(RunFolderError, match="says nothing of data or space"):
        search("mlp", "digits", trials=1, epochs=1, out=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix == ".json") == []


def test_a_study_of_another_name_is_refused(tmp_path: Path) -> None:
    with quiet_optuna():
        optuna.create_study(storage=f"sqlite:///{tmp_path / 'study.db'}", study_name="mine")
    with pytest.raises(RunFolderError, match="holds something else"):
        check_storage(tmp_path / "study.db")


@pytest.mark.parametrize("out", ["file/run", "file"])
def test_folders_that_cannot_be_written_are_refused(out: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    unwritable = hold_run_folder(tmp_path / out)
    with pytest.raises(RunFolderError, match="choose another --out"):
        unwritable.__enter__()
