"""Removing blocks from networks that are wired in every way: what goes, what stays and why."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

import designer
from designer.datasets import LabelledTensors
from designer.errors import ModelError
from designer.pruning.cut import cut
from designer.pruning.removable import Removable, removable_blocks
from designer.size import size_of_model
from designer.surgery import Form, PassThrough, Removal, Way, form_of, remove, resize
from designer.trainer import train
from tests import networks as nets
from tests.helpers import gaussian_classes, labelled
from tests.networks import IMAGES, SEQUENCES, VECTORS, made


def found(model: nn.Module, inputs: Tensor) -> dict[str, Removable]:
    return {one.name: one for one in removable_blocks(model.eval(), inputs)}


def without(model: nn.Module, inputs: Tensor, *names: str, fit: bool = False) -> nn.Module:
    """The model without some blocks, smaller in every respect, and itself untouched."""
    before = copy.deepcopy(model.eval().state_dict())
    blocks = found(model, inputs)
    for name in names:
        assert blocks[name].can_go, blocks[name].reason
    data = LabelledTensors(inputs, torch.arange(len(inputs)) % 3)
    smaller = cut(model, [blocks[name] for name in names], data, fit=fit).model
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key])
    whole, left = size_of_model(model, inputs[:1]), size_of_model(smaller, inputs[:1])
    assert left.parameters < whole.parameters
    assert left.flops < whole.flops
    return smaller


@pytest.mark.parametrize(
    ("make", "inputs", "name", "said"),
    [
        (nets.thrice, VECTORS, "block#1", "runs 3 times with the same weights"),
        (nets.tied_modules, VECTORS, "first", "runs 2 times with the same weights"),
        (nets.residual_net, IMAGES, "layer2.0", "takes (n, 4, 8, 8) and gives (n, 6"),
        (lambda: nets.recurrent(nn.GRU), SEQUENCES, "second", "more than one tensor"),
        (nets.concatenating, IMAGES, "layers.0", "takes (n, 4, 8, 8) and gives (n, 6, 8, 8)"),
    ],
)
def test_blocks_that_must_stay_say_why(
    make: Callable[[], nn.Module], inputs: Tensor, name: str, said: str
) -> None:
    one = found(made(make), inputs)[name]
    assert not one.can_go
    assert said in one.reason


class Tied(nn.Module):
    """A block that has only another's weights."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(3))
        self.blocks[2][0].weight = self.blocks[0][0].weight  # type: ignore[index]
        self.blocks[2][0].bias = self.blocks[0][0].bias  # type: ignore[index]
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(x)
        return logits


def test_tied_weights() -> None:
    model = made(Tied)
    blocks = found(model, VECTORS)
    assert "all its weights are tied" in blocks["blocks.0"].reason
    assert "all its weights are tied" in blocks["blocks.2"].reason
    smaller = without(model, VECTORS, "blocks.1")
    one, _, three = model.get_submodule("blocks").children()
    assert torch.equal(smaller(VECTORS), model.get_submodule("head")(three(one(VECTORS))))
    tied = dict(smaller.named_parameters(remove_duplicate=False))
    assert tied["blocks.0.0.weight"] is tied["blocks.2.0.weight"]


# --- residual networks: what flows past goes on alone ---


def test_a_sum_inside_of_the_block() -> None:
    model = made(nets.residual_net)
    smaller = without(model, IMAGES, "layer1.1")
    x = model.relu(model.bn1(model.conv1(IMAGES)))  # type: ignore[operator]
    x = model.get_submodule("layer1.0")(x)
    x = model.get_submodule("layer3")(model.get_submodule("layer2")(x)).mean((2, 3))
    assert torch.equal(smaller(IMAGES), model.get_submodule("fc")(x))


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_sum_outside_of_any_module(gone: int) -> None:
    model = made(nets.open_sums)
    smaller = without(model, VECTORS, f"blocks.{gone}")
    x = model.get_submodule("stem")(VECTORS).relu()
    for i, block in enumerate(model.get_submodule("blocks").children()):
        x = x if i == gone else x + block(x)
    expected, given = model.get_submodule("head")(x), smaller(VECTORS)
    assert torch.equal(given["logits"] if isinstance(given, dict) else given, expected)


