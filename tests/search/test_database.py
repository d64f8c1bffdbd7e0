"""The database holds what Optuna would store in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from designer.search.storage.database import DatabaseStorage
from designer.search.study.keys import REASON, SPEC, WORKER


def test_a_database_holds_what_optunas_own_storage_would_hold(tmp_path: Path) -> None:
    proposed = create_trial(
        state=TrialState.RUNNING,
        params={"x": 0.5, "depth": 3, "kind": "wide"},
        distributions={
            "x": FloatDistribution(0, 1),
            "depth": IntDistribution(1, 9),
            "kind": CategoricalDistribution(["narrow", "wide"]),
        },
        user_attrs={SPEC: {"widths": [8, 16]}, WORKER: "1"},
        system_attrs={"note": "x"},
    )
    ended = create_trial(state=TrialState.FAIL, user_attrs={REASON: "it broke"})
    valued = create_trial(value=0.5, intermediate_values={1: 0.25})

    def stored(
        name: str, wrap: Callable[[RDBStorage], BaseStorage]
    ) -> tuple[list[FrozenTrial], list[list[tuple[object, ...]]]]:
        path = tmp_path / name
        database = RDBStorage(f"sqlite:///{path}")
        storage = wrap(database)
        study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "a")
        ids = [
            storage.create_new_trial(study_id, template)
            for template in (proposed, ended, None, valued)
        ]
        under_way = storage.get_all_trials(study_id, states=(TrialState.RUNNING,))
        assert under_way == [storage.get_trial(ids[0]), storage.get_trial(ids[2])]
        trials = storage.get_all_trials(study_id)
        assert trials == [storage.get_trial(trial_id) for trial_id in ids]
        for trial in trials:  # the moment differs
            assert (trial.datetime_complete is not None) == trial.state.is_finished()
            trial.datetime_start = trial.datetime_complete = None
        database.engine.dispose()
        with closing(sqlite3.connect(path)) as rows:
            return trials, [rows.execute(f"SELECT * FROM {t} ORDER BY 1").fetchall() for t in (
                "trial_params", "trial_user_attributes", "trial_system_attributes", "trial_values",
            )]  # fmt: skip

    assert stored("ours.db", DatabaseStorage) == stored("optuna.db", lambda database: database)
