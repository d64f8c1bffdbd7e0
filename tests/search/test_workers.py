"""Heartbeats of workers, and what happens to the trials of those that are gone."""

from __future__ import annotations

import time
from collections.abc import Sequence

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from designer.search.options import SearchOptions
from designer.search.progress import Phase
from designer.search.storage.caching import CachingStorage
from designer.search.storage.retrying import RetryingStorage, RetryPolicy
from designer.search.study.claims import TrialClaims, open_study
from designer.search.study.keys import HEARTBEAT, REASON, REJECTED, RETRY_OF, SPEC, WORKER
from designer.search.study.trials import failed, finished, retried, running, trials_of
from designer.search.workers.heartbeat import (
    MISSED_HEARTBEATS,
    HeartbeatMonitor,
    send_heartbeats,
    trial_heartbeat,
)


@pytest.fixture
def storage() -> CachingStorage:
    return CachingStorage(RetryingStorage(InMemoryStorage(), RetryPolicy("memory")))


@pytest.fixture
def claims(storage: CachingStorage) -> TrialClaims:
    return TrialClaims(open_study(storage, Phase.SEARCH, SearchOptions()), storage)


def test_a_worker_that_stands_still_is_gone_by_the_monitors_own_clock(
    claims: TrialClaims, storage: CachingStorage
) -> None:
    now = [time.monotonic()]
    dead, alive = claims.study.ask(), claims.study.ask()
    monitor = HeartbeatMonitor(storage, 1, lambda: now[0])
    assert monitor.silent(trials_of(claims.study)) == []
    for count in range(1, 2 * MISSED_HEARTBEATS):
        now[0] += 1
        alive.set_user_attr(HEARTBEAT, count)
        silent = [trial.number for trial in monitor.silent(trials_of(claims.study))]
        assert silent == ([dead.number] if count > MISSED_HEARTBEATS else [])


def test_time_in_which_the_storage_was_away_is_held_against_nobody(
    claims: TrialClaims, storage: CachingStorage
) -> None:
    now = [time.monotonic()]
    claims.study.ask()
    monitor = HeartbeatMonitor(storage, 1, lambda: now[0])
    assert monitor.silent(trials_of(claims.study)) == []
    now[0] += 100
    storage.inner.policy.answering_since = now[0]
    assert monitor.silent(trials_of(claims.study)) == []
    now[0] += MISSED_HEARTBEATS + 1
    assert len(monitor.silent(trials_of(claims.study))) == 1


def test_a_monitor_looks_once_per_heartbeat(storage: CachingStorage) -> None:
    now = [0.0]
    monitor = HeartbeatMonitor(storage, 2, lambda: now[0])
    due = []
    for now[0] in (0.0, 1.0, 2.0, 3.5, 4.0):
        due.append(monitor.due())
    assert due == [True, False, True, False, True]


def test_heartbeats_go_on_until_the_trial_is_taken_away(claims: TrialClaims) -> None:
    study = claims.study
    trial = study.ask()
    with send_heartbeats(trial_heartbeat(trial), 0.01) as taken_away:
        while study.get_trials()[0].user_attrs.get(HEARTBEAT, 0) < 3:
            assert not taken_away()
        study.tell(trial, state=TrialState.FAIL)
        while not taken_away():
            pass


def nothing_else(_: Sequence[FrozenTrial]) -> FrozenTrial:
    raise AssertionError("A new trial was proposed although one waits.")


def ask(study: optuna.Study, x: float) -> optuna.Trial:
    """Begin a trial with this parameter."""
    trial = study.ask()
    trial.suggest_float("x", x, x + 1e-9)
    trial.set_user_attr(SPEC, {"x": x})
    return trial


def test_a_lost_trial_is_run_again_once_and_then_counts_as_failed(claims: TrialClaims) -> None:
    study = claims.study
    first = ask(study, 0.5)
    lost = running(trials_of(study))[0]
    claims.retry_once(lost, "Its worker was gone.")
    claims.retry_once(lost, "Its worker was gone.")  # another worker notices it, too
    again = claims.claim(1, "b", nothing_else)
    assert again is not None
    assert again.suggest_float("x", 0, 1) == first.params["x"]
    assert again.user_attrs[RETRY_OF] == first.number
    assert claims.claim(1, "c", nothing_else) is None
    assert failed(trials_of(study)) == []
    claims.retry_once(running(trials_of(study))[0], "Its worker was gone.")
    assert [t.user_attrs[REASON] for t in failed(trials_of(study))] == [
        "Its worker was gone. The same happened to the trial that it repeats."
    ]
    assert retried(trials_of(study)) == 1
    assert [t.state for t in study.get_trials()] == [TrialState.FAIL] * 2


def test_a_trial_that_is_handed_back_is_no_retry(claims: TrialClaims) -> None:
    study = claims.study
    claims.hand_back(ask(study, 0.5))
    again = claims.claim(1, "b", nothing_else)
    assert again is not None
    study.tell(again, 1.0)
    assert len(finished(trials_of(study))) == 1
    assert retried(trials_of(study)) == 0
    assert study.get_trials()[0].user_attrs[REJECTED] == "its worker left"


def test_trials_of_strangers_are_done_again(claims: TrialClaims) -> None:
    mine, strange, _ = (ask(claims.study, x) for x in (0.1, 0.2, 0.3))
    mine.set_user_attr(WORKER, "a")
    strange.set_user_attr(WORKER, "b")
    claims.retry_strangers(["a"], "gone")
    states = [t.state for t in claims.study.get_trials()]
    assert states == [TrialState.RUNNING, TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING]
    again = claims.claim(4, "a", nothing_else)
    assert again is not None
    assert again.user_attrs[RETRY_OF] == strange.number
