"""Claims on the trials of a study, and what the sampler proposes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from designer.search.options import SearchOptions
from designer.search.progress import Phase
from designer.search.storage.caching import CachingStorage
from designer.search.storage.opening import open_file, quiet_optuna
from designer.search.study.claims import Rejected, TrialClaims, open_study
from designer.search.study.history import history_of
from designer.search.study.keys import REASON, REJECTED, SPEC, WORKER
from designer.search.study.proposals import draft_trial
from designer.search.study.trials import failed, running, trials_of


def claims_on(storage: CachingStorage) -> TrialClaims:
    """Claims on the trials of a search in this storage."""
    return TrialClaims(open_study(storage, Phase.SEARCH, SearchOptions()), storage)


@pytest.fixture
def claims(tmp_path: Path) -> Iterator[TrialClaims]:
    with quiet_optuna(), open_file(tmp_path / "study.db") as storage:
        yield claims_on(storage)


@pytest.fixture
def study(claims: TrialClaims) -> optuna.Study:
    return claims.study


def proposal(trials: Sequence[FrozenTrial], x: float | None = None) -> FrozenTrial:
    x = len(trials) / 100 if x is None else x
    return create_trial(
        state=TrialState.RUNNING,
        params={"x": x},
        distributions={"x": FloatDistribution(0, 1)},
        user_attrs={SPEC: {"x": x}},
    )


def claimed(claims: TrialClaims, wanted: int, worker: str) -> optuna.Trial | None:
    def propose(trials: Sequence[FrozenTrial]) -> FrozenTrial:
        proposed = proposal(trials)
        proposed.set_user_attr(WORKER, worker)
        return proposed

    return claims.claim(wanted, worker, propose)


def test_no_more_trials_than_wanted_are_under_way(claims: TrialClaims) -> None:
    assert claimed(claims, 2, worker="1") is not None
    assert claimed(claims, 2, worker="2") is not None
    assert claimed(claims, 2, worker="3") is None


def test_of_two_that_claim_at_once_the_later_gives_way(
    claims: TrialClaims, study: optuna.Study
) -> None:
    def propose(trials: Sequence[FrozenTrial]) -> FrozenTrial:
        assert claimed(claims, 1, worker="1") is not None  # between what we read and what we write
        return proposal(trials, 0.7)

    assert claims.claim(1, "2", propose) is None
    assert [t.user_attrs[WORKER] for t in running(trials_of(study))] == ["1"]
    assert not failed(trials_of(study))


def test_of_two_that_propose_the_same_at_once_the_earlier_goes_on(
    claims: TrialClaims, study: optuna.Study
) -> None:
    def propose(trials: Sequence[FrozenTrial]) -> FrozenTrial:
        if not trials:
            claims.claim(2, "1", lambda _: proposal([], 0.5))
        return proposal(trials, 0.5)

    with pytest.raises(Rejected, match="equal to trial 0"):
        claims.claim(2, "2", propose)
    assert [t.number for t in running(trials_of(study))] == [0]


def test_a_proposal_that_ended_at_once_is_kept_and_not_run(
    claims: TrialClaims, study: optuna.Study
) -> None:
    refused = create_trial(state=TrialState.FAIL, user_attrs={REJECTED: "too large"})
    with pytest.raises(Rejected, match="too large"):
        claims.claim(1, "1", lambda _: refused)
    broken = create_trial(state=TrialState.FAIL, user_attrs={REASON: "it broke"})
    with pytest.raises(Rejected, match="it broke"):
        claims.claim(1, "1", lambda _: broken)
    trials = trials_of(study)
    assert not running(trials)
    assert [t.number for t in failed(trials)] == [1]


def test_what_somebody_enqueued_by_hand_is_taken_first(
    claims: TrialClaims, study: optuna.Study
) -> None:
    study.enqueue_trial({"x": 0.25})
    taken = claimed(claims, 2, "1")
    assert taken is not None
    assert taken.suggest_float("x", 0, 1) == 0.25


def test_failed_trials_make_room_and_rejected_ones_count_as_nothing(
    claims: TrialClaims, study: optuna.Study
) -> None:
    first = claimed(claims, 1, worker="1")
    assert first is not None
    study.tell(first, state=TrialState.FAIL)
    second = claimed(claims, 1, worker="1")
    assert second is not None
    claims.reject(second, "known")
    assert claimed(claims, 1, worker="1") is not None
    assert [t.number for t in failed(trials_of(study))] == [first.number]


def test_rejections_in_a_row_are_counted_from_the_latest(
    claims: TrialClaims, study: optuna.Study
) -> None:
    for why in ("a", "b"):
        claims.reject(study.ask(), why)
    assert history_of(study).rejected_in_a_row == 2
    study.tell(study.ask(), 1.0)
    assert history_of(study).rejected_in_a_row == 0


def test_trials_of_a_dead_worker_are_released(claims: TrialClaims, study: optuna.Study) -> None:
    dead, alive = claimed(claims, 9, worker="7"), claimed(claims, 9, worker="8")
    assert dead is not None
    assert alive is not None
    assert claims.retry_of("7", "gone") == 1
    assert [t.number for t in running(trials_of(study))] == [alive.number]
    assert study.get_trials()[dead.number].user_attrs[REJECTED] == "gone"


def test_waiting_trials_are_taken_once(claims: TrialClaims, study: optuna.Study) -> None:
    study.enqueue_trial({"x": 0.5}, user_attrs={"confirms": 0})
    (taken,) = claims.claim_waiting(worker="1")
    assert taken.suggest_float("x", 0, 1) == 0.5
    assert claims.claim_waiting(worker="2") == []


def test_several_that_confirm_the_same_are_taken_together(
    claims: TrialClaims, study: optuna.Study
) -> None:
    for confirms, seed in ((7, 1), (8, 1), (7, 2), (7, 3), (7, 4)):
        attributes = {"confirms": confirms, "seed": seed, "epochs": 30}
        study.enqueue_trial({"x": confirms / 10}, user_attrs=attributes)
    together = claims.claim_waiting(worker="1", at_most=3)
    assert [(t.user_attrs["confirms"], t.user_attrs["seed"]) for t in together] == [
        (7, 1), (7, 2), (7, 3),
    ]  # fmt: skip
    assert [t.number for t in claims.claim_waiting(worker="2", at_most=3)] == [1]
    assert [t.number for t in claims.claim_waiting(worker="2", at_most=3)] == [4]


def test_what_another_took_since_we_read_is_left_to_it(
    claims: TrialClaims, study: optuna.Study, tmp_path: Path
) -> None:
    for x in (0.25, 0.5):
        study.enqueue_trial({"x": x})
    assert len(trials_of(study)) == 2  # and this answer is cached
    with open_file(tmp_path / "study.db") as elsewhere:
        theirs = claims_on(elsewhere).claim_waiting("2")
    ours = claims.claim_waiting("1")
    assert [t.number for t in (*theirs, *ours)] == [0, 1]
    assert claims.claim_waiting("1") == []
    assert len(trials_of(study)) == 2


def test_a_dead_workers_last_trial_is_found_however_late_it_began(
    claims: TrialClaims, study: optuna.Study, tmp_path: Path
) -> None:
    assert trials_of(study) == []  # and this answer is cached
    with open_file(tmp_path / "study.db") as elsewhere:
        assert claimed(claims_on(elsewhere), 9, worker="7") is not None
    assert claims.retry_of("7", "gone") == 1


def proposals(study: optuna.Study, options: SearchOptions, count: int) -> list[float]:
    values = []
    for _ in range(count):
        draft = draft_trial(options, history_of(study), "1")
        x = draft.suggest_float("x", 0, 1)
        values.append(x)
        study.add_trial(create_trial(
            params=draft.params, distributions=draft.distributions, value=-((x - 0.3) ** 2)
        ))  # fmt: skip
    return values


def test_proposals_depend_only_on_seed_number_and_history(tmp_path: Path) -> None:

    def drawn(name: str, count: int, seed: int = 0) -> list[float]:
        options = SearchOptions(seed=seed)
        with quiet_optuna(), open_file(tmp_path / name) as storage:
            return proposals(open_study(storage, Phase.SEARCH, options), options, count)

    whole = drawn("a", 16)
    assert drawn("b", 12) + drawn("b", 4) == whole
    assert drawn("c", 16, seed=1) != whole
    assert len(set(whole)) == 16


def test_where_others_are_at_work_each_worker_draws_from_its_own_stream(
    claims: TrialClaims,
    study: optuna.Study,
) -> None:
    def drawn(worker: str) -> float:
        return draft_trial(SearchOptions(), history_of(study), worker).suggest_float("x", 0, 1)

    assert drawn("1") == drawn("2")
    assert claimed(claims, 9, worker="3") is not None
    assert len({drawn("1"), drawn("1"), drawn("2")}) == 2
    assert drawn("3") not in (drawn("1"), drawn("2"))


def test_a_draft_is_nobodys_trial(study: optuna.Study) -> None:
    study.add_trial(create_trial(value=1.0))
    study.enqueue_trial({"x": 0.25})
    drafted_x = draft_trial(SearchOptions(), history_of(study), "1").suggest_float("x", 0, 1)
    assert drafted_x != 0.25
    assert [t.state for t in trials_of(study)] == [TrialState.COMPLETE, TrialState.WAITING]


def test_what_a_stop_handed_back_is_proposed_again(tmp_path: Path) -> None:
    def drawn(name: str, stopped_at: int) -> list[float]:
        with quiet_optuna(), open_file(tmp_path / name) as storage:
            claims = claims_on(storage)
            before = proposals(claims.study, SearchOptions(), stopped_at)
            lost = claimed(claims, 14, "1")
            assert lost is not None
            claims.reject(lost, "the run was stopped", lost=True)
            return before + proposals(claims.study, SearchOptions(), 14 - stopped_at)

    assert drawn("a", 3) == drawn("b", 12)
