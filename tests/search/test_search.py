"""The search end to end, on toy data where that is enough and on digits where it counts."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from jsonschema import Draft202012Validator
from optuna.trial import TrialState

import designer
from designer.data.loading import load_dataset
from designer.folders import STORAGE_FILE
from designer.results.measured import Verdict
from designer.results.search import SearchResult
from designer.results.serialisation import read_result, report_schema
from designer.search.progress import Progress
from designer.search.workers import phases
from designer.training.trainer import accuracy
from search_spaces import MlpSpace
from tests.support.searches import comparable, run, states, studies


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SearchResult]:
    out = tmp_path_factory.mktemp("runs") / "digits"
    return out, designer.search(
        "mlp", "digits", trials=14, epochs=10, seed=0, confirm=3, edits=3, out=out
    )


class TestDigits:
    def test_recommends_accurate_architectures(self, digits: tuple[Path, SearchResult]) -> None:
        _, result = digits
        assert len(result.recommendations) >= 3
        best = result.recommendations[0]
        assert best.validation_accuracy.mean >= 0.96
        assert best.validation_accuracy.seeds == 3
        assert best.test_accuracy is not None
        assert best.test_accuracy.mean >= 0.94
        assert best.reason
        assert "most accurate" in best.roles

    def test_says_of_every_layer_what_it_contributes(
        self, digits: tuple[Path, SearchResult]
    ) -> None:
        for recommendation in digits[1].recommendations:
            assert len(recommendation.layers) == len(recommendation.spec["widths"])
            for layer in recommendation.layers:
                assert layer.step is not None
                assert layer.share is not None
                assert layer.interval is not None
                assert layer.interval[0] <= layer.share <= layer.interval[1]
                assert layer.verdict
                assert layer.advice

    def test_says_of_every_layer_what_it_is_needed_for(
        self, digits: tuple[Path, SearchResult]
    ) -> None:
        for recommendation in digits[1].recommendations:
            for layer in recommendation.layers:
                assert layer.contribution is not None
                assert layer.contribution_reason == ""
                assert layer.contribution.accuracy is not None
                assert layer.parameters is not None
                assert 0 < layer.parameters < recommendation.parameters
                if layer.advice.startswith("remove"):
                    assert layer.verdict is Verdict.IDLE
        layers = [layer for network in digits[1].recommendations for layer in network.layers]
        assert any(layer.contribution and layer.contribution.needed for layer in layers)

    def test_report_keeps_to_its_schema(self, digits: tuple[Path, SearchResult]) -> None:
        out, result = digits
        written = json.loads((out / "report.json").read_text())
        Draft202012Validator(report_schema()).validate(written)
        assert read_result(out) == result

    def test_finds_the_finished_trials_again(self, digits: tuple[Path, SearchResult]) -> None:
        out, result = digits
        calls: list[Progress] = []
        again = designer.search(
            "mlp", "digits", trials=14, confirm=3, edits=3, out=out, progress=calls.append
        )
        assert comparable(again) == comparable(result)
        assert {(p.finished, p.total) for p in calls if p.phase == "search"} == {(14, 14)}

    def test_no_architecture_is_trained_twice(self, digits: tuple[Path, SearchResult]) -> None:
        specs = [json.dumps(row.spec, sort_keys=True) for row in digits[1].trials]
        assert len(specs) == len(set(specs)) == 14

    def test_saved_models_give_the_reported_accuracy(
        self, digits: tuple[Path, SearchResult]
    ) -> None:
        out, result = digits
        data = load_dataset("digits")
        for recommendation in result.recommendations:
            loaded = designer.load_best(out / "best" / str(recommendation.rank))
            assert loaded.spec == recommendation.spec
            assert sum(p.numel() for p in loaded.model.parameters()) == recommendation.parameters
            test = recommendation.test_accuracy
            assert test is not None
            spread = 2 * (test.sd or 0) + 1e-9  # of three values, none is further from the mean
            assert abs(accuracy(loaded.model, data.test) - test.mean) <= spread


def test_same_seed_gives_the_same_result_and_another_does_not(tmp_path: Path) -> None:
    first, second = run(tmp_path / "a"), run(tmp_path / "b")
    assert comparable(first) == comparable(second)
    assert comparable(run(tmp_path / "c", seed=1)) != comparable(first)


def test_leaves_torch_as_it_was(tmp_path: Path) -> None:
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    run(tmp_path / "a")
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_continued_search_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    run(tmp_path / "a", trials=4)
    continued = run(tmp_path / "a", trials=8)
    assert comparable(continued)["trials"] == comparable(run(tmp_path / "b", trials=8))["trials"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a search give a space up sooner."""
    monkeypatch.setattr(phases, "MAX_REJECTED", 80)


