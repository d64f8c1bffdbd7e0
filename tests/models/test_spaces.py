"""Search spaces are found by name, described, and asked for their parameters."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import optuna
import pytest

import designer.cli.main
import search_spaces
from designer.errors import SpaceError
from designer.importing import Trust, typed
from designer.models.spaces import description, find_space, listed_spaces
from designer.search.space_parameters import Parameter, ParameterKind, parameters_of, try_out
from search_spaces import ENTRY_POINT_GROUP, MlpSpace, MlpSpec, Trial
from tests.support.toy import PlainSpace, TinySpace

HERE = "tests.models.test_spaces"

READY = MlpSpace(max_depth=3)


class NeedsMore(TinySpace):
    """A space that cannot be made without arguments."""

    def __init__(self, width: int) -> None:
        raise AssertionError(width)


class Leaves(TinySpace):
    """A space that ends the process when it is made."""

    def __init__(self) -> None:
        raise SystemExit("no licence\nfor this machine")


@dataclass(frozen=True)
class Ranges(TinySpace):
    """A space with parameters of each kind; the width's range depends on the depth."""

    def suggest(self, trial: Trial) -> MlpSpec:
        """A perceptron."""
        depth = trial.suggest_int("depth", 1, 3)
        width = trial.suggest_int("width", 8 * depth, 16 * depth, step=8)
        trial.suggest_float("dropout", 0, 0.5, step=0.25)
        norm = trial.suggest_categorical("norm", ("batch", "none"))
        if depth == 3:
            trial.suggest_int("groups", 1, 4000000, log=True)
        rate = trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True)
        return MlpSpec((width,) * depth, norm, "relu", rate)


class Raises(TinySpace):
    """A space that fails to propose anything."""

    def suggest(self, trial: Trial) -> MlpSpec:
        """Nothing."""
        raise KeyError("width")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install one package that offers a good space, and several that cannot be used."""
    offered = {
        "theirs": "tests.support.toy:PlainSpace",
        "gone": "no_such_package:Space",
        "demanding": f"{HERE}:NeedsMore",
        "leaving": f"{HERE}:Leaves",
        "wrong": "tests.support.toy:NoSpace",
    }
    points = [EntryPoint(name, value, ENTRY_POINT_GROUP) for name, value in offered.items()]
    monkeypatch.setattr(
        search_spaces, "entry_points", lambda group: EntryPoints(points).select(group=group)
    )


class TestFindSpace:
    def test_built_in(self) -> None:
        assert find_space("mlp", Trust()) == MlpSpace()

    def test_by_import(self) -> None:
        for kind in (TinySpace, PlainSpace):
            name = f"tests.support.toy:{kind.__name__}"
            assert isinstance(find_space(name, typed(name)), kind)

    def test_one_that_is_made_already(self) -> None:
        assert find_space(f"{HERE}:READY", typed(f"{HERE}:READY")) is READY

    @pytest.mark.usefixtures("installed")
    def test_installed(self) -> None:
        assert isinstance(find_space("theirs", Trust()), PlainSpace)

    @pytest.mark.usefixtures("installed")
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            (
                "nothing",
                "among cnn, demanding, .*, mlp, resnet, theirs, .* or package.module:Name, got 'no",
            ),
            ("", "got ''"),
            ("gone", "Making space 'gone' failed: No module named 'no_such_package'."),
            ("demanding", "missing 1 required positional argument: 'width'."),
            ("leaving", "Making space 'leaving' failed: no licence."),
            ("wrong", "Expected 'wrong' to have `name`, `suggest` and `build` .* got NoSpace."),
            ("tests.support.toy:Nothing", "'tests.support.toy:Nothing' raised AttributeError"),
            ("no_other_package:Space", "raised ModuleNotFoundError"),
            (f"{HERE}:HERE", "Making space 'tests.models.test_spaces:HERE' failed"),
        ],
    )
    def test_what_is_no_space_is_said_in_one_line(self, name: str, message: str) -> None:
        with pytest.raises(SpaceError, match=message) as refused:
            find_space(name, typed(name))
        assert "\n" not in str(refused.value)


class TestDescriptions:
    def test_are_what_the_class_says(self) -> None:
        assert description(TinySpace()).startswith("A space of twelve candidates")
        assert "\n    " not in description(MlpSpace())

    def test_a_space_that_says_nothing(self) -> None:
        class Silent:
            name = "silent"

            def suggest(self, trial: Trial) -> MlpSpec:
                return TinySpace().suggest(trial)

            def build(self, *arguments: Any) -> Any:
                return TinySpace().build(*arguments)

        assert description(Silent()) == ""

    @pytest.mark.usefixtures("installed")
    def test_a_space_that_cannot_be_used_does_not_break_the_list(self) -> None:
        listed = listed_spaces()
        assert listed["mlp"] == description(MlpSpace()).splitlines()[0]
        assert listed["theirs"] == "A space that is no dataclass, as the Protocol allows."
        assert listed["gone"].startswith("cannot be used: ")
        assert "no_such_package" in listed["gone"]
        assert "no licence" in listed["leaving"]
        assert "NoSpace" in listed["wrong"]


class TestParameters:
    def test_are_all_kinds_in_the_order_of_asking(self) -> None:
        integer, real, choice = ParameterKind
        assert sorted(parameters_of(Ranges()), key=lambda parameter: parameter.name) == [
            Parameter("depth", integer, low=1, high=3, step=1),
            Parameter("dropout", real, low=0, high=0.5, step=0.25),
            Parameter("groups", integer, low=1, high=4000000, step=1, log=True),
            Parameter("learning_rate", real, low=1e-5, high=1e-2, log=True),
            Parameter("norm", choice, choices=("batch", "none")),
            Parameter("width", integer, low=8, high=48, step=8),
        ]
        names = [parameter.name for parameter in parameters_of(TinySpace())]
        assert names == ["depth", "width", "learning_rate"]

    def test_include_those_that_few_proposals_have(self) -> None:
        deepest = MlpSpace().max_depth
        assert f"width_{deepest - 1}" in [parameter.name for parameter in parameters_of(MlpSpace())]

    def test_ranges_in_words(self) -> None:
        assert {parameter.name: parameter.range for parameter in parameters_of(Ranges())} == {
            "depth": "1 to 3",
            "width": "8 to 48 in steps of 8",
            "dropout": "0.0 to 0.5 in steps of 0.25",
            "norm": "batch, none",
            "groups": "1 to 4000000, log scale",
            "learning_rate": "1e-05 to 0.01, log scale",
        }

    def test_leave_optuna_as_it_was(self, capfd: pytest.CaptureFixture[str]) -> None:
        optuna.logging.set_verbosity(logging.INFO)
        try:
            parameters_of(TinySpace())
            assert optuna.logging.get_verbosity() == logging.INFO
        finally:
            optuna.logging.set_verbosity(logging.ERROR)
        assert capfd.readouterr() == ("", "")

    def test_of_a_space_that_raises(self) -> None:
        with pytest.raises(SpaceError, match=r"'tiny' to propose networks, .* KeyError: 'width'"):
            parameters_of(Raises())
        with pytest.raises(SpaceError, match=r"propose and build networks, .* KeyError: 'width'"):
            try_out(Raises(), (6,), 3)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run ``designer spaces`` and return its exit code, stdout and stderr."""
    with pytest.raises(SystemExit) as ended:
        designer.cli.main.main(["spaces", *arguments])
    assert isinstance(ended.value.code, int)
    return (ended.value.code, *capsys.readouterr())


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to another working folder, and show wide pages of plain text."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("FORCE_COLOR", raising=False)


