"""Which calls make up a block, and whether something flows past it.

A block that is left out needs something in its place.  What that is depends on two things that one
traced forward pass tells: which calls go together (``parts_of``), and whether the block's output is
added, outside of it, to what flows past it (``is_added``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from designer.probing.blocks import RESHAPING
from designer.probing.tracing import Call, Tap, Trace

SUMS = re.compile(r"^(Add|Sub)Backward")
"""Autograd nodes that add."""

ZERO_AT_ZERO = "Relu|LeakyRelu|Prelu|PreluKernel|Gelu|Elu|Silu|Mish|Tanh|Hardtanh|Hardswish"
"""Activations that make zeros of zeros, as autograd's nodes call them."""

SCALING = re.compile(f"{RESHAPING.pattern}|^(Mul|Div|{ZERO_AT_ZERO})Backward")
"""Autograd nodes that make zeros of zeros."""

MIXING = re.compile("^(Addmm|Mm|Bmm|Convolution|Embedding)")
"""Autograd nodes of layers that mix channels."""

Takers = dict[Any, list[Any]]
"""For each autograd node, the nodes that take what it gives."""


@dataclass(frozen=True, eq=False)
class Span:
    """One block of a traced model."""

    tap: Tap
    """Where the block's output is measured."""
    parts: tuple[Call, ...]
    """The calls that make up the block, in running order."""
    added: bool
    """True if the block's output is added, outside of it, to what flows past it."""
    plain: bool
    """True if everything passes through a layer with weights in the block, so that nothing flows
    past the block's layers, neither outside of it nor inside."""
    follower: Call | None = None
    """The call that receives what the block gives, if what comes between belongs to a plain block
    and is no module, such as an activation that is a function."""

    @property
    def received(self) -> Tensor | None:
        """The tensor that the block received in the traced pass; None if it received none."""
        return self.parts[0].received

    @property
    def output(self) -> Tensor | None:
        """The tensor that the block gave in the traced pass; None if it gave none."""
        return self.parts[-1].output if self.follower is None else self.follower.received


def spans_of(trace: Trace, taps: Sequence[Tap]) -> list[Span]:
    """Return the block of every tap, with what flows past it.

    Args:
        trace: one forward pass, recorded with ``flow=True``.
        taps: taps that this pass found, in running order.
    """
    takers = takers_of(trace)
    return [_span_of(trace, tap, takers) for tap in taps]


def _span_of(trace: Trace, tap: Tap, takers: Takers) -> Span:
    calls = parts_of(trace, tap, shared=True)
    added, plain = is_added(trace, calls[0], takers), _is_plain(trace, calls)
    seen_behind = tap.receives and plain and not added
    follower = call_of(trace, tap.module, tap.run) if seen_behind else None
    return Span(tap, tuple(calls), added, plain, follower)


def _is_plain(trace: Trace, parts: Sequence[Call]) -> bool:
    return any(
        call.has_weights and (call.is_stacked or not call.is_compound) and trace.is_cut(call.node)
        for call in trace.calls
        if any(part.started <= call.started and call.ended <= part.ended for part in parts)
    )


def call_of(trace: Trace, name: str, run: int) -> Call:
    """Return the run of a submodule in a trace."""
    return next(call for call in trace.calls if (call.name, call.run) == (name, run))


def parts_of(trace: Trace, tap: Tap, *, shared: bool = False) -> list[Call]:
    """Return the calls of a block: its own, and in a row of layers those that follow up to the tap.

    In Linear, BatchNorm, ReLU the tap sits behind the ReLU.  If only the Linear were left out, norm
    and ReLU of two blocks would follow each other.  Modules that also run elsewhere, such as one
    ReLU for all blocks, have to stay where modules are removed, and are no parts then.

    Args:
        trace: one forward pass of the model.
        tap: a tap that this pass found.
        shared: True to take single runs of modules that also run elsewhere as parts, too.
    """
    call = call_of(trace, *tap.entry)
    if tap.receives or (tap.module, tap.run) == tap.entry:
        return [call]
    last = call_of(trace, tap.module, tap.run)
    runs: Counter[nn.Module] = Counter(other.module for other in trace.calls)
    behind = [
        other
        for other in trace.calls
        if other.parent is call.parent and call.ended < other.started and other.ended <= last.ended
    ]
    return [call, *(other for other in behind if shared or runs[other.module] == 1)]


