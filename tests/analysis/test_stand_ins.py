"""What stands in for a block that does nothing changes nothing, however its network is written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import designer
from designer.models.surgery import Way
from designer.results.contribution import BlockContribution
from tests.support.helpers import gaussian_classes
from tests.support.networks.parts import seeded

WIDTH = 6


class OpenBranches(nn.Module):
    """Layers whose activation and whose sum with what they receive the network applies."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.activation = activation
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + self.activation(layer(x))
        logits: Tensor = self.head(x)
        return logits


class Branch(nn.Module):
    """A block that gives x + relu(linear(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + functional.relu(self.linear(x))


class InjectedInput(nn.Module):
    """Blocks with shortcuts of their own, behind each of which the input is added once more."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inject = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.blocks = nn.ModuleList(Branch() for _ in range(3))
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        injected, x = self.inject(x), self.stem(x)
        for block in self.blocks:
            x = block(x) + injected
        logits: Tensor = self.head(x)
        return logits


@pytest.mark.parametrize("activation", ["relu", "gelu", "leaky_relu", "silu", "tanh"])
def test_a_branch_of_zeros_behind_an_activation_leaves_the_sum_as_it_is(activation: str) -> None:
    model = seeded(lambda: OpenBranches(getattr(functional, activation)))
    changes_nothing(model, "layers.1", "layers.1", "what flows past it", Way.ZERO)


def test_beside_the_input_of_the_network_what_a_block_receives_goes_on() -> None:
    model = seeded(InjectedInput)
    changes_nothing(model, "blocks.1", "blocks.1.linear", "what it receives", Way.PASS)


def changes_nothing(model: nn.Module, block: str, inner: str, stand_in: str, way: Way) -> None:
    """Check the contribution and the removal of a block whose layer gives zeros."""
    layer = model.get_submodule(inner)
    assert isinstance(layer, nn.Linear)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    model = model.double().eval()
    features, labels = gaussian_classes(180, WIDTH, 3, seed=1)
    blocks = [f"{block.partition('.')[0]}.*"]
    train, heldout = (features[:90], labels[:90]), (features[90:], labels[90:])
    fit_head(model, *train)
    records = designer.contributions(model, train, heldout, blocks)
    record = {record.name: record for record in records}[block]
    assert isinstance(record, BlockContribution)
    assert record.contribution is not None
    assert record.contribution.stand_in == stand_in
    assert record.contribution.cross_entropy is not None
    assert record.contribution.cross_entropy.value == pytest.approx(0, abs=1e-12)
    before = model(heldout[0]).argmax(1)
    pruned = designer.prune(model, (train, heldout), remove=[block], blocks=blocks, epochs=0)
    (removal,) = pruned.removals
    assert removal.way is way
    same = pruned.model(heldout[0]).argmax(1) == before
    assert same.float().mean() > 0.95  # the layers behind it were fitted anew


def fit_head(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Train the last layer of a network until it is better than chance."""
    fit(model, x, y, "head", lr=0.1)


def fit(model: nn.Module, x: Tensor, y: Tensor, part: str = "", lr: float = 0.01) -> None:
    """Train a network, or a part of it, until it is better than chance."""
    optimizer = torch.optim.Adam(model.get_submodule(part).parameters(), lr=lr)
    for _ in range(50):
        optimizer.zero_grad()
        torch.autograd.backward(functional.cross_entropy(model(x), y))
        optimizer.step()


@pytest.mark.parametrize("pool", [1, 2])
def test_a_convolution_without_padding_that_only_mixes_channels_contributes_nothing(
    pool: int,
) -> None:
    """Behind it maps lack a margin, and every second pixel if it is pooled so."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(4, 4, 5)
    with torch.no_grad():
        weight = torch.zeros_like(convolution.weight)
        weight[:, :, 2, 2] = convolution.weight[:, :, 2, 2]
        convolution.weight.copy_(weight)
    every = nn.MaxPool2d(1, stride=pool)
    size = (12 - 4) // pool
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()),
        nn.Sequential(convolution, every),
        nn.Sequential(nn.Flatten(), nn.Linear(4 * size * size, 3)),
    ).double()
    features, labels = gaussian_classes(160, 4 * 144, 3, seed=1)
    maps = features.double().view(-1, 4, 12, 12)
    records = designer.contributions(
        model.eval(), (maps[:80], labels[:80]), (maps[80:], labels[80:]), ["0", "1"]
    )
    contribution = records[1].contribution
    assert contribution is not None, records[1].reason
    assert contribution.cross_entropy is not None
    assert contribution.cross_entropy.value == pytest.approx(0, abs=1e-6)


