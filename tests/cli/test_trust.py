"""A folder that somebody mails runs no code: names in it are imported only if the user says so."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import designer
from designer.cli.app import OK
from designer.errors import RunFolderError, TrustError
from designer.models.loading import load_model
from tests.support.command import Command, refused
from tests.support.imports import nothing_imported
from tests.support.model_folders import (
    DATA_FILE,
    Content,
    changed,
    pruning_content,
    spec_content,
    write_content,
    write_model,
    write_pruning,
)

INTRUDER = """
from pathlib import Path
import torch
from search_spaces import MlpSpace
Path("it-ran").touch()
def space():
    return MlpSpace()
def model():
    return torch.nn.Linear(6, 3)
def data():
    import numpy
    return dict(numpy.load("blobs.npz"))
"""
"""A module that leaves a file behind when it is imported."""

NAMES = ["intruder:space", "os:abort", "wsgiref.simple_server:make_server", "this:s"]
"""Names that a hostile file may hold: of a module in the working folder, and of Python's own."""

QUICK = ["--no-baselines", "--epochs", "0"]

MODULES = ["intruder", "wsgiref.simple_server", "this"]

SPACE, SOURCE = ("space",), ("data_options", "source")
FACTORY = ("origin",)
PRUNED_SPACE, PRUNED_SOURCE = ("origin", "spec", "space"), ("known", "data_options", "source")


@pytest.fixture
def mailed(folder: Path) -> Iterator[Path]:
    """A working folder with a module, and two folders of models that it did not make."""
    (folder / "intruder.py").write_text(INTRUDER, encoding="utf-8")
    write_model(folder / "best")
    write_pruning(folder / "small")
    yield folder
    sys.modules.pop("intruder", None)


def say(place: tuple[str, ...], name: str) -> str:
    """Let a folder name code at a place; return the folder."""
    if place in (SPACE, SOURCE):
        write_content(Path("best/spec.json"), changed(spec_content(), place, name))
        return "best"
    value: object = {"factory": name} if place == FACTORY else name
    write_content(Path("small/model.json"), changed(pruning_content(), place, value))
    return "small"


