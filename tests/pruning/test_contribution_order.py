"""The order by contribution, against leaving blocks out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from designer.data.dataset import LabelledTensors
from designer.pruning.contribution_order import ContributionOrder, order_by_contribution
from designer.pruning.removable import removable_blocks
from designer.pruning.splits import Splits
from tests.support.helpers import gaussian_classes
from tests.support.trained import same_state, state_of, train_briefly

BLOCKS = 5


class Residual(nn.Module):
    """Blocks x + relu(linear(x)), and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(BLOCKS)
        )
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        logits: Tensor = self.head(x)
        return logits


@pytest.fixture(scope="module")
def splits() -> Splits:
    x, y = gaussian_classes(900, 6, 3, seed=1, dtype=torch.float32)
    return Splits(
        "blobs", LabelledTensors(x[:450], y[:450]), LabelledTensors(x[450:], y[450:]), None
    )


@pytest.fixture(scope="module")
def model(splits: Splits) -> nn.Module:
    torch.manual_seed(0)
    return train_briefly(Residual(), splits.train)


def ordered(model: nn.Module, splits: Splits, count: int | None = None) -> ContributionOrder:
    removables = removable_blocks(model, splits.train.inputs[:5])
    return order_by_contribution(
        model, removables, splits, None, seed=0, count=count, progress=lambda *_: None
    )


Maps = dict[int, Tensor]
"""By the place of a block that is gone: the linear map in its place, constant last."""


def through(model: nn.Module, x: Tensor, maps: Maps, until: int = BLOCKS) -> Tensor:
    """What a block receives if others are replaced by linear maps; the head's logits at the end."""
    blocks: Any = model.blocks
    head: Any = model.head
    for place in range(until):
        x = x + (with_constant(x) @ maps[place] if place in maps else blocks[place](x))
    logits: Tensor = head(x) if until == BLOCKS else x
    return logits


def with_constant(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones(len(x), 1)], dim=1)


@torch.no_grad()
def replaced(model: nn.Module, splits: Splits, maps: Maps, place: int) -> tuple[float, Maps]:
    """The validation loss with one more block replaced by its least-squares map, and all maps."""
    blocks: Any = model.blocks
    received = through(model, splits.train.inputs, maps, place)
    solution = torch.linalg.lstsq(with_constant(received), blocks[place](received)).solution
    every = {**maps, place: solution}
    x, y = splits.validation
    return float(functional.cross_entropy(through(model, x, every), y)), every


def test_the_order_is_that_of_greedy_replacement_by_hand(model: nn.Module, splits: Splits) -> None:
    maps: Maps = {}
    while len(maps) < BLOCKS:
        tried = {
            place: replaced(model, splits, maps, place)
            for place in range(BLOCKS)
            if place not in maps
        }
        maps = tried[min(tried, key=lambda place: tried[place][0])][1]
    result = ordered(model, splits)
    assert list(result.order) == list(maps)
    x, y = splits.validation
    whole = float(functional.cross_entropy(through(model, x, {}), y).detach())
    rises = [replaced(model, splits, {}, place)[0] - whole for place in range(BLOCKS)]
    assert result.rises == pytest.approx(rises, abs=1e-4)


def test_a_deep_network_measures_only_the_least_missed_again(splits: Splits) -> None:
    torch.manual_seed(0)
    deep = Residual()
    deep.blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(12))
    train_briefly(deep, splits.train)
    told: list[str] = []
    removables = removable_blocks(deep, splits.train.inputs[:5])
    result = order_by_contribution(
        deep,
        removables,
        splits,
        None,
        seed=0,
        progress=lambda what, _done, _total: told.append(what),
    )
    assert sorted(result.order) == list(range(12))
    assert {f"contribution, {gone} gone" for gone in range(4)} <= set(told)


def test_only_as_many_are_measured_again_as_will_go(model: nn.Module, splits: Splits) -> None:
    everything, two = ordered(model, splits), ordered(model, splits, count=2)
    assert two.order[:2] == everything.order[:2]
    assert sorted(two.order) == list(range(BLOCKS))


def test_a_plain_block_counts_as_what_the_next_layer_cannot_take_up(splits: Splits) -> None:
    """A linear block is free; one with an activation that matters is not."""
    torch.manual_seed(2)
    plain = nn.Sequential(
        nn.Sequential(nn.Linear(6, 8), nn.Tanh()),
        nn.Sequential(nn.Linear(8, 8), nn.Identity()),  # linear
        nn.Sequential(nn.Linear(8, 8), nn.Tanh()),
        nn.Linear(8, 3),
    )
    train_briefly(plain, splits.train)
    result = ordered(plain, splits)
    assert result.order[0] == 1
    assert result.rises[1] == pytest.approx(0.0, abs=1e-3)


def test_plain_stages_lose_their_blocks_alike(splits: Splits) -> None:
    """The blocks of the second stage are linear, so they alone would go first."""
    torch.manual_seed(3)
    first = [nn.Sequential(nn.Linear(8 if i else 6, 8), nn.Tanh()) for i in range(4)]
    second = [nn.Sequential(nn.Linear(5 if i else 8, 5), nn.Identity()) for i in range(4)]
    plain = train_briefly(nn.Sequential(*first, *second, nn.Linear(5, 3)), splits.train)
    blocks = removable_blocks(plain, splits.train.inputs[:5])
    stages = [{b.place for b in blocks[:4] if b.can_go}, {b.place for b in blocks[4:] if b.can_go}]
    order = ordered(plain, splits).order
    for gone in range(sum(map(len, stages))):
        lost = [len({*order[:gone]} & stage) / len(stage) for stage in stages]
        assert abs(lost[0] - lost[1]) <= 1 / min(map(len, stages))


def test_the_model_stays_as_it_was(model: nn.Module, splits: Splits) -> None:
    before = state_of(model)
    ordered(model, splits)
    assert same_state(model, before)
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_block_that_must_stay_has_no_place(model: nn.Module, splits: Splits) -> None:
    class Shared(Residual):
        def forward(self, x: Tensor) -> Tensor:
            third: Tensor = self.blocks[2](x)
            return super().forward(x + third)

    torch.manual_seed(0)
    shared = train_briefly(Shared(), splits.train)
    result = ordered(shared, splits)
    stays = [place for place, rise in enumerate(result.rises) if math.isinf(rise)]
    assert stays
    assert not set(stays) & set(result.order)