def takers_of(trace: Trace) -> Takers:
    """Map each autograd node that leads to the output to the nodes that take what it gives."""
    output = None if trace.output is None else trace.output.grad_fn
    takers: Takers = {output: []}
    waiting = [] if output is None else [output]
    while waiting:
        node = waiting.pop()
        for source in {source for source, _ in node.next_functions if source is not None}:
            if source not in takers:
                waiting.append(source)
            takers.setdefault(source, []).append(node)
    return takers


def is_added(trace: Trace, call: Call, takers: Takers) -> bool:
    """Return True if a block's output is added, outside of it, to what flows past it.

    Handing on what the block receives, x, would then give x + x; zeros leave x alone.  The output
    is followed through the autograd graph for as long as exactly one node takes it and zeros stay
    zeros (reshaping, scaling, most activations), up to a sum.  The other summand flows past the
    block if it lies on a path from the input: a parameter that is added, such as a position
    embedding, does not.  Where a shortcut inside the block hands on what it receives, the summand
    must come from that, too: beside the input of the network, which may be added behind every
    block, the stream has to go on without the block.

    Args:
        trace: one forward pass, recorded with ``flow=True``.
        call: the run of the block.
        takers: of the same trace.
    """
    node = call.node
    # if everything passes through the block's output, nothing flows past it
    following = [] if trace.is_cut(node) else takers.get(node, [])
    while len(following) == 1:
        before, node = node, following[0]
        if SUMS.search(node.name()):
            summands = [other for other, _ in node.next_functions if other is not before]
            past = [other for other in summands if trace.on_path(other)]
            stream = _stream(trace, call)
            return bool(past) and (
                not _hands_on(call, stream) or any(_comes_from(other, stream) for other in past)
            )
        following = takers[node] if SCALING.search(node.name()) else []
    return False


def _stream(trace: Trace, call: Call) -> set[Any]:
    """Return the nodes that carry what a block receives: its own, and those before it in a row.

    The row ends at the first that joins several paths, other than those of a norm, or at a layer
    that mixes channels: before that the network is at an earlier block.
    """
    node, stream = call.received_node, set[Any]()
    while node is not None and node not in stream:
        stream.add(node)
        sources = [source for source, _ in node.next_functions if trace.on_path(source)]
        if MIXING.search(node.name()):
            break
        node = sources[0] if len(sources) == 1 else _where_paths_part(node, trace)
    return stream


def _where_paths_part(node: Any, trace: Trace) -> Any:
    """Return the node from which all paths to another come, past no layer that mixes channels.

    It is None if there is none. The paths of a norm, x / |x|, part at x.
    """
    ends, known, waiting = set(), {node}, [node]
    while waiting:
        sources = {s for s, _ in waiting.pop().next_functions if trace.on_path(s)} - known
        known |= sources
        for source in sources:
            if trace.is_cut(source):
                ends.add(source)
            elif MIXING.search(source.name()):
                return None
            else:
                waiting.append(source)
    return ends.pop() if len(ends) == 1 else None


def _comes_from(node: Any, stream: set[Any]) -> bool:
    """Return True if a path leads from a stream to a node."""
    return not stream.isdisjoint(_behind(node, stream))


def _hands_on(call: Call, stream: set[Any]) -> bool:
    """Return True if a block hands on what it receives past its own layers that mix channels."""
    reached = _behind(call.node, stream, MIXING)
    own = any(MIXING.search(node.name()) for node in reached - stream)
    return own and not stream.isdisjoint(reached)


def _behind(node: Any, ends: set[Any], last: re.Pattern[str] | None = None) -> set[Any]:
    """Return a node and those that lead to it, up to ``ends`` and to those with such a name."""
    reached, waiting = {node}, [node]
    while waiting:
        node = waiting.pop()
        if node in ends or (last is not None and last.search(node.name())):
            continue
        sources = {source for source, _ in node.next_functions if source is not None} - reached
        reached |= sources
        waiting += sources
    return reached
