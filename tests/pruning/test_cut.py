"""Networks without a block: what is fitted, and what stays as it was."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from designer.data.dataset import LabelledTensors
from designer.models import least_squares
from designer.models.size import size_of_model
from designer.pruning.cut import cut
from designer.pruning.forward_passes import without
from designer.pruning.removable import removable_blocks
from tests.probing.test_block_outputs import disturbed, state_of
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
from tests.pruning.networks import mobile_net, plain, reshaping, striding, wholly_tied
from tests.support.networks import convolutional, perceptrons, sequences
from tests.support.networks.parts import chain, conv, dense, head, linear, norm, wired
from tests.support.trained import same_state
from tests.support.trained import state_of as weights_of


def test_running_statistics_are_those_of_what_the_norms_receive_now() -> None:
    model = with_statistics(perceptrons.listed)
    smaller: Any = cut(model, chosen_blocks(model, VECTORS, "layers.1"), VECTORS).model
    x = VECTORS.inputs
    for linear_, norm_, activation in (smaller.layers[0], smaller.layers[2]):
        inner = output_of(linear_, x)
        assert torch.allclose(norm_.running_mean, inner.mean(0), atol=1e-6)
        assert torch.allclose(norm_.running_var, inner.var(0), rtol=1e-5)
        assert norm_.momentum == 0.1
        x = activation(F.batch_norm(inner, None, None, norm_.weight, norm_.bias, training=True))
    assert not any(part.training for part in smaller.modules())


def test_statistics_are_kept_where_nothing_is_fitted_or_a_norm_does_not_run() -> None:
    def make() -> nn.Module:
        model = perceptrons.listed()
        model.add_module("idle", nn.BatchNorm1d(6))
        return model

    model = with_statistics(make)
    blocks = chosen_blocks(model, VECTORS, "layers.1")
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
        model = with_statistics(make)
        if isinstance(model, nn.Sequential):
            model = model[1:]
        blocks = chosen_blocks(model, VECTORS)[1:2]
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
    """Return the network with every norm folded into the layer before it."""
    model = copy.deepcopy(model)
    for part in list(model.modules()):
        for (name, layer), (next_name, after) in pairwise(list(part.named_children())):
            if isinstance(after, nn.modules.batchnorm._BatchNorm):
                fuse: Any = (
                    fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
                )
                part._modules[name], part._modules[next_name] = fuse(layer, after), nn.Identity()
    return model


FOLDING: dict[str, tuple[Make, LabelledTensors, str]] = {
    "convolutions": (with_norms, IMAGES, "blocks.1"),
    "linear layers": (perceptrons.listed, VECTORS, "layers.1"),
    "rows": (perceptrons.normed_row, VECTORS, "3"),
}


@pytest.mark.parametrize("name", FOLDING)
def test_norms_may_be_folded_away_before_or_after(name: str) -> None:
    make, data, block = FOLDING[name]
    model = with_statistics(make)
    for fit in (True, False):
        smaller = cut(model, chosen_blocks(model, data, block), data, fit=fit).model
        without_norms = folded(smaller)
        assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in
                       without_norms.modules())  # fmt: skip
        outputs = output_of(smaller, data.inputs)
        assert torch.allclose(output_of(without_norms, data.inputs), outputs, atol=1e-5)
    first = folded(model)
    names = ["1"] if name == "rows" else [block]  # behind an identity that was a norm
    in_order = [part.name for part in removable_blocks(first, data.inputs[:5])]
    taken = [part for part in in_order if part in (block, *names)][:1]
    before = cut(first, chosen_blocks(first, data, *taken), data, fit=False).model
    assert torch.allclose(output_of(before, data.inputs), outputs, atol=1e-5)


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
    "residual": (convolutional.residual_net, IMAGES, "layer2.1", ("layer3.0.conv2", "fc")),
    "a residual tail of another width": (convolutional.residual_net, IMAGES, "layer3.0", ("fc",)),
    "preactivated": (
        lambda: convolutional.residual_net(convolutional.preactivated), IMAGES, "layer1.0",
        ("layer1.1.conv2", "layer2.0.conv2", "layer2.1.conv2", "layer3.0.conv2", "fc"),
    ),
    "sums outside": (convolutional.branches, IMAGES, "blocks.2", ("head",)),
    "separable": (mobile_net, IMAGES, "blocks.1", ("blocks.2.2", "head")),
    "inverted": (
        convolutional.inverted_net, IMAGES, "features.1",
        ("features.2.conv.0.0", "features.3.conv.2", "classifier.1"),
    ),
    "striding": (striding, IMAGES, "blocks.2", ("blocks.3.conv2", "head")),
    "concatenating": (convolutional.concatenating, IMAGES, "layers.2", ("head",)),
    "inception": (convolutional.inception_net, IMAGES, "b", ("head",)),
    "u-net": (convolutional.u_net, IMAGES, "up1", ("head",)),
    "encoder": (
        sequences.classifying_encoder, SEQUENCES, "model.encoder.layers.0",
        ("model.encoder.layers.1.linear2", "model.encoder.layers.2.linear2", "head"),
    ),
    "mixer": (sequences.mixer, SEQUENCES, "blocks.1", ("head",)),
    "partly tied": (wholly_tied, VECTORS, "blocks.3", ("head",)),
    "the other owner is gone": (perceptrons.tied_weights, VECTORS, "1", ("2", "4")),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*nested tensor")
@pytest.mark.parametrize("name", SINGLE)
def test_one_block_goes_and_the_model_stays_as_it_was(name: str) -> None:
    make, data, block, fitted = SINGLE[name]
    model = with_statistics(make)
    if name not in {"first of a row", "last of a row", "the other owner is gone"}:
        model = disturbed(model)  # which a row cannot be, without its modes
    model.eval()
    before, inputs = state_of(model), data.inputs.clone()
    wanted = output_of(model, inputs)
    cut_out = cut(model, chosen_blocks(model, data, block), data)
    assert cut_out.fitted == fitted
    assert state_of(model) == before
    assert torch.equal(data.inputs, inputs)
    assert torch.equal(output_of(model, inputs), wanted)
    size, whole = (size_of_model(network, inputs[:1]) for network in (cut_out.model, model))
    assert size.parameters < whole.parameters
    assert size.flops < whole.flops
    as_it_is = cut(model, chosen_blocks(model, data, block), data, fit=False)
    if not as_it_is.fitted:
        errors = [
            (output_of(network, inputs) - wanted).square().mean()
            for network in (cut_out.model, as_it_is.model)
        ]
        assert errors[0] < errors[1]


def test_the_copy_shares_nothing_with_the_model() -> None:
    model = with_statistics(convolutional.residual_net)
    cut_out = cut(model, chosen_blocks(model, IMAGES, "layer1.0"), IMAGES)
    ours = {t.data_ptr() for t in [*cut_out.model.parameters(), *cut_out.model.buffers()]}
    theirs = {t.data_ptr() for t in [*model.parameters(), *model.buffers()]}
    assert not ours & theirs


def test_buffers_that_count_and_data_that_are_overwritten() -> None:
    model = with_statistics(perceptrons.counting)
    before = weights_of(model)
    cut(model, chosen_blocks(model, VECTORS, "blocks.1"), VECTORS)
    assert same_state(model, before)

    def wiring(m: Any, x: Tensor) -> Tensor:
        logits: Tensor = m.head(chain(m.blocks, x.sub_(1)))
        return logits

    blocks = nn.Sequential(*[dense() for _ in range(3)])
    model = with_statistics(lambda: wired("Overwriting", wiring, blocks=blocks, head=head()))
    inputs = VECTORS.inputs.clone()
    cut(model, chosen_blocks(model, VECTORS, "blocks.1"), VECTORS)
    assert torch.equal(VECTORS.inputs, inputs)


def test_hooks_of_the_user_run_once_more_only_where_the_model_does() -> None:
    model = with_statistics(plain)
    model.blocks[2].register_forward_pre_hook(lambda _, args: (args[0] + 1,))
    model.blocks[2][0].register_forward_pre_hook(lambda _, args: (args[0] * 2,))
    smaller: Any = cut(model, chosen_blocks(model, VECTORS, "blocks.1"), VECTORS).model
    before = output_of(model.blocks[0], VECTORS.inputs)
    y = model.blocks[2][0].forward(2 * (output_of(model.blocks[1], before) + 1)).detach()
    wanted = ridge_by_textbook(columns_of(linear(), 2 * (before + 1)), y, least_squares.RIDGE)
    assert torch.allclose(weights_and_bias(smaller.blocks[2][0]), wanted, atol=1e-4)


def test_without_fitting_it_is_what_is_tried() -> None:
    model = with_statistics(perceptrons.listed)
    blocks = chosen_blocks(model, VECTORS, "layers.0", "layers.2")
    smaller = cut(model, blocks, VECTORS, fit=False).model
    with without(model, [r for block in blocks for r in block.removals]):
        assert torch.equal(output_of(smaller, VECTORS.inputs), output_of(model, VECTORS.inputs))
