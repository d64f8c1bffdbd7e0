"""``designer analyze``: what it shows and writes, and how it refuses what cannot be analysed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import designer
from designer.cli.app import OK
from designer.results.measured import Verdict
from designer.results.serialisation import report_schema
from tests.support import cli_models
from tests.support.command import Command, refused
from tests.support.toy import TRUSTED, write_blobs

pytestmark = pytest.mark.usefixtures("folder")

NET = "tests.support.cli_models:perceptron"
DIGITS = ["--data", "digits", "--train-size", "300"]
BLOCKS = ["1", "2", "3"]


@pytest.fixture(autouse=True)
def _no_model_is_left() -> None:
    """Forget the models that earlier tests built."""
    cli_models.MADE.clear()


def analysis(command: Command, *arguments: str) -> dict[str, Any]:
    """Analyse a model and return what ``--json`` prints."""
    done = command("analyze", *arguments, "--json")
    assert done.code == OK, done.err
    report: dict[str, Any] = json.loads(done.out)
    return report


def warning_codes(report: dict[str, Any]) -> set[str]:
    """Return the codes of the warnings in a report."""
    return {warning["code"] for warning in report["warnings"]}


class TestOutput:
    def test_in_a_terminal(self, command: Command) -> None:
        done = command("analyze", NET, *DIGITS)
        assert done.code == OK
        assert done.out.startswith(f"Analysis: {NET} on digits\n")
        assert "total reduction" in done.out
        for name in BLOCKS:
            assert any(line.startswith(f"{name} ") for line in done.out.splitlines())
        assert max(map(len, done.out.splitlines())) <= 80
        assert len(done.err.splitlines()) == 1  # no bars in a pipe

    def test_as_json(self, command: Command) -> None:
        shown = analysis(command, NET, *DIGITS)
        assert {"model", "law", "layers"} <= set(shown)
        assert shown["model"]["name"] == NET
        assert [layer["name"] for layer in shown["layers"]] == BLOCKS
        promised = report_schema()["$defs"]["LayerReport"]["required"]
        for layer in shown["layers"]:
            assert set(promised) <= set(layer)
            assert layer["verdict"] in set(Verdict)
        by_python = designer.analyze(cli_models.MADE[0], *_digits())
        assert shown["law"]["rho"] == pytest.approx(by_python.law.rho)
        assert shown["layers"][0]["separation_heldout"] == pytest.approx(
            by_python.layers[0].separation_heldout
        )

    def test_as_markdown(self, command: Command) -> None:
        shown = command("analyze", NET, *DIGITS, "--format", "markdown").out
        assert shown.startswith("# Analysis: tests.support.cli\\_models:perceptron on digits\n")
        assert "| 1 | 24 |" in shown

    def test_again_gives_the_same(self, command: Command) -> None:
        assert analysis(command, NET, *DIGITS) == analysis(command, NET, *DIGITS)

    def test_candidates_with_reasons(self, command: Command) -> None:
        shown = command("analyze", NET, *DIGITS, "--list-blocks")
        assert shown.code == OK
        rows = json.loads(command("analyze", NET, *DIGITS, "--list-blocks", "--json").out)
        assert [row["name"] for row in rows if row["chosen"]] == BLOCKS
        assert all(row["reason"] for row in rows)
        table = {line.split()[0]: line.rstrip() for line in shown.out.splitlines()[1:]}
        assert list(table) == [row["name"] for row in rows]
        assert all(table[row["name"]].endswith(row["reason"]) for row in rows)

    def test_blocks_named_by_the_user(self, command: Command) -> None:
        shown = analysis(command, NET, *DIGITS, "--blocks", "2.*, 3")
        assert [layer["name"] for layer in shown["layers"]] == ["2.0", "2.1", "2.2", "3"]

    @pytest.mark.parametrize(
        ("options", "features", "width"),
        [
            (["--features", "pool"], "pool", 24),
            (["--features", "project", "--dimension", "20"], "project 20", 20),
        ],
    )
    def test_features(
        self, command: Command, options: list[str], features: str, width: int
    ) -> None:
        shown = analysis(command, NET, *DIGITS, *options)
        assert shown["features"] == features
        assert shown["layers"][0]["width"] == width

    def test_the_residual(self, command: Command) -> None:
        shown = analysis(command, NET, *DIGITS, "--measure", "residual")
        assert shown["measure"] == "residual"
        assert all(0 < layer["separation"] < 1 for layer in shown["layers"])

    def test_what_a_model_prints_does_not_spoil_the_json(self, command: Command) -> None:
        done = command("analyze", "tests.support.cli_models:talkative", *DIGITS, "--json")
        assert json.loads(done.out)["law"]
        assert "hello from the model" in done.err

    def test_a_scaling_that_the_model_was_not_trained_with(self, command: Command) -> None:
        net = "tests.support.cli_models:unscaled"
        shown = analysis(command, net, *DIGITS, "--scaling", "standard")
        assert shown["data"]["scaling"] == "standard"
        assert "scaling" in warning_codes(shown)
        plain = analysis(command, net, *DIGITS)
        assert plain["data"]["scaling"] == "none"
        assert "scaling" not in warning_codes(plain)
        assert plain["model"]["accuracy"] > shown["model"]["accuracy"] + 0.1

    def test_a_test_set_that_was_split_off_here_gives_a_warning(self, command: Command) -> None:
        assert "split_here" in warning_codes(analysis(command, NET, *DIGITS))
        assert "split_here" not in warning_codes(
            analysis(command, NET, "--data", "tests.support.cli_models:batches")
        )

    def test_validation_data_are_no_reason_to_ask_for_test_data(self, command: Command) -> None:
        words = ["--data", "tests.support.toy:blobs", "--heldout", "validation", *TRUSTED]
        shown = analysis(command, "tests.support.cli_models:six_features", *words)
        (message,) = (w["message"] for w in shown["warnings"] if w["code"] == "split_here")
        assert message.startswith("The validation data were split off the training data here.")
        assert "x_test" not in message
        assert "designer.prune(model, (train, heldout, test))" in message

    @pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
    def test_weights(self, command: Command, name: str) -> None:
        untouched = analysis(command, NET, *DIGITS)
        weights = cli_models.weights()
        if name.endswith("pt"):
            torch.save({"state_dict": weights, "epoch": 3}, name)
        else:
            save_file(weights, name)
        shown = analysis(command, NET, *DIGITS, "--weights", name)
        assert shown["model"]["weights"] == name
        assert shown["layers"][0]["separation"] != untouched["layers"][0]["separation"]
        for key, value in cli_models.MADE[0].state_dict().items():
            assert torch.equal(value, weights[key])

    def test_what_a_search_recommended(self, command: Command) -> None:
        result = designer.search(
            "tests.support.toy:TinySpace",
            "tests.support.toy:blobs",
            trials=2,
            epochs=3,
            confirm=1,
            confirm_seeds=1,
            confirm_epochs=3,
            out="run",
        )
        shown = analysis(command, "run/best/1", *TRUSTED)
        layers = result.recommendations[0].layers
        assert [layer["name"] for layer in shown["layers"]] == [layer.name for layer in layers]
        assert shown["data"]["heldout_part"] == "validation"
        assert shown["layers"][0]["separation"] == pytest.approx(layers[0].separation)
        assert analysis(command, "run", *TRUSTED)["layers"] == shown["layers"]
        named = analysis(command, "run/best/1", *TRUSTED, "--data", "tests.support.toy:blobs")
        assert named["layers"] == shown["layers"]
        assert not {"other_split", "split_here", "scaling"} & warning_codes(shown)
        assert "other_split" in warning_codes(
            analysis(command, "run/best/1", *TRUSTED, "--seed", "5")
        )

    def test_its_data_under_another_name(self, command: Command) -> None:
        write_blobs(Path("blobs.npz"))
        quick: dict[str, Any] = {
            "trials": 1,
            "epochs": 1,
            "confirm": 1,
            "confirm_seeds": 1,
            "confirm_epochs": 1,
        }
        designer.search(
            "tests.support.toy:TinySpace", "blobs.npz", seed=3, train_size=90, out="moved", **quick
        )
        shown = analysis(command, "moved/best/1", *TRUSTED)
        Path("elsewhere").mkdir()
        Path("blobs.npz").rename("elsewhere/blobs.npz")
        there = analysis(command, "moved/best/1", *TRUSTED, "--data", "elsewhere/blobs.npz")
        assert there["data"] == shown["data"]
        assert there["layers"] == shown["layers"]
        other = analysis(
            command, "moved/best/1", *TRUSTED, "--data", "elsewhere/blobs.npz", "--seed", "5"
        )
        assert "split_here" in warning_codes(other)


def _digits() -> tuple[Any, Any]:
    data = designer.load_dataset("digits", train_size=300, scaling="none")
    return data.train, data.test


# --- what cannot be analysed: one line on stderr, and the model is left as it was ---


def save_pickled_code() -> None:
    torch.save({"weight": torch.ones(1), "code": cli_models.Code("marker")}, "w")


def save_truncated() -> None:
    save_file(cli_models.weights(), "whole")
    Path("w").write_bytes(Path("whole").read_bytes()[:-100])


def save_too_few() -> None:
    weights = cli_models.weights()
    del weights["1.0.weight"]
    torch.save(weights, "w")


def save_too_many() -> None:
    save_file({**cli_models.weights(), "other.weight": torch.ones(2)}, "w")


def save_another_shape() -> None:
    save_file({**cli_models.weights(), "4.bias": torch.ones(11)}, "w")


def save_text() -> None:
    Path("w").write_text("these are no weights")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (save_pickled_code, "nothing was executed; save the weights with safetensors"),
        (save_truncated, "Expected whole weights in 'w', but reading them failed"),
        (save_too_few, "1 missing ('1.0.weight')"),
        (save_too_many, "1 unexpected ('other.weight')"),
        (save_another_shape, "1 different ('4.bias' float32 (11,) instead of float32 (10,))"),
        (save_text, "Expected weights in 'w' as safetensors or torch.save writes them"),
        (lambda: None, "Expected a file of weights at 'w', found none."),
    ],
)
def test_unusable_weights(command: Command, write: Callable[[], None], message: str) -> None:
    write()
    assert message in refused(command("analyze", NET, *DIGITS, "--weights", "w"))
    assert not Path("marker").exists()


@pytest.mark.parametrize("listing", [[], ["--list-blocks"]])
@pytest.mark.parametrize(
    ("net", "message"),
    [
        (
            "raises",
            "Expected Raises to run on inputs of shape (n, 1, 8, 8), but it raised "
            "ZeroDivisionError: broken on purpose.",
        ),
        ("wide", "inputs of shape (n, 1, 8, 8), but it raised RuntimeError: mat1 and mat2"),
    ],
)
def test_models_that_do_not_run(
    command: Command, net: str, message: str, listing: list[str]
) -> None:
    line = refused(command("analyze", f"tests.support.cli_models:{net}", *DIGITS, *listing))
    assert message in line
    assert cli_models.MADE
    assert_no_hooks()


@pytest.mark.parametrize(
    ("net", "options", "message"),
    [
        ("tensorless", [], "Expected the model to return a floating tensor"),
        ("single", [], "found none in Sequential: name them with `blocks` (--blocks)"),
        ("five_classes", [], "Expected labels below 5, the number of classes"),
        ("perceptron", ["--blocks", "nowhere"], "got 'nowhere'"),
        ("perceptron", ["--features", "much"], "flatten, pool, project, got 'much'"),
        ("perceptron", ["--measure", "much"], "separation, residual, got 'much'"),
        ("perceptron", ["--dimension", "0", "--features", "project"], "at least 1, got 0"),
        ("perceptron", ["--batch-size", "0"], "at least 1, got 0"),
        ("perceptron", ["--heldout", "much"], "validation, test, got 'much'"),
        ("perceptron", ["--device", "much"], "a device that torch can use here, got 'much'"),
        ("perceptron", ["--scaling", "much"], "got 'much'"),
        ("perceptron", ["--data", "much.npz"], "much.npz"),
        ("nothing", [], "'tests.support.cli_models:nothing'"),
        ("leaves", [], "but it raised SystemExit: 0"),
        ("scripted", [], "Expected a module in Python, got one in TorchScript"),
        ("misnamed", [], "Expected `block_names` of Sequential as names, got int"),
        ("perceptron", ["--device", "meta"], "a device that torch can use here, got 'meta'"),
        ("perceptron", ["--dimension", "5", "--features", "pool"], "together with features"),
        (
            "perceptron",
            ["--data", "tests.support.cli_models:breaking"],
            "raised OSError: the disk is gone",
        ),
    ],
)
def test_what_cannot_be_analysed(
    command: Command, net: str, options: list[str], message: str
) -> None:
    data = [] if "--data" in options else DIGITS
    assert message in refused(
        command("analyze", f"tests.support.cli_models:{net}", *data, *options)
    )
    assert_no_hooks()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [NET, "--data", "tests.support.cli_models:batches", "--validation-fraction", "0.3"],
            "for the option validation fraction, got batches",
        ),
        (
            [NET, "--data", "tests.support.cli_models:batches", "--heldout", "test"],
            "Expected arrays from 'tests.support.cli_models:batches' to choose the test part of",
        ),
        (["tests.support.cli_models:perceptron"], "Expected --data, the data to look at"),
        (["nowhere/best/1", "--data", "digits"], "or as a folder that a search wrote"),
    ],
)
def test_unusable_arguments(command: Command, arguments: list[str], message: str) -> None:
    assert message in refused(command("analyze", *arguments))


def assert_no_hooks() -> None:
    """Assert that no hook is left on the model that the command built."""
    for model in cli_models.MADE:
        for module in model.modules():
            assert not module._forward_hooks
            assert not module._forward_pre_hooks


class TestWrites:
    def test_a_report_in_every_form(self, command: Command) -> None:
        done = command("analyze", NET, *DIGITS)
        assert done.code == OK
        folder = Path("analyses/tests.support.cli_models-perceptron")
        names = {path.name for path in folder.iterdir()}
        assert names == {"report.html", "report.json", "report.md"}
        assert f"Written to {folder}: report.json, report.md, report.html" in done.err
        written = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        assert written["command"] == f"designer analyze {NET} {' '.join(DIGITS)}"
        shown = command("report", str(folder))
        assert shown.out == done.out
        page = command("report", str(folder), "--format", "html").out
        assert page == (folder / "report.html").read_text(encoding="utf-8")
        assert '"name":"architecture"' in page

    def test_over_an_older_analysis(self, command: Command) -> None:
        assert command("analyze", NET, *DIGITS, "--out", "here").code == OK
        assert command("analyze", NET, *DIGITS, "--out", "here", "--scaling", "standard").code == OK
        written = json.loads(Path("here/report.json").read_text(encoding="utf-8"))
        assert written["data"]["scaling"] == "standard"

    def test_never_over_a_report_of_something_else(self, command: Command) -> None:
        Path("run").mkdir()
        Path("run/report.json").write_text('{"schema": "designer.report/1"}')
        outcome = command("analyze", NET, *DIGITS, "--out", "run")
        assert "choose another --out" in refused(outcome)
        assert Path("run/report.json").read_text() == '{"schema": "designer.report/1"}'
