"""How many parameters would go with a block, and how many all blocks hold together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from designer.probing.spans import parts_of
from designer.probing.tracing import EMBEDDINGS, Call, Tap, Trace


@dataclass(frozen=True)
class Coverage:
    """How much of a model its blocks hold."""

    share: float | None
    """Share of the parameters outside of embeddings that lie in blocks, from 0 to 1; None if there
    are no such parameters."""
    embeddings: int
    """Number of parameters in embeddings, which turn tokens into vectors and are no layers."""


def coverage_of(model: nn.Module, trace: Trace, taps: Sequence[Tap]) -> Coverage:
    """Return how much of a model its blocks hold; weights that several layers share count once.

    Args:
        model: unwrapped.
        trace: one forward pass of the model.
        taps: taps that this pass found, in running order.
    """
    tables = [module for module in model.modules() if isinstance(module, EMBEDDINGS)]
    embedded = {p for table in tables for p in table.parameters(recurse=False)}
    layers = set(model.parameters()) - embedded
    inside = {p for tap in taps for part in parts_of(trace, tap) for p in part.module.parameters()}
    total = sum(p.numel() for p in layers)
    share = sum(p.numel() for p in inside & layers) / total if total else None
    return Coverage(share, sum(p.numel() for p in embedded))


def block_parameters(trace: Trace, taps: Sequence[Tap]) -> tuple[int, ...]:
    """Return for each block the number of parameters that no other part of the model uses.

    Shared weights and tied weights do not count, because they stay if the block goes.

    Args:
        trace: one forward pass of the model.
        taps: taps that this pass found, in running order.
    """
    users: dict[int, list[Call]] = defaultdict(list)
    for call in trace.calls:
        for parameter in call.module.parameters(recurse=False):
            users[id(parameter)].append(call)
    return tuple(_own_parameters(parts_of(trace, tap), users) for tap in taps)


def _own_parameters(parts: Sequence[Call], users: dict[int, list[Call]]) -> int:
    """Count the parameters of a block whose users all run within it."""
    sizes = {id(p): p.numel() for part in parts for p in part.module.parameters()}
    return sum(
        size
        for parameter, size in sizes.items()
        if all(_runs_within(call, parts) for call in users.get(parameter, ()))
    )


def _runs_within(call: Call, parts: Sequence[Call]) -> bool:
    return any(part.started <= call.started and call.ended <= part.ended for part in parts)
