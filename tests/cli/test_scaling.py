"""How ``analyze`` and ``prune`` scale the data for a model that is not ours."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import designer
from designer.cli.app import OK
from designer.cli.options import read_scaling
from designer.data.dataset import LabelledTensors
from designer.models.loading import load_model
from tests.support import cli_models
from tests.support.command import Command, Outcome, refused
from tests.support.toy import blobs
from tests.support.trained import train_briefly

pytestmark = pytest.mark.usefixtures("folder")

NET = "tests.support.cli_models:six_features"
PRUNE = ["--remove", "1", "--epochs", "0", "--no-baselines", "--out", "small"]


@dataclass(frozen=True)
class Trained:
    """Weights in a file, and the data that they were trained on."""

    weights: str
    """File with the weights."""
    data: str
    """File with the arrays as they come."""
    test: LabelledTensors
    """Test data as the network was trained on them."""
    accuracy: float
    """Share of the test data that the network is right on."""

    @property
    def arguments(self) -> list[str]:
        """The arguments that name the model and its data."""
        return [NET, "--weights", self.weights, "--data", self.data]


def trained(folder: Path, scaling: str) -> Trained:
    """Train a network on data far from mean 0, scaled in one way."""
    arrays = blobs(n=800)
    moved = {name: 0.25 * x + 1.5 if name.startswith("x") else x for name, x in arrays.items()}
    np.savez(folder / "data.npz", **moved)
    data = designer.load_dataset(str(folder / "data.npz"), scaling=scaling)
    torch.manual_seed(0)
    model = train_briefly(cli_models.six_features(), data.train, epochs=12)
    save_file(model.state_dict(), folder / "w.safetensors")
    files = str(folder / "w.safetensors"), str(folder / "data.npz")
    return Trained(*files, data.test, accuracy(model, data.test))


def accuracy(model: torch.nn.Module, samples: LabelledTensors) -> float:
    """Return the share of samples that a model is right on."""
    with torch.no_grad():
        return float((model(samples.inputs).argmax(1) == samples.labels).float().mean())


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Return a network that was trained on data as they come."""
    return trained(tmp_path_factory.mktemp("raw"), "none")


