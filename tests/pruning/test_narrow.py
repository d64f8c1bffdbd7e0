"""Layers lose the units that the class directions do not use, and all else goes along."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch_pruning
from torch import Tensor, nn

from designer.data.dataset import LabelledTensors
from designer.models.size import size_of_model
from designer.pruning.narrow import LEAST_UNITS, Narrowed, narrow, unit_use, unused
from designer.results.layers import LayerReport
from designer.results.measured import Verdict
from tests.probing.test_block_outputs import state_of
from tests.support.networks import convolutional, perceptrons, sequences
from tests.support.networks.parts import chain, conv, dense, head, linear, norm, seeded, wired

Make = Callable[[], nn.Module]

LABELS = torch.arange(90) % 3
GENERATOR = torch.Generator().manual_seed(3)


def classes(*shape: int) -> LabelledTensors:
    """Three classes around centres of their own."""
    centres = torch.randn(3, *shape, generator=GENERATOR)
    noise = torch.randn(90, *shape, generator=GENERATOR)
    return LabelledTensors(2 * centres[LABELS] + 0.5 * noise, LABELS)


VECTORS, IMAGES, SEQUENCES = classes(6), classes(3, 8, 8), classes(5, 8)


def low(*names: str, verdict: Verdict = Verdict.LOW) -> list[LayerReport]:
    """What is reported of blocks that contribute too little."""
    return [
        LayerReport(
            name=name, width=1, separation=1.0, separation_heldout=None, separation_null=None,
            step=0.0, share=0.0, interval=None, verdict=verdict, advice="",
        )
        for name in names
    ]  # fmt: skip


def by_hand(features: Tensor, labels: Tensor) -> np.ndarray[Any, Any]:
    """(p,) sum over the directions of V_jk^2, over their number, from the SVD of the means."""
    x, y = features.flatten(1).double().numpy(), labels.numpy()
    means = np.stack([x[y == k].mean(0) for k in range(3)])
    shares = np.bincount(y)[:, None] / len(y)
    _, s, vt = np.linalg.svd(np.sqrt(shares) * (means - (shares * means).sum(0)))
    rank = int((s > 1e-6 * s[0]).sum())
    squares: np.ndarray[Any, Any] = (vt[:rank] ** 2).sum(0) / rank
    return squares


@torch.no_grad()
def silence(layer: Any, units: Sequence[int]) -> None:
    """Let units give nothing."""
    layer.weight[list(units)] = 0
    if layer.bias is not None:
        layer.bias[list(units)] = 0


def output_of(model: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        output: Tensor = model(inputs)
    return output


# --- what is used ---

USES: dict[str, tuple[Make, LabelledTensors, str, Callable[[Any, Tensor], Tensor]]] = {
    "linear": (perceptrons.listed, VECTORS, "layers.1", lambda m, x: m.layers[1](m.layers[0](x))),
    "a row": (perceptrons.row, VECTORS, "3", lambda m, x: m[:4](x)),
    "maps": (
        convolutional.residual_net, IMAGES, "layer1.1",
        lambda m, x: m.layer1(m.relu(m.bn1(m.conv1(x)))).flatten(2),
    ),
    "tokens": (sequences.mixer, SEQUENCES, "blocks.0", lambda m, x: m.blocks[0](x).transpose(1, 2)),
    "sums outside": (
        perceptrons.open_sums, VECTORS, "blocks.0",
        lambda m, x: m.stem(x).relu() + m.blocks[0](m.stem(x).relu()),
    ),
}  # fmt: skip
"""Of each: how to make it, data, a block, and what it gives as (n, units, ...)."""


@pytest.mark.parametrize("name", USES)
def test_the_use_of_units_is_their_part_in_the_class_directions(name: str) -> None:
    make, data, block, features_of = USES[name]
    model = seeded(make).eval()
    use = unit_use(model, block, data)
    with torch.no_grad():
        features = features_of(model, data.inputs)
    wanted = by_hand(features, data.labels).reshape(features.shape[1], -1).sum(1)
    assert use.numpy() == pytest.approx(wanted, abs=1e-6)
    assert float(use.sum()) == pytest.approx(1)
    assert float(use.min()) >= 0


def test_a_unit_that_says_nothing_of_the_class_is_not_used() -> None:
    model: Any = seeded(perceptrons.listed).eval()
    silence(model.layers[1][0], [1, 4])
    use = unit_use(model, "layers.1", VECTORS)
    assert float(use[[1, 4]].max()) < 1e-20
    assert set(unused(use)) == {1, 4}


def test_the_model_is_left_as_it_was_where_it_is_looked_at() -> None:
    model = seeded(perceptrons.counting).train()
    before = state_of(model)
    unit_use(model, "blocks.1", VECTORS)
    assert state_of(model) == before


@pytest.mark.parametrize(
    ("use", "gone"),
    [
        ([0.5, 0.01, 0.2, 0.02, 0.17, 0.1], [1, 3]),
        ([0.5, 0.01, 0.2, 0.02, 0.24, 0.02, 0.01], [1, 3, 6]),  # and 5 if it were not too much
        ([1.0, 0, 0, 0, 0, 0], [1, 2]),  # so that four are left
        ([0.25, 0.25, 0.25, 0.25, 0.0], [4]),
        ([0.2] * 5, []),
        ([1.0, 0, 0, 0], []),
        ([1.0, 0], []),
        ([0.0] * 6, []),  # no direction at all
    ],
)
def test_units_go_that_hold_the_least(use: list[float], gone: list[int]) -> None:
    units = unused(torch.tensor(use, dtype=torch.float64))
    assert len(units) == len(gone)  # any of those that hold the same
    assert [use[i] for i in units] == [use[i] for i in gone]


# --- what goes along ---


def plain(widths: Sequence[int] = (6, 12, 10, 8)) -> nn.Module:
    blocks = [
        nn.Sequential(linear(*pair), nn.BatchNorm1d(pair[1]), nn.ReLU())
        for pair in pairwise(widths)
    ]
    return wired(
        "Plain", lambda m, x: m.head(chain(m.blocks, x)),
        blocks=nn.ModuleList(blocks), head=head(widths[-1]),
    )  # fmt: skip


def images(block: Callable[[], nn.Module]) -> Make:
    return lambda: wired(
        "Images",
        lambda m, x: m.head(chain(m.blocks, m.stem(x)).mean((2, 3))),
        stem=nn.Sequential(conv(3, 8), norm(8), nn.ReLU()),
        blocks=nn.Sequential(*[block() for _ in range(3)]),
        head=head(8),
    )


def flattening() -> nn.Module:
    return wired(
        "Flattening",
        lambda m, x: m.head(m.two(m.one(x)).flatten(1)),
        one=nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(4)),
        two=nn.Sequential(conv(8, 8), nn.ReLU()),
        head=head(32),
    )


def summing() -> nn.Module:
    """Sums outside of any module, which tie the widths of all blocks."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = m.stem(x)
        for block in m.blocks:
            x = x + block(x)
        logits: Tensor = m.head(x)
        return logits

    blocks = [nn.Sequential(linear(8, 12), nn.ReLU(), linear(12, 8)) for _ in range(3)]
    return wired("Summing", wiring, stem=linear(6, 8), blocks=nn.ModuleList(blocks), head=head(8))


