"""What all trials of a study add up to, and the part of them that the sampler learns from."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.samplers import TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from designer.search.study import sampler as sampler_module
from designer.search.study.history import History, history_of
from designer.search.study.keys import LOST, RECORD, REJECTED, SPEC
from designer.search.study.ranking import BEST, FRONT, Ranking
from designer.search.study.remembered import REMEMBERED, KnownTrials, remembered
from designer.search.study.sampler import STARTUP_TRIALS, SeededSampler
from designer.search.study.trials import failed, finished, running, waiting

LONG = 3 * REMEMBERED
MAXIMIZE, MINIMIZE = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE


def trials_with(values: np.ndarray, state: TrialState = TrialState.COMPLETE) -> list[FrozenTrial]:
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


def part_of(trials: list[FrozenTrial], directions: Sequence[StudyDirection]) -> list[int]:
    """Return the numbers of the trials that a sampler learns from."""
    return [trial.number for trial in remembered(History(directions, trials))]


def test_a_short_history_is_seen_as_it_is() -> None:
    history = History([MAXIMIZE], trials_with(np.arange(REMEMBERED)))
    assert remembered(history) is history


@pytest.mark.parametrize("direction", [MAXIMIZE, MINIMIZE])
def test_the_best_of_a_long_history_are_always_seen(direction: StudyDirection) -> None:
    values = np.random.default_rng(0).permutation(LONG).astype(float)
    part = part_of(trials_with(values), [direction])
    order = np.argsort(-values if direction is MAXIMIZE else values)
    assert set(order[:BEST].tolist()) <= set(part)
    assert len(part) == REMEMBERED
    assert part == sorted(part)


def test_the_others_are_spread_over_the_whole_study() -> None:
    part = part_of(trials_with(np.zeros(LONG)), [MAXIMIZE])
    others = [i for i in part if i >= BEST]  # of equal ones the earlier are the best
    assert max(np.diff(others)) <= 2 * LONG / REMEMBERED
    assert others[-1] >= LONG - 2 * LONG / REMEMBERED


def test_every_goal_has_its_best() -> None:
    values = np.random.default_rng(1).normal(size=(LONG, 2))
    part = set(part_of(trials_with(values), [MAXIMIZE, MINIMIZE]))
    assert set(np.argsort(-values[:, 0])[:BEST].tolist()) <= part
    assert set(np.argsort(values[:, 1])[:BEST].tolist()) <= part


def test_with_several_goals_the_whole_front_is_seen() -> None:
    values = np.random.default_rng(2).normal(size=(LONG, 3))
    study = optuna.create_study(directions=["maximize", "maximize", "minimize"])
    study.add_trials(trials_with(values))
    part = set(part_of(trials_with(values), study.directions))
    assert {trial.number for trial in study.best_trials} <= part
    assert len(part) == REMEMBERED


def test_a_front_that_is_too_long_is_seen_from_end_to_end() -> None:
    angles = np.random.default_rng(3).permutation(np.linspace(0, np.pi / 2, 3 * LONG))
    values = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    part = part_of(trials_with(values), [MAXIMIZE, MAXIMIZE])
    assert len(part) == REMEMBERED
    ordered = np.sort(angles[part])
    assert ordered[0] == 0
    assert ordered[-1] == np.pi / 2
    places = np.round(ordered / (np.pi / 2) * (3 * LONG - 1)).astype(int)
    assert np.diff(places).max() <= np.ceil((3 * LONG - 1) / (FRONT - 1))


@settings(deadline=None, derandomize=True)
@given(values=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=30))
def test_the_front_is_that_of_optuna_whatever_the_order(values: list[tuple[int, int]]) -> None:
    ranking = Ranking([MAXIMIZE, MINIMIZE])
    study = optuna.create_study(directions=["maximize", "minimize"])
    for number, row in enumerate(values):
        ranking.add(number, row)
        study.add_trial(create_trial(values=row))
        if number % 3 == 0:
            ranking.front()  # the front of a part is the start of the next
    best = {tuple(trial.values) for trial in study.best_trials}
    front = ranking.front()
    assert {values[number] for number in front} == best
    assert front == [values.index(values[number]) for number in front]  # of equal ones the earliest


def test_trials_under_way_are_seen_and_failed_ones_are_not() -> None:
    trials = trials_with(np.zeros(LONG))
    trials[7].state, trials[-1].state = TrialState.FAIL, TrialState.RUNNING
    part = part_of(trials, [MAXIMIZE])
    assert LONG - 1 in part
    assert 7 not in part


def proposal(trials: list[FrozenTrial], sampler: SeededSampler | None = None) -> float:
    storage = KnownTrials(trials)
    study = optuna.create_study(storage=storage, direction="maximize", sampler=sampler)
    trial = optuna.Trial(study, storage.create_new_trial(0))
    return trial.suggest_float("x", 0, 1)


def test_proposals_from_a_long_history_follow_its_best_and_are_the_same_again() -> None:
    trials = trials_with(np.array([-abs(i % 97 - 48) for i in range(LONG)], dtype=float))
    proposals = [proposal(trials, SeededSampler(seed)) for seed in range(20)]
    assert abs(np.median(proposals) - 0.5) < 0.1  # the best x is 48 / 97
    assert proposals == [proposal(trials, SeededSampler(seed)) for seed in range(20)]


def test_what_is_not_seen_does_not_change_a_proposal_but_its_number_does() -> None:
    trials = trials_with(np.array([-abs(i % 97 - 48) for i in range(LONG)], dtype=float))
    longer = trials_with(np.array([-abs(i % 97 - 48) for i in range(LONG + 1)], dtype=float))
    assert proposal(trials, SeededSampler(0)) != proposal(longer, SeededSampler(0))


@pytest.mark.parametrize("length", [3, STARTUP_TRIALS, REMEMBERED])
def test_up_to_the_bound_proposals_are_those_of_tpe_itself(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def noted(seed: int, **options: Any) -> TPESampler:
        seeds.append(seed)
        return TPESampler(seed=seed, **options)

    monkeypatch.setattr(sampler_module, "TPESampler", noted)
    trials = trials_with(np.random.default_rng(0).normal(size=length))
    ours = proposal(trials, SeededSampler(4))
    plain = TPESampler(seed=seeds[0], n_startup_trials=STARTUP_TRIALS)
    assert ours == proposal(trials, plain)  # type: ignore[arg-type]


STATES = st.sampled_from(TrialState)
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        SPEC: st.sampled_from([{"widths": [1]}, {"widths": [2]}, {"widths": [1, 2]}]),
        REJECTED: st.just("known"),
        LOST: st.sampled_from([True]),
        RECORD: st.just({"looks": [0.5]}),
    },
)


@settings(deadline=None, derandomize=True)
@given(
    rows=st.lists(st.tuples(STATES, ATTRIBUTES, st.integers(-3, 3)), max_size=20),
    unfinished=st.integers(0, 20),
)
def test_a_history_adds_up_to_what_a_look_at_all_trials_says(
    rows: list[tuple[TrialState, dict[str, Any], int]], unfinished: int
) -> None:
    """A history that was read half-way, with some trials still running, is brought up to date."""
    after = [ended(number, *row) for number, row in enumerate(rows)]
    half = after[: len(after) // 2]
    before = [ended(t.number, TrialState.RUNNING, {}, 0) for t in half[:unfinished]]
    history = History([MAXIMIZE], [*before, *half[unfinished:]])
    history.update(after)
    assert list(history) == after
    assert history.finished == [t.number for t in finished(after)]
    assert history.running == running(after)
    assert history.waiting == waiting(after)
    assert history.failed == len(failed(after))
    assert history.lasting == sum(LOST not in t.user_attrs for t in after)
    values = [t.values[0] for t in after if t.state is TrialState.COMPLETE]
    assert history.highest == max(values, default=None)
    latest = [t for t in reversed(after) if t.state.is_finished() and LOST not in t.user_attrs]
    handed_back = itertools.takewhile(lambda t: REJECTED in t.user_attrs, latest)
    assert history.rejected_in_a_row == len(list(handed_back))
    for place in range(len(after) + 1):
        earlier = after[:place]
        counted = [*finished(earlier), *running(earlier), *waiting(earlier)]
        assert history.places_before(place) == len(counted)
        for widths in ([1], [1, 2], []):
            spec = {"widths": widths}
            alike = [t for t in earlier if t.user_attrs.get(SPEC) == spec]
            twins = [t for t in alike if REJECTED not in t.user_attrs]
            assert history.twin_of(spec, before=place) == next(iter(twins), None)


def ended(number: int, state: TrialState, attributes: dict[str, Any], value: int) -> FrozenTrial:
    """Return a trial in any state."""
    complete = state is TrialState.COMPLETE
    trial = create_trial(
        state=state, values=[float(value)] if complete else None, user_attrs=attributes
    )
    trial.number = number
    return trial


class Watched(list[FrozenTrial]):
    """Trials that count how many of them are looked at."""

    looks = 0

    def __getitem__(self, place: Any) -> Any:
        part = super().__getitem__(place)
        self.looks += len(part) if isinstance(place, slice) else 1
        return part

    def __iter__(self) -> Any:
        self.looks += len(self)
        return super().__iter__()


@pytest.mark.parametrize("length", [2 * REMEMBERED, 20 * REMEMBERED])
def test_the_trials_that_a_proposal_looks_at_do_not_become_more(length: int) -> None:
    trials = Watched(trials_with(np.random.default_rng(0).normal(size=length)))
    history = History([MAXIMIZE], trials)
    trials.looks = 0
    history.update(trials)
    history.twin_of({"widths": [1]})
    history.places_before(length)
    study = optuna.create_study(direction="maximize")
    SeededSampler(0, history=history).before_trial(study, trials_with(np.zeros(1))[0])
    assert trials.looks == REMEMBERED


def test_a_study_has_one_history_that_follows_it() -> None:
    study = optuna.create_study(direction="maximize")
    history = history_of(study)
    trial = study.ask()
    assert history_of(study) is history
    assert [t.number for t in history.running] == [0]
    study.tell(trial, 0.5)
    assert history_of(study).finished == [0]
    assert history.highest == 0.5
