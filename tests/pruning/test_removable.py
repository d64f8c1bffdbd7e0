"""Which blocks of models of many structures can go, and why the others cannot."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from designer.errors import InvalidInputError
from designer.models.size import size_of_model
from designer.models.surgery import PassThrough
from designer.probing.calling import arguments, first_tensor, unwrap
from designer.probing.untouched import untouched
from designer.pruning import removable as module
from designer.pruning.forward_passes import without
from designer.pruning.removable import Removable, names_left, removable_blocks
from tests.probing.test_blocks import NETWORKS, disturbed, of_all, state_of, unfused
from tests.support.networks import convolutional, perceptrons, sequences
from tests.support.networks.parts import (
    IMAGES,
    SEQUENCES,
    VECTORS,
    chain,
    conv,
    dense,
    head,
    linear,
    norm,
    seeded,
    wired,
)

Make = Callable[[], nn.Module]


def found(make: Make, inputs: Any, blocks: list[str] | None = None) -> dict[str, Removable]:
    """What becomes of every block."""
    seen = removable_blocks(unwrap(seeded(make)).eval(), inputs, blocks)
    assert [one.place for one in seen] == list(range(len(seen)))
    return {one.name: one for one in seen}


def said(make: Make, inputs: Any, blocks: list[str] | None = None) -> dict[str, str]:
    """Why each block must stay, or how it goes."""
    return {name: one.reason for name, one in found(make, inputs, blocks).items()}


ON, ALONE, LISTED = (
    "what it receives is handed on",
    "what flows past it goes on alone",
    "it is taken out of its list",
)
SHARED = "it runs {} times with the same weights, so removing it once frees nothing"
TIED = "all its weights are tied to other layers, so removing it frees nothing"
MANY = "it gives more than one tensor, and what replaces it could give only one"


def fitted(layer: str) -> str:
    return f"'{layer}' is fitted to what it receives"


def needed(takes: str, gives: str) -> str:
    return f"it takes (n, {takes}) and gives (n, {gives}), which what follows needs"


# --- networks that the blocks are not found in elsewhere ---


def attended(m: Any, x: Tensor) -> Tensor:
    """What the layers for queries, keys and values, and those behind them, make of ``x``."""
    weights = F.softmax(m.q(x) @ m.k(x).transpose(1, 2), dim=-1)
    logits: Tensor = m.head(m.out(weights @ m.v(x)).mean(1))
    return logits


def side_by_side(width: int = 6) -> nn.Module:
    """What a block gives goes to queries, keys and values."""

    parts = {name: linear(width, 5) for name in "qkv"}
    return wired(
        "SideBySide",
        lambda m, x: attended(m, m.second(m.first(x))),
        first=dense(8, 8),
        second=dense(8, width),
        **parts,
        out=linear(5, 6),
        head=head(),
    )


def auxiliary(width: int = 6) -> nn.Module:
    """What the second block gives goes to another head, too, which comes last."""

    def wiring(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        x = m.blocks[1](m.blocks[0](x))
        return m.head(m.blocks[2](x)), m.side(x)

    blocks = [dense(), dense(6, width), dense(width, 6)]
    return wired("Auxiliary", wiring, blocks=nn.ModuleList(blocks), head=head(), side=head(width))


def giving(form: Callable[[Tensor], object], tensor_of: Callable[[Any], Tensor]) -> nn.Module:
    """Blocks whose tensor stands in ``form``."""

    def block() -> nn.Module:
        return wired("Giving", lambda m, x: form(m.layer(x).relu()), layer=linear())

    def wiring(m: Any, x: Tensor) -> Tensor:
        for one in m.blocks:
            x = tensor_of(one(x))
        logits: Tensor = m.head(x)
        return logits

    return wired("Forms", wiring, blocks=nn.ModuleList([block() for _ in range(3)]), head=head())


def two_names() -> nn.Module:
    """The second block stands under two names, of which only one runs."""
    block = dense()
    return wired(
        "TwoNames",
        lambda m, x: m.head(m.third(m.second(m.first(x)))),
        first=dense(),
        second=block,
        third=dense(),
        spare=block,
        head=head(),
    )


def wholly_tied() -> nn.Module:
    """The second of three layers has the weights of the first, and the third its own bias."""
    parts = [linear() for _ in range(3)]
    parts[1].weight, parts[1].bias = parts[0].weight, parts[0].bias
    parts[2].weight = parts[0].weight
    blocks = [nn.Sequential(part, nn.ReLU()) for part in parts]
    return wired(
        "WhollyTied", lambda m, x: m.head(chain(m.blocks, x)),
        blocks=nn.ModuleList([dense(), *blocks]), head=head(),
    )  # fmt: skip


def tied_consumer() -> nn.Module:
    """The layer behind a block that changes the width shares its weights with one elsewhere."""
    tied = wired(
        "TiedConsumer",
        lambda m, x: m.head(m.c(m.b(m.a(x)))),
        a=dense(), b=dense(6, 8), c=dense(8, 6), head=head(),
    )  # fmt: skip
    twin = nn.Linear(8, 6)
    twin.weight = tied.get_parameter("c.0.weight")
    tied.add_module("twin", twin)
    return tied


def reshaping(layers: Callable[[Any, Tensor], Tensor], width: int = 4) -> nn.Module:
    """Convolutions, then a linear layer."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = F.max_pool2d(m.two(m.one(x)), 4)
        logits: Tensor = m.head(layers(m, x))
        return logits

    return wired(
        "Reshaping",
        wiring,
        one=nn.Sequential(conv(3), nn.ReLU()),
        two=nn.Sequential(conv(4, width), nn.ReLU()),
        fc=dense(4 * width, 6),
        head=head(),
    )


