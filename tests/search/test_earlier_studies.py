"""Studies that version 0.1.0 wrote keep their attributes to the letter and continue."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import create_trial

import designer
from designer.errors import RunFolderError
from designer.folders import STORAGE_FILE
from designer.results.search import SearchResult
from designer.results.serialisation import read_result
from designer.search.study.records import TrialRecord
from tests.support.paths import ROOT
from tests.support.searches import comparable, studies

STUDY = ROOT / "tests" / "files" / "study_0.1.0.zip"
"""A run folder with 4 complete trials, 57 rejected proposals and 2 confirmation runs."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the run folder that version 0.1.0 wrote."""
    with zipfile.ZipFile(STUDY) as archive:
        archive.extractall(tmp_path / "run")
    return tmp_path / "run"


def continued(folder: Path, **changes: Any) -> SearchResult:
    """Continue the study with the options that it was made with."""
    options: dict[str, Any] = {"trials": 4, "train_size": 300, "epochs": 1, "max_params": 4000}
    options |= {"prune": True, "confirm": 1, "confirm_seeds": 2, "confirm_epochs": 1, "edits": 0}
    return designer.search("mlp", "digits", out=folder, **options | changes)


def stored_attributes(folder: Path) -> dict[int, dict[str, str]]:
    """Return the attributes of all trials as JSON texts by the id of the trial."""
    attributes: dict[int, dict[str, str]] = {}
    query = "SELECT trial_id, key, value_json FROM trial_user_attributes ORDER BY 1, 2"
    with closing(sqlite3.connect(folder / STORAGE_FILE)) as connection:
        for trial_id, key, text in connection.execute(query):
            attributes.setdefault(trial_id, {})[key] = text
    return attributes


def test_a_record_is_written_to_the_letter_as_it_was_read(folder: Path) -> None:
    stored = stored_attributes(folder)
    assert len(stored) == 4 + 57 + 2
    for texts in stored.values():
        values = {key: json.loads(text) for key, text in texts.items()}
        written = TrialRecord.read(create_trial(value=0.0, user_attrs=values)).attributes()
        assert {key: json.dumps(value) for key, value in written.items()} == texts


def test_new_trials_store_the_same_keys_in_the_same_order_and_what_was_added(folder: Path) -> None:
    def keys() -> set[tuple[str, ...]]:
        searched, confirmed = studies(folder)
        return {
            (*trial.user_attrs, *trial.user_attrs.get("record", {}))
            for study in (searched, confirmed)
            for trial in study.get_trials()
        }

    before = keys()
    continued(folder, trials=6, confirm=3)
    new = keys() - before
    assert keys() == before | new
    added = {"losses", "accuracy_above_chance"}
    assert all(("confirms" in names) == ("losses" in names) for names in new)
    assert new
    assert {tuple(name for name in names if name not in added) for names in new} <= before


def test_a_finished_study_gives_its_report_again_without_training(folder: Path) -> None:
    before, stored = read_result(folder), stored_attributes(folder)
    again = continued(folder)
    assert stored_attributes(folder) == stored
    assert comparable(again)["trials"] == comparable(before)["trials"]
    assert comparable(again)["criterion"] == comparable(before)["criterion"]
    assert again.study.trials == before.study.trials
    assert again.study.settings == {**before.study.settings, "data_input": None}
    pairs = zip(again.recommendations, before.recommendations, strict=True)
    for now, earlier in pairs:
        assert (now.trial, now.roles, now.spec) == (earlier.trial, earlier.roles, earlier.spec)
        assert now.validation_accuracy == earlier.validation_accuracy
        assert now.score == earlier.score
        assert now.emergence == earlier.emergence


def test_a_study_grows(folder: Path) -> None:
    stored = stored_attributes(folder)
    result = continued(folder, trials=6)
    assert result.study.trials.complete + result.study.trials.pruned == 6
    assert stored.items() <= stored_attributes(folder).items()


def test_another_identity_is_refused(folder: Path) -> None:
    for change in ({"epochs": 2}, {"prune": False}, {"max_params": 5000}, {"train_size": 301}):
        with pytest.raises(RunFolderError, match=next(iter(change)).replace("_", " ")):
            continued(folder, **change)


def test_a_damaged_record_is_named() -> None:
    trial = create_trial(value=0.0, user_attrs={"record": {"score": "high"}})
    with pytest.raises(RunFolderError, match=r"are damaged \(record\.score"):
        TrialRecord.read(trial)
