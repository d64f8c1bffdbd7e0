"""Trials are compared between epochs and stopped if they fall behind."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.pruners import MedianPruner
from optuna.trial import TrialState, create_trial

import designer
from designer.analysis.look import Look, LookSamples
from designer.choices import Objective
from designer.measures.score import above_chance, heldout_separation
from designer.results.search import SearchResult
from designer.search.candidates import train_spec
from designer.search.job import Job
from designer.search.looks import falls_behind, intermediate_score, looking_epochs
from designer.search.options import SearchOptions
from designer.search.progress import Progress
from designer.search.storage.location import StudyLocation
from designer.search.study.looks_table import LooksTable
from designer.search.study.records import TrialRecord
from designer.training.trainer import accuracy
from search_spaces import MlpSpace, MlpSpec
from tests.support.searches import comparable, states, studies
from tests.support.toy import toy_data

scores = st.floats(-1, 1, width=16)
TRIALS, SEED = 16, 5
"""A short search in which some trials are pruned."""

runs = st.lists(scores, min_size=1, max_size=5)


def pruning_run(out: Path, **options: Any) -> SearchResult:
    """Search perceptrons on toy data, with enough trials that some are pruned."""
    short: dict[str, Any] = {"trials": TRIALS, "seed": SEED, "epochs": 4, "edits": 0}
    arguments = {**short, "confirm": 2, "confirm_seeds": 1, **options}
    return designer.search("mlp", "tests.support.toy:blobs", out=out, **arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SearchResult]:
    out = tmp_path_factory.mktemp("runs") / "pruned"
    return out, pruning_run(out)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(own=runs, others=st.lists(runs, max_size=6), fewest=st.integers(0, 4))
def test_the_rule_is_that_of_optuna(
    own: list[float], others: list[list[float]], fewest: int
) -> None:
    pruner = MedianPruner(n_startup_trials=fewest)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    study.add_trials(
        [create_trial(value=0.0, intermediate_values=dict(enumerate(other))) for other in others]
    )
    trial = create_trial(state=TrialState.RUNNING, intermediate_values=dict(enumerate(own)))
    assert falls_behind(own, LooksTable(others), fewest) == pruner.prune(study, trial)


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({}, set(range(1, 10))),
        ({"objective": Objective.ACCURACY, "epochs": 3}, {1, 2}),
        ({"objective": Objective.LAW}, {5}),
        ({"objective": Objective.LAW, "epochs": 1}, set()),
        ({"objective": Objective.PARETO}, set()),
        ({"epochs": 1}, set()),
        ({"prune": False}, set()),
    ],
)
def test_trials_are_compared_after_all_epochs_but_the_last(
    options: dict[str, Any], epochs: set[int]
) -> None:
    assert looking_epochs(SearchOptions(**options)) == epochs


def test_trials_are_pruned_unless_told_otherwise(
    finished: tuple[Path, SearchResult], tmp_path: Path
) -> None:
    _, result = finished
    counts = result.study.trials
    assert counts.complete + counts.pruned == TRIALS
    assert counts.pruned > 0
    whole = pruning_run(tmp_path, prune=False).study.trials
    assert (whole.complete, whole.pruned) == (TRIALS, 0)


def test_a_pruned_trial_says_when_and_why_and_has_no_score(
    finished: tuple[Path, SearchResult],
) -> None:
    out, result = finished
    trials = studies(out)[0].get_trials()
    for row in result.trials:
        if row.state == "pruned":
            looks = TrialRecord.read(trials[row.number]).measurements.looks
            assert looks
            assert row.epochs == len(looks) < 4
            said_after, said_score = re.findall(r"[\d.]+(?= epochs?| was)", row.reason)
            assert row.reason.endswith("was below the median.")
            assert (int(said_after), said_score) == (row.epochs, f"{looks[-1]:.3f}")
            assert "held-out separation" in row.reason
            assert (row.score, row.validation_accuracy, row.curve) == (None, None, None)
            assert row.parameters
            # The sampler ranks pruned trials by the last value that they reported.
            assert trials[row.number].intermediate_values == {row.epochs: looks[-1]}


def test_looks_of_complete_trials_are_those_that_pruned_trials_were_behind(
    finished: tuple[Path, SearchResult],
) -> None:
    trials = studies(finished[0])[0].get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    complete: list[tuple[float, ...]] = []
    for trial in trials:  # one worker ends them in order
        looks = TrialRecord.read(trial).measurements.looks or ()
        others = LooksTable(complete)
        behind = [falls_behind(looks[:n], others, 10) for n in range(1, len(looks) + 1)]
        pruned = trial.state is TrialState.PRUNED
        assert behind == [False] * (len(looks) - pruned) + [True] * pruned
        if not pruned:
            assert len(looks) == 3
            complete.append(looks)


def test_the_same_seed_prunes_and_recommends_the_same(
    finished: tuple[Path, SearchResult], tmp_path: Path
) -> None:
    assert comparable(pruning_run(tmp_path)) == comparable(finished[1])


def test_a_stopped_search_goes_on_to_what_it_would_have_been(
    finished: tuple[Path, SearchResult], tmp_path: Path
) -> None:
    def stop(progress: Progress) -> None:
        if progress.finished >= 12:
            signal.raise_signal(signal.SIGINT)

    stopped = pruning_run(tmp_path, progress=stop)
    assert 12 <= len(stopped.trials) < TRIALS
    again, whole = comparable(pruning_run(tmp_path)), comparable(finished[1])
    for report in (again, whole):  # what was stopped was handed back under a number of its own
        for row in report["trials"]:
            del row["number"]
    assert again["trials"] == whole["trials"]
    assert [r["spec"] for r in again["recommendations"]] == [
        r["spec"] for r in whole["recommendations"]
    ]


def test_several_workers_prune_and_finish_exactly_the_wanted_trials(tmp_path: Path) -> None:
    result = pruning_run(tmp_path, trials=24, workers=2)
    counts = result.study.trials
    assert counts.complete + counts.pruned == 24
    assert counts.complete >= 10
    assert "RUNNING" not in states(tmp_path)
    assert result.recommendations


def test_as_many_trials_complete_as_are_to_be_confirmed(tmp_path: Path) -> None:
    result = pruning_run(tmp_path, trials=20, confirm=15, confirm_epochs=1)
    assert result.study.trials.complete >= 15
    ended = [row.state for row in sorted(result.trials, key=lambda row: row.number)]
    assert ended[:15] == ["complete"] * 15


def test_pareto_is_not_pruned(tmp_path: Path) -> None:
    assert pruning_run(tmp_path, objective="pareto").study.trials.pruned == 0


@pytest.mark.parametrize("objective", ["design", "accuracy", "law"])
def test_what_is_compared_is_what_the_objective_needs(objective: str, tmp_path: Path) -> None:
    data = toy_data()
    options = SearchOptions.of(objective=objective, out=tmp_path)
    job = Job(MlpSpace(), "mlp", data, options, StudyLocation(tmp_path))
    spec = MlpSpec((16, 12, 8), "batch", "relu", 3e-3)
    model, _ = train_spec(job.space, spec, data, seed=0, epochs=2)
    look = Look(model, LookSamples.of(data, options.seed)).heldout_accuracies()
    h = heldout_separation(look.blocks, data.chance)  # all validation samples are looked at
    v = above_chance(accuracy(model, data.validation), data.chance)
    expected = {
        "design": (h + v) / 2,
        "accuracy": accuracy(model, data.validation),
        "law": designer.design_score(
            designer.profile(model, data.train, data.validation)
        ).adherence,
    }
    score = intermediate_score(job, model)
    assert score() == pytest.approx(expected[objective], abs=0.1 if objective == "law" else 1e-9)
    torch.nn.init.constant_(model.get_parameter("blocks.1.linear.weight"), float("nan"))
    first_class = float((data.validation.labels == 0).double().mean())
    broken = {"design": 0.0, "accuracy": first_class, "law": -1.0}
    assert score() == pytest.approx(broken[objective])