def plain_images(*blocks: nn.Module) -> nn.Module:
    return wired(
        "PlainImages",
        lambda m, x: m.head(m.blocks(x).mean((2, 3))),
        blocks=nn.Sequential(*blocks),
        head=head(4),
    )


def separable(inputs: int, outputs: int) -> nn.Module:
    """Depthwise, then pointwise (Howard et al., "MobileNets", 2017)."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs),
        nn.ReLU6(),
        nn.Conv2d(inputs, outputs, 1),
        nn.ReLU6(),
    )


def mobile_net() -> nn.Module:
    return plain_images(
        nn.Sequential(conv(3, 6), nn.ReLU()), separable(6, 6), separable(6, 6), separable(6, 4)
    )


def striding() -> nn.Module:
    """A residual block that only takes the map smaller, and more blocks behind it."""
    return plain_images(
        nn.Sequential(conv(3), nn.ReLU()),
        convolutional.residual(4, 4, 2),
        convolutional.residual(),
        convolutional.residual(),
    )


def growing() -> nn.Module:
    """The second block is so small that the layer behind it would grow by more."""
    return wired(
        "Growing",
        lambda m, x: m.head(chain(m.blocks, x)),
        blocks=nn.ModuleList([dense(6, 12), dense(12, 2), dense(2, 40), dense(40, 6)]),
        head=head(),
    )


def open_branches(after: Callable[[Tensor], Tensor], scale: float = 1.0) -> nn.Module:
    """Sums outside of any module, with something behind each."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = m.stem(x)
        for block, layer in zip(m.blocks, m.norms, strict=True):
            x = after(x + scale * block(layer(x)))
        logits: Tensor = m.head(x)
        return logits

    return wired(
        "OpenBranches",
        wiring,
        stem=linear(),
        blocks=nn.ModuleList([nn.Sequential(linear(), nn.ReLU(), linear()) for _ in range(3)]),
        norms=nn.ModuleList([nn.LayerNorm(6) for _ in range(3)]),
        head=head(),
    )


# --- reasons ---

