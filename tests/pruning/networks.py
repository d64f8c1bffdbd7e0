"""Networks whose blocks are tried for removal, and what becomes of the blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from designer.probing.calling import unwrap
from designer.pruning.removable import Removable, removable_blocks
from tests.support.networks import convolutional, sequences
from tests.support.networks.parts import (
    chain,
    conv,
    dense,
    head,
    linear,
    seeded,
    wired,
)

Make = Callable[[], nn.Module]


def removables_by_name(
    make: Make, inputs: Any, blocks: list[str] | None = None
) -> dict[str, Removable]:
    """Return how every block of a network can be removed, or why it must stay."""
    removables = removable_blocks(unwrap(seeded(make)).eval(), inputs, blocks)
    assert [block.place for block in removables] == list(range(len(removables)))
    return {block.name: block for block in removables}


def reasons_by_name(make: Make, inputs: Any, blocks: list[str] | None = None) -> dict[str, str]:
    """Return in words how each block is removed, or why it must stay."""
    return {name: block.reason for name, block in removables_by_name(make, inputs, blocks).items()}


def attended(m: Any, x: Tensor) -> Tensor:
    """Run the layers for queries, keys and values, and those behind them."""
    weights = F.softmax(m.q(x) @ m.k(x).transpose(1, 2), dim=-1)
    logits: Tensor = m.head(m.out(weights @ m.v(x)).mean(1))
    return logits


def side_by_side(width: int = 6) -> nn.Module:
    """Build a network whose second block feeds queries, keys and values."""
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
    """Build a network whose second block feeds another head, too, whose output comes last."""

    def wiring(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        x = m.blocks[1](m.blocks[0](x))
        return m.head(m.blocks[2](x)), m.side(x)

    blocks = [dense(), dense(6, width), dense(width, 6)]
    return wired("Auxiliary", wiring, blocks=nn.ModuleList(blocks), head=head(), side=head(width))


def giving(form: Callable[[Tensor], object], tensor_of: Callable[[Any], Tensor]) -> nn.Module:
    """Build a network whose blocks give their tensor in ``form``."""

    def block() -> nn.Module:
        return wired("Giving", lambda m, x: form(m.layer(x).relu()), layer=linear())

    def wiring(m: Any, x: Tensor) -> Tensor:
        for part in m.blocks:
            x = tensor_of(part(x))
        logits: Tensor = m.head(x)
        return logits

    return wired("Forms", wiring, blocks=nn.ModuleList([block() for _ in range(3)]), head=head())


def unlisted_streams() -> nn.Module:
    """Build the blocks of ``two_streams`` as attributes, where none can be deleted."""
    blocks = list(sequences.two_streams().get_submodule("blocks"))  # type: ignore[call-overload]
    names = ("first", "second", "third")

    def wiring(m: Any, x: Tensor) -> Tensor:
        streams = [x, x.flip(1)]
        for name in names:
            streams = m.get_submodule(name)(streams)
        logits: Tensor = m.head((streams[0] + streams[1]).mean(1))
        return logits

    return wired("Unlisted", wiring, head=head(8), **dict(zip(names, blocks, strict=True)))


def two_names() -> nn.Module:
    """Build a network whose second block stands under two names, of which only one runs."""
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
    """Build three layers with the same weights, of which the third has a bias of its own."""
    parts = [linear() for _ in range(3)]
    parts[1].weight, parts[1].bias = parts[0].weight, parts[0].bias
    parts[2].weight = parts[0].weight
    blocks = [nn.Sequential(part, nn.ReLU()) for part in parts]
    return wired(
        "WhollyTied", lambda m, x: m.head(chain(m.blocks, x)),
        blocks=nn.ModuleList([dense(), *blocks]), head=head(),
    )  # fmt: skip


def tied_consumer() -> nn.Module:
    """Build a network in which the layer behind a wider block shares its weights with another."""
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
    """Build convolutions, and a linear layer behind whatever ``layers`` does."""

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


def plain(widths: Sequence[int] = (6, 6, 6, 6)) -> nn.Module:
    """Build a plain perceptron with a block per pair of widths."""
    blocks = [dense(*pair) for pair in pairwise(widths)]
    return wired(
        "Plain", lambda m, x: m.head(chain(m.blocks, x)),
        blocks=nn.ModuleList(blocks), head=head(widths[-1]),
    )  # fmt: skip


def plain_images(*blocks: nn.Module) -> nn.Module:
    """Build a network that runs blocks of images in turn."""
    return wired(
        "PlainImages",
        lambda m, x: m.head(m.blocks(x).mean((2, 3))),
        blocks=nn.Sequential(*blocks),
        head=head(4),
    )


def separable(inputs: int, outputs: int) -> nn.Module:
    """Build a depthwise and a pointwise convolution (Howard et al., "MobileNets", 2017)."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs),
        nn.ReLU6(),
        nn.Conv2d(inputs, outputs, 1),
        nn.ReLU6(),
    )


def mobile_net() -> nn.Module:
    """Build a network of separable convolutions."""
    return plain_images(
        nn.Sequential(conv(3, 6), nn.ReLU()), separable(6, 6), separable(6, 6), separable(6, 4)
    )


def striding() -> nn.Module:
    """Build a network whose second block only makes the map smaller, with more blocks behind it."""
    return plain_images(
        nn.Sequential(conv(3), nn.ReLU()),
        convolutional.residual(4, 4, 2),
        convolutional.residual(),
        convolutional.residual(),
    )


def growing() -> nn.Module:
    """Build a network whose second block is so small that the layer behind it would grow more."""
    return wired(
        "Growing",
        lambda m, x: m.head(chain(m.blocks, x)),
        blocks=nn.ModuleList([dense(6, 12), dense(12, 2), dense(2, 40), dense(40, 6)]),
        head=head(),
    )


def open_branches(after: Callable[[Tensor], Tensor], scale: float = 1.0) -> nn.Module:
    """Build branches that are added outside of any module, with something behind each sum."""

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


def in_place() -> nn.Module:
    """Build blocks that begin and end with activations in place."""

    def block() -> nn.Module:
        return nn.Sequential(nn.ReLU(inplace=True), linear(), nn.ReLU(inplace=True))

    return wired(
        "InPlace",
        lambda m, x: m.head(chain(m.blocks, m.stem(x))),
        stem=linear(),
        blocks=nn.Sequential(*[block() for _ in range(3)]),
        head=head(),
    )
