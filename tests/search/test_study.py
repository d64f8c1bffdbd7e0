"""Who may start the next trial, and what the sampler proposes."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from designer.errors import RunFolderError
from designer.search.progress import Phase
from designer.search.settings import StudySettings
from designer.search.storage.artifacts import Artifacts
from designer.search.storage.database import Database
from designer.search.storage.opening import opened_file, quiet_optuna
from designer.search.storage.run_folder import check_storage, run_folder
from designer.search.study.claims import (
    Rejected,
    claim,
    claim_waiting,
    open_study,
    reject,
    retry_of,
)
from designer.search.study.proposals import drafted
from designer.search.study.trials import (
    REASON,
    REJECTED,
    SPEC,
    WORKER,
    Trials,
    failed,
    rejected_in_a_row,
    running,
    trials_of,
)


@pytest.fixture
def study(tmp_path: Path) -> Iterator[optuna.Study]:
    with quiet_optuna(), opened_file(tmp_path / "study.db") as storage:
        yield open_study(storage, Phase.SEARCH, StudySettings())


def proposal(trials: Trials, x: float | None = None) -> FrozenTrial:
    x = len(trials) / 100 if x is None else x
    return create_trial(
        state=TrialState.RUNNING,
        params={"x": x},
        distributions={"x": FloatDistribution(0, 1)},
        user_attrs={SPEC: {"x": x}},
    )


def claimed(study: optuna.Study, wanted: int, worker: str) -> optuna.Trial | None:
    def propose(trials: Trials) -> FrozenTrial:
        proposed = proposal(trials)
        proposed.set_user_attr(WORKER, worker)
        return proposed

    return claim(study, wanted, worker, propose)


def test_no_more_trials_than_wanted_are_under_way(study: optuna.Study) -> None:
    assert claimed(study, 2, worker="1") is not None
    assert claimed(study, 2, worker="2") is not None
    assert claimed(study, 2, worker="3") is None


def test_of_two_that_claim_at_once_the_later_gives_way(study: optuna.Study) -> None:
    def propose(trials: Trials) -> FrozenTrial:
        assert claimed(study, 1, worker="1") is not None  # between our look and our write
        return proposal(trials, 0.7)

    assert claim(study, 1, "2", propose) is None
    assert [t.user_attrs[WORKER] for t in running(trials_of(study))] == ["1"]
    assert not failed(trials_of(study))


def test_of_two_that_propose_the_same_at_once_the_earlier_goes_on(study: optuna.Study) -> None:
    def propose(trials: Trials) -> FrozenTrial:
        if not trials:
            claim(study, 2, "1", lambda _: proposal([], 0.5))
        return proposal(trials, 0.5)

    with pytest.raises(Rejected, match="equal to trial 0"):
        claim(study, 2, "2", propose)
    assert [t.number for t in running(trials_of(study))] == [0]


def test_a_proposal_that_ended_at_once_is_kept_and_not_run(study: optuna.Study) -> None:
    refused = create_trial(state=TrialState.FAIL, user_attrs={REJECTED: "too large"})
    with pytest.raises(Rejected, match="too large"):
        claim(study, 1, "1", lambda _: refused)
    broken = create_trial(state=TrialState.FAIL, user_attrs={REASON: "it broke"})
    with pytest.raises(Rejected, match="it broke"):
        claim(study, 1, "1", lambda _: broken)
    trials = trials_of(study)
    assert not running(trials)
    assert [t.number for t in failed(trials)] == [1]


def test_what_somebody_enqueued_by_hand_is_taken_first(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 0.25})
    taken = claimed(study, 2, "1")
    assert taken is not None
    assert taken.suggest_float("x", 0, 1) == 0.25


def test_failed_trials_make_room_and_rejected_ones_count_as_nothing(study: optuna.Study) -> None:
    first = claimed(study, 1, worker="1")
    assert first is not None
    study.tell(first, state=TrialState.FAIL)
    second = claimed(study, 1, worker="1")
    assert second is not None
    reject(study, second, "known")
    assert claimed(study, 1, worker="1") is not None
    assert [t.number for t in failed(trials_of(study))] == [first.number]


def test_rejections_in_a_row_are_counted_from_the_latest(study: optuna.Study) -> None:
    for why in ("a", "b"):
        reject(study, study.ask(), why)
    assert rejected_in_a_row(trials_of(study)) == 2
    study.tell(study.ask(), 1.0)
    assert rejected_in_a_row(trials_of(study)) == 0


def test_trials_of_a_dead_worker_are_released(study: optuna.Study) -> None:
    dead, alive = claimed(study, 9, worker="7"), claimed(study, 9, worker="8")
    assert dead is not None
    assert alive is not None
    assert retry_of(study, "7", "gone") == 1
    assert [t.number for t in running(trials_of(study))] == [alive.number]
    assert study.get_trials()[dead.number].user_attrs[REJECTED] == "gone"


def test_waiting_trials_are_taken_once(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 0.5}, user_attrs={"confirms": 0})
    (taken,) = claim_waiting(study, worker="1")
    assert taken.suggest_float("x", 0, 1) == 0.5
    assert claim_waiting(study, worker="2") == []


def test_several_that_confirm_the_same_are_taken_together(study: optuna.Study) -> None:
    for confirms, seed in ((7, 1), (8, 1), (7, 2), (7, 3), (7, 4)):
        attributes = {"confirms": confirms, "seed": seed, "epochs": 30}
        study.enqueue_trial({"x": confirms / 10}, user_attrs=attributes)
    together = claim_waiting(study, worker="1", at_most=3)
    assert [(t.user_attrs["confirms"], t.user_attrs["seed"]) for t in together] == [
        (7, 1), (7, 2), (7, 3),
    ]  # fmt: skip
    assert [t.number for t in claim_waiting(study, worker="2", at_most=3)] == [1]
    assert [t.number for t in claim_waiting(study, worker="2", at_most=3)] == [4]


def test_what_another_took_since_we_looked_is_left_to_it(
    study: optuna.Study, tmp_path: Path
) -> None:
    for x in (0.25, 0.5):
        study.enqueue_trial({"x": x})
    assert len(trials_of(study)) == 2  # and this look is remembered
    with opened_file(tmp_path / "study.db") as elsewhere:
        theirs = claim_waiting(optuna.load_study(study_name=Phase.SEARCH, storage=elsewhere), "2")
    ours = claim_waiting(study, "1")
    assert [t.number for t in (*theirs, *ours)] == [0, 1]
    assert claim_waiting(study, "1") == []
    assert len(trials_of(study)) == 2


def test_a_dead_workers_last_trial_is_found_however_late_it_began(
    study: optuna.Study, tmp_path: Path
) -> None:
    assert trials_of(study) == []  # and this look is remembered
    with opened_file(tmp_path / "study.db") as elsewhere:
        theirs = optuna.load_study(study_name=Phase.SEARCH, storage=elsewhere)
        assert claimed(theirs, 9, worker="7") is not None
    assert retry_of(study, "7", "gone") == 1


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

    def stored(kind: type[RDBStorage]) -> tuple[list[FrozenTrial], list[list[tuple[object, ...]]]]:
        path = tmp_path / f"{kind.__name__}.db"
        storage = kind(f"sqlite:///{path}")
        study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "a")
        for template in (proposed, ended, None, valued):
            storage.create_new_trial(study_id, template)
        running = (TrialState.RUNNING,)
        assert storage.get_all_trials(study_id, states=running) == [
            storage.get_trial(trial_id) for trial_id in (1, 3)
        ]
        later = storage._get_trials(study_id, None, {1, 2}, 2)
        assert [t._trial_id for t in later] == [1, 2, 3, 4]
        trials = storage.get_all_trials(study_id)
        assert trials == [storage.get_trial(trial_id) for trial_id in (1, 2, 3, 4)]
        for trial in trials:  # the moment differs
            assert (trial.datetime_complete is not None) == trial.state.is_finished()
            trial.datetime_start = trial.datetime_complete = None
        storage.engine.dispose()
        with closing(sqlite3.connect(path)) as rows:
            return trials, [rows.execute(f"SELECT * FROM {t} ORDER BY 1").fetchall() for t in (
                "trial_params", "trial_user_attributes", "trial_system_attributes", "trial_values",
            )]  # fmt: skip

    assert stored(Database) == stored(RDBStorage)


def proposals(study: optuna.Study, settings: StudySettings, count: int) -> list[float]:
    values = []
    for _ in range(count):
        draft = drafted(settings, trials_of(study), "1")
        x = draft.suggest_float("x", 0, 1)
        values.append(x)
        study.add_trial(create_trial(
            params=draft.params, distributions=draft.distributions, value=-((x - 0.3) ** 2)
        ))  # fmt: skip
    return values


def test_proposals_depend_only_on_seed_number_and_history(tmp_path: Path) -> None:

    def drawn(name: str, count: int, seed: int = 0) -> list[float]:
        settings = StudySettings(seed=seed)
        with quiet_optuna(), opened_file(tmp_path / name) as storage:
            return proposals(open_study(storage, Phase.SEARCH, settings), settings, count)

    whole = drawn("a", 16)
    assert drawn("b", 12) + drawn("b", 4) == whole
    assert drawn("c", 16, seed=1) != whole
    assert len(set(whole)) == 16


def test_where_others_are_at_work_each_worker_draws_from_its_own_stream(
    study: optuna.Study,
) -> None:
    def drawn(worker: str) -> float:
        return drafted(StudySettings(), trials_of(study), worker).suggest_float("x", 0, 1)

    assert drawn("1") == drawn("2")
    assert claimed(study, 9, worker="3") is not None
    assert len({drawn("1"), drawn("1"), drawn("2")}) == 2
    assert drawn("3") not in (drawn("1"), drawn("2"))


def test_a_draft_is_nobodys_trial(study: optuna.Study) -> None:
    study.add_trial(create_trial(value=1.0))
    study.enqueue_trial({"x": 0.25})
    drafted_x = drafted(StudySettings(), trials_of(study), "1").suggest_float("x", 0, 1)
    assert drafted_x != 0.25
    assert [t.state for t in trials_of(study)] == [TrialState.COMPLETE, TrialState.WAITING]


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
            before = proposals(study, StudySettings(), stopped_at)
            lost = claimed(study, 14, "1")
            assert lost is not None
            reject(study, lost, "the run was stopped", lost=True)
            return before + proposals(study, StudySettings(), 14 - stopped_at)

    assert drawn("a", 3) == drawn("b", 12)


@pytest.mark.parametrize("out", ["file/run", "file"])
def test_folders_that_cannot_be_written_are_refused(out: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    unwritable = run_folder(tmp_path / out)
    with pytest.raises(RunFolderError, match="choose another --out"):
        unwritable.__enter__()
