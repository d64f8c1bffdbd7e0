"""Networks of stages, in which something flows past the blocks, or blocks stand in more places."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.support.networks.convolutional import residual
from tests.support.networks.parts import chain, conv, dense, head, linear, norm, wired


def querying() -> nn.Module:
    """Stages whose blocks all receive one more tensor, as in GC ViT (Hatamizadeh et al., 2023)."""

    def block() -> nn.Module:
        return wired(
            "Block",
            lambda m, x, query: x + m.down((m.up(x) * query).relu()),
            up=linear(8, 8),
            down=linear(8, 8),
        )

    def wiring(m: Any, x: Tensor) -> Tensor:
        query = m.query(x.mean(1, keepdim=True))
        for part in m.blocks:
            x = part(x, query)
        return x

    def stage() -> nn.Module:
        blocks = nn.ModuleList([block() for _ in range(2)])
        return wired("Stage", wiring, query=dense(8, 8), blocks=blocks)

    return wired(
        "Querying",
        lambda m, x: m.head(m.stages(x).mean(1)),
        stages=nn.Sequential(stage(), stage()),
        head=head(8),
    )


def asked_at_once() -> nn.Module:
    """Parts side by side in a list, all of which receive the same two tensors."""

    def branch() -> nn.Module:
        return wired(
            "Branch", lambda m, x, gate: m.down((m.up(x) * gate).relu()), up=linear(), down=linear()
        )

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = m.stem(x)
        gate = m.gate(x)
        logits: Tensor = m.head(torch.cat([part(x, gate) for part in m.branches], dim=1))
        return logits

    return wired(
        "AskedAtOnce",
        wiring,
        stem=dense(),
        gate=dense(),
        branches=nn.ModuleList([branch() for _ in range(2)]),
        head=head(12),
    )


def downsampling() -> nn.Module:
    """Stages that begin with a downsampling, which holds a block itself, as in RepViT (2024)."""

    def down() -> nn.Module:
        return wired(
            "Downsampling",
            lambda m, x: m.smaller(m.before(x)),
            before=residual(),
            smaller=nn.Sequential(conv(stride=2), norm()),
        )

    def stage() -> nn.Module:
        blocks = nn.Sequential(*[residual() for _ in range(2)])
        return wired("Stage", lambda m, x: m.blocks(m.down(x)), down=down(), blocks=blocks)

    return wired(
        "DownsamplingNet",
        lambda m, x: m.fc(m.stages(m.stem(x).relu()).mean((2, 3))),
        stem=conv(3),
        stages=nn.Sequential(stage(), stage()),
        fc=head(4),
    )


def attended_downsampling() -> nn.Module:
    """Blocks that begin with a downsampling of a class that is listed elsewhere, as in MobileViT.

    What follows in them is flowed past, so that they are blocks as a whole.
    """

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = m.down(x)
        joined: Tensor = m.joining(torch.cat([x, m.after(m.middle(x))], dim=1))
        return joined

    def layer(inputs: int = 4) -> nn.Module:
        return nn.Sequential(conv(inputs), norm(), nn.ReLU())

    def block() -> nn.Module:
        parts = {"middle": layer(), "after": layer(), "joining": layer(8)}
        return wired("Attended", wiring, down=residual(), **parts)

    return wired(
        "AttendedDownsampling",
        lambda m, x: m.fc(m.blocks(m.first(m.stem(x).relu())).mean((2, 3))),
        stem=conv(3),
        first=nn.Sequential(*[residual() for _ in range(3)]),
        blocks=nn.Sequential(block(), block()),
        fc=head(4),
    )


def parts_of_patches() -> nn.Module:
    """Blocks that give two tensors, as in TNT (Han et al., 2021).

    The first has a row for each of four patches of every sample, the second one for each sample.
    """

    def patches(m: Any, x: Tensor) -> Tensor:
        maps: Tensor = m.conv(x).unflatten(2, (2, 4)).unflatten(4, (2, 4))
        return maps.permute(0, 2, 4, 3, 5, 1).reshape(4 * len(x), 16, 4)

    def both(m: Any, inner: Tensor, outer: Tensor) -> tuple[Tensor, Tensor]:
        inner = inner + m.inner(inner)
        outer = outer + m.joining(inner.reshape(len(outer), 4, 64))
        return inner, outer + m.outer(outer)

    def wiring(m: Any, x: Tensor) -> Tensor:
        inner = m.patches(x)
        outer = m.embed(inner.reshape(len(x), 4, 64))
        for block in m.blocks:
            inner, outer = block(inner, outer)
        logits: Tensor = m.head(outer.mean(1))
        return logits

    def block() -> nn.Module:
        parts = {"inner": dense(4, 4), "joining": linear(64, 8), "outer": dense(8, 8)}
        return wired("Block", both, **parts)

    return wired(
        "PartsOfPatches",
        wiring,
        patches=wired("Patches", patches, conv=conv(3)),
        embed=linear(64, 8),
        blocks=nn.ModuleList([block() for _ in range(3)]),
        head=head(8),
    )


def two_scales() -> nn.Module:
    """Two scales, of which the first flows past the blocks of the second, as in CoaT (2021).

    The last blocks receive both. They hand the first scale through, and give it before the other.
    """

    def block() -> nn.Module:
        return wired(
            "Block", lambda m, x: x + m.down(m.up(x).relu()), up=linear(8, 8), down=linear(8, 8)
        )

    def joint() -> nn.Module:
        return wired(
            "Joint",
            lambda m, fine, coarse: (fine, coarse + m.part(coarse + fine.mean(1, keepdim=True))),
            part=dense(8, 8),
        )

    def wiring(m: Any, x: Tensor) -> Tensor:
        fine = chain(m.fine, x)
        coarse = chain(m.coarse, fine[:, ::2])
        for part in m.joint:
            fine, coarse = part(fine, coarse)
        logits: Tensor = m.head(coarse.mean(1))
        return logits

    return wired(
        "TwoScales",
        wiring,
        fine=nn.ModuleList([block() for _ in range(2)]),
        coarse=nn.ModuleList([block() for _ in range(2)]),
        joint=nn.ModuleList([joint() for _ in range(2)]),
        head=head(8),
    )


def crossing(size: int = 1) -> nn.Module:
    """Stages in which half of the channels flow past all blocks, as in CSPNet (Wang et al., 2020).

    Args:
        size: of the convolutions before and behind the blocks of a stage.
    """

    def wiring(m: Any, x: Tensor) -> Tensor:
        past, through = m.before(x).chunk(2, dim=1)
        behind: Tensor = m.behind(torch.cat([past, m.blocks(through)], dim=1))
        return behind

    def stage() -> nn.Module:
        return wired(
            "Stage",
            wiring,
            before=conv(4, 8, size=size),
            blocks=nn.Sequential(*[residual() for _ in range(2)]),
            behind=conv(8, 4, size=size),
        )

    return wired(
        "Crossing",
        lambda m, x: m.fc(m.stages(m.stem(x).relu()).mean((2, 3))),
        stem=conv(3),
        stages=nn.Sequential(stage(), stage()),
        fc=head(4),
    )
