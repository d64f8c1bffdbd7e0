"""Blocks that give their attention maps, too, which only leave the model beside the logits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import designer
from tests.support.helpers import gaussian_classes

TOKENS, WIDTH = 4, 6


class Attending(nn.Module):
    """Attention with a shortcut that gives its map before or behind what it is there for."""

    def __init__(self, *, map_first: bool) -> None:
        super().__init__()
        self.keys, self.values = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.map_first = map_first

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        attention = (x @ self.keys(x).transpose(1, 2)).softmax(-1)
        x = x + self.values(attention @ x)
        return (attention, x) if self.map_first else (x, attention)


class AttendingNetwork(nn.Module):
    """A row of such blocks; gives the logits and all maps."""

    def __init__(self, *, map_first: bool) -> None:
        super().__init__()
        self.order = -1 if map_first else 1
        self.stem = nn.Linear(WIDTH, WIDTH)
        self.blocks = nn.ModuleList(Attending(map_first=map_first) for _ in range(3))
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, maps = self.stem(x), []
        for block in self.blocks:
            x, attention = block(x)[:: self.order]
            maps.append(attention)
        return self.head(x.mean(1)), maps


def data() -> tuple[Tensor, Tensor]:
    features, labels = gaussian_classes(90, TOKENS * WIDTH, 3, seed=1, dtype=torch.float32)
    return features.view(90, TOKENS, WIDTH), labels


def network(*, map_first: bool) -> AttendingNetwork:
    torch.manual_seed(0)
    return AttendingNetwork(map_first=map_first).eval()


@pytest.mark.parametrize("map_first", [False, True])
def test_what_a_block_contributes_is_what_is_lost_when_it_is_skipped(*, map_first: bool) -> None:
    model, (inputs, labels) = network(map_first=map_first), data()
    records = designer.contributions(model, (inputs, labels), (inputs, labels))
    whole = functional.cross_entropy(model(inputs)[0], labels)
    for place, record in enumerate(records):
        smaller = network(map_first=map_first)
        del smaller.blocks[place]
        rise = float((functional.cross_entropy(smaller(inputs)[0], labels) - whole).detach())
        assert record.contribution is not None, record.reason
        assert record.contribution.cross_entropy is not None
        assert record.contribution.cross_entropy.value == pytest.approx(rise, abs=1e-5)


def test_separation_is_measured_on_what_goes_on_and_not_on_maps_that_come_first() -> None:
    first, second = (designer.profile(network(map_first=order), data()) for order in (True, False))
    assert first.values == pytest.approx(second.values)