@pytest.mark.usefixtures("elsewhere")
class TestCommand:
    def test_shows_one_space(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = run(capsys, "tests.support.toy:TinySpace")
        assert (code, err) == (0, "")
        lines = [line.split() for line in out.splitlines() if line]
        assert lines[0] == ["tiny"]
        assert lines[1] == description(TinySpace()).split()
        assert lines[2:] == [
            ["parameter", "kind", "range"],
            ["depth", "integer", "3", "to", "4"],
            ["width", "choice", "8,", "16,", "24"],
            ["learning_rate", "choice", "0.003,", "0.01"],
        ]

    def test_shows_one_space_as_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, _ = run(capsys, "mlp", "--json")
        assert code == 0
        shown = json.loads(out)
        assert shown["name"] == "mlp"
        assert shown["description"] == description(MlpSpace())
        depth = shown["parameters"][0]
        assert (depth["name"], depth["kind"], depth["low"], depth["high"]) == (
            "depth",
            "integer",
            2,
            12,
        )

    @pytest.mark.usefixtures("installed")
    def test_lists_all(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = run(capsys)
        assert (code, err) == (0, "")
        assert "package.module:Name" in out
        listed = json.loads(run(capsys, "--json")[1])
        assert listed == listed_spaces()
        for name, text in listed.items():
            assert any(line.split() == [name, *text.split()] for line in out.splitlines())

    @pytest.mark.parametrize("name", ["nothing", "tests.support.toy:NoSpace", f"{HERE}:Raises"])
    def test_refuses_in_one_line(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = run(capsys, name)
        assert (code, out) == (2, "")
        assert err.startswith("error: Expected ")
        assert len(err.splitlines()) == 1
