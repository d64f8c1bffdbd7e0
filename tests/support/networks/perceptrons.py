"""Perceptrons in the ways in which people wire them; see ``parts`` for their inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from tests.support.networks.parts import chain, dense, head, linear, wired


def row(*, inplace: bool = False) -> nn.Sequential:
    """Layers one after the other, without norm."""
    relus = nn.ReLU(inplace), nn.ReLU(inplace)
    return nn.Sequential(linear(), relus[0], linear(), relus[1], head())


def normed_row() -> nn.Sequential:
    """Layers one after the other, with norm and dropout."""

    def layer() -> list[nn.Module]:
        return [linear(), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.2)]

    return nn.Sequential(nn.Flatten(), *layer(), *layer(), head())


def listed() -> nn.Module:
    """Blocks in an ``nn.ModuleList``."""
    blocks = [nn.Sequential(linear(), nn.BatchNorm1d(6), nn.ReLU()) for _ in range(3)]
    return wired(
        "Listed", lambda m, x: m.head(chain(m.layers, x)), layers=nn.ModuleList(blocks), head=head()
    )


def functional() -> nn.Module:
    """Layers whose activations are functions, not modules."""
    return wired(
        "Functional",
        lambda m, x: m.c(F.relu(m.b(F.relu(m.a(x))))),
        a=linear(),
        b=linear(),
        c=head(),
    )


def one_activation() -> nn.Module:
    """Layers that share one activation module."""
    return wired(
        "OneActivation",
        lambda m, x: m.c(m.act(m.b(m.act(m.a(x))))),
        a=linear(),
        b=linear(),
        c=head(),
        act=nn.ReLU(),
    )


def parallel() -> nn.Module:
    """Two layers side by side, of which only the sum is a place that everything passes."""
    return wired(
        "Parallel", lambda m, x: m.c(m.a(x).relu() + m.b(x)), a=linear(), b=linear(), c=head()
    )


def thrice() -> nn.Module:
    """One block that runs three times; gives a dict in which logits do not come first."""

    def wiring(m: Any, x: Tensor) -> dict[str, Tensor]:
        x = chain([m.block] * 3, m.stem(x))
        return {"hidden": x, "logits": m.head(x)}

    return wired("Thrice", wiring, stem=linear(), block=dense(), head=head())


def tied_modules() -> nn.Module:
    """One block under two names, each of which runs once."""
    block = dense()
    return wired(
        "Tied", lambda m, x: m.head(m.second(m.first(x))), first=block, second=block, head=head()
    )


def twice() -> nn.Sequential:
    """One block that runs twice with another between, by two names."""
    block = dense()
    return nn.Sequential(block, dense(), block, head())


def tied_weights() -> nn.Sequential:
    """Two layers that share a parameter."""
    model = row()
    model[2].weight = model[0].weight
    return model


def two_inputs() -> nn.Module:
    """A model that is called with (a, b), or with a= and b=."""
    return wired(
        "TwoInputs",
        lambda m, a, b: m.head(m.second(m.first(torch.cat([a, b], dim=1)))),
        first=dense(12),
        second=dense(),
        head=head(),
    )


def listed_inputs() -> nn.Module:
    """A model of two inputs with blocks in an ``nn.ModuleList``."""
    return wired(
        "ListedInputs",
        lambda m, a, b: m.head(chain(m.blocks, torch.cat([a, b], dim=1))),
        blocks=nn.ModuleList([dense(12), dense(), dense()]),
        head=head(),
    )


def open_sums() -> nn.Module:
    """Residual branches whose sums lie outside of any module; gives more than logits, in a dict."""

    def wiring(m: Any, x: Tensor) -> dict[str, Tensor]:
        x = F.relu(m.stem(x))
        for block in m.blocks:
            x = x + block(x)
        return {"hidden": x, "logits": m.head(x)}

    blocks = [nn.Sequential(linear(), nn.ReLU(), linear()) for _ in range(3)]
    return wired("OpenSums", wiring, stem=linear(), blocks=nn.ModuleList(blocks), head=head())


def open_activations() -> nn.Module:
    """Blocks that end in a norm; the activation behind them, one for all, is outside of them."""
    return wired(
        "OpenActivations",
        lambda m, x: m.head(m.act(m.two(m.act(m.one(x))))),
        one=nn.Sequential(linear(), nn.BatchNorm1d(6)),
        two=nn.Sequential(linear(), nn.BatchNorm1d(6)),
        act=nn.ReLU(),
        head=head(),
    )


def overwriting() -> nn.Module:
    """Each block begins with an activation that overwrites what the block before gave."""
    return wired(
        "Overwriting",
        lambda m, x: m.head(chain(m.blocks, m.stem(x))),
        stem=linear(),
        blocks=nn.ModuleList([nn.Sequential(nn.ReLU(inplace=True), linear()) for _ in range(3)]),
        head=head(),
    )


def counting() -> nn.Module:
    """A model that changes a buffer, replaces another and draws a random number in any mode."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        m.calls += 1
        m.mean = x.mean(0)
        torch.rand(())
        logits: Tensor = m.head(chain(m.blocks, x))
        return logits

    blocks = nn.ModuleList([dense() for _ in range(3)])
    model = wired("Counting", wiring, blocks=blocks, head=head())
    model.register_buffer("calls", torch.zeros(()))
    model.register_buffer("mean", torch.zeros(6), persistent=False)
    return model


def gathering() -> nn.Module:
    """Blocks that receive all that those before them gave, put together outside of them."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        for unit in m.units:
            x = torch.cat([x, unit(x)], dim=1)
        logits: Tensor = m.head(x)
        return logits

    units = nn.ModuleList([dense(6 + 4 * i, 4) for i in range(3)])
    return wired("Gathering", wiring, units=units, head=head(18))


def forking() -> nn.Module:
    """Two ways side by side in each block, and nothing before the first."""

    def block() -> nn.Module:
        return wired(
            "Fork",
            lambda m, x: torch.cat([m.left(x), m.right(x)], dim=1),
            left=dense(6, 3),
            right=nn.Sequential(linear(6, 3), nn.Tanh()),
        )

    return wired(
        "Forking",
        lambda m, x: m.head(chain(m.blocks, x)),
        blocks=nn.ModuleList([block() for _ in range(3)]),
        head=head(),
    )


def u_shaped() -> nn.Module:
    """A U whose middle is flowed past, and joined with what flowed past it behind it."""

    def wiring(m: Any, x: Tensor) -> Tensor:
        x = m.down(x)
        logits: Tensor = m.head(m.up(torch.cat([x, m.middle(x)], dim=1)))
        return logits

    return wired(
        "UShaped",
        wiring,
        down=dense(),
        middle=nn.Sequential(linear(6, 4), nn.ReLU(), linear(4, 6), nn.ReLU()),
        up=dense(12),
        head=head(),
    )


def dropping(*, adds: bool = False) -> nn.Module:
    """Stochastic depth (Huang et al., ECCV 2016).

    Args:
        adds: whether blocks add to their input.

    Returns:
        A model that leaves each block out with probability 0.5 in training.
    """

    def wiring(m: Any, x: Tensor) -> Tensor:
        for block in m.blocks:
            if not m.training or torch.rand(()) < 0.5:
                x = x + block(x) if adds else block(x)
        logits: Tensor = m.head(x)
        return logits

    return wired("Dropping", wiring, blocks=nn.ModuleList([dense() for _ in range(3)]), head=head())
