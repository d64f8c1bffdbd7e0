"""The search end to end, on toy data where that is enough and on digits where it counts."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from jsonschema import Draft202012Validator
from optuna.trial import TrialState

import designer
from designer.data.loading import load_dataset
from designer.errors import InvalidInputError, RunFolderError, SpaceError
from designer.folders import STORAGE_FILE
from designer.results.search import SearchResult
from designer.results.serialisation import read_result, report_schema, report_to_json
from designer.search.progress import Progress
from designer.search.study.trials import REJECTED, RETRY_OF
from designer.training.trainer import accuracy
from search_spaces import MlpSpace
from tests.support.paths import ROOT
from tests.support.toy import write_blobs


def run(out: Path, space: str = "TinySpace", **options: Any) -> SearchResult:
    chosen = {"trials": 6, "epochs": 3, "confirm": 3, "confirm_seeds": 2, **options}
    return designer.search(
        f"tests.support.toy:{space}", "tests.support.toy:blobs", out=out, **chosen
    )


def studies(out: Path) -> list[optuna.Study]:
    storage = f"sqlite:///{out / STORAGE_FILE}"
    return [optuna.load_study(study_name=n, storage=storage) for n in ("search", "confirmation")]


def states(out: Path) -> Counter[str]:
    return Counter(trial.state.name for study in studies(out) for trial in study.get_trials())


def comparable(result: SearchResult) -> dict[str, Any]:
    """The report without what depends on the clock."""
    values: dict[str, Any] = json.loads(report_to_json(result))
    del values["study"]["seconds"]
    for row in values["trials"]:
        del row["seconds"]
    return values


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SearchResult]:
    out = tmp_path_factory.mktemp("runs") / "digits"
    return out, designer.search("mlp", "digits", trials=20, epochs=10, seed=0, out=out)


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
        for one in digits[1].recommendations:
            assert len(one.layers) == len(one.spec["widths"])
            for layer in one.layers:
                assert layer.step is not None
                assert layer.share is not None
                assert layer.interval is not None
                assert layer.interval[0] <= layer.share <= layer.interval[1]
                assert layer.verdict
                assert layer.advice

    def test_report_keeps_to_its_schema(self, digits: tuple[Path, SearchResult]) -> None:
        out, result = digits
        written = json.loads((out / "report.json").read_text())
        Draft202012Validator(report_schema()).validate(written)
        assert read_result(out) == result

    def test_finds_the_finished_trials_again(self, digits: tuple[Path, SearchResult]) -> None:
        out, result = digits
        seen: list[Progress] = []
        again = designer.search("mlp", "digits", trials=20, out=out, progress=seen.append)
        assert comparable(again) == comparable(result)
        assert {(p.finished, p.total) for p in seen if p.phase == "search"} == {(20, 20)}

    def test_no_architecture_is_trained_twice(self, digits: tuple[Path, SearchResult]) -> None:
        specs = [json.dumps(row.spec, sort_keys=True) for row in digits[1].trials]
        assert len(specs) == len(set(specs)) == 20

    def test_saved_models_give_the_reported_accuracy(
        self, digits: tuple[Path, SearchResult]
    ) -> None:
        out, result = digits
        data = load_dataset("digits")
        for one in result.recommendations:
            loaded = designer.load_best(out / "best" / str(one.rank))
            assert loaded.spec == one.spec
            assert sum(p.numel() for p in loaded.model.parameters()) == one.parameters
            test = one.test_accuracy
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
    """A search that gives a space up sooner."""
    monkeypatch.setattr(sys.modules["designer.search.workers.processes"], "MAX_REJECTED", 80)


@pytest.mark.usefixtures("impatient")
def test_ends_where_the_space_is_used_up(tmp_path: Path) -> None:
    result = run(tmp_path / "a", trials=40)
    assert result.study.trials.complete == 12
    assert "space_used_up" in [w.code for w in result.warnings]


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


def test_a_space_that_breaks_its_contract_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"logits of shape \(n, 3\), got \(1, 4\)"):
        run(tmp_path / "a", "WrongOutputSpace")
    with pytest.raises(SpaceError, match="`suggest`"):
        run(tmp_path / "b", "NoSpace")


def test_a_space_that_cannot_build_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SpaceError):
        run(tmp_path / "a", "WrongOutputSpace", workers=2)
    assert not (tmp_path / "a").exists()


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


def test_pruned_trials_count_as_finished(tmp_path: Path) -> None:
    result = designer.search(
        "mlp",
        "tests.support.toy:blobs",
        trials=20,
        epochs=4,
        confirm=1,
        confirm_seeds=1,
        prune=True,
        out=tmp_path,
    )
    counts = result.study.trials
    assert counts.complete + counts.pruned == 20
    assert counts.pruned > 0
    assert all(row.epochs == 2 for row in result.trials if row.state == "pruned")


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
    assert all(one.reason.startswith("Not recommended") for one in result.recommendations)
    assert not any(one.roles for one in result.recommendations)


def test_another_study_in_the_folder_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    before = (tmp_path / "report.json").read_text()
    other = write_blobs(tmp_path / "other.npz", seed=1)
    for change, named in (
        ({"epochs": 4}, "epochs is '3', not '4'"),
        ({"objective": "law"}, "objective is 'design', not 'law'"),
        ({"seed": 1}, "is"),
        ({"space": "DivergingSpace"}, "space is 'tests.support.toy:TinySpace'"),
    ):
        with pytest.raises(RunFolderError, match=named):
            run(tmp_path, **change)
    with pytest.raises(RunFolderError, match="data is"):
        designer.search("tests.support.toy:TinySpace", str(other), out=tmp_path, epochs=3)
    assert (tmp_path / "report.json").read_text() == before


def test_changed_data_under_the_same_name_are_refused(tmp_path: Path) -> None:
    file = write_blobs(tmp_path / "data.npz")
    out = tmp_path / "run"
    designer.search(
        "tests.support.toy:TinySpace", str(file), trials=1, epochs=1, confirm=1, out=out
    )
    write_blobs(file, seed=5)
    with pytest.raises(RunFolderError, match="data fingerprint"):
        designer.search(
            "tests.support.toy:TinySpace", str(file), trials=1, epochs=1, confirm=1, out=out
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"trials": 0},
        {"epochs": 0},
        {"workers": 0},
        {"confirm": 0},
        {"confirm_epochs": 0},
        {"confirm_seeds": 0},
        {"max_params": 0},
        {"max_flops": -1},
        {"batch_size": 1},
        {"seed": -1},
        {"objective": "best"},
        {"device": "abacus"},
    ],
)
def test_wrong_options_write_nothing(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="Expected"):
        run(tmp_path / "a", **wrong)
    assert not (tmp_path / "a").exists()


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


@contextmanager
def started(out: Path, trials: int) -> Iterator[subprocess.Popen[bytes]]:
    """A search with two workers in a process of its own, well under way."""
    process = subprocess.Popen(command(out, trials), cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        wait_until_under_way(out)
        yield process
    finally:
        process.kill()
        process.wait()


def finish(out: Path, trials: int) -> int:
    """Run the command to its end; its exit code."""
    return subprocess.run(
        command(out, trials), cwd=ROOT, capture_output=True, check=False
    ).returncode


def command(out: Path, trials: int) -> list[str]:
    options = (
        f"--data tests.support.toy:blobs --trials {trials} --epochs 60 --workers 2 --confirm 1 "
        f"--confirm-epochs 5 --json --out {out}"
    )
    return [sys.executable, "-m", "designer", "search", *options.split()]


def wait_until_under_way(out: Path) -> None:
    """Until three trials are complete and one is running; without Optuna, which would write."""
    for _ in range(1200):
        time.sleep(0.05)
        with suppress(sqlite3.OperationalError):
            connection = sqlite3.connect(f"file:{out / STORAGE_FILE}?mode=ro", uri=True)
            counts = dict(connection.execute("SELECT state, count(*) FROM trials GROUP BY state"))
            connection.close()
            if counts.get("COMPLETE", 0) >= 3 and counts.get("RUNNING"):
                return
    raise AssertionError("the run did not get going")


def test_survives_kill_9(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with started(out, 24) as process:
        process.kill()
        process.wait()
        done = {t.number: t.values for t in studies(out)[0].get_trials() if t.state.is_finished()}
    assert finish(out, 24) == 0
    after = {t.number: t.values for t in studies(out)[0].get_trials()}
    assert len(done) >= 3
    assert all(after[number] == values for number, values in done.items())
    counts = read_result(out).study.trials
    assert counts.complete + counts.pruned == 24
    assert "RUNNING" not in states(out)
    assert "WAITING" not in states(out)


def test_ctrl_c_stops_cleanly_and_the_same_command_continues(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with started(out, 300) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    result = read_result(out)
    assert "interrupted" in [w.code for w in result.warnings]
    assert "RUNNING" not in states(out)
    done = len(result.trials)
    assert 3 <= done < 300
    assert finish(out, done) == 0
    assert len(read_result(out).trials) == done
    assert read_result(out).recommendations


def test_a_space_need_not_build_all_that_it_proposes(tmp_path: Path) -> None:
    result = run(tmp_path / "a", "PickySpace", trials=3)
    assert result.study.trials.complete == 3
    assert result.recommendations


def test_tied_weights_are_confirmed_and_written(tmp_path: Path) -> None:
    result = run(tmp_path / "a", "TiedSpace")
    assert result.recommendations
    assert "not_confirmed" not in {w.code for w in result.warnings}
    best = designer.load_best(tmp_path / "a" / "best" / "1")
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


def test_why_nothing_could_be_confirmed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("no room for weights")

    monkeypatch.setattr(sys.modules["designer.search.objective"], "save_tensors", fails)
    result = run(tmp_path / "a")
    (said,) = (w.message for w in result.warnings if w.code == "not_confirmed")
    assert said.endswith("The last reason: RuntimeError: no room for weights")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_stop_keeps_what_was_recommended_before(tmp_path: Path) -> None:
    out = tmp_path / "a"
    first = run(out, trials=4)
    best = contents(out / "best")
    longer: dict[str, Any] = {"trials": 5, "confirm_epochs": 4}
    stopped = run(out, progress=lambda _: signal.raise_signal(signal.SIGINT), **longer)
    assert stopped.recommendations == first.recommendations == read_result(out).recommendations
    assert {"interrupted", "earlier_recommendations"} <= {w.code for w in stopped.warnings}
    assert contents(out / "best") == best
    assert not {"interrupted", "earlier_recommendations"} & {
        w.code for w in run(out, **longer).warnings
    }
    assert contents(out / "best") != best


@pytest.mark.parametrize("name", ["best/important.txt", "best/1/model.json", "report.json"])
def test_files_of_others_are_left_alone(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a" / name
    path.parent.mkdir(parents=True)
    path.write_text('{"mine": 1}', encoding="utf-8")
    with pytest.raises(RunFolderError, match=re.escape(path.name)):
        run(tmp_path / "a", trials=2)
    assert contents(tmp_path / "a") == {name: b'{"mine": 1}'}


def test_a_killed_worker_is_replaced_and_its_trial_done_again(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with started(out, 24) as process:
        workers = {
            t.user_attrs["worker"] for t in studies(out)[0].get_trials() if "worker" in t.user_attrs
        }
        os.kill(int(workers.pop().rpartition(":")[2]), signal.SIGKILL)
        assert process.wait(timeout=120) == 0
    result = read_result(out)
    assert result.study.trials.complete + result.study.trials.pruned == 24
    assert result.study.trials.failed == 0
    ended = [
        t for t in studies(out)[0].get_trials() if "signal 9" in t.user_attrs.get(REJECTED, "")
    ]
    again = [t for t in studies(out)[0].get_trials() if RETRY_OF in t.user_attrs]
    assert len(ended) == len(again) == result.study.trials.retried <= 1  # 0 between two trials
    assert [t.params for t in again] == [t.params for t in ended]
    assert "RUNNING" not in states(out)
