"""Residual blocks behind a removal: what least squares must restore, and what they must leave."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from designer.data.dataset import LabelledTensors
from designer.pruning.cut import cut
from tests.pruning.cutting import (
    IMAGES,
    chosen_blocks,
    output_of,
    with_statistics,
)
from tests.support.networks import convolutional
from tests.support.trained import state_of

VECTORS = LabelledTensors(
    torch.randn(600, 6, generator=torch.Generator().manual_seed(3)), torch.arange(600) % 3
)


class Sums(nn.Module):
    """Three times x + sign * linear(x), and a head."""

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 6)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 6)) for _ in range(3))
        self.head = nn.Linear(6, 3)
        self.sign = sign

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + self.sign * block(x)
        logits: Tensor = self.head(x)
        return logits


def sums(sign: float = 1.0) -> Any:
    torch.manual_seed(4)
    return Sums(sign).eval()


def received_by(model: Any, place: int, x: Tensor) -> Tensor:
    """What a block of ``Sums`` receives, also if others are gone."""
    x = model.stem(x)
    for block in model.blocks[:place]:
        x = x + model.sign * block(x)
    return x


def test_the_next_branch_takes_over_what_a_linear_branch_did() -> None:
    model = sums()
    with torch.no_grad():
        model.stem.weight.copy_(torch.eye(6))  # all directions vary alike, so all are fitted well
    smaller: Any = cut(model, chosen_blocks(model, VECTORS, "blocks.0"), VECTORS)
    assert smaller.fitted[0] == "blocks.1.0"
    with torch.no_grad():
        first, second = (model.blocks[i][0] for i in (0, 1))
        both = first.weight + second.weight + second.weight @ first.weight
        taken = smaller.model.blocks[1][0].weight
    # the ridge penalty keeps it from being exact
    assert (taken - both).norm() < 0.01 * (second.weight - both).norm()
    before, after = (received_by(network, 2, VECTORS.inputs) for network in (model, smaller.model))
    assert (before - after).square().mean() < 1e-4 * before.var()


@pytest.mark.parametrize("scale", [-1.0, 0.1, 0.01, 3.0])
def test_what_scales_a_branch_is_allowed_for(scale: float) -> None:
    """Also a branch that is subtracted: each channel of the correction gets its own length."""
    model = sums(scale)
    with torch.no_grad():
        model.stem.weight.copy_(torch.eye(6))
        for block in model.blocks:
            block[0].weight /= abs(scale)
    smaller: Any = cut(model, chosen_blocks(model, VECTORS, "blocks.0"), VECTORS)
    assert smaller.fitted[0] == "blocks.1.0"
    before, after = (received_by(network, 2, VECTORS.inputs) for network in (model, smaller.model))
    assert (before - after).square().mean() < 1e-3 * before.var()


def test_a_branch_without_effect_stays_as_it_was() -> None:
    model = sums(sign=0.0)
    smaller: Any = cut(model, chosen_blocks(model, VECTORS, "blocks.0"), VECTORS)
    assert "blocks.1.0" not in smaller.fitted
    assert torch.equal(smaller.model.blocks[1][0].weight, model.blocks[1][0].weight)


def test_data_that_are_sorted_by_class_are_as_good_as_shuffled() -> None:
    model = sums()
    order = VECTORS.labels.argsort()
    sorted_data = LabelledTensors(VECTORS.inputs[order], VECTORS.labels[order])
    blocks = chosen_blocks(model, VECTORS, "blocks.0")
    errors = []
    for data in (VECTORS, sorted_data):
        smaller: Any = cut(model, blocks, data)
        assert smaller.fitted[0] == "blocks.1.0"
        whole, now = (received_by(net, 2, VECTORS.inputs) for net in (model, smaller.model))
        errors.append(float((whole - now).square().mean().detach()))
    assert errors[1] < 2 * errors[0]


def test_nothing_is_repaired_without_fitting() -> None:
    model = sums()
    smaller: Any = cut(model, chosen_blocks(model, VECTORS, "blocks.0"), VECTORS, fit=False)
    assert smaller.fitted == ()
    assert torch.equal(smaller.model.blocks[1][0].weight, model.blocks[1][0].weight)


@pytest.mark.parametrize("gone", [("layer1.0",), ("layer1.1", "layer2.1")])
def test_sums_of_convolutional_blocks_come_closer(gone: tuple[str, ...]) -> None:
    model = with_statistics(convolutional.residual_net)
    blocks = chosen_blocks(model, IMAGES, *gone)
    repaired, bare = (cut(model, blocks, IMAGES, fit=fit) for fit in (True, False))
    assert any(name.endswith("conv2") for name in repaired.fitted)
    whole = _last_maps(model)
    errors = [
        (_last_maps(network) - whole).square().mean() for network in (repaired.model, bare.model)
    ]
    assert errors[0] < 0.8 * errors[1]


def _last_maps(model: nn.Module) -> Tensor:
    maps: list[Tensor] = []
    hook = model.get_submodule("layer3").register_forward_hook(lambda *call: maps.append(call[2]))
    output_of(model, IMAGES.inputs)
    hook.remove()
    return maps[0]


def test_training_begins_with_the_function_that_was_repaired() -> None:
    """A norm in training mode goes by its batch, which must not undo the repair."""
    images = LabelledTensors(
        torch.randn(256, 3, 8, 8, generator=torch.Generator().manual_seed(5)),
        torch.arange(256) % 3,
    )
    model = with_statistics(convolutional.residual_net)
    repaired = cut(model, chosen_blocks(model, images, "layer1.0"), images)
    name = next(name for name in repaired.fitted if name.endswith("conv2"))
    norm: Any = repaired.model.get_submodule(name.replace("conv2", "bn2"))
    outputs: list[Tensor] = []
    layer = repaired.model.get_submodule(name)
    hook = layer.register_forward_hook(lambda *call: outputs.append(call[2]))
    output_of(repaired.model, images.inputs)
    hook.remove()
    with torch.no_grad():
        by_statistics, by_batch = norm.eval()(outputs[0]), norm.train()(outputs[0])
    assert (by_statistics - by_batch).square().mean() < 1e-3 * by_statistics.var()


def test_the_whole_network_stays_as_it_was() -> None:
    model = with_statistics(convolutional.residual_net)
    before = state_of(model)
    cut(model, chosen_blocks(model, IMAGES, "layer1.0"), IMAGES)
    after = state_of(model)
    assert all(torch.equal(before[name], after[name]) for name in before)
