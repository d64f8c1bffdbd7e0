"""How many parameters go with a block: its own, and none that another part of the model uses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from designer.probing.probes import probing


class Tied(nn.Module):
    """Two blocks, of which the second and the head share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.head = nn.Linear(6, 6)
        self.head.weight = self.second.weight

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.second(self.first(x).relu()).relu())
        return logits


class Repeated(nn.Module):
    """One block that runs twice, and one that runs once."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.last, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(self.block(x).relu()).relu()
        logits: Tensor = self.head(self.last(x).relu())
        return logits


class Attention(nn.Module):
    """A block of attention, whose output weights no hook sees."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.attention(x, x, x)[0]
        return x + mixed


def parameters_of(model: nn.Module, blocks: Sequence[str] | None, *shape: int) -> dict[str, int]:
    with probing(model, blocks) as probe:
        probe.features(torch.randn(5, *shape))
        return dict(zip(probe.names, probe.parameters, strict=True))


def test_a_row_of_layers_counts_with_its_normalisation() -> None:
    row = nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)
    )
    assert parameters_of(row, None, 4) == {"2": 4 * 6 + 6 + 12, "4": 6 * 8 + 8}


def test_tied_weights_stay_with_the_part_that_is_left() -> None:
    assert parameters_of(Tied(), ["first", "second"], 6) == {"first": 42, "second": 6}


def test_a_block_that_runs_twice_cannot_go_alone() -> None:
    counts = parameters_of(Repeated(), ["block", "last"], 6)
    assert counts == {"block#1": 0, "block#2": 0, "last": 42}


def test_weights_that_no_hook_sees_count() -> None:
    model = nn.Sequential(Attention(), Attention(), nn.Flatten(), nn.Linear(30, 3))
    one_block = sum(parameter.numel() for parameter in model[0].parameters())
    assert parameters_of(model, ["0", "1"], 5, 6) == {"0": one_block, "1": one_block}
