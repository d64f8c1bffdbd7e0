"""The table of criteria, and how a criterion that is added to it is followed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from torch import nn

import designer
from designer.analysis.advice import layer_reports
from designer.choices import Criterion
from designer.pruning import criteria
from designer.pruning.criteria import (
    BEST_OF,
    CRITERIA,
    Evidence,
    Ranking,
    criteria_of,
    least_first,
    rank_blocks,
)
from designer.pruning.removable import removable_blocks
from designer.pruning.splits import splits_of
from tests.support.trained import Triple


@pytest.fixture(scope="module")
def evidence(model: nn.Module, data: Triple) -> Evidence:
    """Look at the perceptron, whose second block must stay."""
    splits = splits_of(data)
    profile = designer.profile(model, splits.train, splits.validation, permutations=0)
    removables = removable_blocks(model, splits.train.inputs[:5])
    removables[1] = replace(removables[1], removals=())
    return Evidence(model, removables, layer_reports([profile]), splits, None, 0, lambda *_: None)


def test_every_criterion_but_best_gives_an_order() -> None:
    assert CRITERIA.keys() == set(Criterion) - {Criterion.BEST}
    assert criteria_of(Criterion.BEST) == BEST_OF
    for criterion in CRITERIA:
        assert criteria_of(criterion) == (criterion,)


def test_best_gives_no_order_by_itself(evidence: Evidence) -> None:
    with pytest.raises(ValueError, match="'best' gives no order"):
        rank_blocks(Criterion.BEST, evidence)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_only_blocks_that_can_go_are_ordered(evidence: Evidence, criterion: Criterion) -> None:
    ranking = rank_blocks(criterion, evidence)
    assert sorted(ranking.order) == [0, 2, 3, 4]
    assert len(ranking.values) == 5
    ordered = [ranking.values[place] for place in ranking.order]
    assert ordered == sorted(ordered)


def test_blocks_without_a_value_go_last(evidence: Evidence) -> None:
    ranking = least_first(lambda _: [math.nan, 1.0, None, 2.0, -1.0])(evidence)
    assert ranking == Ranking((math.inf, 1.0, math.inf, 2.0, -1.0), (4, 3, 2, 0))


def test_a_criterion_may_give_its_own_order(
    monkeypatch: pytest.MonkeyPatch, model: nn.Module, data: Triple
) -> None:
    order = (2, 0, 4, 1, 3)
    monkeypatch.setitem(criteria.CRITERIA, Criterion.LAST, lambda _: Ranking((0.5,) * 5, order))
    result = designer.prune(model, data, remove=2, criterion="last", epochs=0)
    assert result.report.removed == ("blocks.0", "blocks.2")
    assert [block.order for block in result.report.blocks] == [2, 4, 1, 5, 3]