def test_pooling_with_padding_behind_convolutions_that_cut_nothing_off_has_no_linear_map() -> None:
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.MaxPool2d(3, 2, 1)),
        nn.Sequential(nn.Flatten(), nn.Linear(64, 3)),
    )
    images, labels = torch.randn(60, 4, 7, 7), torch.arange(60) % 3
    records = designer.contributions(model.eval(), (images, labels), (images, labels), ["0", "1"])
    assert records[1].contribution is None
    assert "no linear map leads from one to the other" in records[1].reason


class Reduction(nn.Module):
    """Two branches side by side, each of which cuts off two pixels, as in Inception networks."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(4, 4, 3, stride=2) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def test_branches_side_by_side_do_not_cut_off_all_of_a_small_map() -> None:
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()),
        Reduction(),
        nn.Sequential(nn.Flatten(), nn.Linear(8, 3)),
    )
    images, labels = torch.randn(60, 4, 4, 4), torch.arange(60) % 3
    fit(model, images, labels)
    records = designer.contributions(model.eval(), (images, labels), (images, labels), ["0", "1"])
    assert records[1].contribution is not None, records[1].reason


def test_a_block_that_halves_maps_of_odd_size_has_a_linear_map() -> None:
    def block(channels: int, stride: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(channels, 4, 3, stride, 1), nn.BatchNorm2d(4), nn.ReLU())

    model = seeded(
        lambda: nn.Sequential(
            block(1, 1),
            block(4, 2),
            block(4, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        )
    )
    images, labels = torch.randn(60, 1, 7, 7), torch.arange(60) % 3
    records = designer.contributions(model.eval(), (images, labels), (images, labels))
    assert [r.contribution and r.contribution.stand_in for r in records] == [
        "a 1x1 convolution"
    ] * 3


def convolutional(convolution: type[nn.Module], axes: int) -> nn.Sequential:
    """Build a network of convolutions over the last axis of (n, 2, 8), seen as maps of axes."""
    lead = (1,) * (axes - 3)

    def block(inputs: int, stride: int) -> nn.Sequential:
        sizes = (*lead, 5), (*lead, stride), (*[0 for _ in lead], 2)
        return nn.Sequential(convolution(inputs, 4, *sizes), nn.ReLU())

    return nn.Sequential(block(2, 1), block(4, 1), block(4, 2), nn.Flatten(), nn.Linear(16, 3))


@pytest.mark.parametrize(
    ("convolution", "axes"), [(nn.Conv1d, 3), (nn.Conv3d, 5)], ids=["signals", "volumes"]
)
def test_convolutions_of_any_dimension_are_replaced_alike(
    convolution: type[nn.Module], axes: int
) -> None:
    def outcome(convolution: type[nn.Module], axes: int) -> tuple[list[Any], Tensor]:
        model = seeded(lambda: convolutional(convolution, axes))
        for parameter, weights in zip(model.parameters(), images.parameters(), strict=True):
            parameter.data = weights.detach().reshape(parameter.shape).clone()
        maps = signals.reshape(90, 2, *[1] * (axes - 3), 8)
        train, heldout = (maps[:60], labels[:60]), (maps[60:], labels[60:])
        records = designer.contributions(model.eval(), train, heldout)
        losses = [record.contribution and record.contribution.cross_entropy for record in records]
        pruned = designer.prune(model, (train, heldout), remove=["1"], epochs=0)
        return [loss and loss.value for loss in losses], pruned.model(heldout[0])

    features, labels = gaussian_classes(90, 16, 3, seed=1, dtype=torch.float32)
    signals = features.reshape(90, 2, 8)
    images = seeded(lambda: convolutional(nn.Conv2d, 4))
    fit(images, signals[:60].unsqueeze(2), labels[:60])
    wanted, of_pruned = outcome(nn.Conv2d, 4)
    values, logits = outcome(convolution, axes)
    assert values == pytest.approx(wanted, abs=1e-5)
    assert torch.allclose(logits, of_pruned, atol=1e-3)


class FrozenBackbone(nn.Module):
    """A head on a residual backbone that runs in a context which turns gradients off."""

    def __init__(self, context: Callable[[], Any]) -> None:
        super().__init__()
        self.context = context
        self.backbone = OpenBranches(functional.relu)
        self.head = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        with self.context():
            features = self.backbone(x)
        logits: Tensor = self.head(features)
        return logits


class InInferenceMode(OpenBranches):
    """A network that can only be used, and not trained any more."""

    def __init__(self) -> None:
        super().__init__(functional.relu)

    def forward(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            return super().forward(x)


def test_a_backbone_without_gradients_is_measured_like_one_with() -> None:
    def of(context: Callable[[], Any]) -> object:
        model = seeded(lambda: FrozenBackbone(context)).eval()
        records = designer.contributions(model, (features, labels), (features, labels))
        return [
            (r.name, r.contribution and (r.contribution.stand_in, r.contribution.cross_entropy))
            for r in records
        ]

    features, labels = gaussian_classes(90, WIDTH, 3, seed=1, dtype=torch.float32)
    assert of(torch.no_grad) == of(nullcontext)


def test_what_runs_in_inference_mode_is_measured() -> None:
    features, labels = gaussian_classes(90, WIDTH, 3, seed=1, dtype=torch.float32)
    model = seeded(InInferenceMode).eval()
    records = designer.contributions(model, (features, labels), (features, labels))
    assert records
    assert all(record.contribution for record in records)


class Conditioned(nn.Module):
    """A block that adds a branch to one of two tensors, in either order of its arguments."""

    def __init__(self, *, condition_first: bool) -> None:
        super().__init__()
        self.linear, self.condition = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.condition_first = condition_first

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        x, condition = (second, first) if self.condition_first else (first, second)
        return x + functional.relu(self.linear(x) + self.condition(condition))


class ConditionedNetwork(nn.Module):
    """Blocks that all receive a condition beside what flows through them."""

    def __init__(self, *, condition_first: bool) -> None:
        super().__init__()
        self.order = -1 if condition_first else 1
        self.stem, self.encode = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.blocks = nn.ModuleList(Conditioned(condition_first=condition_first) for _ in range(3))
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        condition, x = self.encode(x), self.stem(x)
        for block in self.blocks:
            x = block(*(x, condition)[:: self.order])
        logits: Tensor = self.head(x)
        return logits


def test_the_order_of_a_blocks_arguments_does_not_matter() -> None:
    features, labels = gaussian_classes(180, WIDTH, 3, seed=1, dtype=torch.float32)
    train, heldout = (features[:90], labels[:90]), (features[90:], labels[90:])

    def outcome(*, condition_first: bool) -> tuple[object, Tensor]:
        model = seeded(partial(ConditionedNetwork, condition_first=condition_first)).eval()
        fit_head(model, *train)
        records = designer.contributions(model, train, heldout)
        pruned = designer.prune(model, (train, heldout), remove=["blocks.1"], epochs=0)
        return [(r.name, r.contribution) for r in records], pruned.model(features)

    records, outputs = outcome(condition_first=False)
    others, other_outputs = outcome(condition_first=True)
    assert records == others
    assert torch.equal(outputs, other_outputs)


def test_what_needs_gradients_off_is_traced_with_them_off() -> None:
    class Renormalised(FrozenBackbone):
        """A network that changes its weights in place when it runs."""

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                features = self.backbone(x)
                self.head.weight.clamp_(-1, 1)
            logits: Tensor = self.head(features)
            return logits

    features, labels = gaussian_classes(90, WIDTH, 3, seed=1, dtype=torch.float32)
    model = seeded(lambda: Renormalised(nullcontext)).eval()
    records = designer.contributions(model, (features, labels), (features, labels))
    assert all(record.contribution for record in records)


class RmsNorm(nn.Module):
    """A norm that is written out; it has no autograd node of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


