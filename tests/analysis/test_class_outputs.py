"""Labels are outputs of the model that the data are for, also where the data lack classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from torch import nn

import designer
from designer.analysis.data_for_model import all_data_for_model, data_for_model
from designer.data.dataset import Dataset
from designer.models.loaded import LoadedModel

pytestmark = pytest.mark.usefixtures("folder")

OUTPUTS = 5
"""Classes that the model knows."""


def saved(names: Sequence[Any]) -> str:
    """Write samples of some of the classes 0 to 4, the first four under these names."""
    numbers = np.array([0, 2, 3, 4])[np.arange(240) % 4]
    x = np.eye(OUTPUTS)[numbers] + 0.1 * np.random.default_rng(0).normal(size=(240, OUTPUTS))
    labels = np.array(names)[np.arange(240) % 4]
    cut = 180
    np.savez("gap.npz", x_train=x[:cut], y_train=labels[:cut], x_test=x[cut:], y_test=labels[cut:])
    return "gap.npz"


def knowing(outputs: int = OUTPUTS) -> nn.Sequential:
    """Return a model that is right about all of the classes 0 to 4."""
    linears = [nn.Linear(OUTPUTS, width) for width in (OUTPUTS, OUTPUTS, outputs)]
    for linear in linears:
        nn.init.eye_(linear.weight)
        nn.init.zeros_(linear.bias)
    first, second, head = linears
    nn.init.constant_(head.bias, -0.5)  # or its outputs might be probabilities
    return nn.Sequential(
        nn.Sequential(first, nn.ReLU()), nn.Sequential(second, nn.ReLU()), head
    ).eval()


def loaded(source: str, outputs: int = OUTPUTS) -> Dataset:
    """Load data for a model."""
    data = all_data_for_model(LoadedModel(knowing(outputs)), source)
    assert isinstance(data, Dataset)
    return data


def codes(data: Dataset) -> set[str]:
    return {warning.code for warning in data.warnings}


@pytest.mark.parametrize("kind", [int, float, str])
def test_whole_numbers_stay_the_outputs_that_they_are(kind: type) -> None:
    data = loaded(saved([kind(label) for label in (0, 2, 3, 4)]))
    for part in (data.train, data.validation, data.test):
        assert set(part.labels.tolist()) == {0, 2, 3, 4}
        assert (part.inputs.argmax(1) == part.labels).all()
    assert data.class_names == ("0", "1", "2", "3", "4")
    (message,) = (w.message for w in data.warnings if w.code == "classes_missing")
    assert "gives 5 logits, but the data have 4 classes and lack 1: each label is" in message


def test_a_model_for_the_classes_that_occur_gets_them_numbered() -> None:
    data = loaded(saved([0, 2, 3, 4]), outputs=4)
    assert set(data.train.labels.tolist()) == {0, 1, 2, 3}
    assert not {"classes_missing", "classes_renumbered"} & codes(data)


@pytest.mark.parametrize("names", [["a", "c", "d", "e"], [1, 2, 3, 7], [-1, 0, 1, 2]])
def test_other_names_are_numbered_with_a_warning(names: list[Any]) -> None:
    data = loaded(saved(names))
    assert set(data.train.labels.tolist()) == {0, 1, 2, 3}
    assert f"('{names[-1]}' for output 3)" in data.warnings[-1].message
    assert codes(data) == {"classes_renumbered"}


def test_nothing_is_said_where_the_last_classes_are_missing() -> None:
    data = loaded(saved([0, 1, 2, 3]))
    assert data.class_names == ("0", "1", "2", "3")
    assert codes(data) == set()


def test_a_model_is_measured_and_pruned_on_the_outputs_that_it_has() -> None:
    model, source = knowing(), saved([0, 2, 3, 4])
    data = data_for_model(LoadedModel(model), source)
    result = designer.analyze(model, data.train, data.heldout, resamples=0)
    assert result.model.accuracy_heldout == pytest.approx(1.0)
    pruned = designer.prune(model, source, remove=1, epochs=0, baselines=False)
    assert pruned.report.networks[0].validation_accuracy.value == pytest.approx(1.0)
