"""``designer prune``: what it writes and shows, and how it refuses what cannot be pruned."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import designer
from designer.choices import Criterion
from designer.cli.app import INTERRUPTED, OK
from designer.data.dataset import LabelledTensors
from designer.models.loading import load_model
from designer.pruning import report as pruning_report
from designer.pruning.options import PruningOptions, RecoveryOptions, RemovalRequest
from tests.support import cli_models
from tests.support.command import Command, Outcome, refused
from tests.support.toy import TRUSTED
from tests.support.trained import train_briefly

pytestmark = pytest.mark.usefixtures("folder")

NET = "tests.support.cli_models:perceptron"
DIGITS = ["--data", "digits", "--train-size", "300"]
BLOBS = "tests.support.toy:blobs"
ALL = [NET, *TRUSTED[1::2]]
"""What the folders of these tests may import."""
FILES = {"model.json", "model.safetensors", "report.html", "report.json", "report.md"}
QUICK = ["--epochs", "1", "--no-baselines"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a search."""
    out = tmp_path_factory.mktemp("search") / "run"
    options: dict[str, Any] = {"trials": 2, "epochs": 4, "confirm": 1, "confirm_seeds": 1}
    designer.search("tests.support.toy:TinySpace", BLOBS, confirm_epochs=6, out=out, **options)
    return out


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with weights of a perceptron, trained on the digits as they come."""
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    data = designer.load_dataset("digits", train_size=300, scaling="none")
    save_file(train_briefly(cli_models.perceptron(), data.train, epochs=12).state_dict(), path)
    return path


def names_in(folder: str | Path) -> set[str]:
    """Return the names of the files in a folder."""
    return {path.name for path in Path(folder).iterdir()}


def accuracy(source: str | Path, samples: LabelledTensors) -> float:
    """Return the share of samples that the model in a folder names correctly."""
    with torch.no_grad():
        logits = load_model(source, trust=ALL).model(samples.inputs)
    return float((logits.argmax(1) == samples.labels).float().mean())


def report_of(outcome: Outcome) -> dict[str, Any]:
    """Assert that a command succeeded, and return the JSON that it printed."""
    assert outcome.code == OK, outcome.err
    report: dict[str, Any] = json.loads(outcome.out)
    return report


class TestModelOfASearch:
    def test_writes_a_smaller_model(self, command: Command, run: Path) -> None:
        done = command("prune", str(run), *TRUSTED, "--remove", "1", "--epochs", "2",
                       "--out", "small", "--scratch-epochs", "2")  # fmt: skip
        assert done.code == OK, done.err
        assert names_in("small") == FILES
        assert " ".join(done.out.split()).startswith(f"Pruning: {run} on {BLOBS} ")
        assert "greedy ablation" in done.out
        assert max(map(len, done.out.splitlines())) <= 80
        last = (
            "Written to small: model.safetensors, model.json, report.json, report.md, report.html"
        )
        assert done.err.splitlines()[-1] == last
        assert command("report", "small").out == done.out
        page = command("report", "small", "--format", "html").out
        assert page == Path("small/report.html").read_text(encoding="utf-8")
        for chart in ("curves", "sizes", "need"):
            assert f'"name":"{chart}"' in page
        assert "recovery ..." in done.err.splitlines()
        report = json.loads(Path("small/report.json").read_text(encoding="utf-8"))
        assert [network["name"] for network in report["networks"]] == [
            "original", "pruned", "from scratch", "greedy ablation",
        ]  # fmt: skip
        assert report["model"]["name"] == str(run)
        assert report["data"]["name"] == BLOBS
        text = Path("small/report.md").read_text(encoding="utf-8")
        assert text.startswith(f"# Pruning: {run} on".replace("_", r"\_"))
        assert text.count("from scratch |") == 1

    def test_loads_again_with_its_data(self, command: Command, run: Path) -> None:
        options = ["--remove", "1", *QUICK, "--out", "small", "--json"]
        report = report_of(command("prune", str(run), *TRUSTED, *options))
        pruned = report["networks"][1]
        loaded, whole = designer.load("small", trust=ALL), load_model(run, trust=ALL)
        data = designer.load_dataset(BLOBS)
        assert sum(p.numel() for p in loaded.model.parameters()) == pruned["parameters"]
        assert accuracy("small", data.test) == pytest.approx(pruned["test_accuracy"]["value"])
        assert (loaded.spec, loaded.scaling) == (whole.spec, whole.scaling)
        assert loaded.learning_rate == whole.learning_rate == report["settings"]["learning_rate"]
        analysis = report_of(command("analyze", "small", *TRUSTED, "--json"))
        assert analysis["data"]["name"] == BLOBS
        assert analysis["model"]["accuracy_heldout"] == pytest.approx(
            pruned["validation_accuracy"]["value"]
        )
        left = [block["name"] for block in report["blocks"] if not block["removed"]]
        assert len(left) == len(report["blocks"]) - 1
        assert [layer["name"] for layer in analysis["layers"]] == left

    def test_is_pruned_once_more(self, command: Command, run: Path) -> None:
        report_of(
            command("prune", str(run), *TRUSTED, "--remove", "1", *QUICK, "--out", "a", "--json")
        )
        again = report_of(
            command("prune", "a", *TRUSTED, "--remove", "1", "--narrow", *QUICK, "--json")
        )
        assert names_in("pruned/a") == FILES
        assert again["model"]["parameters"] == sum(
            p.numel() for p in designer.load("a", trust=ALL).model.parameters()
        )
        assert len(again["blocks"]) == len(
            report_of(command("analyze", "a", *TRUSTED, "--json"))["layers"]
        )
        data = designer.load_dataset(BLOBS)
        assert accuracy("pruned/a", data.test) == pytest.approx(
            again["networks"][1]["test_accuracy"]["value"]
        )
        assert len(designer.load("pruned/a", trust=ALL).removed) == 2

    def test_again_over_itself_gives_the_same(self, command: Command, run: Path) -> None:
        options = ["--max-drop", "0.3", *QUICK, "--out", "a", "--json"]
        first = report_of(command("prune", str(run), *TRUSTED, *options))
        saved = Path("a/model.safetensors").read_bytes()
        again = report_of(command("prune", str(run), *TRUSTED, *options))
        assert again["removed"] == first["removed"]
        assert Path("a/model.safetensors").read_bytes() == saved


class TestModelOfACallable:
    def prune(self, command: Command, weights: Path, *arguments: str) -> Outcome:
        return command("prune", NET, "--weights", str(weights), *DIGITS, *arguments)

    def test_writes_a_smaller_model(self, command: Command, weights: Path) -> None:
        report = report_of(self.prune(command, weights, "--remove", "1", *QUICK, "--json"))
        folder = Path("pruned/tests.support.cli_models-perceptron")
        assert names_in(folder) == FILES
        assert report["model"]["weights"] == "w.safetensors"
        assert report == json.loads((folder / "report.json").read_text(encoding="utf-8"))
        data = designer.load_dataset("digits", train_size=300, scaling="none")
        pruned = report["networks"][1]
        assert accuracy(folder, data.validation) == pytest.approx(
            pruned["validation_accuracy"]["value"]
        )

    def test_as_markdown(self, command: Command, weights: Path) -> None:
        done = self.prune(command, weights, "--remove", "2", "--out", "s", *QUICK,
                          "--format", "markdown")  # fmt: skip
        assert done.out == Path("s/report.md").read_text(encoding="utf-8")
        assert done.out.startswith("# Pruning: tests.support.cli\\_models:perceptron on digits\n")

    def test_takes_the_names_of_blocks(self, command: Command, weights: Path) -> None:
        report = report_of(self.prune(command, weights, "--remove", "3, 2", *QUICK, "--json"))
        assert report["removed"] == ["2", "3"]
        assert report["request"] == {"remove": ["3", "2"]}

    def test_takes_a_size(self, command: Command, weights: Path) -> None:
        options = ["--target-params", "0.8", *QUICK, "--json"]
        original, pruned = report_of(self.prune(command, weights, *options))["networks"]
        assert pruned["parameters"] <= 0.8 * original["parameters"]

    def test_hands_on_every_option(
        self, command: Command, weights: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        requests: list[PruningOptions] = []

        def look(_model: nn.Module, _data: object, options: PruningOptions, _: object) -> None:
            requests.append(options)
            raise designer.InvalidInputError("enough")

        monkeypatch.setattr(import_module("designer.pruning.prune"), "prune_with", look)
        self.prune(command, weights, "--max-drop", "0.02", "--criterion", "last", "--blocks",
                   "1,2", "--narrow", "--epochs", "3", "--learning-rate", "0.5", "--soft-targets",
                   "--scratch-epochs", "7", "--seed", "9", "--batch-size", "33")  # fmt: skip
        assert replace(requests[0], build=None) == PruningOptions(
            RemovalRequest(max_drop=0.02),
            Criterion.LAST,
            RecoveryOptions(3, 0.5, 33, soft_targets=True, seed=9, scratch_epochs=7),
            ["1", "2"],
            narrower=True,
        )
        self.prune(command, weights, "--remove", "4")
        assert replace(requests[1], build=None) == PruningOptions(RemovalRequest(4))

    def test_what_a_model_prints_does_not_spoil_the_json(
        self, command: Command, weights: Path
    ) -> None:
        done = command("prune", "tests.support.cli_models:talkative", "--weights", str(weights),
                       *DIGITS, "--remove", "1", *QUICK, "--json")  # fmt: skip
        assert json.loads(done.out)["removed"]
        assert "hello from the model" in done.err

    def test_shows_bars_on_a_terminal(
        self, command: Command, weights: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        done = self.prune(command, weights, "--remove", "1", *QUICK, "--json")
        assert json.loads(done.out)["removed"]
        assert "recovery" in done.err
        assert "\x1b[" in done.err
        assert "recovery ..." not in done.err


class TestCtrlC:
    def test_in_the_baselines_leaves_the_smaller_model(
        self, command: Command, run: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(pruning_report, "from_scratch", stop)
        done = command(
            "prune", str(run), *TRUSTED, "--remove", "1", "--epochs", "1", "--out", "small"
        )
        assert done.code == INTERRUPTED
        assert done.out == ""
        last = "error: Stopped; the smaller model is in small, without baselines."
        assert done.err.splitlines()[-1] == last
        assert names_in("small") == FILES
        report = json.loads(Path("small/report.json").read_text(encoding="utf-8"))
        assert [network["name"] for network in report["networks"]] == ["original", "pruned"]
        assert report["model"]["name"] == str(run)
        assert designer.load("small", trust=ALL).removed

    def test_before_that_writes_nothing(
        self, command: Command, run: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(import_module("designer.pruning.prune"), "prune_with", stop)
        done = command("prune", str(run), *TRUSTED, "--remove", "1", "--out", "small")
        assert (done.code, done.out) == (INTERRUPTED, "")
        assert done.err == "error: Stopped.\n"
        assert not Path("small").exists()


# --- what cannot be pruned: one line on stderr, and nothing is written ---


def refusal(outcome: Outcome) -> str:
    """Assert that a command refused with one line and wrote no folder; return that line."""
    message = refused(Outcome(outcome.code, outcome.out, outcome.err.splitlines()[-1] + "\n"))
    assert all(line.endswith(" ...") for line in outcome.err.splitlines()[:-1])
    assert not Path("pruned").exists()
    assert not Path("small").exists()
    return message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--remove", "4"], "at most 3 blocks to remove, since 3 of 3 can go, got 4"),
        (["--remove", "0"], "at least 1 block to remove, got 0"),
        (["--remove", "-1"], "at least 1 block to remove, got -1"),
        (["--remove", "nowhere"], "Expected blocks among 1, 2, 3, got 'nowhere'"),
        (["--remove", ""], "got ''"),
        (["--blocks", "nowhere", "--remove", "1"], "'nowhere'"),
        ([], "got none of them; for example max_drop=0.01 (--max-drop 0.01)"),
        (["--remove", "1", "--max-drop", "0.1"], "got remove and max_drop"),
        (["--max-drop", "0.1", "--target-params", "0.5"], "got max_drop and target_params"),
        (["--max-drop", "2"], "from 0 to 1, such as 0.01, got 2"),
        (["--max-drop", "much"], "Invalid value for '--max-drop'"),
        (["--target-params", "0"], "between 0 and 1, got 0"),
        (["--target-params", "0.05"], "Expected a size that can be reached, got 142 parameters"),
        (
            ["--remove", "1", "--criterion", "magic"],
            "a criterion among best, contribution,",
        ),
        (["--remove", "1", "--epochs", "-1"], "at least 0 epochs, got -1"),
        (["--remove", "1", "--scratch-epochs", "-1"], "at least 0 epochs, got -1"),
        (["--remove", "1", "--learning-rate", "0"], "a positive learning rate, got 0"),
        (["--remove", "1", "--batch-size", "1"], "a batch size of at least 2, got 1"),
        (["--remove", "1", "--device", "much"], "a device that torch can use here, got 'much'"),
        (["--remove", "1", "--scaling", "much"], "got 'much'"),
        (["--remove", "1", "--data", "nowhere.npz"], "nowhere.npz"),
        (
            ["--data", "tests.support.cli_models:batches", "--remove", "1", "--train-size", "9"],
            "for the option train size, got batches",
        ),
        (
            ["--remove", "1", "--validation-fraction", "0"],
            "a validation fraction between 0 and 1, got 0",
        ),
        (["--remove", "1", "--out", "w"], "Cannot write to 'w': "),
        (["--remove", "1", "--out", "w/below/it"], "Cannot write to 'w/below/it': "),
        (["--remove", "1", "--out", "theirs"], "'theirs' has a report.json of something else"),
        (["--remove", "1", "--out", "/proc/nowhere"], "Cannot write to '/proc/nowhere': "),
    ],
)
def test_unusable_options(
    command: Command, weights: Path, options: list[str], message: str
) -> None:
    Path("w").write_text("a file", encoding="utf-8")
    Path("theirs").mkdir()
    Path("theirs/report.json").write_text("{}", encoding="utf-8")
    data = [] if "--data" in options else DIGITS
    done = command("prune", NET, "--weights", str(weights), *data, *options, "--no-baselines")
    assert message in refusal(done)
    assert Path("w").read_text(encoding="utf-8") == "a file"
    assert names_in("theirs") == {"report.json"}


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ("perceptron", "no better than chance"),
        ("five_classes", "Expected a classifier that gives logits (n, 10), got (2, 5)"),
        ("raises", "ZeroDivisionError: broken on purpose"),
        ("leaves", "SystemExit"),
        ("tensorless", "got str"),
        ("wide", "mat1 and mat2"),
        ("nothing", "'tests.support.cli_models:nothing'"),
        ("scripted", "Expected a module in Python, got one in TorchScript"),
    ],
)
def test_unusable_models(command: Command, net: str, message: str) -> None:
    done = command(
        "prune", f"tests.support.cli_models:{net}", *DIGITS, "--remove", "1", "--out", "small"
    )
    assert message in refusal(done)


def test_no_data(command: Command) -> None:
    assert "Expected --data" in refusal(command("prune", NET, "--remove", "1"))


def test_no_model(command: Command) -> None:
    line = refusal(command("prune", "nowhere/best", *DIGITS, "--remove", "1"))
    assert "or as a folder that a search wrote" in line


def test_folders_of_others_are_left_alone(command: Command, run: Path) -> None:
    report = (run / "report.json").read_bytes()
    for out, message in (
        (run, "Expected another folder than that of the model itself"),
        (run / "best" / "1", "has a spec.json of something else"),
    ):
        assert message in refusal(
            command("prune", str(run), *TRUSTED, "--remove", "1", "--out", str(out))
        )
    assert (run / "report.json").read_bytes() == report
    assert not list(run.rglob("model.json"))


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-50])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "Expected model.json and model.safetensors of one pruned model in 'small'"),
        (lambda folder: (folder / "model.json").write_text("{"), "Expecting property name"),
        (lambda folder: (folder / "model.safetensors").unlink(), "FileNotFoundError"),
        (
            lambda folder: (folder / "model.json").unlink(),
            "there is no spec.json or model.json in it",
        ),
    ],
)
def test_damaged_folders(
    command: Command, run: Path, damage: Callable[[Path], object], message: str
) -> None:
    report_of(
        command("prune", str(run), *TRUSTED, "--remove", "1", *QUICK, "--out", "small", "--json")
    )
    damage(Path("small"))
    for arguments in (["prune", "small", "--remove", "1", "--out", "a"], ["analyze", "small"]):
        assert message in refused(command(*arguments, *TRUSTED))
    assert not Path("a").exists()
