"""Rows of databases: the same as Optuna's own, read and written in fewer questions."""

from __future__ import annotations

import copy
import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import event

from designer.search.storage.database import DatabaseStorage
from designer.search.study.keys import REASON, SPEC, WORKER

TABLES = ("trial_params", "trial_user_attributes", "trial_system_attributes", "trial_values")

TEMPLATES = (
    create_trial(
        state=TrialState.RUNNING,
        params={"x": 0.5, "depth": 3, "kind": "wide"},
        distributions={
            "x": FloatDistribution(0, 1),
            "depth": IntDistribution(1, 9),
            "kind": CategoricalDistribution(["narrow", "wide"]),
        },
        user_attrs={SPEC: {"widths": [8, 16]}, WORKER: "1"},
        system_attrs={"note": "x"},
    ),
    create_trial(state=TrialState.FAIL, user_attrs={REASON: "it broke"}),
    None,
    create_trial(value=0.5, intermediate_values={1: 0.25, 2: math.inf}),
    create_trial(value=-math.inf, intermediate_values={1: math.nan}),
)


def filled(storage: BaseStorage) -> list[FrozenTrial]:
    """Store all templates in a new study and return its trials, with the moments left out."""
    study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "a")
    ids = [storage.create_new_trial(study_id, template) for template in TEMPLATES]
    trials = storage.get_all_trials(study_id)
    assert list(map(repr, trials)) == [repr(storage.get_trial(i)) for i in ids]  # nan is not nan
    for trial in trials:
        assert (trial.datetime_complete is not None) == trial.state.is_finished()
        trial.datetime_start = trial.datetime_complete = None
    return trials


def test_a_database_holds_what_optunas_own_storage_would_hold(tmp_path: Path) -> None:
    stored = []
    for name in ("optuna", "ours"):
        path = tmp_path / f"{name}.db"
        plain = RDBStorage(f"sqlite:///{path}")
        trials = filled(plain if name == "optuna" else DatabaseStorage(plain))
        plain.engine.dispose()
        with closing(sqlite3.connect(path)) as rows:
            tables = [rows.execute(f"SELECT * FROM {t} ORDER BY 1").fetchall() for t in TABLES]
        stored.append((repr(trials), tables))
    assert stored[0] == stored[1]


def test_only_trials_that_may_have_changed_are_read_again(tmp_path: Path) -> None:
    plain = RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
    database = DatabaseStorage(plain)
    study_id = plain.create_new_study([StudyDirection.MAXIMIZE], "a")
    early, ended, late = (plain.create_new_trial(study_id) for _ in range(3))
    plain.set_trial_state_values(ended, TrialState.COMPLETE, [1.0])
    kept = database.get_all_trials(study_id, deepcopy=False)[1]
    plain.set_trial_user_attr(early, "x", 1)
    plain.set_trial_state_values(late, TrialState.FAIL)
    plain.create_new_trial(study_id)
    trials = database.get_all_trials(study_id, deepcopy=False)
    assert trials == plain.get_all_trials(study_id)
    assert trials[1] is kept
    assert database.get_all_trials(study_id, states=(TrialState.RUNNING,)) == [trials[0], trials[3]]
    copied = database.get_all_trials(study_id)
    copied[0].user_attrs["y"] = 2
    assert database.get_all_trials(study_id) == trials == copy.deepcopy(trials)
    for unknown in (lambda: database.get_all_trials(99), lambda: database.get_trial(99)):
        with pytest.raises(KeyError):
            unknown()
    with pytest.raises(KeyError):
        database.create_new_trial(99, TEMPLATES[0])
    database.close()


@pytest.mark.parametrize("length", [5, 300])
def test_the_rows_that_are_read_again_do_not_become_more(length: int, tmp_path: Path) -> None:
    database = DatabaseStorage(RDBStorage(f"sqlite:///{tmp_path / 'study.db'}"))
    study_id = database.create_new_study([StudyDirection.MAXIMIZE], "a")
    ids = [database.create_new_trial(study_id, TEMPLATES[0]) for _ in range(length)]
    for trial_id in ids[:-3] + ids[-2:]:  # all but the third from the end, which still runs
        database.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0])
    assert len(database.get_all_trials(study_id)) == length
    database.create_new_trial(study_id, TEMPLATES[0])
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    @event.listens_for(database.engine, "checkout")
    def _watch(connection: sqlite3.Connection, *_: object) -> None:
        connection.set_progress_handler(count, 1)  # after every step of SQLite's own machine

    again = database.get_all_trials(study_id, deepcopy=False)
    assert [trial.number for trial in again] == list(range(length + 1))
    assert 0 < steps < 1000
    steps = 0
    assert database.get_trial_id_from_study_id_trial_number(study_id, length) == again[-1]._trial_id
    database.create_new_trial(study_id, TEMPLATES[1])
    assert 0 < steps < 1000
    assert database.get_all_trials(study_id)[-1].number == length + 1
    with pytest.raises(KeyError):
        database.get_trial_id_from_study_id_trial_number(study_id, length + 2)
    database.close()