def test_a_preactivated_network() -> None:
    model = made(lambda: nets.residual_net(nets.preactivated))
    assert torch.isfinite(without(model, IMAGES, "layer1.0", "layer1.1")(IMAGES)).all()


@pytest.mark.parametrize("gone", ["layers.0", "layers.2"])
def test_torchs_own_encoder_looks_into_its_first_layer(gone: str) -> None:
    model = made(nets.classifying_encoder)
    name = f"model.encoder.{gone}"
    smaller = without(model, SEQUENCES, name)
    layers = [
        layer
        for key, layer in model.get_submodule("model.encoder.layers").named_children()
        if key != gone[-1]
    ]
    x = SEQUENCES
    for layer in layers:
        x = layer(x)
    expected = model.get_submodule("head")(x.mean(1))
    torch.testing.assert_close(smaller(SEQUENCES), expected, rtol=1e-5, atol=1e-6)


# --- plain networks: the next layer is fitted to what it receives ---


def linear_net(*widths: int) -> nn.Sequential:
    """Blocks without activations: what one does the next layer can do, too."""
    pairs = pairwise(widths)
    blocks = [nn.Sequential(nn.Linear(a, b), nn.Identity()) for a, b in pairs]
    return nn.Sequential(*blocks, nn.Linear(widths[-1], 3))


@pytest.mark.parametrize("gone", [["0"], ["1"], ["2"], ["0", "1"], ["1", "2"], ["0", "2"]])
def test_a_linear_block_is_not_missed_at_all(gone: list[str]) -> None:
    model = made(lambda: linear_net(6, 9, 9, 9)).double()
    inputs = torch.randn(400, 6, generator=torch.Generator().manual_seed(0)).double()
    names = ["0", "1", "2"]
    blocks = removable_blocks(model.eval(), inputs[:5], names)
    data = LabelledTensors(inputs, torch.arange(400) % 3)
    smaller = cut(model, [one for one in blocks if one.name in gone], data).model
    with torch.no_grad():
        wanted, given = model(inputs), smaller(inputs)
    assert float((given - wanted).std()) < 0.02 * float(wanted.std())  # but for the ridge


def test_the_fit_is_that_of_least_squares() -> None:
    model = made(lambda: nn.Sequential(nets.dense(6, 8), nets.dense(8, 5), nn.Linear(5, 3)))
    inputs = torch.randn(200, 6, generator=torch.Generator().manual_seed(1))
    data = LabelledTensors(inputs, torch.arange(200) % 3)
    blocks = found(model, inputs[:5])
    assert blocks["1"].refit
    smaller = cut(model, [blocks["1"]], data).model
    with torch.no_grad():
        x = torch.cat([model[0](inputs), torch.ones(200, 1)], dim=1).double().numpy()  # type: ignore[index]
        y = model(inputs).double().numpy()
    gram = x.T @ x
    ridge = 1e-3 * np.diag(gram).mean()
    expected = np.linalg.solve(gram + ridge * np.eye(len(gram)), x.T @ y)
    head = smaller.get_submodule("2")
    assert isinstance(head, nn.Linear)
    assert head.in_features == 8
    np.testing.assert_allclose(head.weight.detach().numpy().T, expected[:-1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"padding": "same", "dilation": 2}])