@pytest.mark.usefixtures("impatient")
def test_ends_where_the_space_is_used_up(tmp_path: Path) -> None:
    result = run(tmp_path / "a", trials=40)
    assert result.study.trials.complete == 12
    assert "space_used_up" in [w.code for w in result.warnings]


def test_networks_within_a_tight_limit_are_found(tmp_path: Path) -> None:
    """Hardly any proposal at random is as small as that."""
    options: dict[str, Any] = {"trials": 2, "epochs": 1, "confirm": 1, "confirm_seeds": 1}
    data = "tests.support.toy:blobs"
    result = designer.search("mlp", data, out=tmp_path / "a", max_params=600, edits=0, **options)
    assert result.study.trials.complete == 2
    assert all((row.parameters or 0) <= 600 for row in result.trials)


@pytest.mark.usefixtures("impatient")
def test_limits_keep_large_architectures_out(tmp_path: Path) -> None:
    result = run(tmp_path / "a", max_params=900)
    assert result.trials
    assert all(row.parameters is not None and row.parameters <= 900 for row in result.trials)
    flops = min(row.flops for row in result.trials if row.flops is not None)
    cheap = run(tmp_path / "b", trials=3, max_flops=flops)
    assert {row.flops for row in cheap.trials} == {flops}


@pytest.mark.usefixtures("impatient")
def test_limits_that_nothing_meets_are_explained(tmp_path: Path) -> None:
    result = run(tmp_path / "a", max_params=5)
    assert not result.trials
    assert not result.recommendations
    assert "over the limit of 5" in result.warnings[0].message


def test_failed_trials_are_recorded_and_replaced(tmp_path: Path) -> None:
    result = run(tmp_path / "a", "DivergingSpace", trials=8)
    counts = result.study.trials
    assert counts.complete == 8
    assert 0 < counts.failed <= 4
    failures = [row for row in result.trials if row.state == "failed"]
    assert all(row.spec["widths"][0] == 8 for row in failures)
    assert all("loss became nan in epoch 1" in row.reason for row in failures)
    assert "failed_trials" in [w.code for w in result.warnings]


def test_a_space_where_all_fails_ends_with_the_reason(tmp_path: Path) -> None:
    result = run(tmp_path / "a", "BrokenSpace", trials=3)
    assert result.study.trials.complete == 0
    assert result.study.trials.failed == 4
    assert "ValueError: cannot be trained" in result.warnings[0].message
    assert read_result(tmp_path / "a") == result


def test_a_space_of_a_plain_class_continues_in_another_process(tmp_path: Path) -> None:
    run(tmp_path, "PlainSpace", trials=2)
    identity = studies(tmp_path)[0].user_attrs["identity"]
    assert identity["space_definition"] == "tests.support.toy:PlainSpace"


def test_a_customised_space_is_passed_to_load_its_models(tmp_path: Path) -> None:
    space = MlpSpace(min_width=300, max_width=400, min_depth=1, max_depth=1)
    data = load_dataset("tests.support.toy:blobs")
    result = designer.search(
        space, data, trials=1, epochs=1, confirm=1, confirm_seeds=1, confirm_epochs=1, out=tmp_path
    )
    loaded = designer.load_best(tmp_path / "best" / "1", space)
    assert loaded.spec == result.recommendations[0].spec


def test_a_rare_class_that_is_learnt_is_not_chance(tmp_path: Path) -> None:
    result = designer.search(
        "tests.support.toy:TinySpace",
        "tests.support.toy:imbalanced",
        trials=2,
        epochs=20,
        confirm=1,
        out=tmp_path,
    )
    assert result.recommendations[0].validation_accuracy.mean > 0.99
    assert "chance_accuracy" not in [w.code for w in result.warnings]


@pytest.mark.parametrize("objective", ["law", "accuracy", "pareto"])
def test_other_objectives(objective: str, tmp_path: Path) -> None:
    result = run(tmp_path / "a", objective=objective)
    values = [
        t.values for t in studies(tmp_path / "a")[0].get_trials() if t.state.name == "COMPLETE"
    ]
    rows = [row for row in result.trials if row.state == "complete"]
    expected: dict[str, list[list[Any]]] = {
        "law": [[row.adherence] for row in rows],
        "accuracy": [[row.validation_accuracy] for row in rows],
        "pareto": [[row.score, row.validation_accuracy, row.parameters] for row in rows],
    }
    assert values == expected[objective]
    assert result.recommendations


def test_a_single_trial_gives_a_single_recommendation(tmp_path: Path) -> None:
    result = run(tmp_path, trials=1, confirm_seeds=1)
    assert len(result.recommendations) == 1
    assert result.recommendations[0].validation_accuracy.sd is None
    assert result.criterion["design_score"].spearman is None