def flat_row() -> nn.Module:
    return nn.Sequential(
        linear(6, 10), nn.BatchNorm1d(10), nn.ReLU(), linear(10, 9), nn.ReLU(), head(9)
    )


def depthwise() -> nn.Module:
    """Ends in a convolution of each channel by itself."""
    return nn.Sequential(
        nn.Conv2d(8, 8, 1, bias=False), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8),
        norm(8), nn.ReLU(),
    )  # fmt: skip


NARROWED: dict[str, tuple[Make, LabelledTensors, str, tuple[str, ...], str]] = {
    "linear": (plain, VECTORS, "blocks.1", ("blocks.1.0",), "blocks.1.0"),
    "the first": (plain, VECTORS, "blocks.0", ("blocks.0.0",), "blocks.0.0"),
    "the last": (plain, VECTORS, "blocks.2", ("blocks.2.0",), "blocks.2.0"),
    "a row": (flat_row, VECTORS, "2", ("0",), "0"),
    "a row without norm": (flat_row, VECTORS, "4", ("3",), "3"),
    "convolutions": (
        images(lambda: nn.Sequential(conv(8, 8), norm(8), nn.ReLU())),
        IMAGES, "blocks.1", ("blocks.1.0",), "blocks.1.0",
    ),
    "before flattening": (flattening, IMAGES, "two", ("two.0",), "two.0"),
    "a residual stage": (
        images(lambda: convolutional.residual(8, 8)), IMAGES, "blocks.1",
        ("stem.0", "blocks.0.conv2", "blocks.1.conv2", "blocks.2.conv2"), "blocks.1.conv2",
    ),
    "sums outside": (
        summing, VECTORS, "blocks.2", ("stem", *(f"blocks.{i}.2" for i in range(3))), "blocks.2.2",
    ),
    "depthwise": (
        images(depthwise), IMAGES, "blocks.1", ("blocks.1.0", "blocks.1.2"), "blocks.1.2",
    ),
}  # fmt: skip
"""Of each: how to make it, data, a block, the layers that give its units and those that they are
added to, and which of them is reported."""


