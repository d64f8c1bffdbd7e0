"""The runner: one claim, a repeat of its result file, and wrong use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.run import main
from designer.errors import InvalidInputError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return a table of scores in which one agrees with the accuracy and one is its reverse."""
    generator = np.random.default_rng(0)
    accuracies = generator.random(30)
    networks = {
        str(i): {"val_accuracy": value, "good": value, "bad": -value}
        for i, value in enumerate(accuracies)
    }
    path = tmp_path / "scores.json"
    path.write_text(json.dumps({"nasbench201": {"cifar10": networks}}), encoding="utf-8")
    return path


def test_a_claim_writes_its_figures_and_where_they_come_from(table: Path, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    main(["published", "--table", str(table), "--json", str(file)])
    result = json.loads(file.read_text(encoding="utf-8"))
    spearman = result["tasks"]["cifar10"]["spearman"]
    assert (spearman["good"]["all"], spearman["bad"]["all"]) == (1.0, -1.0)
    meta = result["meta"]
    assert meta["command"] == (
        "python -m benchmarks.run published --table scores.json --json result.json"
    )
    assert meta["seeds"] == [0]
    assert {"commit", "machine", "versions", "date", "seconds"} <= set(meta)


def test_a_repeat_measures_again_and_keeps_the_command(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "result.json"
    main(["published", "--table", str(table), "--json", str(file)])
    first = json.loads(file.read_text(encoding="utf-8"))
    first["meta"].update(
        command="python -m benchmarks.bench_published "
        "--table naslib_zero_cost_nasbench201.json --json old.json",
        seconds=1234.5,
    )
    figures = first.pop("tasks")
    file.write_text(json.dumps(first), encoding="utf-8")
    main(["--repeat", str(file), "--published", str(table)])
    repeated = json.loads(file.read_text(encoding="utf-8"))
    assert repeated["tasks"] == figures
    assert repeated["meta"]["command"] == (
        "python -m benchmarks.run published "
        "--table naslib_zero_cost_nasbench201.json --json result.json"
    )
    assert "result.json took 1234 s last time" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["publish"], "expected a claim"),
        ([], "--repeat"),
        (["published"], "--table"),
        (["published", "--table", "t", "--json", "no/such/folder/r.json"], "folder that exists"),
        (["criterion", "--data", "digits", "--archs", "2"], "at least 6"),
        (["criterion", "--pool", "p", "--seeds", "3"], "--seeds needs --data"),
        (["search", "--table", "t", "--epochs", "3"], "--epochs needs --data"),
        (["payoff", "--data", "digits", "--train-size", "9"], "--train-size needs other data"),
    ],
)
def test_wrong_use_ends_with_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    error = capsys.readouterr().err
    assert exit_.value.code == 2
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"meta": {"command": "x"}}'])
def test_what_is_no_result_file_is_not_repeated(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInputError):
        main(["--repeat", str(file)])
