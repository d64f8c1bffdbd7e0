"""Stored commands: every result file can be repeated, on a machine with other folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.claim import CLAIMS
from benchmarks.result_files import RESULTS, command_line
from benchmarks.run import options_of, read_command
from benchmarks.stored import SOURCES, stored_command
from designer.errors import InvalidInputError

FILES = sorted(RESULTS.glob("*.json"))
PLACES = {name: f"/data/{name}" for name in SOURCES}


def test_there_are_result_files() -> None:
    assert len(FILES) > 30


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_command_of_a_result_file_parses(file: Path, tmp_path: Path) -> None:
    command, seconds = read_command(file)
    arguments = [*command.here(PLACES, tmp_path), "--json", str(tmp_path / file.name)]
    options = options_of(command.claim, arguments)
    assert command.claim in CLAIMS
    assert seconds > 0
    assert options.json == tmp_path / file.name
    stored = json.loads(file.read_text(encoding="utf-8"))["meta"]["command"]
    for name, stored_name in SOURCES.items():
        assert (PLACES[name] in " ".join(arguments)) == (stored_name in stored)


@pytest.mark.parametrize("claim", CLAIMS)
def test_every_claim_has_a_result_file(claim: str) -> None:
    assert any(read_command(file)[0].claim == claim for file in FILES)


def test_old_and_new_names_are_the_same_command() -> None:
    old = stored_command("python -m benchmarks.bench_search --table t.json --json search.json")
    new = stored_command("python -m benchmarks.run search --table t.json --json=other.json")
    assert old == new
    assert old.arguments == ("--table", "t.json")


def test_the_paper_had_no_prefix() -> None:
    assert stored_command("python -m benchmarks.paper --quick").claim == "paper"


@pytest.mark.parametrize(
    "line", ["", "python -m benchmarks.tables", "python -m benchmarks.run", "make results"]
)
def test_other_commands_are_refused(line: str) -> None:
    with pytest.raises(InvalidInputError, match="runs a claim"):
        stored_command(line)


def test_sources_are_replaced_alone_and_after_an_equals_sign() -> None:
    line = "python -m benchmarks.run max_drop --data MNIST=mnist.npz --data digits=digits"
    arguments = stored_command(line).here({"mnist": "/data/m=1/images.npz"}, Path("kept"))
    assert arguments == ["--data", "MNIST=/data/m=1/images.npz", "--data", "digits=digits"]


def test_files_besides_the_result_go_to_a_folder() -> None:
    command = stored_command("python -m benchmarks.paper --quick --runs runs.jsonl")
    assert command.here({}, Path("kept")) == ["--quick", "--runs", "kept/runs.jsonl"]
    assert command.resumed_file(Path("kept")) == Path("kept/runs.jsonl")
    assert stored_command("python -m benchmarks.run paper").resumed_file(Path("kept")) is None


def test_a_database_must_be_named() -> None:
    command = stored_command("python -m benchmarks.bench_scaling --part growth --storage ADDRESS")
    assert command.here({"storage": "postgresql://db"}, Path())[-1] == "postgresql://db"
    with pytest.raises(InvalidInputError, match="--storage"):
        command.here({}, Path())


def test_a_stored_command_names_no_folder_and_no_address() -> None:
    arguments = [
        "--data",
        "A=/home/me/a.npz",
        "--table=/x/t.json",
        "--storage",
        "postgresql://u:p@h/d",
    ]
    assert command_line("search", arguments) == (
        "python -m benchmarks.run search --data A=a.npz --table=t.json --storage ADDRESS"
    )
