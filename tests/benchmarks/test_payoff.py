"""What the claim about whole searches counts: time, regret and the volume of a front."""

from __future__ import annotations

import pytest

from benchmarks.claim import Figures
from benchmarks.claims.payoff import figures_of, task_of, volume
from benchmarks.claims.payoff_searches import (
    HALF,
    NO_EDITS,
    NO_PRUNING,
    OURS,
    REFERENCE,
    SearchTask,
    Setting,
    search_outcome,
    true_accuracy,
    truth_task,
)

DIGITS = Setting("mlp", "digits", max_params=20_000)


def spec(width: int) -> Figures:
    return {
        "widths": [width],
        "normalisation": "batch",
        "activation": "relu",
        "learning_rate": 1e-3,
    }


def test_the_volume_is_the_mean_best_accuracy_over_the_logarithm_of_the_size() -> None:
    # one decade at chance, one at 60 %, one at 90 %; what is larger and worse counts for nothing
    front = [(10_000, 90.0), (1_000, 60.0), (2_000, 50.0)]
    assert volume(front, 100, 100_000, chance=10) == pytest.approx((10 + 60 + 90) / 3)
    assert volume([], 100, 100_000, chance=10) == pytest.approx(10)
    assert volume([(100, 70.0)], 100, 100_000, chance=10) == pytest.approx(70)


def test_other_arms_have_as_long_as_ours_took() -> None:
    ours = {
        "seconds": 40.0,
        "phases": {"SEARCH": 10.0, "CONFIRMATION": 20.0, "EDITS": 39.9},
        "epochs": 5.0,
    }
    assert task_of(DIGITS, REFERENCE, 3, ours).seconds == 40
    assert task_of(DIGITS, HALF, 3, ours).trials == 15
    assert task_of(DIGITS, NO_EDITS, 3, ours).trials == 90  # 20 s more where 30 trials took 10 s
    assert task_of(DIGITS, NO_PRUNING, 3, ours).trials == 15  # each trains twice the epochs


def test_regret_is_that_of_the_latest_incumbent() -> None:
    search = {"moments": [(1.0, spec(8)), (4.0, spec(16))], "front": [spec(8)], "trials": 3}
    late = {"moments": [(3.0, spec(16))], "front": [spec(16)], "trials": 1}
    truths = {
        str(truth_task(DIGITS, spec(8)).spec): {"accuracies": [79.0, 81.0], "parameters": 100},
        str(truth_task(DIGITS, spec(16)).spec): {"accuracies": [90.0, 90.0], "parameters": 1000},
    }
    figures = figures_of(
        {
            OURS: [{**search, "seconds": 4.0}] * 2,
            REFERENCE: [{**late, "seconds": 4.0}] * 2,
        },
        truths,
        chance=0.1,
    )
    ours, theirs = figures["arms"][OURS], figures["arms"][REFERENCE]
    assert ours["curve"]["0.5"]["mean"] == 10
    assert ours["curve"]["1.0"]["mean"] == 0
    assert theirs["curve"]["0.5"]["mean"] is None
    assert theirs["curve"]["1.0"]["mean"] == 0
    assert theirs["regret_lead_of_ours_at_half"]["mean"] == -10
    assert ours["near"] == [4.0, 4.0]
    assert theirs["near"] == [3.0, 3.0]
    assert (ours["volume"]["mean"], theirs["volume"]["mean"]) == (80, 10)
    assert theirs["volume_lead_of_ours"]["mean"] == 70


def test_a_search_stops_when_its_time_is_over_and_keeps_to_the_limit_of_size() -> None:
    limited = Setting("mlp", "digits", max_params=3_000)
    outcome = search_outcome(SearchTask(limited, REFERENCE, seed=0, seconds=5.0))
    assert outcome["moments"]
    assert all(seconds <= 5.0 for seconds, _ in outcome["moments"])
    for network in outcome["front"]:
        assert true_accuracy(truth_task(limited, network))["parameters"] <= 3_000