REASONS: dict[str, tuple[Make, Any, dict[str, str]]] = {
    "a block that runs three times": (
        perceptrons.thrice,
        VECTORS,
        {f"block#{i}": SHARED.format(3) for i in (1, 2, 3)},
    ),
    "one that runs under two names": (
        perceptrons.tied_modules,
        VECTORS,
        {"first": SHARED.format(2), "second": SHARED.format(2)},
    ),
    "one that runs twice, and one between": (
        perceptrons.twice,
        VECTORS,
        {"0": SHARED.format(2), "1": ON, "2": SHARED.format(2)},
    ),
    "one that has two names": (
        two_names,
        VECTORS,
        {"first": ON, "second": "it stands in several places of the model", "third": ON},
    ),
    "weights that are tied": (
        wholly_tied,
        VECTORS,
        {"blocks.0": ON, "blocks.1": TIED, "blocks.2": TIED, "blocks.3": ON},
    ),
    "a tied layer behind the block": (
        tied_consumer,
        VECTORS,
        {
            "a": ON,
            "b": needed("6", "8"),
            "c": "it takes (n, 8) and gives (n, 6): 'head', fitted to it, would grow by 6 "
            "parameters, and only 6 would be freed",  # its bias
        },
    ),
    "several tensors": (
        lambda: giving(lambda x: (x, x.mean()), lambda given: given[0]),
        VECTORS,
        {f"blocks.{i}": MANY for i in range(3)},
    ),
    "recurrent layers": (
        sequences.recurrent_stack, SEQUENCES, {f"layers.{i}": MANY for i in range(3)},
    ),
    "a layer that adds channels": (
        perceptrons.gathering,
        VECTORS,
        {"units.0": needed("6", "4"), "units.1": needed("10", "4"), "units.2": fitted("head")},
    ),
    "dense": (
        convolutional.dense_net,
        IMAGES,
        {
            "dense1": needed("4, 8, 8", "10, 8, 8"),
            "transition": needed("10, 8, 8", "4, 4, 4"),
            "dense2": needed("4, 4, 4", "10, 4, 4"),
        },
    ),
    "concatenating": (
        convolutional.concatenating,
        IMAGES,
        {
            "layers.0": needed("4, 8, 8", "6, 8, 8"),
            "layers.1": needed("6, 8, 8", "8, 8, 8"),
            "layers.2": fitted("head"),
        },
    ),
    "inception": (
        convolutional.inception_net,
        IMAGES,
        {"stem": needed("3, 8, 8", "4, 8, 8"), "a": needed("4, 8, 8", "6, 8, 8"), "b": ON},
    ),
    "u-net": (
        convolutional.u_net,
        IMAGES,
        {
            "down1": needed("3, 8, 8", "4, 8, 8"),
            "up2": "it takes (n, 8, 4, 4) and gives (n, 4, 4, 4): without it the model would need "
            "117,528 operations instead of 112,920",
            "up1": fitted("head"),
        },
    ),
    "queries, keys and values": (
        side_by_side,
        SEQUENCES,
        {"first": ON, "second": needed("5, 8", "5, 6")},
    ),
    "of the same width": (lambda: side_by_side(8), SEQUENCES, {"first": ON, "second": ON}),
    "another head": (auxiliary, VECTORS, {f"blocks.{i}": ON for i in range(3)}),
    "another head of another width": (
        lambda: auxiliary(8),
        VECTORS,
        {"blocks.0": ON, "blocks.1": needed("6", "8"), "blocks.2": fitted("head")},
    ),
    "flattening": (
        lambda: reshaping(lambda m, x: m.fc(x.flatten(1)), 6),
        IMAGES,
        {"one": fitted("two.0"), "two": fitted("fc.0"), "fc": fitted("head")},
    ),
    "a view with a fixed width": (
        lambda: reshaping(lambda m, x: m.fc(x.view(-1, 24)), 6),
        IMAGES[:6],
        {
            "one": fitted("two.0"),
            "two": "it takes (n, 4, 8, 8) and gives (n, 6, 8, 8): 'fc.0', the next layer, would "
            "receive (4, 24) instead of (n, 24)",
            "fc": fitted("head"),
        },
    ),
    "separable": (
        mobile_net,
        IMAGES,
        {
            "blocks.0": needed("3, 8, 8", "6, 8, 8"),
            "blocks.1": ON,
            "blocks.2": ON,
            "blocks.3": fitted("head"),
        },
    ),
    "a smaller map": (
        striding,
        IMAGES,
        {
            "blocks.0": needed("3, 8, 8", "4, 8, 8"),
            "blocks.1": "it takes (n, 4, 8, 8) and gives (n, 4, 4, 4): without it the model would "
            "need 87,576 operations instead of 42,008",
            "blocks.2": ON,
            "blocks.3": ON,
        },
    ),
    "a layer that would grow": (
        growing,
        VECTORS,
        {
            "blocks.0": fitted("blocks.1.0"),
            "blocks.1": "it takes (n, 12) and gives (n, 2): 'blocks.2.0', fitted to it, would grow "
            "by 400 parameters, and only 26 would be freed",
            "blocks.2": fitted("blocks.3.0"),
            "blocks.3": fitted("head"),
        },
    ),
    "a transformer encoder": (
        sequences.padded_encoder,
        SEQUENCES,
        {f"encoder.layers.{i}": LISTED for i in range(3)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REASONS)
def test_why_and_how(name: str) -> None:
    make, inputs, expected = REASONS[name]
    assert said(make, inputs) == expected


def test_how_far_a_layer_may_be_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIT_WIDTH", 15)
    assert said(lambda: reshaping(lambda m, x: m.fc(x.flatten(1)), 6), IMAGES)["two"] == (
        "it takes (n, 4, 8, 8) and gives (n, 6, 8, 8): 'fc.0', the next layer, would have to be "
        "fitted to 16 features, and the most are 15"
    )


def test_what_the_model_raises_without_a_block() -> None:
    def wiring(m: Any, x: Tensor) -> Tensor:
        logits: Tensor = m.head(chain(m.blocks, x) * m.blocks[1][0].weight.mean())
        return logits

    make = lambda: wired(  # noqa: E731
        "Looking", wiring, blocks=nn.Sequential(*[dense() for _ in range(3)]), head=head()
    )
    found_ = said(make, VECTORS)
    assert found_["blocks.1"].startswith("without it the model raises TypeError (")
    assert found_["blocks.0"] == found_["blocks.2"] == ON


@pytest.mark.parametrize("inputs", [VECTORS, (VECTORS, VECTORS), {"a": VECTORS, "b": VECTORS}])
def test_named_blocks_and_their_names_afterwards(inputs: Any) -> None:
    make = perceptrons.row if isinstance(inputs, Tensor) else perceptrons.two_inputs
    names = ["0", "2"] if isinstance(inputs, Tensor) else ["first", "second"]
    seen = list(found(make, inputs, names).values())
    assert [one.name for one in seen] == names
    assert all(one.can_go for one in seen)
    assert names_left(seen, names[:1], names) == names[1:]
    assert names_left(seen, names[:1], None) is None


def test_a_named_part_without_weights_frees_nothing() -> None:
    assert said(perceptrons.row, VECTORS, ["1"]) == {
        "1": "it has no weights, so removing it frees nothing"
    }
    with pytest.raises(InvalidInputError, match=r"got 'nowhere'"):
        found(perceptrons.row, VECTORS, ["nowhere"])


def test_a_named_branch_is_left_out_of_its_sum() -> None:
    seen = found(perceptrons.open_sums, VECTORS, ["blocks.0", "blocks.2"])
    assert {one.reason for one in seen.values()} == {ALONE}
    inner = found(convolutional.residual_net, IMAGES, ["layer1.0.bn2"])
    assert inner["layer1.0.bn2"].reason == ALONE


@pytest.mark.parametrize(
    ("form", "tensor_of", "kind"),
    [
        (lambda x: (x, None), lambda given: given[0], "tuple"),
        (lambda x: [None, x], lambda given: given[1], "list"),
        (lambda x: {"aux": None, "out": x}, lambda given: given["out"], "dict"),
    ],
)
def test_a_block_that_gives_a_tensor_in_something(form: Any, tensor_of: Any, kind: str) -> None:
    seen = found(lambda: giving(form, tensor_of), VECTORS)
    assert {one.reason for one in seen.values()} == {ON}
    assert {one.removals[0].form.kind for one in seen.values()} == {kind}


# --- what is left is what it would be without the block ---


def left(make: Make, inputs: Any, block: str) -> tuple[Tensor, nn.Module]:
    """What the model gives without a block, and the whole model."""
    model = unfused(unwrap(seeded(make)).eval())
    one = next(one for one in removable_blocks(model, inputs) if one.name == block)
    assert one.can_go, one.reason
    args, named = arguments(inputs)
    with torch.no_grad(), untouched(model), without(model, one.removals):
        output = first_tensor(model(*args, **named))
    assert output is not None
    return output, model


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


def in_place() -> nn.Module:
    """Blocks that begin and end with activations in place."""

    def block() -> nn.Module:
        return nn.Sequential(nn.ReLU(inplace=True), linear(), nn.ReLU(inplace=True))

    return wired(
        "InPlace",
        lambda m, x: m.head(chain(m.blocks, m.stem(x))),
        stem=linear(),
        blocks=nn.Sequential(*[block() for _ in range(3)]),
        head=head(),
    )


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
        lambda: giving(lambda x: {"aux": None, "out": x}, lambda given: given["out"]),
        VECTORS, "blocks.0",
        lambda m, x: m.head(m.blocks[2](m.blocks[1](x)["out"])["out"]),
    ),
    "several inputs": (
        perceptrons.listed_inputs, (VECTORS, VECTORS + 1), "blocks.1",
        lambda m, a, b: m.head(m.blocks[2](m.blocks[0](torch.cat([a, b], dim=1)))),
    ),
}  # fmt: skip
"""Of each: how to make it, a batch, the block that goes, and the forward pass without it."""


