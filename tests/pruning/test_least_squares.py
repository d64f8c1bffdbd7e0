"""Layers behind a block are fitted as the textbook says, and bridge linear blocks exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from designer.data.dataset import LabelledTensors
from designer.models import least_squares
from designer.pruning import cut as cutting
from designer.pruning.cut import cut
from tests.pruning.cutting import (
    GENERATOR,
    IMAGES,
    LABELS,
    SEQUENCES,
    SIGNALS,
    VECTORS,
    VOLUMES,
    Make,
    chosen_blocks,
    columns_of,
    output_of,
    ridge_by_textbook,
    rows_of,
    weights_and_bias,
    with_statistics,
)
from tests.support.networks.parts import conv, dense, head, linear, wired


def followed_by(layer: nn.Module, before: nn.Module, mean_over: tuple[int, ...] = ()) -> nn.Module:
    """Build a stem, a block, the layer in question as a block of its own, and a head."""
    width = layer.weight.shape[0]  # type: ignore[index]

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = m.layer(m.block(m.stem(x))).tanh()
        logits: Tensor = m.head(x.mean(mean_over) if mean_over else x)
        return logits

    stem = nn.Tanh()
    return wired("Followed", wiring, stem=stem, block=before, layer=layer, head=head(int(width)))


def maps_after(layer: nn.Module, before: nn.Module) -> Callable[[], nn.Module]:
    axes = tuple(range(2, layer.weight.ndim))  # type: ignore[arg-type]
    return lambda: followed_by(layer, nn.Sequential(before, nn.ReLU()), axes)


def conv_after(inputs: int = 4, **options: Any) -> Callable[[], nn.Module]:
    options = {"kernel_size": 3, **options}
    return lambda: followed_by(
        nn.Conv2d(inputs, 5, **options), nn.Sequential(conv(3, inputs), nn.ReLU()), (2, 3)
    )


SQUARES: dict[str, tuple[Make, LabelledTensors]] = {
    "linear": (lambda: followed_by(linear(6, 4), dense()), VECTORS),
    "without bias": (lambda: followed_by(nn.Linear(6, 4, bias=False), dense()), VECTORS),
    "another width": (lambda: followed_by(linear(9, 4), dense(6, 9)), VECTORS),
    "a smaller width": (lambda: followed_by(linear(4, 3), dense(6, 4)), VECTORS),
    "tokens": (lambda: followed_by(linear(8, 4), dense(8, 8), (1,)), SEQUENCES),
    "tokens of another width": (lambda: followed_by(linear(6, 4), dense(8, 6), (1,)), SEQUENCES),
    "convolution": (conv_after(3), IMAGES),
    "convolution without bias": (conv_after(bias=False), IMAGES),
    "padding": (conv_after(padding=1), IMAGES),
    "padding of two kinds": (conv_after(padding=(2, 0), kernel_size=(3, 1)), IMAGES),
    "stride": (conv_after(stride=2, padding=1), IMAGES),
    "strides": (conv_after(stride=(1, 3)), IMAGES),
    "dilation": (conv_after(dilation=2, padding=2), IMAGES),
    "same": (conv_after(padding="same"), IMAGES),
    "same, even kernel": (conv_after(padding="same", kernel_size=(2, 4)), IMAGES),
    "same, dilated": (conv_after(padding="same", kernel_size=2, dilation=(1, 3)), IMAGES),
    "valid": (conv_after(padding="valid", kernel_size=(1, 5)), IMAGES),
    "reflected": (conv_after(padding=1, padding_mode="reflect"), IMAGES),
    "circular": (conv_after(padding=2, padding_mode="circular"), IMAGES),
    "signals": (
        maps_after(nn.Conv1d(4, 5, 3, 2, 2, dilation=2), nn.Conv1d(3, 4, 1)),
        SIGNALS,
    ),
    "volumes": (
        maps_after(nn.Conv3d(3, 5, (1, 2, 3), (1, 2, 1)), nn.Conv3d(2, 3, 1)),
        VOLUMES,
    ),
}


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")
@pytest.mark.parametrize("name", SQUARES)
def test_a_layer_is_fitted_by_ridge_regression(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(least_squares, "CHUNK_ROWS", 100)
    monkeypatch.setattr(cutting, "FIT_BATCH", 5)
    make, data = SQUARES[name]
    if data.inputs.ndim > 3:  # each of which is many rows
        data = LabelledTensors(data.inputs[:12], data.labels[:12])
    model = with_statistics(make)
    blocks = chosen_blocks(model, data, "block", blocks=["block", "layer"])
    cut_out = cut(model, blocks, data)
    assert cut_out.fitted == ("layer", "head")
    smaller: Any = cut_out.model
    x = data.inputs.tanh()
    y = output_of(model.layer, output_of(model.block, x))
    wanted = ridge_by_textbook(
        columns_of(model.layer, x), rows_of(model.layer, y), least_squares.RIDGE
    )
    assert torch.allclose(weights_and_bias(smaller.layer), wanted, atol=1e-4, rtol=1e-3)
    assert type(smaller.layer) is type(model.layer)
    hidden = output_of(smaller.layer, x).tanh()
    if hidden.ndim > 2:
        hidden = hidden.mean(1 if data is SEQUENCES else tuple(range(2, hidden.ndim)))
    wanted = ridge_by_textbook(
        columns_of(model.head, hidden), output_of(model, data.inputs), least_squares.RIDGE
    )
    assert torch.allclose(weights_and_bias(smaller.head), wanted, atol=1e-4, rtol=1e-3)
    assert output_of(smaller, data.inputs).shape == (len(x), 3)


def test_the_samples_and_rows_to_fit_to_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    make, data = SQUARES["linear"]
    model = with_statistics(make)
    blocks = chosen_blocks(model, data, "block", blocks=["block", "layer"])
    monkeypatch.setattr(cutting, "FIT_BATCH", 8)
    of_all: Any = cut(model, blocks, data).model
    for bound in ("FIT_SAMPLES", "FIT_ROWS"):
        with monkeypatch.context() as patch:
            patch.setattr(cutting, bound, 16)
            bounded: Any = cut(model, blocks, data).model
        drawn = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:16]
        few = LabelledTensors(data.inputs[drawn], data.labels[drawn])
        of_few: Any = cut(model, blocks, few).model
        assert torch.allclose(bounded.layer.weight, of_few.layer.weight, atol=1e-6)
        assert not torch.allclose(bounded.layer.weight, of_all.layer.weight)


def test_a_layer_that_is_too_wide_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    data = IMAGES
    model = with_statistics(conv_after(3))
    blocks = chosen_blocks(model, data, "block", blocks=["block", "layer"])
    monkeypatch.setattr(cutting, "FIT_WIDTH", 26)
    cut_out = cut(model, blocks, data)
    assert cut_out.fitted == ("head",)
    assert torch.equal(cut_out.model.get_parameter("layer.weight"), model.layer.weight)


def test_a_layer_that_receives_nothing_gives_nothing() -> None:
    model = with_statistics(lambda: followed_by(linear(), dense()))
    zeros = LabelledTensors(torch.zeros(40, 6), LABELS)
    smaller: Any = cut(
        model, chosen_blocks(model, zeros, "block", blocks=["block", "layer"]), zeros
    )
    bias = output_of(model.layer, output_of(model.block, torch.zeros(1, 6)))[0]
    assert torch.allclose(smaller.model.layer.bias, bias, rtol=0.01)
    assert not smaller.model.layer.weight.count_nonzero()


def bridged(block: nn.Module, layer: nn.Module) -> nn.Module:
    """Build a block without activation and a layer behind it."""
    images = isinstance(layer, nn.Conv2d)
    first = conv(3, 4) if images else linear()

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = F.softplus(m.layer(m.block(m.stem(x))))
        logits: Tensor = m.head(x.mean((2, 3)) if images else x)
        return logits

    stem = nn.Sequential(first, nn.Tanh())
    return wired("Bridged", wiring, stem=stem, block=block, layer=layer, head=head(5))


BRIDGES: dict[str, tuple[Make, LabelledTensors]] = {
    "linear": (lambda: bridged(linear(), linear(6, 5)), VECTORS),
    "narrower": (lambda: bridged(linear(6, 4), linear(4, 5)), VECTORS),
    "wider": (lambda: bridged(linear(6, 9), linear(9, 5)), VECTORS),
    "two layers": (
        lambda: bridged(nn.Sequential(linear(6, 8), linear(8, 6)), linear(6, 5)), VECTORS,
    ),
    "with a norm": (
        lambda: bridged(nn.Sequential(linear(), nn.BatchNorm1d(6)), linear(6, 5)), VECTORS,
    ),
    "before a norm": (
        lambda: bridged(linear(), nn.Sequential(nn.BatchNorm1d(6), linear(6, 5))), VECTORS,
    ),
    "convolution": (lambda: bridged(conv(4, 4, 1, 1), conv(4, 5)), IMAGES),
    "wider convolution": (lambda: bridged(conv(4, 6, 1, 1), conv(6, 5, 2)), IMAGES),
}  # fmt: skip


@pytest.mark.parametrize("name", BRIDGES)
def test_a_block_that_is_linear_is_not_missed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    make, data = BRIDGES[name]
    model = with_statistics(make)
    blocks = chosen_blocks(model, data, "block", blocks=["block", "layer"])
    wanted = output_of(model, data.inputs)
    spread = wanted.std()
    near = cut(model, blocks, data).model
    assert (output_of(near, data.inputs) - wanted).std() < 0.1 * spread  # what the ridge costs
    monkeypatch.setattr(least_squares, "RIDGE", 1e-9)
    exact = cut(model, blocks, data).model
    for inputs in (data.inputs, torch.randn(data.inputs.shape, generator=GENERATOR)):
        error = (output_of(exact, inputs) - output_of(model, inputs)).abs().max()
        assert error < 1e-3 * spread
