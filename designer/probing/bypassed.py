"""Tell which repeated parts are no blocks: those that something flows past or no module follows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from torch import nn

from designer.probing.blocks import gives_logits
from designer.probing.tracing import Call, Tap, Trace, weights_of
from designer.probing.units import has_layers, is_listed
from designer.results.measured import BypassedParts


def bypassed_parts(trace: Trace, taps: Sequence[Tap]) -> BypassedParts | None:
    """Return parts of a model that repeat, and are no blocks since something flows past them.

    They lie within the blocks if these are stages in which some channels flow past all parts. They
    count if most blocks hold such parts, and these hold at least half of all weights: few others
    would call the whole stage a layer. They lie beside blocks of their class if a later part of the
    model takes what several of them gave, too; these always count.

    Args:
        trace: one forward pass of the model, recorded with ``flow=True``.
        taps: taps at the blocks that this pass found.
    """
    entries = {tap.entry for tap in taps}
    blocks = [call for call in trace.calls if (call.name, call.run) in entries]
    within = {inner: block for block in blocks for inner in block.descendants}
    chained = _chained(c for c in trace.calls if c not in blocks and _is_bypassed(trace, c))
    inside = [call for call in chained if call in within]
    holders = {within[call] for call in inside}
    if 2 * len(holders) > len(blocks) and 2 * _weights(inside) >= _weights(trace.top):
        return _parts(inside, within_blocks=True)
    # the class Sequential says nothing about what it holds
    kinds = {type(block.module) for block in blocks} - {nn.Sequential}
    beside = [c for c in chained if type(c.module) in kinds and c not in within]
    return _parts(beside, within_blocks=False) if beside else None


def unseen_end(trace: Trace, taps: Sequence[Tap]) -> str | None:
    """Return the last part of a list of which the others are blocks, if it is none; None if it is.

    Where functions alone make the logits of what it gives, as in ``x @ weight.T``, no module
    receives that, so that its sum or activation can be seen nowhere.

    Args:
        trace: one forward pass of the model, recorded with ``flow=True``.
        taps: taps at the blocks that this pass found.
    """
    entries = {tap.entry for tap in taps}
    last = max((c for c in trace.calls if (c.name, c.run) in entries), key=lambda c: c.ended)
    later = [c for c in trace.calls if c.started > last.ended and c.has_weights]
    ends = [c for c in later if c.parent is last.parent]
    if len(ends) != 1 or ends[0].structure != last.structure or gives_logits(trace, ends[0]):
        return None
    same_list = last.name.rpartition(".")[0] == ends[0].name.rpartition(".")[0]
    return ends[0].name if same_list and is_listed(ends[0]) else None


def _parts(calls: Sequence[Call], *, within_blocks: bool) -> BypassedParts:
    kinds = [call.kind for call in calls]
    patterns = dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.|$)", "*", call.name) for call in calls)
    kind = max(kinds, key=kinds.count)
    return BypassedParts(kind, len(calls), within_blocks, tuple(patterns))


def _chained(calls: Iterable[Call]) -> list[Call]:
    """Return the outermost calls that stand in a row of one class, each fed by the one before."""
    rows: dict[tuple[object, ...], list[Call]] = {}
    for call in calls:
        row = (call.parent, call.name.rpartition(".")[0], call.kind)
        rows.setdefault(row, []).append(call)
    chained = [call for row in rows.values() if _is_chain(row) for call in row]
    inside = {inner for call in chained for inner in call.descendants}
    return [call for call in chained if call not in inside]


def _weights(calls: Iterable[Call]) -> int:
    return sum(w.numel() for w in {w for call in calls for w in weights_of(call.module)})


def _is_bypassed(trace: Trace, call: Call) -> bool:
    return (
        call.is_compound
        and is_listed(call)
        and has_layers(call)
        and any(map(trace.on_path, call.nodes))
        and not trace.passes_through(call)
    )


def _is_chain(row: Sequence[Call]) -> bool:
    return len(row) > 1 and all(after.received_node is call.node for call, after in pairwise(row))