def silenced(name: str, units: Sequence[int] = (1, 2, 5)) -> Any:
    """A network in which some units give nothing, whatever is behind them."""
    make, _, _, producers, _ = NARROWED[name]
    model = seeded(make).eval()
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            nn.init.zeros_(part.bias)  # nothing stays nothing
    for producer in producers:
        silence(model.get_submodule(producer), units)
    return model


def narrowed(model: nn.Module, name: str) -> Narrowed:
    _, data, block, _, _ = NARROWED[name]
    return narrow(model, low(block), data)


@pytest.mark.parametrize("name", NARROWED)
def test_what_gives_nothing_can_go_without_a_trace(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    _, data, _, producers, reported = NARROWED[name]
    monkeypatch.setattr("designer.pruning.narrow.KEPT_SHARE", 1 - 1e-12)
    model = silenced(name)
    before, wanted = state_of(model), output_of(model, data.inputs)
    smaller = narrowed(model, name)
    units = len(model.get_parameter(f"{reported}.weight"))
    assert set(smaller.layers) == {reported, *producers}
    had, has = smaller.layers[reported]
    assert (had, has <= units - 3, has >= LEAST_UNITS) == (units, True, True)
    for producer in producers:
        assert len(smaller.model.get_parameter(f"{producer}.weight")) == has
        assert smaller.layers[producer][1] == has
    outputs = output_of(smaller.model, data.inputs)
    assert torch.allclose(outputs, wanted, atol=1e-5)
    assert state_of(model) == before
    assert torch.equal(output_of(model, data.inputs), wanted)
    after, whole = (size_of_model(network, data.inputs[:1]) for network in (smaller.model, model))
    assert after.parameters < whole.parameters
    assert after.flops < whole.flops
    assert not any(part.training for part in smaller.model.modules())


def test_the_units_that_are_kept_keep_their_weights_norms_and_consumers() -> None:
    model: Any = silenced("linear")
    smaller: Any = narrowed(model, "linear").model
    gone = unused(unit_use(model, "blocks.1", VECTORS))
    kept = [i for i in range(10) if i not in gone]
    assert set(gone) >= {1, 2, 5}
    for layer, name in [(0, "weight"), (0, "bias"), (1, "weight"), (1, "bias"),
                        (1, "running_mean"), (1, "running_var")]:  # fmt: skip
        ours, theirs = (getattr(m.blocks[1][layer], name) for m in (smaller, model))
        assert torch.equal(ours, theirs[kept])
    assert torch.equal(smaller.blocks[2][0].weight, model.blocks[2][0].weight[:, kept])
    assert torch.equal(smaller.blocks[0][0].weight, model.blocks[0][0].weight)
    assert smaller.blocks[1][0].out_features == smaller.blocks[1][1].num_features == len(kept)
    assert smaller.blocks[2][0].in_features == len(kept)


def test_units_that_the_class_directions_use_are_kept() -> None:
    torch.manual_seed(0)
    model: Any = plain((6, 12, 8)).eval()
    with torch.no_grad():  # two units tell the classes apart, ten are the same for all
        weight = model.blocks[0][0].weight
        means = torch.stack([VECTORS.inputs[k == LABELS].mean(0) for k in range(3)])
        differences = means[1:] - means[:1]
        basis = torch.linalg.qr(differences.T).Q.T
        free = weight - weight @ basis.T @ basis
        weight.copy_(0.01 * free)
        model.blocks[0][0].bias.zero_()
        model.blocks[0][1].bias.fill_(0.5)
        for unit, direction in zip((3, 7), differences, strict=True):
            weight[unit] = direction
    smaller: Any = narrow(model, low("blocks.0"), VECTORS).model
    left = smaller.blocks[0][0].weight
    assert len(left) == LEAST_UNITS
    for direction in differences:
        assert any(torch.equal(row, direction) for row in left)


@pytest.mark.parametrize("verdict", Verdict)
def test_only_what_contributes_too_little_is_narrowed(verdict: Verdict) -> None:
    model = silenced("linear")
    smaller = narrow(model, low("blocks.1", verdict=verdict), VECTORS)
    changed = verdict in {Verdict.LOW, Verdict.NEGATIVE}
    assert list(smaller.layers) == ["blocks.1.0"] * changed
    assert smaller.model is not model


def test_several_blocks_one_after_the_other() -> None:
    model = silenced("linear")
    silence(model.blocks[0][0], [0, 3])
    smaller = narrow(model, low("blocks.0", "blocks.1"), VECTORS)
    assert list(smaller.layers) == ["blocks.0.0", "blocks.1.0"]
    again = narrow(smaller.model, [], VECTORS)
    assert again.layers == {}
    assert output_of(smaller.model, VECTORS.inputs).shape == (90, 3)


def test_named_blocks() -> None:
    model = silenced("linear")
    smaller = narrow(model, low("blocks.1.0"), VECTORS, ["blocks.0", "blocks.1.0"])
    assert list(smaller.layers) == ["blocks.1.0"]


# --- what cannot be narrowed ---


def fixed_view() -> nn.Module:
    """A width that is written into the forward pass."""
    return wired(
        "FixedView",
        lambda m, x: m.head(m.two(m.one(x)).view(-1, 12)),
        one=dense(6, 8),
        two=dense(8, 12),
        head=head(12),
    )


def logits_of_its_own() -> nn.Module:
    return nn.Sequential(linear(6, 8), nn.ReLU(), linear(8, 8))


@pytest.mark.parametrize(
    ("make", "block", "blocks"),
    [
        (fixed_view, "two", None),
        (logits_of_its_own, "2", ["0", "2"]),  # the model's output would be narrower
        (convolutional.vgg, "features.2", None),  # as few as there may be
        (perceptrons.row, "1", ["1", "3"]),  # activations, which have no units of their own
    ],
)
def test_a_model_that_cannot_be_narrowed_stays_as_it_is(
    make: Make, block: str, blocks: list[str] | None
) -> None:
    model: Any = seeded(make).eval()
    data = IMAGES if make is convolutional.vgg else VECTORS
    for part in model.modules():
        if isinstance(part, nn.Linear) and part.out_features > 3:
            silence(part, [0, 1, 2])
    smaller = narrow(model, low(block), data, blocks)
    assert smaller.layers == {}
    assert torch.equal(output_of(smaller.model, data.inputs), output_of(model, data.inputs))
    ours, theirs = smaller.model.state_dict(), model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_what_torch_pruning_does_not_understand(monkeypatch: pytest.MonkeyPatch) -> None:
    model = silenced("linear")
    before = copy.deepcopy(model.state_dict())

    def fails(*_: object, **__: object) -> None:
        raise KeyError("no such layer")

    for name in ("build_dependency", "get_pruning_group"):
        with monkeypatch.context() as patch:
            patch.setattr(torch_pruning.DependencyGraph, name, fails)
            smaller = narrowed(model, "linear")
        assert smaller.layers == {}
        assert all(torch.equal(smaller.model.state_dict()[k], before[k]) for k in before)
    with monkeypatch.context() as patch:
        patch.setattr(torch_pruning.DependencyGraph, "check_pruning_group", lambda *_: False)
        assert narrowed(model, "linear").layers == {}
    assert list(narrowed(model, "linear").layers) == ["blocks.1.0"]
