"""Several blocks go together."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from designer.data.dataset import LabelledTensors
from designer.errors import ModelError
from designer.models import least_squares
from designer.models.size import size_of_model
from designer.models.surgery import PassThrough
from designer.pruning.cut import cut
from tests.pruning.cutting import (
    IMAGES,
    SEQUENCES,
    VECTORS,
    Make,
    chosen_blocks,
    columns_of,
    output_of,
    ridge_by_textbook,
    weights_and_bias,
    with_statistics,
)
from tests.pruning.networks import plain
from tests.support.networks import convolutional, perceptrons
from tests.support.networks.parts import chain, conv, head, linear, norm, wired
from tests.support.trained import same_state
from tests.support.trained import state_of as weights_of


def tapering() -> nn.Module:
    """Build four blocks of falling width."""
    return plain((6, 12, 10, 8, 6))


def tapering_images() -> nn.Module:
    """Build four blocks of convolutions of falling width, with pooling between."""
    widths = [3, 8, 6, 6, 4]
    blocks = [
        nn.Sequential(conv(*pair), norm(pair[1]), nn.ReLU(inplace=True))
        for pair in pairwise(widths)
    ]

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = F.max_pool2d(m.blocks[1](m.blocks[0](x)), 2)
        logits: Tensor = m.head(m.blocks[3](m.blocks[2](x)).mean((2, 3)))
        return logits

    return wired("TaperingImages", wiring, blocks=nn.ModuleList(blocks), head=head(4))


def open_encoder() -> nn.Module:
    def wiring(m: Any, x: Tensor) -> Tensor:
        logits: Tensor = m.head(m.encoder(x).mean(1))
        return logits

    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return wired("OpenEncoder", wiring, encoder=nn.TransformerEncoder(layer, 4), head=head(8))


def summing() -> nn.Module:
    def wiring(m: Any, x: Tensor) -> Tensor:
        for block in m.blocks:
            x = x + block(x)
        logits: Tensor = m.head(x)
        return logits

    blocks = [nn.Sequential(nn.BatchNorm1d(6), nn.ReLU(), linear()) for _ in range(4)]
    return wired("Summing", wiring, blocks=nn.ModuleList(blocks), head=head())


def images_of(block: Make) -> Make:
    return lambda: wired(
        "Images",
        lambda m, x: m.head(chain(m.blocks, m.stem(x)).mean((2, 3))),
        stem=conv(3),
        blocks=nn.Sequential(*[block() for _ in range(4)]),
        head=head(4),
    )


def row_of_four() -> nn.Module:
    widths = [6, 10, 10, 8, 6]
    layers = [
        part
        for pair in pairwise(widths)
        for part in (linear(*pair), nn.BatchNorm1d(pair[1]), nn.ReLU(), nn.Dropout(0.2))
    ]
    return nn.Sequential(*layers, head())


COMBINED: dict[str, tuple[Make, LabelledTensors]] = {
    "plain": (tapering, VECTORS),
    "plain images": (tapering_images, IMAGES),
    "a flat row": (row_of_four, VECTORS),
    "residual": (images_of(convolutional.residual), IMAGES),
    "preactivated": (images_of(convolutional.preactivated), IMAGES),
    "sums outside": (summing, VECTORS),
    "encoder": (open_encoder, SEQUENCES),
}


@pytest.mark.filterwarnings("ignore:.*nested tensor")
@pytest.mark.parametrize("name", COMBINED)
def test_any_two_of_four_blocks_can_go_together(name: str) -> None:
    make, data = COMBINED[name]
    model = with_statistics(make)
    before = size_of_model(model, data.inputs[:1])
    blocks = chosen_blocks(model, data)
    assert len(blocks) == 4
    for pair in combinations(blocks, 2):
        for fit in (True, False):
            cut_out = cut(model, pair[::-1], data, fit=fit)
            after = size_of_model(cut_out.model, data.inputs[:1])
            assert after.parameters < before.parameters
            assert after.flops < before.flops
            assert output_of(cut_out.model, data.inputs).isfinite().all()
            assert [r.block for r in cut_out.removals] == [
                r.block for block in pair for r in block.removals
            ]


@pytest.mark.parametrize("count", [3, 4])
def test_most_and_all_blocks(count: int) -> None:
    model = with_statistics(tapering)
    cut_out = cut(model, chosen_blocks(model, VECTORS)[-count:], VECTORS)
    assert cut_out.fitted == ("head",)
    assert cut_out.model.get_parameter("head.weight").shape == (3, 12 if count == 3 else 6)
    assert output_of(cut_out.model, VECTORS.inputs).shape == (40, 3)


@pytest.mark.parametrize("fit", [True, False])
def test_what_cannot_go_together(fit: bool) -> None:
    model = with_statistics(open_encoder)  # which looks into the first layer
    blocks = chosen_blocks(model, SEQUENCES)
    expected = r"can go together, got 'encoder.layers.0', .* raises IndexError.*; remove fewer"
    with pytest.raises(ModelError, match=expected):
        cut(model, blocks, SEQUENCES, fit=fit)


def test_no_block_is_a_copy() -> None:
    model = with_statistics(perceptrons.listed)
    cut_out = cut(model, [], VECTORS, fit=False)
    assert cut_out.model is not model
    assert same_state(cut_out.model, weights_of(model))


def test_block_names_stay_true() -> None:
    model = with_statistics(tapering)
    model.block_names = tuple(f"blocks.{i}" for i in range(4))
    smaller: Any = cut(model, chosen_blocks(model, VECTORS, "blocks.1", "blocks.3"), VECTORS).model
    assert smaller.block_names == ("blocks.0", "blocks.2")
    assert model.block_names == tuple(f"blocks.{i}" for i in range(4))
    left = chosen_blocks(smaller, VECTORS)
    assert [block.name for block in left] == ["blocks.0", "blocks.2"]
    smallest = cut(smaller, left[1:], VECTORS).model
    assert output_of(smallest, VECTORS.inputs).shape == (40, 3)
    assert smallest.block_names == ("blocks.0",)


def test_a_tail_that_is_gone_leaves_what_a_head_makes_of_less() -> None:
    model = with_statistics(tapering)
    blocks = chosen_blocks(model, VECTORS, "blocks.3")
    smaller: Any = cut(model, blocks, VECTORS).model
    assert isinstance(smaller.blocks[3], PassThrough)
    x = output_of(nn.Sequential(*model.blocks[:3]), VECTORS.inputs)
    wanted = ridge_by_textbook(
        columns_of(model.head, x), output_of(model, VECTORS.inputs), least_squares.RIDGE
    )  # of 8 features, not 6
    assert torch.allclose(weights_and_bias(smaller.head), wanted, atol=1e-5)