@pytest.mark.parametrize("name", WITHOUT)
def test_what_is_left_is_exactly_what_flows_on(name: str) -> None:
    make, inputs, block, by_hand = WITHOUT[name]
    output, model = left(make, inputs, block)
    args, named = arguments(inputs)
    with torch.no_grad(), untouched(model):
        assert torch.equal(output, by_hand(model, *copy.deepcopy(args), **named))


# --- for all networks ---


@pytest.mark.parametrize("name", NETWORKS)
def test_of_every_network_what_can_go_makes_it_cost_less_and_it_stays_as_it_was(name: str) -> None:
    make, inputs, names = NETWORKS[name]
    model = unwrap(seeded(make))
    if not isinstance(model, nn.Sequential):  # in which nothing can be disturbed
        model = disturbed(model)
    model.eval()
    before, given, size = state_of(model), copy.deepcopy(inputs), size_of_model(model, inputs)
    seen = removable_blocks(model, inputs)
    assert [one.name for one in seen] == names
    assert all(one.reason for one in seen)
    for one in seen:
        if one.can_go and not one.refit:
            with without(model, one.removals):
                after = size_of_model(model, inputs)
            assert after.parameters < size.parameters
            assert after.flops < size.flops
    if name != "counting":  # which counts whoever runs it
        assert state_of(model) == before
    for now, was in zip(arguments(inputs), arguments(given), strict=True):
        assert repr(now) == repr(was)