@pytest.fixture(scope="module")
def standardised(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Return a network that was trained on standardised data."""
    return trained(tmp_path_factory.mktemp("standardised"), "standard")


def report_of(outcome: Outcome) -> dict[str, Any]:
    """Assert that a command succeeded, and return the JSON that it printed."""
    assert outcome.code == OK, outcome.err
    report: dict[str, Any] = json.loads(outcome.out)
    return report


def scaling_warnings(report: dict[str, Any]) -> list[str]:
    """Return the messages of a report that warn about the scaling."""
    return [w["message"] for w in report["warnings"] if w["code"] == "scaling"]


class TestAsTheyCome:
    def test_analyze_sees_the_accuracy_that_the_user_sees(
        self, command: Command, raw: Trained
    ) -> None:
        assert raw.accuracy > 0.9
        shown = report_of(command("analyze", *raw.arguments, "--json"))
        assert shown["model"]["accuracy_heldout"] == pytest.approx(raw.accuracy)
        assert shown["data"]["scaling"] == "none"
        assert not scaling_warnings(shown)

    def test_what_prune_writes_is_fed_as_the_original_was(
        self, command: Command, raw: Trained
    ) -> None:
        report = report_of(command("prune", *raw.arguments, *PRUNE, "--json"))
        original, pruned = report["networks"]
        assert original["test_accuracy"]["value"] == pytest.approx(raw.accuracy)
        assert not scaling_warnings(report)
        small = load_model("small", trust=NET)
        assert small.scaling == {"mean": [0.0] * 6, "scale": [1.0] * 6}
        by_hand = accuracy(small.model, raw.test)
        assert by_hand == pytest.approx(pruned["test_accuracy"]["value"])
        shown = report_of(
            command("analyze", "small", "--trust", NET, "--heldout", "test", "--json")
        )
        assert shown["model"]["accuracy_heldout"] == pytest.approx(by_hand)
        assert shown["data"]["scaling"] == "none"
        named = report_of(
            command(
                "analyze",
                "small",
                "--trust",
                NET,
                "--data",
                raw.data,
                "--heldout",
                "test",
                "--json",
            )
        )
        assert named["layers"] == shown["layers"]
        again = report_of(
            command("prune", "small", "--trust", NET, *PRUNE[:-1], "smaller", "--json")
        )
        assert again["networks"][0]["test_accuracy"]["value"] == pytest.approx(by_hand)
        both = report_of(command("compare", "small", "smaller", "--trust", NET, "--format", "json"))
        assert [network["accuracy"]["value"] for network in both["networks"]] == [
            pytest.approx(result["networks"][1]["validation_accuracy"]["value"])
            for result in (report, again)
        ]

    def test_a_named_scaling_is_remembered_too(
        self, command: Command, standardised: Trained
    ) -> None:
        options = [*standardised.arguments, "--scaling", "standard"]
        report = report_of(command("prune", *options, *PRUNE, "--json"))
        original, pruned = report["networks"]
        assert original["test_accuracy"]["value"] == pytest.approx(standardised.accuracy)
        shown = report_of(
            command("analyze", "small", "--trust", NET, "--heldout", "test", "--json")
        )
        assert shown["model"]["accuracy_heldout"] == pytest.approx(pruned["test_accuracy"]["value"])

    def test_a_scaling_in_numbers(self, command: Command, standardised: Trained) -> None:
        numbers = designer.load_dataset(standardised.data).scaling
        text = "/".join(",".join(map(repr, numbers[name])) for name in ("mean", "scale"))
        options = [*standardised.arguments, "--scaling", text]
        shown = report_of(command("analyze", *options, "--json"))
        assert shown["model"]["accuracy_heldout"] == pytest.approx(standardised.accuracy)
        assert shown["data"]["scaling"] == "given"
        assert not scaling_warnings(shown)
        report_of(command("prune", *options, *PRUNE, "--json"))
        assert load_model("small", trust=NET).scaling == numbers


class TestAnotherScalingIsRight:
    @pytest.mark.parametrize("arguments", [["analyze"], ["prune", *PRUNE]])
    def test_the_command_stops_and_names_the_option(
        self, command: Command, standardised: Trained, arguments: list[str]
    ) -> None:
        line = refused(command(*arguments, *standardised.arguments))
        assert line.startswith("error: The model is right on ")
        assert " of some training data as they come and on " in line
        assert line.endswith(" with --scaling standard: name the scaling that it was trained with.")
        assert not Path("small").exists()
        assert not Path("analyses").exists()

    @pytest.mark.parametrize("arguments", [["analyze"], ["prune", *PRUNE]])
    def test_a_named_scaling_is_honoured_with_a_warning(
        self, command: Command, raw: Trained, arguments: list[str]
    ) -> None:
        report = report_of(command(*arguments, *raw.arguments, "--scaling", "standard", "--json"))
        assert report["data"]["scaling"] == "standard"
        (message,) = scaling_warnings(report)
        assert "with the scaling in use and on" in message
        assert "with --scaling none: it was probably trained with another scaling" in message

    def test_a_named_default_is_honoured_with_a_warning(
        self, command: Command, standardised: Trained
    ) -> None:
        options = [*standardised.arguments, "--scaling", "none"]
        shown = report_of(command("analyze", *options, "--json"))
        assert shown["data"]["scaling"] == "none"
        assert len(scaling_warnings(shown)) == 1

    def test_a_right_scaling_gives_no_warning(
        self, command: Command, standardised: Trained
    ) -> None:
        options = [*standardised.arguments, "--scaling", "standard"]
        assert not scaling_warnings(report_of(command("analyze", *options, "--json")))

    def test_an_untrained_model_is_at_chance_under_every_scaling(
        self, command: Command, raw: Trained
    ) -> None:
        shown = report_of(command("analyze", NET, "--data", raw.data, "--json"))
        codes = {warning["code"] for warning in shown["warnings"]}
        assert "model_at_chance" in codes
        assert "scaling" not in codes
        outcome = command("prune", NET, "--data", raw.data, *PRUNE)
        assert "no better than chance" in refused(outcome)


class TestReadScaling:
    @pytest.mark.parametrize("name", ["standard", "none", "0..1", "0..255", "imagenet"])
    def test_names(self, name: str) -> None:
        assert read_scaling(name) == name

    def test_numbers(self) -> None:
        assert read_scaling("0.5,-1/2, 1e-2") == {"mean": [0.5, -1.0], "scale": [2.0, 0.01]}

    def test_nothing(self) -> None:
        assert read_scaling(None) is None

    @pytest.mark.parametrize("text", ["", "given", "much", "1/2/3", "a/b", "0.5", "1,/2"])
    def test_what_is_neither(self, text: str) -> None:
        with pytest.raises(designer.InvalidInputError, match="MEAN/SD") as raised:
            read_scaling(text)
        assert str(raised.value).endswith(f"got '{text}'.")

    def test_numbers_that_do_not_fit_the_data(self, command: Command, raw: Trained) -> None:
        line = refused(command("analyze", *raw.arguments, "--scaling", "0.5/0.5"))
        assert "the mean of the scaling as 6 numbers, one per channel or feature" in line

    @pytest.mark.parametrize("scaling", ["standard", "0.5/0.5"])
    def test_batches_are_used_as_they_are(self, command: Command, scaling: str) -> None:
        data = "tests.support.cli_models:batches"
        net = "tests.support.cli_models:perceptron"
        line = refused(command("analyze", net, "--data", data, "--scaling", scaling))
        assert "for the option scaling, got batches" in line


class TestInPython:
    def test_named_data_come_as_they_are(self, raw: Trained) -> None:
        model = load_model(NET, raw.weights).model
        result = designer.prune(model, raw.data, remove=1, epochs=0)
        test_accuracy = result.report.networks[0].test_accuracy
        assert test_accuracy is not None
        assert test_accuracy.value == pytest.approx(raw.accuracy)

    def test_a_model_that_needs_another_scaling(self, standardised: Trained) -> None:
        model = load_model(NET, standardised.weights).model
        name = f"load_dataset('{standardised.data}', scaling='standard')"
        with pytest.raises(designer.InvalidInputError, match="as they come") as raised:
            designer.prune(model, standardised.data, remove=1, epochs=0)
        assert f"with {name}: name the scaling" in str(raised.value)
        data = designer.load_dataset(standardised.data, scaling="standard")
        report = designer.prune(model, data, remove=1, epochs=0).report
        test_accuracy = report.networks[0].test_accuracy
        assert test_accuracy is not None
        assert test_accuracy.value == pytest.approx(standardised.accuracy)

    def test_batches_are_pruned_with_as_they_are(self, standardised: Trained) -> None:
        model = load_model(NET, standardised.weights).model
        data = standardised.test.batches(64), standardised.test.batches(32)
        report = designer.prune(model, data, remove=1, epochs=0).report
        accuracy = report.networks[0].validation_accuracy
        assert accuracy.value == pytest.approx(standardised.accuracy)
