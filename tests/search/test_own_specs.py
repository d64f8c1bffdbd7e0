"""Spaces of one's own: computed or wrong learning rates, and edits with NumPy's numbers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from designer.errors import SpaceError, TrialFailed
from designer.models.given_trial import GivenTrial, NotAllowed
from designer.results.serialisation import read_result
from designer.search.candidates import is_normalised, spec_values
from designer.search.job import code_of
from designer.search.space_parameters import try_out
from tests.support.searches import run
from tests.support.toy import ComputedRateSpace, RateSpec


def test_learning_rates_that_are_computed_are_kept(tmp_path: Path) -> None:
    result = run(tmp_path / "a", "ComputedRateSpace", trials=8, edits=4)
    assert result == read_result(tmp_path / "a")
    for row in result.trials:
        if row.state == "failed":
            assert "a learning rate that is a number of at least 0, got -1.0" in str(row.reason)
            assert row.learning_rate is None
        else:
            assert row.learning_rate == 10.0 ** row.spec["exponent"]
    assert result.recommendations[0].spec["learning_rate"] > 0
    assert result.tried
    assert all(isinstance(edit.kept, bool) for edit in result.tried)


@pytest.mark.parametrize("rate", ["fast", None, float("nan"), float("inf"), -0.1])
def test_what_is_no_learning_rate_fails_its_trial(rate: Any) -> None:
    class Spec(RateSpec):
        learning_rate = rate

    with pytest.raises(TrialFailed, match="Expected a learning rate"):
        spec_values(Spec(3, -2))


@dataclass(frozen=True)
class AnySpec:
    """A spec with a field of any type."""

    norm: object
    learning_rate: float = 1e-2


class Plain(Enum):
    """An enumeration that is no text."""

    BATCH = auto()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (nn.BatchNorm1d, "type"), (Plain.BATCH, "Plain"), (np.arange(3), "ndarray"),
        ((nn.ReLU,), "tuple"), ({(8, 8): 1}, "dict"), (torch.zeros(2), "Tensor"),
    ],
)  # fmt: skip
def test_a_space_is_refused_whose_specs_no_study_can_keep(value: object, kind: str) -> None:
    class Own(ComputedRateSpace):
        def suggest(self, trial: Any) -> Any:
            return AnySpec(value)

    with pytest.raises(SpaceError, match=rf"^Expected field 'norm' in specs of .*, got {kind}: "):
        try_out(Own(), (6,), 3)


def without_edits() -> object:
    class Own(ComputedRateSpace):
        def edits(self, spec: RateSpec) -> Any:
            return ()

    return Own()


def with_wrong_edits() -> object:
    class Own(ComputedRateSpace):
        def edits(self, spec: RateSpec) -> Any:
            return ((), ())

    return Own()


def with_one_depth() -> object:
    class Own(ComputedRateSpace):
        def suggest(self, trial: Any) -> RateSpec:
            return RateSpec(3, -2)

    return Own()


def test_other_edits_do_not_make_another_space() -> None:
    first, second, third = (
        code_of(make())  # type: ignore[arg-type]
        for make in (without_edits, with_wrong_edits, with_one_depth)
    )
    assert first == second != third


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("batch", True), ("layer", True), (True, True), ("none", False), ("None", False),
        ("no", False), ("off", False), (False, False), ("norm", True), ("no norm", False),
        ("Identity()", False), ("NonLocalNorm", True), ("offset_norm", True), ("no_norm", False),
        ("nonorm", False), ("without norm", False), ("False", False),
        (None, None), ("", None), (3, None),
    ],
)  # fmt: skip
def test_a_spec_says_whether_there_is_normalisation(value: object, says: bool | None) -> None:
    assert is_normalised({"normalisation": value}) is says


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"depth": 9}, "depth 9 is outside of 2 to 8"),
        ({"width": 40}, "width 40 is not 32 plus a multiple of 32"),
        ({"rate": 0.15}, "rate 0.15 is not 0 plus a multiple of 0.1"),
        ({"kind": "c"}, "kind 'c' is none of the space's choices"),
    ],
)
def test_what_a_space_does_not_propose_is_refused(params: dict[str, Any], reason: str) -> None:
    trial = GivenTrial({"depth": 2, "width": 64, "rate": 0.3, "kind": "a", **params})
    with pytest.raises(NotAllowed) as caught:
        (
            trial.suggest_int("depth", 2, 8),
            trial.suggest_int("width", 32, 96, step=32),
            trial.suggest_float("rate", 0.0, 1.0, step=0.1),
            trial.suggest_categorical("kind", ["a", "b"]),
        )
    assert str(caught.value) == reason