def test_buffers_that_count_stay_as_they_were() -> None:
    model = seeded(perceptrons.counting).eval()
    before = state_of(model)
    removable_blocks(model, VECTORS)
    assert state_of(model) == before


def test_leaving_brings_the_blocks_and_their_names_back() -> None:
    model: Any = seeded(perceptrons.listed)
    model.block_names = ("layers.0", "layers.1")
    one = found(perceptrons.listed, VECTORS)["layers.1"]
    before, parts = state_of(model), dict(model.named_modules())
    with without(model, one.removals):
        assert model.block_names == ("layers.0",)
        assert isinstance(model.layers[1], PassThrough)
    with pytest.raises(RuntimeError), without(model, one.removals):
        model(SEQUENCES[:, :, :3])
    assert dict(model.named_modules()) == parts
    assert model.block_names == ("layers.0", "layers.1")
    assert state_of(model) == before


def test_a_layer_that_is_called_by_name_or_is_looked_into_late() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([dense() for _ in range(4)])
            self.head = head()

        def forward(self, x: Tensor) -> Tensor:
            x = chain(self.layers, x) * len(list(self.layers[-1]))  # type: ignore[call-overload]
            logits: Tensor = self.head(input=x)
            return logits

    seen = found(Last, VECTORS)
    assert [one.reason for one in seen.values()] == [LISTED] * 4
    assert all(one.consumers[-1] == "head" for one in seen.values())


def test_weights_that_are_made_anew_each_time_are_not_fitted() -> None:
    from torch.nn.utils import parametrizations
    from torch.nn.utils.parametrize import is_parametrized

    def make() -> nn.Module:
        model = perceptrons.listed()
        parametrizations.weight_norm(model.get_submodule("layers.1.0"))
        return model

    model: Any = seeded(make)
    assert is_parametrized(model.layers[1][0])
    assert found(make, VECTORS)["layers.0"].consumers == ("layers.2.0", "head")


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolutions_in_groups_are_not_fitted(groups: int) -> None:
    def make() -> nn.Module:
        grouped = nn.Conv2d(4, 4, 3, padding=1, groups=groups)
        return plain_images(
            nn.Sequential(conv(3), nn.ReLU()),
            nn.Sequential(conv(), norm(), nn.ReLU()),
            nn.Sequential(grouped, nn.ReLU(), conv(), nn.ReLU()),
        )

    consumers = found(make, IMAGES)["blocks.1"].consumers
    assert consumers == ("blocks.2.0", "blocks.2.2", "head")[groups > 1 :]


def test_what_is_left_of_all_blocks_in_a_row() -> None:
    model: Any = seeded(perceptrons.listed).eval()
    seen = removable_blocks(model, VECTORS)
    with torch.no_grad(), without(model, [r for one in seen[:2] for r in one.removals]):
        assert torch.equal(model(VECTORS), model.head(of_all([model.layers[2]], VECTORS)[0]))
