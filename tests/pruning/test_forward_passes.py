"""Forward passes without some blocks are those of a network that never had them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from designer.models.surgery import PassThrough
from designer.probing.calling import arguments, first_tensor, unwrap
from designer.probing.untouched import untouched
from designer.pruning.forward_passes import without
from designer.pruning.removable import removable_blocks
from tests.probing.test_block_outputs import of_all, state_of, unfused
from tests.pruning.networks import (
    Make,
    attended,
    giving,
    in_place,
    open_branches,
    removables_by_name,
    side_by_side,
)
from tests.support.networks import convolutional, perceptrons, sequences
from tests.support.networks.parts import (
    IMAGES,
    SEQUENCES,
    VECTORS,
    chain,
    seeded,
)
from tests.support.networks.with_blocks import NETWORKS


def of_residual_net(m: Any, x: Tensor, *gone: int) -> Tensor:
    blocks = [*m.layer1, *m.layer2, *m.layer3]
    x = chain([b for i, b in enumerate(blocks) if i not in gone], m.relu(m.bn1(m.conv1(x))))
    logits: Tensor = m.fc(x.mean((2, 3)))
    return logits


def of_open_sums(m: Any, x: Tensor, *gone: int) -> Tensor:
    x = m.stem(x).relu()
    for i, block in enumerate(m.blocks):
        x = x if i in gone else x + block(x)
    logits: Tensor = m.head(x)
    return logits


def of_branches(m: Any, x: Tensor, *gone: int) -> Tensor:
    x = m.stem(x)
    for i, block in enumerate(m.blocks):
        x = x if i in gone else x + block(x)
    logits: Tensor = m.head(x.mean((2, 3)))
    return logits


def of_open_branches(
    m: Any, x: Tensor, gone: int, after: Callable[[Tensor], Tensor], scale: float = 1.0
) -> Tensor:
    x = m.stem(x)
    for i, (block, layer) in enumerate(zip(m.blocks, m.norms, strict=True)):
        x = after(x) if i == gone else after(x + scale * block(layer(x)))
    logits: Tensor = m.head(x)
    return logits


def of_padded_encoder(m: Any, x: Tensor, gone: int) -> Tensor:
    x = m.embed(x)
    for i, layer in enumerate(m.encoder.layers):
        x = x if i == gone else layer(x, src_key_padding_mask=sequences.padding())
    logits: Tensor = m.head(x.mean(1))
    return logits


def of_bert(m: Any, gone: int, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    x = m.embeddings(input_ids)
    for i, layer in enumerate(m.encoder.layers):
        x = x if i == gone else layer(x)[0]
    logits: Tensor = m.classifier(m.pooler((x * attention_mask[:, :, None])[:, 0]).tanh())
    return logits


WITHOUT: dict[str, tuple[Make, Any, str, Callable[..., Tensor]]] = {
    "first of a row": (perceptrons.row, VECTORS, "1", lambda m, x: m[4](m[2](x).relu())),
    "last of a row": (perceptrons.row, VECTORS, "3", lambda m, x: m[4](m[0](x).relu())),
    "row in place": (
        lambda: perceptrons.row(inplace=True), VECTORS, "3", lambda m, x: m[4](m[0](x).relu()),
    ),
    "a row with norms": (
        perceptrons.normed_row, VECTORS.view(7, 1, 2, 3), "7",
        lambda m, x: m[9](m[2](m[1](x.flatten(1))).relu()),
    ),
    "the only activation": (
        perceptrons.one_activation, VECTORS, "b", lambda m, x: m.c(m.a(x).relu()),
    ),
    "an activation outside": (
        perceptrons.open_activations, VECTORS, "one", lambda m, x: m.head(m.two(x.relu()).relu()),
    ),
    "pooling stays": (
        convolutional.vgg, IMAGES, "features.6",
        lambda m, x: m.classifier(F.adaptive_avg_pool2d(
            F.max_pool2d(F.max_pool2d(m.features[1](m.features[0](x)).relu(), 2), 2), 1
        ).flatten(1)),
    ),
    "first residual": (
        convolutional.residual_net, IMAGES, "layer1.0", lambda m, x: of_residual_net(m, x, 0),
    ),
    "inner residual": (
        convolutional.residual_net, IMAGES, "layer2.1", lambda m, x: of_residual_net(m, x, 3),
    ),
    "preactivated": (
        lambda: convolutional.residual_net(convolutional.preactivated), IMAGES, "layer1.1",
        lambda m, x: of_residual_net(m, x, 1),
    ),
    "inverted": (
        convolutional.inverted_net, IMAGES, "features.3",
        lambda m, x: m.classifier(chain(list(m.features)[:3], x).mean((2, 3))),
    ),
    "first sum": (perceptrons.open_sums, VECTORS, "blocks.0", lambda m, x: of_open_sums(m, x, 0)),
    "last sum": (perceptrons.open_sums, VECTORS, "blocks.2", lambda m, x: of_open_sums(m, x, 2)),
    "sum of maps": (convolutional.branches, IMAGES, "blocks.1", lambda m, x: of_branches(m, x, 1)),
    "sum before pooling": (
        convolutional.branches, IMAGES, "blocks.2", lambda m, x: of_branches(m, x, 2),
    ),
    "sum behind a norm": (
        lambda: open_branches(lambda x: x), VECTORS, "blocks.1",
        lambda m, x: of_open_branches(m, x, 1, lambda x: x),
    ),
    "sum before an activation": (
        lambda: open_branches(F.relu), VECTORS, "blocks.0",
        lambda m, x: of_open_branches(m, x, 0, F.relu),
    ),
    "sum before a norm": (
        lambda: open_branches(lambda x: F.layer_norm(x, (6,))), VECTORS, "blocks.2",
        lambda m, x: of_open_branches(m, x, 2, lambda x: F.layer_norm(x, (6,))),
    ),
    "scaled sum": (
        lambda: open_branches(F.gelu, 0.3), VECTORS, "blocks.1",
        lambda m, x: of_open_branches(m, x, 1, F.gelu, 0.3),
    ),
    "side by side": (perceptrons.parallel, VECTORS, "b", lambda m, x: m.c(m.a(x).relu())),
    "concatenated": (
        perceptrons.u_shaped, VECTORS, "middle",
        lambda m, x: m.head(m.up(torch.cat([m.down(x), m.down(x)], dim=1))),
    ),
    "forks": (
        perceptrons.forking, VECTORS, "blocks.1",
        lambda m, x: m.head(m.blocks[2](m.blocks[0](x))),
    ),
    "inception": (
        convolutional.inception_net, IMAGES, "b", lambda m, x: m.head(m.a(m.stem(x)).mean((2, 3))),
    ),
    "queries, keys and values": (
        lambda: side_by_side(8), SEQUENCES, "first",
        lambda m, x: attended(m, m.second(x)),
    ),
    "first of an encoder": (
        sequences.padded_encoder, SEQUENCES, "encoder.layers.0",
        lambda m, x: of_padded_encoder(m, x, 0),
    ),
    "last of an encoder": (
        sequences.padded_encoder, SEQUENCES, "encoder.layers.2",
        lambda m, x: of_padded_encoder(m, x, 2),
    ),
    "mixer": (
        sequences.mixer, SEQUENCES, "blocks.0", lambda m, x: m.head(m.norm(m.blocks[1](x)).mean(1)),
    ),
    "bert": (*NETWORKS["bert"][:2], "encoder.layers.1", lambda m, **x: of_bert(m, 1, **x)),
    "in place": (
        in_place, VECTORS, "blocks.1",
        lambda m, x: m.head(m.blocks[2](m.blocks[0](m.stem(x)))),
    ),
    "dict": (
        lambda: giving(lambda x: {"aux": None, "out": x}, lambda output: output["out"]),
        VECTORS, "blocks.0",
        lambda m, x: m.head(m.blocks[2](m.blocks[1](x)["out"])["out"]),
    ),
    "several inputs": (
        perceptrons.listed_inputs, (VECTORS, VECTORS + 1), "blocks.1",
        lambda m, a, b: m.head(m.blocks[2](m.blocks[0](torch.cat([a, b], dim=1)))),
    ),
}  # fmt: skip
"""Each case: how to make the network, a batch, the block that goes, the forward pass without it."""


def run_without(make: Make, inputs: Any, name: str) -> tuple[Tensor, nn.Module]:
    """Return what a network gives without a block, and the whole network."""
    model = unfused(unwrap(seeded(make)).eval())
    block = next(block for block in removable_blocks(model, inputs) if block.name == name)
    assert block.can_go, block.reason
    args, named = arguments(inputs)
    with torch.no_grad(), untouched(model), without(model, block.removals):
        output = first_tensor(model(*args, **named))
    assert output is not None
    return output, model


@pytest.mark.parametrize("name", WITHOUT)
def test_what_is_left_is_exactly_what_flows_on(name: str) -> None:
    make, inputs, block, by_hand = WITHOUT[name]
    output, model = run_without(make, inputs, block)
    args, named = arguments(inputs)
    with torch.no_grad(), untouched(model):
        assert torch.equal(output, by_hand(model, *copy.deepcopy(args), **named))


def test_leaving_brings_the_blocks_and_their_names_back() -> None:
    model: Any = seeded(perceptrons.listed)
    model.block_names = ("layers.0", "layers.1")
    block = removables_by_name(perceptrons.listed, VECTORS)["layers.1"]
    before, parts = state_of(model), dict(model.named_modules())
    with without(model, block.removals):
        assert model.block_names == ("layers.0",)
        assert isinstance(model.layers[1], PassThrough)
    with pytest.raises(RuntimeError), without(model, block.removals):
        model(SEQUENCES[:, :, :3])
    assert dict(model.named_modules()) == parts
    assert model.block_names == ("layers.0", "layers.1")
    assert state_of(model) == before


def test_what_is_left_without_two_blocks_of_a_row() -> None:
    model: Any = seeded(perceptrons.listed).eval()
    removables = removable_blocks(model, VECTORS)
    with torch.no_grad(), without(model, [r for block in removables[:2] for r in block.removals]):
        assert torch.equal(model(VECTORS), model.head(of_all([model.layers[2]], VECTORS)[0]))
