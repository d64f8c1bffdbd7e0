"""The command in a report: stored as it was given, without passwords, and able to continue."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

import designer
from designer.choices import Objective
from designer.data.loading import load_dataset
from designer.results.serialisation import read_result
from designer.search.command import search_call, without_passwords
from designer.search.options import SearchOptions
from search_spaces import MlpSpace
from tests.support.command import Command
from tests.support.searches import comparable
from tests.support.toy import TinySpace

SECRET = "pa55word"
ADDRESS = "postgresql+psycopg://me:{}@host/db"
QUICK = "--trials 2 --epochs 1 --confirm 1 --confirm-seeds 1 --confirm-epochs 1"


@pytest.mark.parametrize("more", ["", "--devices cpu,cpu", "--validation-fraction 0.3 --json"])
def test_the_command_in_the_report_continues_the_run(
    more: str, command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "a run"
    options = f"--space tests.support.toy:TinySpace --data tests.support.toy:blobs {QUICK} {more}"
    arguments = ["search", *options.split(), "--out", str(out)]
    assert command(*arguments).code == 0
    first = read_result(out)
    assert first.command == shlex.join(["designer", *arguments])
    assert command(*shlex.split(first.command)[1:]).code == 0
    assert comparable(read_result(out)) == comparable(first)


def test_the_call_in_the_report_continues_the_run(tmp_path: Path) -> None:
    options: dict[str, Any] = {"trials": 2, "epochs": 1, "confirm": 1, "confirm_seeds": 1}
    data = load_dataset("tests.support.toy:blobs", validation_fraction=0.3)
    first = designer.search(TinySpace(), data, out=tmp_path / "a", **options)
    assert f"out={str(tmp_path / 'a')!r}" in first.command
    again = eval(first.command, {"designer": designer, "TinySpace": TinySpace})
    assert comparable(again) == comparable(first)
    assert again.command == first.command
    assert json.loads((tmp_path / "a" / "report.json").read_text())["command"] == first.command


def test_a_call_shows_what_differs_from_the_defaults() -> None:
    assert search_call("mlp", "digits", SearchOptions()) == "designer.search()"
    changed = SearchOptions(objective=Objective.LAW, devices=("cpu", "cpu"), out=Path("runs/a"))
    assert search_call("cnn", "digits", changed) == (
        "designer.search(space='cnn', objective='law', devices=('cpu', 'cpu'), out='runs/a')"
    )
    space = MlpSpace(max_depth=3)
    assert search_call(space, "a.npz", SearchOptions()) == (
        f"designer.search(space={space!r}, data='a.npz')"
    )


@pytest.mark.parametrize(
    "address",
    [
        ADDRESS.format(SECRET),
        ADDRESS.format(f'{SECRET}/with:signs\' and "quotes"'),
        f"postgresql+psycopg://me@host/db?sslmode=require&password={SECRET}&application_name=x",
        f"postgresql+psycopg://me:{SECRET}@host:5432/db?passWord={SECRET}",
        f"grpc://:{SECRET}@host:13000",
    ],
)
@pytest.mark.parametrize("form", ["--storage {}", "--storage={}"])
def test_a_password_is_never_stored(address: str, form: str) -> None:
    words = ["designer", "search", *(word.format(address) for word in form.split())]
    words += ["--study", "a"]
    command = without_passwords(shlex.join(words))
    assert SECRET not in command
    assert "***" in command
    assert "host" in command
    assert shlex.split(command)[-2:] == ["--study", "a"]
    call = search_call("mlp", "digits", SearchOptions(storage=address, study="a"))
    assert SECRET not in call
    assert call.endswith("study='a')")


@pytest.mark.parametrize(
    "command",
    [
        "designer search --storage postgresql+psycopg://me@host:5432/db --study 'a b'",
        "designer search  --data digits",
        "designer search --artifacts s3://bucket/a@b --out 'runs/?x=1'",
        "designer search --data 'open",
        "",
    ],
)
def test_a_command_without_passwords_is_stored_as_it_was_given(command: str) -> None:
    assert without_passwords(command) == command
