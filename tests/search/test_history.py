"""The part of a long history that the sampler learns from."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from designer.search.study.history import BEST, REMEMBERED, KnownTrials, remembered
from designer.search.study.sampler import SeededSampler

LONG = 3 * REMEMBERED
MAXIMIZE, MINIMIZE = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE


def history(values: np.ndarray, state: TrialState = TrialState.COMPLETE) -> list[FrozenTrial]:
    """Return trials with these values, (n,) or (n, goals)."""
    trials = []
    for i, row in enumerate(np.atleast_2d(values.T).T):
        trial = create_trial(
            state=state,
            values=row.tolist() if state is TrialState.COMPLETE else None,
            params={"x": float(i % 97) / 97},
            distributions={"x": FloatDistribution(0, 1)},
        )
        trial.number = i
        trials.append(trial)
    return trials


def numbers(trials: object) -> list[int]:
    return [trial.number for trial in trials]  # type: ignore[attr-defined]


def test_a_short_history_is_seen_as_it_is() -> None:
    trials = history(np.arange(REMEMBERED))
    assert remembered(trials, [MAXIMIZE]) is trials


@pytest.mark.parametrize("direction", [MAXIMIZE, MINIMIZE])
def test_the_best_of_a_long_history_are_always_seen(direction: StudyDirection) -> None:
    values = np.random.default_rng(0).permutation(LONG).astype(float)
    part = remembered(history(values), [direction])
    order = np.argsort(-values if direction is MAXIMIZE else values)
    assert set(order[:BEST].tolist()) <= set(numbers(part))
    assert len(part) == REMEMBERED
    assert numbers(part) == sorted(numbers(part))


def test_the_others_are_spread_over_the_whole_study() -> None:
    part = numbers(remembered(history(np.zeros(LONG)), [MAXIMIZE]))
    others = [i for i in part if i >= BEST]  # of equal ones the earlier are the best
    assert max(np.diff(others)) <= 2 * LONG / REMEMBERED
    assert others[-1] >= LONG - 2 * LONG / REMEMBERED


def test_every_goal_has_its_best() -> None:
    values = np.random.default_rng(1).normal(size=(LONG, 2))
    part = set(numbers(remembered(history(values), [MAXIMIZE, MINIMIZE])))
    assert set(np.argsort(-values[:, 0])[:BEST].tolist()) <= part
    assert set(np.argsort(values[:, 1])[:BEST].tolist()) <= part


def test_trials_under_way_are_seen_and_failed_ones_are_not() -> None:
    trials = history(np.zeros(LONG))
    trials[7].state, trials[-1].state = TrialState.FAIL, TrialState.RUNNING
    part = numbers(remembered(trials, [MAXIMIZE]))
    assert LONG - 1 in part
    assert 7 not in part


def proposal(trials: list[FrozenTrial], sampler: SeededSampler) -> float:
    storage = KnownTrials(trials)
    study = optuna.create_study(storage=storage, direction="maximize", sampler=sampler)
    trial = optuna.Trial(study, storage.create_new_trial(0))
    return trial.suggest_float("x", 0, 1)


def test_proposals_from_a_long_history_follow_its_best_and_are_the_same_again() -> None:
    trials = history(np.array([-abs(i % 97 - 48) for i in range(LONG)], dtype=float))
    proposals = [proposal(trials, SeededSampler(seed)) for seed in range(20)]
    assert abs(np.median(proposals) - 0.5) < 0.1  # the best x is 48 / 97
    assert proposals == [proposal(trials, SeededSampler(seed)) for seed in range(20)]


def test_what_is_not_seen_does_not_change_a_proposal_but_its_number_does() -> None:
    trials = history(np.array([-abs(i % 97 - 48) for i in range(LONG)], dtype=float))
    longer = history(np.array([-abs(i % 97 - 48) for i in range(LONG + 1)], dtype=float))
    assert proposal(trials, SeededSampler(0)) != proposal(longer, SeededSampler(0))
