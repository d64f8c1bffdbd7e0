"""The options of a search: one object, one place for defaults, and quick to load."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from dataclasses import fields
from typing import Any

import pytest

from designer.choices import Augmentation, Objective
from designer.errors import DataError, InvalidInputError
from designer.search.options import IDENTITY_OPTIONS, SearchOptions
from designer.search.search import search

SLOW = {"torch", "optuna", "sklearn", "scipy", "altair", "numpy", "pydantic"}


@pytest.mark.parametrize("module", ["options", "command"])
def test_options_load_nothing_slow(module: str) -> None:
    script = f"import designer.search.{module}, sys; print(sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not SLOW & set(ast.literal_eval(run.stdout))


def test_every_option_is_an_argument_of_search_with_the_same_default() -> None:
    parameters = inspect.signature(search).parameters
    own = {"space", "data", "progress", "command"}
    assert set(parameters) - own == {field.name for field in fields(SearchOptions)}
    for field in fields(SearchOptions):
        assert parameters[field.name].default == field.default


def test_what_is_not_asked_for_follows_from_the_rest() -> None:
    options = SearchOptions(epochs=4, devices=("cpu", "cuda:0"))
    assert options.confirmation_epochs == 12
    assert options.worker_count == 2
    assert options.worker_devices == ("cpu", "cuda:0")
    asked = SearchOptions(confirm_epochs=5, workers=3, device="cuda")
    assert asked.confirmation_epochs == 5
    assert asked.worker_count == 3
    assert asked.worker_devices == ("cuda",)


def test_an_identity_comes_back() -> None:
    options = SearchOptions(
        objective=Objective.LAW, augment=Augmentation.FLIP, epochs=7, seed=3, max_params=9
    )
    stored = options.identity()
    assert tuple(stored) == IDENTITY_OPTIONS
    assert {type(value) for value in stored.values()} == {str, int, bool, type(None)}
    joined = SearchOptions(trials=4).with_identity({**stored, "data": "digits"})
    assert joined.identity() == stored
    assert joined.trials == 4


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"trials": 0}, "trials of at least 1, got 0"),
        ({"confirm_epochs": 0}, "confirm epochs of at least 1, got 0"),
        ({"heartbeat": 0}, "heartbeat of at least 1"),
        ({"batch_size": 1}, "batch size of at least 2"),
        ({"seed": 2**31}, "a seed from 0 to 2"),
        ({"devices": ()}, "at least one device"),
        ({"study": "a"}, "--storage beside --study"),
    ],
)
def test_wrong_values_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        SearchOptions(**wrong)


def test_options_of_data_are_checked_when_data_are_loaded() -> None:
    options = SearchOptions(validation_fraction=2.0)
    with pytest.raises(DataError, match="validation fraction"):
        _ = options.data_options
