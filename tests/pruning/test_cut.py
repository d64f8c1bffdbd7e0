"""Networks without some of their blocks: what is fitted, to what, and what stays as it was."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

import designer
from designer.data.dataset import LabelledTensors
from designer.errors import ModelError
from designer.models.size import size_of_model
from designer.models.surgery import PassThrough
from designer.probing.calling import unwrap
from designer.pruning import cut as cutting
from designer.pruning import least_squares
from designer.pruning.cut import cut
from designer.pruning.forward_passes import without
from designer.pruning.removable import Removable, removable_blocks
from tests.probing.test_blocks import disturbed, state_of
from tests.pruning.test_removable import mobile_net, reshaping, striding, wholly_tied
from tests.support.networks import convolutional, perceptrons, sequences
from tests.support.networks.parts import chain, conv, dense, head, linear, norm, seeded, wired
from tests.support.trained import blob_net, blob_parts, same_state, train_briefly
from tests.support.trained import state_of as weights_of

Make = Callable[[], nn.Module]

GENERATOR = torch.Generator().manual_seed(1)
LABELS = torch.arange(40) % 3


def data(*shape: int) -> LabelledTensors:
    return LabelledTensors(torch.randn(40, *shape, generator=GENERATOR), LABELS)


VECTORS, IMAGES, SEQUENCES = data(6), data(3, 8, 8), data(5, 8)


def dense_net(make: Make) -> Any:
    """A network whose norms have statistics of their own, in eval mode."""
    model = unwrap(seeded(make)).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        for part in model.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                nn.init.normal_(part.weight, 1, 0.3)
                nn.init.normal_(part.bias, 0, 0.3)
                nn.init.normal_(part.running_mean, 0, 0.3)  # type: ignore[arg-type]
                nn.init.uniform_(part.running_var, 0.5, 2)  # type: ignore[arg-type]
    return model


def blocks_of(
    model: nn.Module, given: LabelledTensors, *names: str, blocks: Sequence[str] | None = None
) -> list[Removable]:
    seen = removable_blocks(model, given.inputs[:5], blocks)
    found = [one for one in seen if one.name in names or not names]
    assert all(one.can_go for one in found), [one.reason for one in found]
    return found


def given_by(model: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        output: Tensor = model(inputs)
    return output


# --- least squares ---


def columns_of(layer: Any, x: Tensor) -> Tensor:
    """(rows, p) that a layer makes its outputs from, as given by a layer of its kind each of whose
    outputs has a single weight, which is one; and ones where it has a bias."""
    channels = x.shape[1] if isinstance(layer, nn.Conv2d) else x.shape[-1]
    shape = (channels, *layer.weight.shape[2:])
    single = copy.deepcopy(layer)
    single.weight = nn.Parameter(torch.eye(math.prod(shape)).view(-1, *shape))
    single.in_channels, single.bias = channels, None
    columns = rows_of(layer, given_by(single, x))
    return columns if layer.bias is None else F.pad(columns, (0, 1), value=1)


def rows_of(layer: nn.Module, y: Tensor) -> Tensor:
    """(rows, q) of what a layer gives."""
    return (y.movedim(1, -1) if isinstance(layer, nn.Conv2d) else y).flatten(0, -2)


def by_textbook(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    """argmin |XW - Y|^2 + lambda |W|^2, as the plain least-squares problem with sqrt(lambda) I
    below X, and zeros below Y."""
    design, wanted = x.double().numpy(), y.double().numpy()
    strength = ridge * (design**2).sum(0).mean()
    below = np.sqrt(strength) * np.eye(design.shape[1])
    stacked = np.vstack([design, below]), np.vstack([wanted, np.zeros((len(below), y.shape[1]))])
    return torch.tensor(np.linalg.lstsq(*stacked, rcond=None)[0])


def weights_and_bias(layer: Any) -> Tensor:
    """(p, q) of a layer, its bias last."""
    weights: Tensor = layer.weight.detach().flatten(1).T
    if layer.bias is not None:
        weights = torch.cat([weights, layer.bias.detach()[None]])
    return weights.double()


def followed_by(layer: nn.Module, before: nn.Module, mean_over: tuple[int, ...] = ()) -> nn.Module:
    """A stem, a block, the layer in question as a block of its own, and a head."""
    width = layer.weight.shape[0]  # type: ignore[index]

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = m.layer(m.block(m.stem(x))).tanh()
        logits: Tensor = m.head(x.mean(mean_over) if mean_over else x)
        return logits

    stem = nn.Tanh()
    return wired("Followed", wiring, stem=stem, block=before, layer=layer, head=head(int(width)))


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
}


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")
@pytest.mark.parametrize("name", SQUARES)
def test_a_layer_is_fitted_by_ridge_regression(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(least_squares, "CHUNK_ROWS", 100)
    monkeypatch.setattr(cutting, "FIT_BATCH", 5)
    make, given = SQUARES[name]
    if given is IMAGES:  # each of which is many rows
        given = LabelledTensors(given.inputs[:12], given.labels[:12])
    model = dense_net(make)
    blocks = blocks_of(model, given, "block", blocks=["block", "layer"])
    made_ = cut(model, blocks, given)
    assert made_.fitted == ("layer", "head")
    smaller: Any = made_.model
    x = given.inputs.tanh()
    y = given_by(model.layer, given_by(model.block, x))
    wanted = by_textbook(columns_of(model.layer, x), rows_of(model.layer, y), least_squares.RIDGE)
    assert torch.allclose(weights_and_bias(smaller.layer), wanted, atol=1e-4, rtol=1e-3)
    assert type(smaller.layer) is type(model.layer)
    reach = given_by(smaller, given.inputs)
    hidden = given_by(smaller.layer, x).tanh()
    if hidden.ndim > 2:
        hidden = hidden.mean((2, 3) if hidden.ndim == 4 else 1)
    head_ = by_textbook(
        columns_of(model.head, hidden), given_by(model, given.inputs), least_squares.RIDGE
    )
    assert torch.allclose(weights_and_bias(smaller.head), head_, atol=1e-4, rtol=1e-3)
    assert reach.shape == (len(x), 3)


def test_only_so_many_samples_and_rows_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    make, given = SQUARES["linear"]
    model = dense_net(make)
    blocks = blocks_of(model, given, "block", blocks=["block", "layer"])
    monkeypatch.setattr(cutting, "FIT_BATCH", 8)
    all_: Any = cut(model, blocks, given).model
    for bound in ("FIT_SAMPLES", "FIT_ROWS"):
        with monkeypatch.context() as patch:
            patch.setattr(cutting, bound, 16)
            bounded: Any = cut(model, blocks, given).model
        first = LabelledTensors(given.inputs[:16], given.labels[:16])
        of_few: Any = cut(model, blocks, first).model
        assert torch.equal(bounded.layer.weight, of_few.layer.weight)
        assert not torch.allclose(bounded.layer.weight, all_.layer.weight)


def test_a_layer_that_is_too_wide_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    given = IMAGES
    model = dense_net(conv_after(3))
    blocks = blocks_of(model, given, "block", blocks=["block", "layer"])
    monkeypatch.setattr(cutting, "FIT_WIDTH", 26)
    made_ = cut(model, blocks, given)
    assert made_.fitted == ("head",)
    assert torch.equal(made_.model.get_parameter("layer.weight"), model.layer.weight)


def test_a_layer_that_receives_nothing_gives_nothing() -> None:
    model = dense_net(lambda: followed_by(linear(), dense()))
    zeros = LabelledTensors(torch.zeros(40, 6), LABELS)
    smaller: Any = cut(model, blocks_of(model, zeros, "block", blocks=["block", "layer"]), zeros)
    bias = given_by(model.layer, given_by(model.block, torch.zeros(1, 6)))[0]
    assert torch.allclose(smaller.model.layer.bias, bias, rtol=0.01)
    assert not smaller.model.layer.weight.count_nonzero()


# --- linear blocks are bridged exactly ---


def bridged(block: nn.Module, layer: nn.Module) -> nn.Module:
    """A block without activation and a layer behind it."""
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
    make, given = BRIDGES[name]
    model = dense_net(make)
    blocks = blocks_of(model, given, "block", blocks=["block", "layer"])
    wanted = given_by(model, given.inputs)
    spread = wanted.std()
    near = cut(model, blocks, given).model
    assert (given_by(near, given.inputs) - wanted).std() < 0.1 * spread  # what the ridge costs
    monkeypatch.setattr(least_squares, "RIDGE", 1e-9)
    exact = cut(model, blocks, given).model
    for inputs in (given.inputs, torch.randn(given.inputs.shape, generator=GENERATOR)):
        error = (given_by(exact, inputs) - given_by(model, inputs)).abs().max()
        assert error < 1e-3 * spread


# --- norms ---


def test_running_statistics_are_those_of_what_the_norms_receive_now() -> None:
    model = dense_net(perceptrons.listed)
    smaller: Any = cut(model, blocks_of(model, VECTORS, "layers.1"), VECTORS).model
    x = VECTORS.inputs
    for linear_, norm_, activation in (smaller.layers[0], smaller.layers[2]):
        seen = given_by(linear_, x)
        assert torch.allclose(norm_.running_mean, seen.mean(0), atol=1e-6)
        assert torch.allclose(norm_.running_var, seen.var(0), rtol=1e-5)
        assert norm_.momentum == 0.1
        x = activation(F.batch_norm(seen, None, None, norm_.weight, norm_.bias, training=True))
    assert not any(part.training for part in smaller.modules())


def test_statistics_are_kept_where_nothing_is_fitted_or_a_norm_does_not_run() -> None:
    def make() -> nn.Module:
        model = perceptrons.listed()
        model.add_module("idle", nn.BatchNorm1d(6))
        return model

    model = dense_net(make)
    blocks = blocks_of(model, VECTORS, "layers.1")
    as_it_is: Any = cut(model, blocks, VECTORS, fit=False)
    assert as_it_is.fitted == ()
    assert torch.equal(as_it_is.model.layers[2][1].running_mean, model.layers[2][1].running_mean)
    renewed: Any = cut(model, blocks, VECTORS).model
    assert torch.equal(renewed.idle.running_mean, model.idle.running_mean)
    assert torch.equal(renewed.idle.running_var, model.idle.running_var)
    single = LabelledTensors(VECTORS.inputs[:1], VECTORS.labels[:1])
    alone: Any = cut(model, blocks, single).model
    assert torch.equal(alone.layers[2][1].running_mean, model.layers[2][1].running_mean)


def test_nothing_is_random_even_where_training_is() -> None:
    for make in (perceptrons.dropping, perceptrons.normed_row):
        model = dense_net(make)
        if isinstance(model, nn.Sequential):
            model = model[1:]
        blocks = blocks_of(model, VECTORS)[1:2]
        torch.manual_seed(5)
        before = torch.get_rng_state()
        first = cut(model, blocks, VECTORS).model
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(6)
        second = cut(model, blocks, VECTORS).model
        assert same_state(second, weights_of(first))


def with_norms() -> nn.Module:
    return wired(
        "WithNorms",
        lambda m, x: m.head(chain(m.blocks, m.stem(x)).mean((2, 3))),
        stem=nn.Sequential(conv(3), norm(), nn.ReLU()),
        blocks=nn.Sequential(*[nn.Sequential(conv(), norm(), nn.ReLU()) for _ in range(3)]),
        head=head(4),
    )


def folded(model: nn.Module) -> nn.Module:
    """The network with every norm folded into the layer before it."""
    model = copy.deepcopy(model)
    for part in list(model.modules()):
        for (one, layer), (other, after) in pairwise(list(part.named_children())):
            if isinstance(after, nn.modules.batchnorm._BatchNorm):
                fuse: Any = (
                    fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
                )
                part._modules[one], part._modules[other] = fuse(layer, after), nn.Identity()
    return model


FOLDING: dict[str, tuple[Make, LabelledTensors, str]] = {
    "convolutions": (with_norms, IMAGES, "blocks.1"),
    "linear layers": (perceptrons.listed, VECTORS, "layers.1"),
    "rows": (perceptrons.normed_row, VECTORS, "3"),
}


@pytest.mark.parametrize("name", FOLDING)
def test_norms_may_be_folded_away_before_or_after(name: str) -> None:
    make, given, block = FOLDING[name]
    model = dense_net(make)
    for fit in (True, False):
        smaller = cut(model, blocks_of(model, given, block), given, fit=fit).model
        without_norms = folded(smaller)
        assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in
                       without_norms.modules())  # fmt: skip
        outputs = given_by(smaller, given.inputs)
        assert torch.allclose(given_by(without_norms, given.inputs), outputs, atol=1e-5)
    first = folded(model)
    names = ["1"] if name == "rows" else [block]  # behind an identity that was a norm
    seen = [one.name for one in removable_blocks(first, given.inputs[:5])]
    taken = [one for one in seen if one in (block, *names)][:1]
    before = cut(first, blocks_of(first, given, *taken), given, fit=False).model
    assert torch.allclose(given_by(before, given.inputs), outputs, atol=1e-5)


# --- combinations ---


def plain(widths: Sequence[int] = (6, 6, 6, 6)) -> nn.Module:
    blocks = [dense(*pair) for pair in pairwise(widths)]
    return wired(
        "Plain", lambda m, x: m.head(chain(m.blocks, x)),
        blocks=nn.ModuleList(blocks), head=head(widths[-1]),
    )  # fmt: skip


def tapering() -> nn.Module:
    """Four blocks of falling width."""
    return plain((6, 12, 10, 8, 6))


def tapering_images() -> nn.Module:
    """The same of convolutions, and pooling between."""
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
    make, given = COMBINED[name]
    model = dense_net(make)
    before = size_of_model(model, given.inputs[:1])
    blocks = blocks_of(model, given)
    assert len(blocks) == 4
    for pair in combinations(blocks, 2):
        for fit in (True, False):
            made_ = cut(model, pair[::-1], given, fit=fit)
            after = size_of_model(made_.model, given.inputs[:1])
            assert after.parameters < before.parameters
            assert after.flops < before.flops
            assert given_by(made_.model, given.inputs).isfinite().all()
            assert [r.block for r in made_.removals] == [
                r.block for one in pair for r in one.removals
            ]


@pytest.mark.parametrize("count", [3, 4])
def test_most_and_all_blocks(count: int) -> None:
    model = dense_net(tapering)
    made_ = cut(model, blocks_of(model, VECTORS)[-count:], VECTORS)
    assert made_.fitted == ("head",)
    assert made_.model.get_parameter("head.weight").shape == (3, 12 if count == 3 else 6)
    assert given_by(made_.model, VECTORS.inputs).shape == (40, 3)


@pytest.mark.parametrize("fit", [True, False])
def test_what_cannot_go_together(fit: bool) -> None:
    model = dense_net(open_encoder)  # which looks into the first layer
    blocks = blocks_of(model, SEQUENCES)
    expected = r"can go together, got 'encoder.layers.0', .* raises IndexError.*; remove fewer"
    with pytest.raises(ModelError, match=expected):
        cut(model, blocks, SEQUENCES, fit=fit)


def test_no_block_is_a_copy() -> None:
    model = dense_net(perceptrons.listed)
    made_ = cut(model, [], VECTORS, fit=False)
    assert made_.model is not model
    assert same_state(made_.model, weights_of(model))


# --- one by one ---

SINGLE: dict[str, tuple[Make, LabelledTensors, str, tuple[str, ...]]] = {
    "first of a row": (perceptrons.row, VECTORS, "1", ("2", "4")),
    "last of a row": (perceptrons.row, VECTORS, "3", ("4",)),
    "a row of images": (convolutional.vgg, IMAGES, "features.2", ("features.4", "classifier.3")),
    "a tail of another width": (convolutional.vgg, IMAGES, "classifier.1", ("classifier.3",)),
    "functions": (convolutional.lenet, IMAGES, "conv1", ("conv2", "fc2")),
    "before a view": (convolutional.lenet, IMAGES, "conv2", ("fc1", "fc2")),
    "before flattening": (
        lambda: reshaping(lambda m, x: m.fc(x.flatten(1)), 6), IMAGES, "two", ("fc.0", "head"),
    ),
    "residual": (convolutional.residual_net, IMAGES, "layer2.1", ("fc",)),
    "a residual tail of another width": (convolutional.residual_net, IMAGES, "layer3.0", ("fc",)),
    "preactivated": (
        lambda: convolutional.residual_net(convolutional.preactivated), IMAGES, "layer1.0", ("fc",),
    ),
    "sums outside": (convolutional.branches, IMAGES, "blocks.2", ("head",)),
    "separable": (mobile_net, IMAGES, "blocks.1", ("blocks.2.2", "head")),
    "inverted": (
        convolutional.inverted_net, IMAGES, "features.1", ("features.2.conv.0.0", "classifier.1"),
    ),
    "striding": (striding, IMAGES, "blocks.2", ("head",)),
    "concatenating": (convolutional.concatenating, IMAGES, "layers.2", ("head",)),
    "inception": (convolutional.inception_net, IMAGES, "b", ("head",)),
    "u-net": (convolutional.u_net, IMAGES, "up1", ("head",)),
    "encoder": (sequences.classifying_encoder, SEQUENCES, "model.encoder.layers.0", ("head",)),
    "mixer": (sequences.mixer, SEQUENCES, "blocks.1", ("head",)),
    "partly tied": (wholly_tied, VECTORS, "blocks.3", ("head",)),
    "the other owner is gone": (perceptrons.tied_weights, VECTORS, "1", ("2", "4")),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*nested tensor")
@pytest.mark.parametrize("name", SINGLE)
def test_one_block_goes_and_the_model_stays_as_it_was(name: str) -> None:
    make, given, block, fitted = SINGLE[name]
    model = dense_net(make)
    if name not in {"first of a row", "last of a row", "the other owner is gone"}:
        model = disturbed(model)  # which a row cannot be, without its modes
    model.eval()
    before, inputs = state_of(model), given.inputs.clone()
    wanted = given_by(model, inputs)
    made_ = cut(model, blocks_of(model, given, block), given)
    assert made_.fitted == fitted
    assert state_of(model) == before
    assert torch.equal(given.inputs, inputs)
    assert torch.equal(given_by(model, inputs), wanted)
    size, whole = (size_of_model(one, inputs[:1]) for one in (made_.model, model))
    assert size.parameters < whole.parameters
    assert size.flops < whole.flops
    as_it_is = cut(model, blocks_of(model, given, block), given, fit=False)
    if not as_it_is.fitted:
        errors = [
            (given_by(one, inputs) - wanted).square().mean()
            for one in (made_.model, as_it_is.model)
        ]
        assert errors[0] < errors[1]


def test_the_copy_shares_nothing_with_the_model() -> None:
    model = dense_net(convolutional.residual_net)
    made_ = cut(model, blocks_of(model, IMAGES, "layer1.0"), IMAGES)
    ours = {t.data_ptr() for t in [*made_.model.parameters(), *made_.model.buffers()]}
    theirs = {t.data_ptr() for t in [*model.parameters(), *model.buffers()]}
    assert not ours & theirs


def test_buffers_that_count_and_data_that_are_overwritten() -> None:
    model = dense_net(perceptrons.counting)
    before = weights_of(model)
    cut(model, blocks_of(model, VECTORS, "blocks.1"), VECTORS)
    assert same_state(model, before)

    def wiring(m: Any, x: Tensor) -> Tensor:
        logits: Tensor = m.head(chain(m.blocks, x.sub_(1)))
        return logits

    blocks = nn.Sequential(*[dense() for _ in range(3)])
    model = dense_net(lambda: wired("Overwriting", wiring, blocks=blocks, head=head()))
    inputs = VECTORS.inputs.clone()
    cut(model, blocks_of(model, VECTORS, "blocks.1"), VECTORS)
    assert torch.equal(VECTORS.inputs, inputs)


def test_hooks_of_the_user_run_once_more_only_where_the_model_does() -> None:
    model = dense_net(plain)
    model.blocks[2].register_forward_pre_hook(lambda _, args: (args[0] + 1,))
    model.blocks[2][0].register_forward_pre_hook(lambda _, args: (args[0] * 2,))
    smaller: Any = cut(model, blocks_of(model, VECTORS, "blocks.1"), VECTORS).model
    before = given_by(model.blocks[0], VECTORS.inputs)
    y = model.blocks[2][0].forward(2 * (given_by(model.blocks[1], before) + 1)).detach()
    wanted = by_textbook(columns_of(linear(), 2 * (before + 1)), y, least_squares.RIDGE)
    assert torch.allclose(weights_and_bias(smaller.blocks[2][0]), wanted, atol=1e-4)


def test_block_names_stay_true() -> None:
    model = dense_net(tapering)
    model.block_names = tuple(f"blocks.{i}" for i in range(4))
    smaller: Any = cut(model, blocks_of(model, VECTORS, "blocks.1", "blocks.3"), VECTORS).model
    assert smaller.block_names == ("blocks.0", "blocks.2")
    assert model.block_names == tuple(f"blocks.{i}" for i in range(4))
    left = blocks_of(smaller, VECTORS)
    assert [one.name for one in left] == ["blocks.0", "blocks.2"]
    smallest = cut(smaller, left[1:], VECTORS).model
    assert given_by(smallest, VECTORS.inputs).shape == (40, 3)
    assert smallest.block_names == ("blocks.0",)


def test_a_tail_that_is_gone_leaves_what_a_head_makes_of_less() -> None:
    model = dense_net(tapering)
    blocks = blocks_of(model, VECTORS, "blocks.3")
    smaller: Any = cut(model, blocks, VECTORS).model
    assert isinstance(smaller.blocks[3], PassThrough)
    x = given_by(nn.Sequential(*model.blocks[:3]), VECTORS.inputs)
    wanted = by_textbook(
        columns_of(model.head, x), given_by(model, VECTORS.inputs), least_squares.RIDGE
    )  # of 8 features, not 6
    assert torch.allclose(weights_and_bias(smaller.head), wanted, atol=1e-5)


def test_without_fitting_it_is_what_is_tried() -> None:
    model = dense_net(perceptrons.listed)
    blocks = blocks_of(model, VECTORS, "layers.0", "layers.2")
    smaller = cut(model, blocks, VECTORS, fit=False).model
    with without(model, [r for one in blocks for r in one.removals]):
        assert torch.equal(given_by(smaller, VECTORS.inputs), given_by(model, VECTORS.inputs))


# --- the whole of pruning ---

PARTS = blob_parts(400)
ASKED: dict[str, Any] = {"remove": 1, "epochs": 0, "criterion": "last"}


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    return train_briefly(blob_net(4), PARTS[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(trained: nn.Module, dtype: torch.dtype) -> None:
    model = copy.deepcopy(trained).to(dtype)
    before = weights_of(model)
    smaller = designer.prune(model, PARTS, **ASKED).model
    assert same_state(model, before)
    assert {t.dtype for t in smaller.parameters()} == {dtype}
    wanted = designer.prune(trained, PARTS, **ASKED).model
    inputs = PARTS[1].inputs
    ours, theirs = given_by(smaller, inputs.to(dtype)), given_by(wanted, inputs)
    assert (ours.argmax(1) == theirs.argmax(1)).float().mean() > 0.97


def test_two_models_do_not_disturb_each_other(trained: nn.Module) -> None:
    other = train_briefly(blob_net(3, 8, seed=1), PARTS[0])
    before = weights_of(trained), weights_of(other)
    first = designer.prune(trained, PARTS, **ASKED).model
    kept = weights_of(first)
    second = designer.prune(other, PARTS, **ASKED).model
    assert same_state(trained, before[0])
    assert same_state(other, before[1])
    assert same_state(first, kept)
    assert same_state(designer.prune(trained, PARTS, **ASKED).model, kept)
    assert len(weights_of(second)) < len(before[1])


def test_a_wrapper_is_looked_into(trained: nn.Module) -> None:
    smaller = designer.prune(nn.DataParallel(trained), PARTS, **ASKED).model
    wanted = designer.prune(trained, PARTS, **ASKED).model
    assert type(smaller) is type(trained)
    assert same_state(smaller, weights_of(wanted))
