"""Plain blocks whose activation is a function, or one module for all, as blocks with their own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from designer.analysis.contribution import contributions
from designer.data.dataset import LabelledTensors
from designer.pruning.contribution_order import order_by_contribution
from designer.pruning.removable import removable_blocks
from designer.pruning.splits import Splits
from tests.support.helpers import gaussian_classes

DEPTH = 4


class Plain(nn.Module):
    """Layers whose ReLU is a module of each layer, one of all layers, or a function."""

    def __init__(self, form: str, layers: list[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.layers, self.head = nn.ModuleList(layers), head
        self.norms = nn.ModuleList(_norm_behind(layer) for layer in layers)
        shared = nn.ReLU()
        self.relus = nn.ModuleList(nn.ReLU() if form == "own" else shared for _ in layers)
        self.form, self.pool = form, False

    def forward(self, x: Tensor) -> Tensor:
        for layer, norm, relu in zip(self.layers, self.norms, self.relus, strict=True):
            x = norm(layer(x))
            x = functional.relu(x) if self.form == "function" else relu(x)
        logits: Tensor = self.head(x.mean((2, 3)) if self.pool else x.flatten(1))
        return logits


def _norm_behind(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.Conv2d):
        return nn.BatchNorm2d(layer.out_channels)
    return nn.BatchNorm1d(6)


def perceptron(form: str) -> nn.Module:
    """Return a network whose weights and statistics of norms are the same in all forms."""
    return _settled(Plain(form, [nn.Linear(6, 6) for _ in range(DEPTH)], nn.Linear(6, 3)))


def convolutional(form: str) -> nn.Module:
    """Return a network of convolutions on maps of 4 pixels, of which one halves them."""
    strides = (1, 2, 1)
    convolutions: list[nn.Module] = [nn.Conv2d(6, 6, 3, stride, 1) for stride in strides]
    return _settled(Plain(form, convolutions, nn.Linear(24, 3)))


def _settled(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for values in model.state_dict().values():
        if values.is_floating_point():
            values.uniform_(-1.5, 1.5, generator=generator)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_running_stats()
            module.weight.data.abs_()
    return model.double().eval()


def parts(maps: bool, n: int = 120) -> tuple[LabelledTensors, LabelledTensors]:
    features, labels = gaussian_classes(2 * n, 6, 3, seed=1)
    inputs = features.double()
    if maps:
        inputs = inputs[:, :, None, None] * torch.linspace(0.5, 1, 16).double().view(4, 4)
    return LabelledTensors(inputs[:n], labels[:n]), LabelledTensors(inputs[n:], labels[n:])


def effects(model: nn.Module, *, maps: bool) -> Tensor:
    """Return the rise of cross-entropy and of log D (blocks, 2) without each block."""
    rows = []
    for record in contributions(model, *parts(maps)):
        assert record.contribution is not None, record.reason
        entropy, separation = record.contribution.cross_entropy, record.contribution.separation
        assert entropy is not None
        assert separation is not None
        rows.append([entropy.value, separation.value])
    return torch.tensor(rows)


@pytest.mark.parametrize("form", ["shared", "function"])
@pytest.mark.parametrize(("build", "maps"), [(perceptron, False), (convolutional, True)])
def test_an_activation_that_is_no_module_of_its_own_belongs_to_the_block(
    build: type, maps: bool, form: str
) -> None:
    """A linear map can replace a linear layer alone at no loss, which says nothing."""
    own = effects(build("own"), maps=maps)
    assert own[:, 0].abs().max() > 1e-3
    assert effects(build(form), maps=maps).allclose(own, atol=1e-9)


def test_a_mean_over_positions_behind_an_activation_is_stood_in_for_as_a_whole() -> None:
    model = convolutional("function")
    assert isinstance(model, Plain)
    model.pool, model.head = True, nn.Linear(6, 3).double()
    measured = effects(model, maps=True)
    assert measured[-1, 0].abs() > 1e-4


def test_the_order_of_removal_is_the_same_in_all_forms() -> None:
    """After each removal blocks are measured again, without those that are gone."""
    train, validation = parts(maps=False)
    splits = Splits("classes", train, validation, None)
    ordered = []
    for form in ("own", "shared", "function"):
        model = perceptron(form)
        removables = removable_blocks(model, train.inputs[:8])
        ordered.append(
            order_by_contribution(model, removables, splits, None, seed=0, progress=_ignore)
        )
    assert sorted(ordered[0].order) == list(range(DEPTH))
    assert [other.order for other in ordered[1:]] == [ordered[0].order] * 2
    rises = [torch.tensor(other.rises) for other in ordered]
    assert all(other.allclose(rises[0], atol=1e-6) for other in rises)


def _ignore(*_: object) -> None:
    pass
