"""``designer prune``: what it writes and shows, and what it says where that cannot be done."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import designer
from designer.choices import Criterion
from designer.cli.app import INTERRUPTED, OK
from designer.models.loading import load_model
from designer.pruning import report as pruning_report
from designer.pruning.options import PruningOptions, RecoveryOptions, RemovalRequest
from tests.support import cli_models
from tests.support.command import Command, Outcome, refused
from tests.support.trained import train_briefly

pytestmark = pytest.mark.usefixtures("folder")

NET = "tests.support.cli_models:perceptron"
DIGITS = ["--data", "digits", "--train-size", "300"]
BLOBS = "tests.support.toy:blobs"
FILES = {"model.json", "model.safetensors", "report.html", "report.json", "report.md"}
QUICK = ["--epochs", "1", "--no-baselines"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a search wrote."""
    out = tmp_path_factory.mktemp("search") / "run"
    options: dict[str, Any] = {"trials": 2, "epochs": 4, "confirm": 1, "confirm_seeds": 1}
    designer.search("tests.support.toy:TinySpace", BLOBS, confirm_epochs=6, out=out, **options)
    return out


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a perceptron that knows the digits."""
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    data = designer.load_dataset("digits", train_size=300)
    save_file(train_briefly(cli_models.perceptron(), data.train, epochs=12).state_dict(), path)
    return path


def files(folder: str | Path) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def outputs(source: str | Path, inputs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = load_model(source).model(inputs)
    return found


def shown(outcome: Outcome) -> dict[str, Any]:
    assert outcome.code == OK, outcome.err
    found: dict[str, Any] = json.loads(outcome.out)
    return found


class TestOfWhatASearchFound:
    def test_writes_a_smaller_model(self, command: Command, run: Path) -> None:
        done = command("prune", str(run), "--remove", "1", "--epochs", "2", "--out", "small",
                       "--scratch-epochs", "2")  # fmt: skip
        assert done.code == OK, done.err
        assert files("small") == FILES
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
        for chart in ("curves", "sizes", "steps"):
            assert f'"name":"{chart}"' in page
        assert "recovery ..." in done.err.splitlines()
        report = json.loads(Path("small/report.json").read_text(encoding="utf-8"))
        assert [one["name"] for one in report["networks"]] == [
            "original", "pruned", "from scratch", "greedy ablation",
        ]  # fmt: skip
        assert report["model"]["name"] == str(run)
        assert report["data"]["name"] == BLOBS
        text = Path("small/report.md").read_text(encoding="utf-8")
        assert text.startswith(f"# Pruning: {run} on".replace("_", r"\_"))
        assert text.count("from scratch |") == 1

    def test_loads_again_with_its_data(self, command: Command, run: Path) -> None:
        given = ["--remove", "1", *QUICK, "--out", "small", "--json"]
        found = shown(command("prune", str(run), *given))
        pruned = found["networks"][1]
        loaded, whole = designer.load("small"), load_model(run)
        data = designer.load_dataset(BLOBS)
        assert sum(p.numel() for p in loaded.model.parameters()) == pruned["parameters"]
        right = (outputs("small", data.test.inputs).argmax(1) == data.test.labels).float().mean()
        assert float(right) == pytest.approx(pruned["test_accuracy"]["value"])
        assert (loaded.spec, loaded.scaling) == (whole.spec, whole.scaling)
        assert loaded.learning_rate == whole.learning_rate == found["settings"]["learning_rate"]
        analysis = shown(command("analyze", "small", "--json"))
        assert analysis["data"]["name"] == BLOBS
        assert analysis["model"]["accuracy_heldout"] == pytest.approx(
            pruned["validation_accuracy"]["value"]
        )
        removed = {one["name"] for one in found["blocks"] if one["removed"]}
        left = [one["name"] for one in found["blocks"] if one["name"] not in removed]
        assert [one["name"] for one in analysis["layers"]] == left

    def test_is_pruned_once_more(self, command: Command, run: Path) -> None:
        shown(command("prune", str(run), "--remove", "1", *QUICK, "--out", "a", "--json"))
        again = shown(command("prune", "a", "--remove", "1", "--narrow", *QUICK, "--json"))
        assert files("pruned/a") == FILES
        assert again["model"]["parameters"] == sum(
            p.numel() for p in designer.load("a").model.parameters()
        )
        assert len(again["blocks"]) == len(shown(command("analyze", "a", "--json"))["layers"])
        data = designer.load_dataset(BLOBS)
        right = outputs("pruned/a", data.test.inputs).argmax(1) == data.test.labels
        assert float(right.float().mean()) == pytest.approx(
            again["networks"][1]["test_accuracy"]["value"]
        )
        assert len(designer.load("pruned/a").removed) == 2

    def test_again_over_itself_gives_the_same(self, command: Command, run: Path) -> None:
        kept: list[bytes] = []
        for _ in range(2):
            shown(command("prune", str(run), "--max-drop", "0.3", *QUICK, "--out", "a", "--json"))
            kept.append(Path("a/model.safetensors").read_bytes())
        assert kept[0] == kept[1]


class TestOfACallable:
    def prune(self, command: Command, weights: Path, *arguments: str) -> Outcome:
        return command("prune", NET, "--weights", str(weights), *DIGITS, *arguments)

    def test_writes_a_smaller_model(self, command: Command, weights: Path) -> None:
        found = shown(self.prune(command, weights, "--remove", "1", *QUICK, "--json"))
        folder = Path("pruned/tests.support.cli_models-perceptron")
        assert files(folder) == FILES
        assert found["model"]["weights"] == "w.safetensors"
        assert found == json.loads((folder / "report.json").read_text(encoding="utf-8"))
        data = designer.load_dataset("digits", train_size=300)
        right = outputs(folder, data.validation.inputs).argmax(1) == data.validation.labels
        share = found["networks"][1]["validation_accuracy"]["value"]
        assert float(right.float().mean()) == pytest.approx(share)

    def test_as_markdown(self, command: Command, weights: Path) -> None:
        done = self.prune(command, weights, "--remove", "2", "--out", "s", *QUICK,
                          "--format", "markdown")  # fmt: skip
        assert done.out == Path("s/report.md").read_text(encoding="utf-8")
        assert done.out.startswith("# Pruning: tests.support.cli\\_models:perceptron on digits\n")

    def test_takes_the_names_of_blocks(self, command: Command, weights: Path) -> None:
        found = shown(self.prune(command, weights, "--remove", "3, 2", *QUICK, "--json"))
        assert found["removed"] == ["2", "3"]
        assert found["request"] == {"remove": ["3", "2"]}

    def test_takes_a_size(self, command: Command, weights: Path) -> None:
        found = shown(self.prune(command, weights, "--target-params", "0.8", *QUICK, "--json"))
        original, pruned = found["networks"]
        assert pruned["parameters"] <= 0.8 * original["parameters"]

    def test_hands_on_what_was_asked_for(
        self, command: Command, weights: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        requests: list[PruningOptions] = []

        def look(_model: nn.Module, _data: object, options: PruningOptions, _: object) -> None:
            requests.append(options)
            raise designer.InvalidInputError("enough")

        monkeypatch.setattr(sys.modules["designer.pruning.prune"], "prune_with", look)
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
        done = command("prune", str(run), "--remove", "1", "--epochs", "1", "--out", "small")
        assert done.code == INTERRUPTED
        assert done.out == ""
        last = "error: Stopped; the smaller model is in small, without baselines."
        assert done.err.splitlines()[-1] == last
        assert files("small") == FILES
        report = json.loads(Path("small/report.json").read_text(encoding="utf-8"))
        assert [one["name"] for one in report["networks"]] == ["original", "pruned"]
        assert report["model"]["name"] == str(run)
        assert designer.load("small").removed

    def test_before_that_writes_nothing(
        self, command: Command, run: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(sys.modules["designer.pruning.prune"], "prune_with", stop)
        done = command("prune", str(run), "--remove", "1", "--out", "small")
        assert (done.code, done.out) == (INTERRUPTED, "")
        assert done.err == "error: Stopped.\n"
        assert not Path("small").exists()


# --- what cannot be pruned: one line, nothing written ---


def refusal(outcome: Outcome) -> str:
    """One line, and no folder of ours."""
    message = refused(Outcome(outcome.code, outcome.out, outcome.err.splitlines()[-1] + "\n"))
    assert all(line.endswith(" ...") for line in outcome.err.splitlines()[:-1])
    assert not Path("pruned").exists()
    assert not Path("small").exists()
    return message


@pytest.mark.parametrize(
    ("options", "said"),
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
            "a criterion among best, heldout, train,",
        ),
        (["--remove", "1", "--epochs", "-1"], "at least 0 epochs, got -1"),
        (["--remove", "1", "--scratch-epochs", "-1"], "at least 0 epochs, got -1"),
        (["--remove", "1", "--learning-rate", "0"], "a positive learning rate, got 0"),
        (["--remove", "1", "--batch-size", "1"], "a batch size of at least 2, got 1"),
        (["--remove", "1", "--device", "much"], "a device that torch can use here, got 'much'"),
        (["--remove", "1", "--scaling", "much"], "got 'much'"),
        (["--remove", "1", "--data", "nowhere.npz"], "nowhere.npz"),
        (
            ["--remove", "1", "--data", "tests.support.cli_models:batches"],
            "got batches; pruning trains",
        ),
        (["--remove", "1", "--validation-fraction", "0"], "validation"),
        (["--remove", "1", "--out", "w"], "Cannot write to 'w': "),
        (["--remove", "1", "--out", "w/below/it"], "Cannot write to 'w/below/it': "),
        (["--remove", "1", "--out", "theirs"], "'theirs' has a report.json of something else"),
        (["--remove", "1", "--out", "/proc/nowhere"], "Cannot write to '/proc/nowhere': "),
    ],
)
def test_options_that_will_not_do(
    command: Command, weights: Path, options: list[str], said: str
) -> None:
    Path("w").write_text("a file", encoding="utf-8")
    Path("theirs").mkdir()
    Path("theirs/report.json").write_text("{}", encoding="utf-8")
    given = [] if {"--data", "--validation-fraction"} & set(options) else DIGITS
    if "--validation-fraction" in options:
        given = DIGITS
    done = command("prune", NET, "--weights", str(weights), *given, *options, "--no-baselines")
    assert said in refusal(done)
    assert Path("w").read_text(encoding="utf-8") == "a file"
    assert files("theirs") == {"report.json"}


@pytest.mark.parametrize(
    ("net", "said"),
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
def test_models_that_will_not_do(command: Command, net: str, said: str) -> None:
    done = command(
        "prune", f"tests.support.cli_models:{net}", *DIGITS, "--remove", "1", "--out", "small"
    )
    assert said in refusal(done)


def test_no_data(command: Command) -> None:
    assert "Expected --data" in refusal(command("prune", NET, "--remove", "1"))


def test_no_model(command: Command) -> None:
    said = refusal(command("prune", "nowhere/best", *DIGITS, "--remove", "1"))
    assert "package.module:callable or a folder" in said


def test_folders_of_others_are_left_alone(command: Command, run: Path) -> None:
    report = (run / "report.json").read_bytes()
    for out, said in (
        (run, "Expected another folder than that of the model itself"),
        (run / "best" / "1", "has a spec.json of something else"),
    ):
        assert said in refusal(command("prune", str(run), "--remove", "1", "--out", str(out)))
    assert (run / "report.json").read_bytes() == report
    assert not list(run.rglob("model.json"))


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-50])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncate, "Expected model.json and model.safetensors of one pruned model in 'small'"),
        (lambda f: (f / "model.json").write_text("{"), "JSONDecodeError"),
        (lambda f: (f / "model.safetensors").unlink(), "FileNotFoundError"),
        (lambda f: (f / "model.json").unlink(), "there is no spec.json or model.json in it"),
    ],
)
def test_damaged_folders(
    command: Command, run: Path, damage: Callable[[Path], object], said: str
) -> None:
    shown(command("prune", str(run), "--remove", "1", *QUICK, "--out", "small", "--json"))
    damage(Path("small"))
    for arguments in (["prune", "small", "--remove", "1", "--out", "a"], ["analyze", "small"]):
        assert said in refused(command(*arguments))
    assert not Path("a").exists()
