"""Options of data: defaults that exist once, values that are refused, and their record."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields
from typing import Any

import pytest

from designer.data.loading import load_dataset, load_with_options
from designer.data.options import LARGEST_SEED, DataOptions
from designer.errors import DataError
from designer.importing import typed
from tests.support.datasets import Source, X, Y, same_data

OF_TEXT = {"context_length"}
"""Options of text, which only a language model can read."""


def test_load_dataset_takes_every_option_with_the_same_default() -> None:
    parameters = list(inspect.signature(load_dataset).parameters.values())[1:]
    assert {parameter.name: parameter.default for parameter in parameters} == {
        field.name: field.default for field in fields(DataOptions) if field.name not in OF_TEXT
    }


@pytest.mark.parametrize(
    "options", [{}, {"train_size": 12, "seed": 3}, {"shuffle_labels": True, "scaling": "none"}]
)
def test_options_load_what_keywords_load(source: Source, options: dict[str, Any]) -> None:
    name = source(X, Y)
    by_keywords = load_dataset(name, **options)
    by_options = load_with_options(name, DataOptions(**options), typed(name))
    assert same_data(by_keywords, by_options)
    assert by_keywords.options == by_options.options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation_fraction": 0.0}, "between 0 and 1, got 0"),
        ({"validation_fraction": 1.0}, "between 0 and 1, got 1"),
        ({"seed": -1}, "seed from 0 .* got -1"),
        ({"seed": LARGEST_SEED + 1}, "seed from 0 .* got 2147483648"),
        ({"scaling": "given"}, "scaling among standard, none, .* or a mapping .* got 'given'"),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        DataOptions(**options)


def test_the_record_is_json_and_names_a_scaling_in_numbers() -> None:
    options = DataOptions(seed=LARGEST_SEED, scaling={"mean": [0.5], "scale": [2.0]})
    record = json.loads(json.dumps(options.record()))
    assert record["scaling"] == "given"
    assert record["seed"] == LARGEST_SEED
    assert list(record) == [f.name for f in fields(DataOptions) if f.name not in OF_TEXT]
    assert DataOptions(context_length=9).record()["context_length"] == 9