def test_convolutions_are_fitted_to_other_channels(options: dict[str, Any]) -> None:
    def make() -> nn.Module:
        first = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU())
        second = nn.Sequential(nn.Conv2d(5, 7, 1), nn.Identity())
        third = nn.Sequential(nn.Conv2d(7, 4, 3, **({"padding": 1} | options)), nn.ReLU())
        return nn.Sequential(
            first, second, third, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nets.head(4)
        )

    model = made(make).double()
    with torch.no_grad():
        model[1][0].bias.zero_()  # type: ignore[index]  # else the border would differ
    images = torch.randn(60, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    blocks = removable_blocks(model.eval(), images[:5], ["0", "1", "2"])
    assert blocks[1].refit
    smaller = cut(model, [blocks[1]], LabelledTensors(images, torch.arange(60) % 3)).model
    third = smaller.get_submodule("2.0")
    assert isinstance(third, nn.Conv2d)
    assert (third.in_channels, third.weight.shape[1]) == (5, 5)
    with torch.no_grad():
        wanted, given = (
            nn.Sequential(*list(net.children())[:3])(images) for net in (model, smaller)
        )
    assert float((given - wanted).std()) < 0.03 * float(wanted.std())  # but for the ridge


def test_a_reshape_between_blocks() -> None:
    model = made(nets.vgg)
    blocks = found(model, IMAGES)
    for one in blocks.values():
        if one.can_go:
            assert without(model, IMAGES, one.name)(IMAGES).shape == (len(IMAGES), 3)
        else:
            assert "(n, " in one.reason
    assert any(one.can_go for one in blocks.values())


def test_first_and_last_block() -> None:
    model = made(
        lambda: nn.Sequential(nets.dense(6, 6), nets.dense(), nets.dense(6, 4), nets.head(4))
    )
    smaller = without(model, VECTORS, "0", "2", fit=True)
    assert smaller.get_submodule("3").get_parameter("weight").shape == (3, 6)
    assert smaller(VECTORS).shape == (len(VECTORS), 3)


def test_a_row_of_layers_goes_with_its_norm_and_activation() -> None:
    model = made(nets.normed_row)
    smaller = without(model, VECTORS, next(reversed(found(model, VECTORS))))
    kinds = [type(m).__name__ for m in smaller.children()]
    assert kinds.count("BatchNorm1d") == 1
    assert kinds.count("PassThrough") >= 3  # layer, norm, activation


# --- forks ---


class Forking(nn.Module):
    """The second block's output goes two ways, and to a side head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nets.dense(6, 6), nets.dense(6, width)
        self.left, self.right = nn.Linear(width, 6), nn.Linear(width, 6)
        self.third, self.head = nets.dense(6, 6), nets.head()
        self.side = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.second(self.first(x))
        side = self.side(x)
        return self.head(self.third(self.left(x) + self.right(x))), side


def test_split_consumers() -> None:
    model = made(lambda: Forking(6))
    smaller = without(model, VECTORS, "second")
    x = model.get_submodule("first")(VECTORS)
    x = model.get_submodule("third")(
        model.get_submodule("left")(x) + model.get_submodule("right")(x)
    )
    assert torch.equal(smaller(VECTORS)[0], model.get_submodule("head")(x))
    stays = found(made(lambda: Forking(9)), VECTORS)["second"]
    assert not stays.can_go
    assert "(n, 9)" in stays.reason


def test_concatenated_branches_go_together() -> None:
    model = made(nets.inception_net)
    assert without(model, IMAGES, "b")(IMAGES).shape == (len(IMAGES), 3)


@pytest.mark.parametrize(
    ("output", "form"),
    [
        (torch.ones(2), Form()),
        ((torch.ones(2), None), Form("tuple", ("0", "1"), "0")),
        ([None, torch.ones(2)], Form("list", ("0", "1"), "1")),
        ({"a": torch.ones(2), "b": None}, Form("dict", ("a", "b"), "a")),
        ((torch.ones(2), torch.ones(2)), None),
        ("text", None),
    ],
)
def test_forms_of_what_a_block_gives(output: object, form: Form | None) -> None:
    assert form_of(output) == form
    if form is not None:
        again = PassThrough(Way.PASS, form)(torch.zeros(2))
        assert form_of(again) == form


# --- whole runs ---


def plain(width: int = 12, depth: int = 4, *, norm: bool = True) -> nn.Sequential:
    dims = [6, *[width] * depth]
    blocks = [
        nn.Sequential(
            nn.Linear(a, b), nn.BatchNorm1d(b) if norm else nn.Identity(), nn.ReLU(inplace=True)
        )
        for a, b in pairwise(dims)
    ]
    return nn.Sequential(*blocks, nn.Linear(width, 3))


@pytest.fixture(scope="module")
def data() -> tuple[LabelledTensors, LabelledTensors]:
    x, y = gaussian_classes(600, 6, 3, spread=0.7, dtype=torch.float32)
    return LabelledTensors(x[:300], y[:300]), LabelledTensors(x[300:], y[300:])


@pytest.fixture(scope="module")
def trained(data: tuple[LabelledTensors, LabelledTensors]) -> nn.Module:
    model = made(plain)
    train(model, data[0], epochs=30, learning_rate=1e-2, seed=0)
    return model.eval()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_come_back_as_they_were(
    dtype: torch.dtype, trained: nn.Module, data: tuple[LabelledTensors, LabelledTensors]
) -> None:
    model = copy.deepcopy(trained).to(dtype)
    result = designer.prune(model, data, remove=2, epochs=2)
    assert {p.dtype for p in result.model.parameters()} == {dtype}
    assert {p.dtype for p in model.parameters()} == {dtype}
    inputs = data[1].inputs.to(dtype)
    right = (result.model(inputs).argmax(1) == data[1].labels).float().mean()
    assert float(right) > 0.8


def test_two_models_in_one_run(
    trained: nn.Module, data: tuple[LabelledTensors, LabelledTensors]
) -> None:
    other = made(lambda: plain(8, 3))
    train(other, data[0], epochs=30, learning_rate=1e-2, seed=1)
    first = designer.prune(trained, data, remove=1, epochs=1)
    second = designer.prune(other, data, remove=1, epochs=1)
    again = designer.prune(trained, data, remove=1, epochs=1)
    assert second.report.networks[0].parameters == sum(p.numel() for p in other.parameters())
    for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


def folded(model: nn.Module) -> nn.Module:
    """A copy whose norms are folded into the layers before them."""
    made_of = copy.deepcopy(model).eval()
    for block in made_of.children():
        layers = list(block.children())
        if len(layers) > 1 and isinstance(layers[1], nn.BatchNorm1d):
            assert isinstance(layers[0], nn.Linear)
            block[0] = fuse_linear_bn_eval(layers[0], layers[1])  # type: ignore[operator]
            block[1] = nn.Identity()  # type: ignore[operator]
        elif len(layers) > 1 and isinstance(layers[1], nn.BatchNorm2d):
            assert isinstance(layers[0], nn.Conv2d)
            block[0] = fuse_conv_bn_eval(layers[0], layers[1])  # type: ignore[operator]
            block[1] = nn.Identity()  # type: ignore[operator]
    return made_of


def test_norms_can_be_folded_before_and_after(
    trained: nn.Module, data: tuple[LabelledTensors, LabelledTensors]
) -> None:
    inputs = data[1].inputs
    smaller = designer.prune(trained, data, remove=2, epochs=1).model
    torch.testing.assert_close(folded(smaller)(inputs), smaller(inputs), rtol=1e-4, atol=1e-4)
    early = designer.prune(folded(trained), data, remove=2, epochs=0)
    late = designer.prune(trained, data, remove=2, epochs=0)
    assert early.report.removed == late.report.removed
    assert early.report.networks[1].validation_accuracy.value == pytest.approx(
        late.report.networks[1].validation_accuracy.value, abs=0.02
    )


def test_what_the_model_lists_as_its_blocks_stays_true() -> None:
    data = labelled(60, 6)
    model = made(nets.listed)
    model.block_names = ("layers.0", "layers.1", "layers.2")  # type: ignore[assignment]
    blocks = removable_blocks(model.eval(), data.inputs[:5])
    smaller = cut(model, [blocks[1]], data).model
    assert smaller.block_names == ("layers.0", "layers.2")
    assert model.block_names == ("layers.0", "layers.1", "layers.2")


# --- surgery ---


def test_removing_and_resizing_again_gives_the_same_structure() -> None:
    model = made(plain)
    smaller = cut(
        model.eval(), [found(model, VECTORS)["0"]], LabelledTensors(VECTORS, torch.arange(7) % 3)
    )
    again = made(plain)
    remove(again, smaller.removals)
    resize(again, {name: t.shape for name, t in smaller.model.state_dict().items()})
    again.load_state_dict(smaller.model.state_dict())
    assert torch.equal(again.eval()(VECTORS), smaller.model(VECTORS))


def test_what_is_not_there_cannot_be_removed() -> None:
    with pytest.raises(ModelError, match="Expected a block 'nowhere' to remove, found none"):
        remove(made(plain), [Removal("nowhere", Way.PASS)])