@pytest.mark.parametrize("norm", [RmsNorm, lambda: nn.LayerNorm(WIDTH)])
def test_a_norm_before_the_block_does_not_hide_what_flows_past(norm: Any) -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = norm()
            self.layers = nn.ModuleList(Branch() for _ in range(3))
            self.head = nn.Linear(WIDTH, 3)

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = x + layer(self.norm(x))
            logits: Tensor = self.head(x)
            return logits

    features, labels = gaussian_classes(90, WIDTH, 3, seed=1, dtype=torch.float32)
    records = designer.contributions(
        seeded(Normed).eval(), (features, labels), (features, labels), ["layers.*"]
    )
    stand_ins = [record.contribution and record.contribution.stand_in for record in records]
    assert stand_ins == ["what flows past it"] * 3


@pytest.mark.parametrize("condition_first", [False, True])
def test_blocks_that_work_in_place_hand_on_what_flows_through_them(
    *, condition_first: bool
) -> None:
    class InPlace(Conditioned):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            x, condition = (second, first) if self.condition_first else (first, second)
            x += functional.relu(self.linear(x) + self.condition(condition))
            return x

    model = seeded(partial(ConditionedNetwork, condition_first=condition_first))
    twin = seeded(partial(ConditionedNetwork, condition_first=condition_first))
    for block in twin.get_submodule("blocks").children():
        block.__class__ = InPlace
    features, labels = gaussian_classes(90, WIDTH, 3, seed=1, dtype=torch.float32)
    data = (features, labels)
    own, others = (designer.contributions(net.eval(), data, data) for net in (model, twin))
    assert [r.contribution and r.contribution.stand_in for r in own] == [
        r.contribution and r.contribution.stand_in for r in others
    ]
