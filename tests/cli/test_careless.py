"""What careless users do: names that are empty, too long or gone, and models that give nonsense."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import designer
from designer.cli.app import FAILED, OK, WRONG_USE
from designer.data import batches
from designer.errors import DataError, InvalidInputError, ModelError
from tests.support.command import Command, exit_code, refused
from tests.support.toy import TRUSTED, blobs

pytestmark = pytest.mark.usefixtures("folder")

HERE = "tests.cli.test_careless"
BLOBS = "tests.support.toy:blobs"
QUICK = "--trials 1 --epochs 1 --confirm 1 --confirm-seeds 1 --edits 0"
SEARCH = ["search", "--space", "tests.support.toy:TinySpace", *QUICK.split()]
NO_UTF8 = os.fsdecode(b"out\xff\xfe")


def perceptron() -> nn.Module:
    """Return a model of ``blobs``."""
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def without_values() -> nn.Module:
    """Return a model that has shapes and no numbers."""
    with torch.device("meta"):
        return perceptron()


class OneRowMissing(nn.Module):
    """Gives one row less than it gets samples."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = perceptron()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n - 1, 3)."""
        logits: Tensor = self.inner(x)
        return logits[:-1]


class Raising:
    """Raises something when NumPy reads it."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __array__(self, *_: object, **__: object) -> None:
        raise self.error


def exits_when_read() -> dict[str, Any]:
    """Return data that end the process when they are read."""
    return {**blobs(), "x_train": Raising(SystemExit(0))}


def raises_what_is_no_exception() -> None:
    """Raise what no library expects."""
    raise BaseException("boo")


def large_labels() -> dict[str, Any]:
    """Return labels that are large numbers."""
    arrays = blobs()
    return {k: v.astype(np.int64) * 10**12 if k[0] == "y" else v for k, v in arrays.items()}


@pytest.mark.parametrize("option", ["--out", "--artifacts", "--study", "--storage"])
def test_an_empty_name_is_no_working_folder(option: str, command: Command) -> None:
    line = refused(command(*SEARCH, "--data", BLOBS, option, ""))
    assert "empty" in line
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("name", ["analyze a:b --out=", "prune a:b --remove 1 --out=",
                                  "report . --output=", "compare a b --output="])  # fmt: skip
def test_an_empty_name_is_refused_by_every_command(name: str, command: Command) -> None:
    assert "Expected a name, got an empty one" in refused(command(*name.split()))


def test_an_empty_run_folder_is_refused_in_python() -> None:
    with pytest.raises(InvalidInputError, match="Expected a run folder, got an empty name"):
        designer.search(trials=1, out="")


LONG = "x" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        [*SEARCH, "--data", BLOBS, "--out", LONG],
        [*SEARCH, "--data", BLOBS, "--artifacts", LONG],
        [*SEARCH, "--data", LONG],
        [*SEARCH, "--data", f"{LONG}.npz"],
        [*SEARCH, "--data", BLOBS, "--space", LONG],
        ["analyze", LONG, "--data", BLOBS],
        ["analyze", f"{LONG}:{LONG}", "--data", BLOBS],
        ["analyze", f"{HERE}:perceptron", "--data", BLOBS, "--out", LONG],
        ["analyze", f"{HERE}:perceptron", "--data", BLOBS, "--weights", LONG],
        ["prune", LONG, "--remove", "1"],
        ["report", LONG],
        ["compare", LONG, "other"],
    ],
)
def test_names_of_300_letters_are_refused(arguments: list[str], command: Command) -> None:
    assert "xxx" in refused(command(*arguments))


def test_names_that_are_made_from_long_names_are_short(command: Command) -> None:
    (Path("x" * 200) / ("y" * 200)).mkdir(parents=True)
    data = Path("x" * 200) / ("y" * 200) / "blobs.npz"
    np.savez(data, **blobs())
    assert command(*SEARCH, "--data", str(data)).code == OK
    assert command("analyze", f"{HERE}:perceptron", "--data", str(data)).code == OK


def test_a_folder_whose_name_is_no_utf8(command: Command) -> None:
    options = ["--epochs", "4", "--confirm-epochs", "20", "--out", NO_UTF8]
    assert command(*SEARCH, "--data", BLOBS, *options).code == OK
    model = f"{NO_UTF8}/best/1"
    shown = command("report", NO_UTF8)
    assert shown.code == OK
    for arguments in (
        ["analyze", model, *TRUSTED, "--contribution-samples", "0", "--out", f"{NO_UTF8}/a"],
        [
            "prune",
            model,
            *TRUSTED,
            "--remove",
            "1",
            "--no-baselines",
            "--out",
            NO_UTF8 + "p",
        ],
        ["report", NO_UTF8, "--format", "html", "--output", f"{NO_UTF8}/x.html"],
    ):
        done = command(*arguments)
        assert done.code == OK, done.err
        assert "\\udcff" in done.err
    assert designer.load(NO_UTF8 + "p", trust=True).removed


def test_a_working_folder_that_was_removed(command: Command, folder: Path) -> None:
    (folder / "gone").mkdir()
    os.chdir(folder / "gone")
    (folder / "gone").rmdir()
    for arguments in ([*SEARCH, "--data", BLOBS], ["report", str(folder)], ["spaces"]):
        assert "working folder" in refused(command(*arguments))
    assert command("--version").code == OK


@pytest.mark.parametrize("arguments", [["spaces"], ["report", "--schema"], ["--help"]])
def test_a_full_device_behind_stdout(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        assert exit_code(*arguments) == FAILED
    assert capsys.readouterr().err == (
        "error: Cannot write the output: No space left on device. Free some space.\n"
    )


def test_a_full_device_behind_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w", encoding="utf-8", buffering=1) as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stderr", full)
        assert exit_code("report", "nowhere") == WRONG_USE


class TestModels:
    @pytest.mark.parametrize(
        "arguments", [["analyze"], ["prune", "--remove", "1"]], ids=lambda arguments: arguments[0]
    )
    def test_without_values_from_a_name(self, arguments: list[str], command: Command) -> None:
        name, *options = arguments
        line = refused(command(name, f"{HERE}:without_values", "--data", BLOBS, *options))
        assert "meta device" in line

    def test_without_values_in_python(self) -> None:
        data = designer.load_dataset(BLOBS)
        for function in (designer.analyze, designer.profile):
            with pytest.raises(ModelError, match="meta device"):
                function(without_values(), data.train, data.validation)
        with pytest.raises(ModelError, match="meta device"):
            designer.prune(without_values(), data, remove=1)
        inputs = data.train.inputs.to("meta")
        with pytest.raises(ModelError, match="meta device"):
            designer.analyze(perceptron(), (inputs, data.train.labels))
        with pytest.raises(InvalidInputError, match="meta device"):
            designer.separation_fuzziness(inputs, data.train.labels)
        with pytest.raises(DataError, match="cannot read"):
            batches_from({**blobs(), "x_train": inputs})

    def test_with_a_row_too_few(self, command: Command) -> None:
        done = command("prune", f"{HERE}:OneRowMissing", "--data", BLOBS, "--remove", "1")
        assert "one row per sample, got 1 for 2 samples" in refused(done)


def batches_from(arrays: dict[str, Any]) -> object:
    """Read arrays as those of a callable."""
    return designer.data.raw.raw_from_mapping(arrays, "here")


class TestData:
    def test_that_end_the_process_when_they_are_read(self, command: Command) -> None:
        done = command(*SEARCH, "--data", f"{HERE}:exits_when_read")
        assert "training inputs as one array" in refused(done)

    def test_that_raise_what_is_no_exception(self, command: Command) -> None:
        done = command(*SEARCH, "--data", f"{HERE}:raises_what_is_no_exception")
        assert (done.code, done.out) == (FAILED, "")
        assert done.err.splitlines()[-1].startswith("error: BaseException: boo")
        with pytest.raises(DataError, match="cannot read: boo"):
            batches_from({**blobs(), "x_train": Raising(BaseException("boo"))})
        with pytest.raises(KeyboardInterrupt):
            batches_from({**blobs(), "x_train": Raising(KeyboardInterrupt())})

    def test_that_never_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(batches, "MOST_BATCHES", 50)
        taken = []

        def endless() -> Iterator[tuple[Tensor, Tensor]]:
            for number in itertools.count():
                taken.append(number)
                yield torch.zeros(2, 6), torch.tensor([0, 1])

        with pytest.raises(InvalidInputError, match="that come to an end, got more than 50 batch"):
            designer.analyze(perceptron(), endless())
        assert len(taken) == 51

    def test_with_large_labels(self, command: Command) -> None:
        done = command(*SEARCH, "--data", f"{HERE}:large_labels", "--out", "run")
        assert done.code == OK
        assert "in 3 classes" in done.out
        arrays = large_labels()
        pair = torch.tensor(arrays["x_train"]).float(), torch.tensor(arrays["y_train"])
        with pytest.raises(
            InvalidInputError, match="labels below 1,000,000, got 2,000,000,000,000"
        ):
            designer.analyze(perceptron(), pair)
        shutil.rmtree("run")
