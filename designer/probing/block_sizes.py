"""How many parameters would go with a block."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from designer.probing.spans import parts_of
from designer.probing.tracing import Call, Tap, Trace


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