COMMANDS: list[Callable[[str], list[str]]] = [
    lambda folder: ["analyze", folder],
    lambda folder: ["analyze", folder, "--list-blocks"],
    lambda folder: ["prune", folder, "--remove", "1"],
    lambda folder: ["compare", folder, "seen"],
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", [SPACE, SOURCE, FACTORY, PRUNED_SPACE, PRUNED_SOURCE])
def test_no_command_imports_what_a_folder_names(
    command: Command, mailed: Path, place: tuple[str, ...], name: str
) -> None:
    folder = say(place, name)
    write_model(Path("seen"))
    for words in COMMANDS:
        with nothing_imported(*MODULES):
            line = refused(command(*words(folder)))
        assert f"'{folder}/{'spec' if folder == 'best' else 'model'}.json' wants to " in line
        assert f"import '{name}', which neither" in line
        assert f"add --trust {name}, or in Python trust=['{name}']." in line
    assert not Path("it-ran").exists()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", [SPACE, FACTORY, PRUNED_SPACE])
def test_python_imports_nothing_either(mailed: Path, place: tuple[str, ...], name: str) -> None:
    folder = say(place, name)
    for load in (designer.load, load_model, *([designer.load_best] if folder == "best" else [])):
        for trust in ((), False, ["intruder:other", "intruder.space:x"], f"{name}x"):
            with nothing_imported(*MODULES), pytest.raises(TrustError, match=name):
                load(folder, trust=trust)  # type: ignore[operator]
    assert not Path("it-ran").exists()


def test_a_name_that_is_repeated_is_imported(command: Command, mailed: Path) -> None:
    cases = {
        SPACE: ("intruder:space", ["analyze", "best"]),
        SOURCE: ("intruder:data", ["analyze", "best", "--seed", "0"]),
        PRUNED_SPACE: ("intruder:space", ["prune", "small", "--remove", "1", *QUICK]),
        PRUNED_SOURCE: ("intruder:data", ["prune", "small", "--remove", "1", *QUICK]),
    }
    for place, (name, words) in cases.items():
        say(place, name)
        done = command(*words, "--trust", "this:s", "--trust", name, "--out", words[0])
        assert done.code == OK, done.err
        for path in ("best/spec.json", "small/model.json"):
            write_content(Path(path), spec_content() if "best" in path else pruning_content())
    assert Path("it-ran").exists()


def test_data_may_be_named_where_they_always_are(command: Command, mailed: Path) -> None:
    folder = say(SOURCE, "intruder:data")
    assert command("analyze", folder, "--data", "intruder:data").code == OK
    with nothing_imported("intruder"):
        assert command("analyze", folder, "--data", DATA_FILE).code == OK


def test_trust_in_everything_does_not_search_the_working_folder(mailed: Path) -> None:
    folder = say(SPACE, "intruder:space")
    path = list(sys.path)
    with pytest.raises(RunFolderError, match="No module named 'intruder'"):
        designer.load(folder, trust=True)
    assert sys.path == path
    assert not Path("it-ran").exists()
    assert designer.load(folder, trust="intruder:space").spec
    say(SPACE, "search_spaces:MlpSpace")
    assert designer.load(folder, trust=True).spec


def test_what_comes_with_the_package_needs_no_word(command: Command, mailed: Path) -> None:
    folder = say(SPACE, "search_spaces.mlp:MlpSpace")
    assert command("analyze", folder).code == OK
    folder = say(PRUNED_SPACE, "search_spaces.mlp:MlpSpace")
    assert command("analyze", folder).code == OK


def test_a_model_made_again_needs_the_word_too(mailed: Path) -> None:
    folder = say(FACTORY, "intruder:model")
    known: Any = designer.load("best")
    with pytest.raises(designer.InvalidInputError, match="to remove, found none"):
        designer.load(folder, trust="intruder:model")
    loaded = designer.load(folder, model=known.model)
    with nothing_imported("intruder"), pytest.raises(TrustError, match="intruder:model"):
        loaded.again(1)


@pytest.mark.parametrize("name", ["intruder", "intruder:", ":space", ""])
def test_a_name_to_trust_has_two_parts(command: Command, mailed: Path, name: str) -> None:
    line = refused(command("analyze", "best", "--trust", name))
    assert f"Expected names to trust as package.module:name, got '{name}'." in line


# --- what else a file may ask for ---

SPEC_DAMAGES: list[tuple[tuple[str | int, ...], object, str]] = [
    (("schema",), "designer.model/2", "got 'designer.model/2'; another version of Designer"),
    (
        ("params", "depth"),
        10**12,
        "space allows, but depth 1000000000000 is outside of 2",
    ),
    (("params", "width"), 10**12, "width 1000000000000 is outside of 16 to 256"),
    (("params", "width"), "wide", "width 'wide' is no number"),
    (("params", "learning_rate"), 1e300, "learning_rate 1e+300 is outside of"),
    (("params", "normalisation"), "magic", "normalisation 'magic' is none of"),
    (("input_shape",), [10**12], "its input_shape.0 is wrong: Input should be less than"),
    (("input_shape",), [10**5, 10**5], "a sample has at most 100,000,000 values"),
    (("input_shape",), [10**8], "at most 1,000,000,000 parameters"),
    (("input_shape",), [0], "its input_shape.0 is wrong"),
    (("input_shape",), [1] * 9, "its input_shape is wrong"),
    (("class_names",), [], "its class_names is wrong"),
    (("space",), "m" * 301, "its space is wrong: String should have at most 300"),
    (("spec", "learning_rate"), "fast", "a learning rate is above 0, got 'fast'"),
    (("scaling", "mean"), [None], "its scaling.mean.0 is wrong"),
    (("scaling",), {"mean": [0.0]}, "its scaling is wrong"),
    (("data_options",), {"source": 5}, "the source is text, got int"),
    (("data_options",), {"source": "digits", "trust": True}, "there is no option 'trust'"),
    (("data_options", "seed"), -1, "Expected a seed from 0"),
    (("data_options", "seed"), "many", "its data_options.seed is wrong"),
]


@pytest.mark.parametrize(("place", "value", "message"), SPEC_DAMAGES)
def test_a_spec_that_asks_for_too_much(
    command: Command, mailed: Path, place: tuple[str | int, ...], value: object, message: str
) -> None:
    write_content(Path("best/spec.json"), changed(spec_content(), place, value))
    assert message in refused(command("analyze", "best"))
    nested = changed(pruning_content(), ("origin", "spec", *place), value)
    write_content(Path("small/model.json"), nested)
    assert refused(command("analyze", "small"))


@pytest.mark.parametrize("name", ["best/spec.json", "small/model.json"])
def test_files_that_are_no_description(command: Command, mailed: Path, name: str) -> None:
    contents = {
        b"[" * 100_000: "nested deeper than 64 levels",
        b'{"schema": "' + b"x" * (17 * 2**20) + b'"}': "17 MiB, more than the 16 allowed",
        b"\x80\x04\x95": "codec can",
        b'{"schema": {"a": [1, 2, 3]}}': "Expected schema designer.",
    }
    for content, message in contents.items():
        Path(name).write_bytes(content)
        assert message in refused(command("analyze", str(Path(name).parent)))


def test_a_description_that_is_a_pipe(command: Command, mailed: Path) -> None:
    Path("best/spec.json").unlink()
    os.mkfifo("best/spec.json")
    assert "no regular file" in refused(command("analyze", "best"))


def test_dtypes_are_looked_up_among_dtypes(command: Command, mailed: Path) -> None:
    for name in ("load", "int8", "__name__", "nothing", "complex64"):
        content: Content = changed(pruning_content(), ("dtype",), name)
        write_content(Path("small/model.json"), content)
        assert "no floating-point type of torch" in refused(command("analyze", "small"))