def test_shuffled_labels_are_called_chance(tmp_path: Path) -> None:
    result = run(tmp_path, shuffle_labels=True, epochs=10)
    codes = [w.code for w in result.warnings]
    assert "chance_accuracy" in codes
    assert "shuffled_labels" in codes
    assert all(
        recommendation.reason.startswith("Not recommended")
        for recommendation in result.recommendations
    )
    assert not any(recommendation.roles for recommendation in result.recommendations)


def test_what_was_memorised_is_not_recommended(tmp_path: Path) -> None:
    options: dict[str, Any] = {"trials": 2, "epochs": 30, "confirm": 1, "confirm_seeds": 1}
    data = "tests.support.toy:copies"
    result = designer.search(
        "tests.support.toy:TinySpace", data, split_duplicates=True, **options, out=tmp_path / "a"
    )
    (best,) = result.recommendations
    assert best.validation_accuracy.mean > 0.9
    assert best.roles == ()
    assert best.reason == (
        "Not recommended: 96 of 96 validation samples (100.0 %) also stand in the training data, "
        "so accuracy there says little about new data."
    )
    assert {"leaked_validation", "leaked_test"} <= {w.code for w in result.warnings}
    assert result.tried == ()
    together = designer.search("tests.support.toy:TinySpace", data, **options, out=tmp_path / "b")
    assert "chance_accuracy" in {w.code for w in together.warnings}
    assert not {"leaked_validation", "leaked_test"} & {w.code for w in together.warnings}


def test_two_workers_run_exactly_the_wanted_trials(tmp_path: Path) -> None:
    result = run(tmp_path, "SlowSpace", trials=9, workers=2)
    assert result.study.trials.complete == 9
    specs = [json.dumps(row.spec, sort_keys=True) for row in result.trials]
    assert len(set(specs)) == 9
    search, confirmation = studies(tmp_path)
    assert "RUNNING" not in states(tmp_path)
    workers = {t.user_attrs["worker"] for t in search.get_trials() if t.state.name == "COMPLETE"}
    assert len(workers) == 2
    assert os.getpid() not in workers
    assert len(confirmation.get_trials()) == 6


def test_a_space_need_not_build_all_that_it_proposes(tmp_path: Path) -> None:
    result = run(tmp_path / "a", "PickySpace", trials=3)
    assert result.study.trials.complete == 3
    assert result.recommendations


def test_tied_weights_are_confirmed_and_written(tmp_path: Path) -> None:
    result = run(tmp_path / "a", "TiedSpace")
    assert result.recommendations
    assert "not_confirmed" not in {w.code for w in result.warnings}
    best = designer.load_best(tmp_path / "a" / "best" / "1", trust=True)
    assert accuracy(best.model, load_dataset("tests.support.toy:blobs").validation) > 0.5


@pytest.mark.parametrize("name", ["profile.json", "model.safetensors"])
def test_confirmations_whose_files_are_damaged_are_done_again(name: str, tmp_path: Path) -> None:
    out = tmp_path / "a"
    first = run(out)
    storage = optuna.storages.RDBStorage(f"sqlite:///{out / STORAGE_FILE}")
    kept = studies(out)[1].get_trials(states=(TrialState.COMPLETE,))
    for meta in optuna.artifacts.get_all_artifact_meta(kept[0], storage=storage):
        if meta.filename == name:
            (out / "artifacts" / meta.artifact_id).write_bytes(b"{")
    again = run(out)
    assert comparable(again) == comparable(first)
    assert len(studies(out)[1].get_trials(states=(TrialState.COMPLETE,))) == len(kept) + 1


def test_confirmations_without_contributions_are_not_done_again(tmp_path: Path) -> None:
    """Those of earlier versions have none, and still give recommendations."""
    out = tmp_path / "a"
    first = run(out)
    storage = optuna.storages.RDBStorage(f"sqlite:///{out / STORAGE_FILE}")
    kept = studies(out)[1].get_trials(states=(TrialState.COMPLETE,))
    for trial in kept:
        for meta in optuna.artifacts.get_all_artifact_meta(trial, storage=storage):
            if meta.filename == "contributions.json":
                (out / "artifacts" / meta.artifact_id).unlink()
    again = run(out)
    assert len(studies(out)[1].get_trials(states=(TrialState.COMPLETE,))) == len(kept)
    for before, after in zip(first.recommendations, again.recommendations, strict=True):
        assert before.layers[0].contribution or before.layers[0].contribution_reason
        assert {layer.contribution for layer in after.layers} == {None}
        assert {layer.contribution_reason for layer in after.layers} == {"It was not measured."}


def test_why_nothing_could_be_confirmed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("no room for weights")

    monkeypatch.setattr(sys.modules["designer.search.objective"], "save_tensors", fails)
    result = run(tmp_path / "a")
    (message,) = (w.message for w in result.warnings if w.code == "not_confirmed")
    assert message.endswith("The last reason: RuntimeError: no room for weights")
