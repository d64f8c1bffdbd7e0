"""What the claim about edits counts: paths, better ends, and runs until level."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.samplers import RandomSampler
from optuna.study import create_study
from optuna.trial import FixedTrial

from benchmarks.claims.edits import ADVISED, RANDOM, is_better, runs_until_level
from benchmarks.claims.one_candidate import OneCandidate, Order
from search_spaces import MlpSpace, MlpSpec

START = MlpSpec((64, 32, 64), "batch", "relu", 1e-3)


def usual(seed: int) -> OneCandidate:
    return OneCandidate(MlpSpace(), START, Order.USUAL, seed)


def arm(before: list[float], after: list[float], parameters: tuple[int, int]) -> dict[str, Any]:
    return {"test": [before, after], "parameters": list(parameters)}


@pytest.mark.parametrize(
    ("after", "parameters", "better"),
    [
        ([0.90, 0.90, 0.90], (100, 50), True),
        ([0.895, 0.896, 0.895], (100, 50), True),
        ([0.893, 0.894, 0.893], (100, 50), False),
        ([0.90, 0.90, 0.90], (100, 100), False),
        ([0.92, 0.921, 0.92], (100, 400), True),
        ([0.90, 0.99, 0.91], (100, 400), False),  # not by its whole interval
    ],
)
def test_an_end_is_better_if_smaller_or_surely_more_accurate(
    after: list[float], parameters: tuple[int, int], *, better: bool
) -> None:
    assert is_better(arm([0.9, 0.9, 0.9], after, parameters)) is better


def test_arms_are_compared_at_the_end_of_the_one_that_came_less_far() -> None:
    paths = {ADVISED: [(0, 100), (3, 50), (9, 20)], RANDOM: [(0, 100), (12, 50)]}
    row = {"arms": {name: {"path": path} for name, path in paths.items()}}
    nothing = {"arms": {name: {"path": [(0, 100)]} for name in paths}}
    level = runs_until_level([row, nothing])
    assert level == {ADVISED: 3.0, RANDOM: 12.0, "networks": 1, "ratio": 0.25}


def test_the_space_proposes_its_one_network_and_edits_of_it() -> None:
    space = OneCandidate(MlpSpace(), START)
    study = create_study(sampler=RandomSampler(seed=0))
    assert {space.suggest(study.ask()) for _ in range(5)} == {START}
    (half, *_) = space.edits(START)
    proposed = space.suggest(FixedTrial(dict(half.params)))
    assert isinstance(proposed, MlpSpec)
    assert proposed.widths == (64, 64)


def test_random_order_has_the_usual_edits_and_those_of_the_extreme_blocks() -> None:
    kinds = [edit.kind for edit in usual(0).edits(START)]
    assert len(set(kinds)) == len(kinds) == 8 + 3
    assert "this block half as wide (blocks.0)" in kinds
    assert "without this block (blocks.1)" in kinds
    again = [edit.kind for edit in usual(1).edits(START)]
    assert sorted(again) == sorted(kinds)
    assert again != kinds


def test_any_order_has_every_kind_once_before_it_repeats_one() -> None:
    edits = list(OneCandidate(MlpSpace(), START, Order.ANY, seed=3).edits(START))
    offered = list(MlpSpace().edits(START))
    assert len(edits) == len(offered)
    kinds = len({edit.kind for edit in offered})
    assert len({edit.kind.partition(" (")[0] for edit in edits[:kinds]}) == kinds
