"""Options of the analysis: defaults that exist once, and values that are refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
from torch import nn

from designer import LawMonitor, analyze, profile
from designer.analysis.options import MANY_CLASSES, AnalysisOptions
from designer.choices import Reduction
from designer.errors import InvalidInputError
from tests.support.helpers import small_mlp
from tests.support.profiled import TRAIN

NOT_OPTIONS = {"model", "train", "heldout", "blocks", "contribution_samples", "progress"}


@pytest.mark.parametrize("function", [profile, analyze])
def test_functions_take_every_option_with_the_same_default(function: Callable[..., Any]) -> None:
    parameters = inspect.signature(function).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.name not in NOT_OPTIONS}
    assert defaults == {field.name: field.default for field in fields(AnalysisOptions)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "max"}, "Expected `features` among flatten, pool, project, got 'max'"),
        ({"measure": "loss"}, "Expected a measure among separation, residual, got 'loss'"),
        ({"dimension": 0}, "Expected a dimension of at least 1, got 0"),
        ({"permutations": -1}, "Expected `permutations` of at least 0, got -1"),
        ({"resamples": -1}, "Expected `resamples` of at least 0, got -1"),
        ({"batch_size": 0}, "Expected a batch size of at least 1, got 0"),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    for refuse in (AnalysisOptions, lambda **keywords: profile(small_mlp(), TRAIN, **keywords)):
        with pytest.raises(InvalidInputError, match=message):
            refuse(**options)


def test_a_monitor_refuses_options_before_training_begins() -> None:
    with pytest.raises(InvalidInputError, match="got 'loss'"):
        LawMonitor(small_mlp(), TRAIN, measure="loss")


@pytest.mark.parametrize(
    ("options", "outputs", "permutations"),
    [
        ({}, MANY_CLASSES, 3),
        ({}, MANY_CLASSES + 1, 1),
        ({"permutations": 0}, 10, 0),
        ({"permutations": 5}, MANY_CLASSES + 1, 5),
        ({"permutations": 5, "measure": "residual"}, 10, 0),
    ],
)
def test_the_number_of_permutations_suits_the_classes(
    options: dict[str, Any], outputs: int, permutations: int
) -> None:
    assert AnalysisOptions(**options).permutations_for(outputs) == permutations


@pytest.mark.parametrize(
    ("options", "of_model", "reduction"),
    [
        ({}, None, None),
        ({}, "pool", Reduction.POOL),
        ({"features": "flatten"}, "pool", Reduction.FLATTEN),
        ({"dimension": 3}, None, Reduction.PROJECT),
        ({"dimension": 3, "features": "project"}, "pool", Reduction.PROJECT),
    ],
)
def test_the_caller_chooses_features_before_the_model_does(
    options: dict[str, Any], of_model: str | None, reduction: Reduction | None
) -> None:
    model: Any = nn.Linear(2, 2)
    if of_model is not None:
        model.block_features = of_model
    assert AnalysisOptions(**options).reduction_for(model) is reduction


def test_a_dimension_does_not_go_with_the_features_of_a_model_that_pools() -> None:
    model: Any = nn.Linear(2, 2)
    model.block_features = "pool"
    with pytest.raises(InvalidInputError, match="got 3 with 'pool'"):
        AnalysisOptions(dimension=3).reduction_for(model)
