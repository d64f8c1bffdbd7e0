"""Which parts of a model are its blocks: found by watching one forward pass.

A block is a part through which everything passes that the output learns of the input.  That
is decided on the graph that autograd records of a small batch: with a(v) the number of paths
from the input to v and b(v) that from v to the output, all paths pass through v exactly where
a(v) b(v) = a(output).  So the inside of a residual block, whose input flows past it, is no
block, while the block as a whole is one.

Of the parts that qualify those are taken that repeat (the children of an ``nn.Sequential`` or
``nn.ModuleList``, the blocks in the stages of a residual network, the layers of a transformer);
a model that is a flat row of layers is cut after each layer with weights, behind its activation.
A layer that gives the model's output, the classifier head, is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from designer.errors import InvalidInputError
from designer.probing.calling import submodules
from designer.probing.tracing import Call, Tap, Trace

RESHAPING = re.compile(
    r"View|Reshape|Squeeze|Flatten|Pool|Mean|Transpose|Permute|Clone|Copy|Slice|Select"
)
"""Autograd nodes that hand a layer's output on without another activation."""


ACTIVATIONS = re.compile(
    r"[PR]relu|Relu|Gelu|Elu|Silu|Mish|Tanh|Sigmoid|Softplus|Hard(swish|tanh)|Clamp"
)


PASSING = re.compile(r"Pool|Flatten|Dropout|Identity")
"""Modules that do the same."""


@dataclass(frozen=True)
class BlockCandidate:
    """A part of the model that might be a block."""

    name: str
    kind: str
    shape: tuple[int, ...] | None
    """Of what it gives for one sample; None where that is no tensor."""
    chosen: bool
    reason: str
    """Why it is taken or not."""


def taps_named(seen: Trace, model: nn.Module, patterns: Sequence[str]) -> list[Tap]:
    """Taps at what the named runs give, in the order in which they ended.

    Args:
        seen: of the model.
        patterns: names of submodules, in which ``*``, ``?`` and ``[..]`` stand for parts of a name
            between dots.

    Raises:
        InvalidInputError: where one of them is no submodule, did not run, or gave no tensor.
    """
    known = submodules(model)
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in (*known, *(c.label for c in seen.calls))):
            raise InvalidInputError(
                f"Expected `blocks` among the model's submodules, got '{pattern}'. "
                f"Its submodules are {_listed(name for name, _ in model.named_children())}."
            )
        found = [call for call in seen.calls if _is_named(call, pattern)]
        if not found:
            raise InvalidInputError(
                f"Expected block '{pattern}' to run in the forward pass, but it did not."
            )
        if all(call.output is None for call in found):
            raise InvalidInputError(f"Expected block '{pattern}' to give a tensor, got none.")
    return [
        _behind(call)
        for call in seen.by_end
        if call.output is not None and any(_is_named(call, pattern) for pattern in patterns)
    ]


def find_blocks(seen: Trace) -> tuple[list[Tap], list[BlockCandidate]]:
    """The blocks of a traced model in running order, and what became of every candidate."""
    return _Finder(seen).result()


class _Finder:
    """Decides on every candidate, from the outermost inwards."""

    def __init__(self, seen: Trace) -> None:
        self._seen = seen
        self._taps: dict[Call, Tap] = {}
        self._reasons: dict[Call, str] = {}
        self._rows: list[list[Call]] = []
        """Runs of layers with weights, of each part that is a flat row of such."""
        self._block_classes = {
            type(c.module)
            for c in seen.calls
            if c.compound and not isinstance(c.module, nn.Sequential) and not self._worthy(c)
        }
        """Classes of which one run is no more than a block; so are the others."""

    def result(self) -> tuple[list[Tap], list[BlockCandidate]]:
        top = self._entered(self._seen.top)
        self._expand(top)
        if not any(call.compound for call in self._taps):
            self._rows.append([c for c in top if c.weighs and not c.compound])
        self._cut_rows()
        self._drop_head()
        chosen = [call for call in self._seen.by_end if call in self._taps]
        candidates = [self._candidate(call) for call in self._seen.calls if call.weighs]
        return [self._taps[call] for call in chosen], candidates

    def _entered(self, calls: list[Call]) -> list[Call]:
        """The parts of a part that is the only one, such as a network in a wrapper."""
        weighty = [call for call in calls if call.weighs]
        if len(weighty) == 1 and weighty[0].compound:
            self._reasons[weighty[0]] = "holds everything"
            return self._entered(weighty[0].children)
        return calls

    def _expand(self, calls: list[Call]) -> None:
        compound = [call for call in calls if call.compound]
        alike = Counter(call.layers for call in compound)
        for call in compound:
            if self._worthy(call) and type(call.module) not in self._block_classes:
                self._reasons[call] = "holds blocks of its own"
                self._expand(call.children)
            elif self._is_row(call) and alike[call.layers] == 1:
                self._reasons[call] = "a row of layers, each a block of its own"
                self._rows.append([c for c in call.children if c.weighs])
            else:
                self._take(call, self._tap(call))

    def _worthy(self, call: Call) -> bool:
        """Whether it holds blocks, rather than being one."""
        parts = [c for c in call.children if c.compound]
        whole = [c for c in parts if self._cuts(c)]
        received = Counter(c.layers for c in parts if c.numbered and self._tap(c) is not None)
        return (
            len(whole) > 1
            or any(map(self._worthy, whole))
            or (len(whole) == 1 and whole[0].node is call.node is not None)
            or max(received.values(), default=0) > 1
        )

    def _is_row(self, call: Call) -> bool:
        layers = [c for c in call.children if c.weighs]
        plain = type(call.module) is nn.Sequential and not any(c.compound for c in layers)
        return plain and len(layers) > 1 and all(map(self._cuts, layers))

    def _cuts(self, call: Call) -> bool:
        return call.output is not None and self._seen.is_cut(call.node)

    def _tap(self, call: Call) -> Tap | None:
        """Behind a part: what it gives, or the next part receives once a sum or an activation
        outside of any module has been applied; None where part of the input flows past."""
        if self._cuts(call):
            following = self._seen.after(call, weighs=True)
            if following is not None and _activated(call.node, following.received_node):
                return _handed_to(call, following)
            return _behind(call)
        following = self._seen.after(call)
        if following is None or not self._seen.gathers(call.node, following.received_node):
            return None
        return _handed_to(call, following)

    def _cut_rows(self) -> None:
        """Cut rows of layers behind each one's activation."""
        layers = sorted((c for row in self._rows for c in row), key=lambda call: call.started)
        for call in layers:
            self._take(call, self._tap_behind_layer(call))

    def _tap_behind_layer(self, call: Call) -> Tap | None:
        following = self._seen.after(call, weighs=True)
        if following is None:
            return self._tap(call)
        last = self._last_before(call, following)
        if self._cuts(last) and _handed_on(last.node, following.received_node):
            return _behind(call, last, None if _runs_once(last, self._seen) else call.label)
        if self._seen.gathers(call.node, following.received_node):
            return _handed_to(call, following)
        return _behind(call, last) if self._cuts(last) else None

    def _last_before(self, call: Call, following: Call) -> Call:
        """The last layer from ``call`` on that does more than hand its input on."""
        between = [
            c
            for c in self._seen.calls
            if call.ended < c.started < following.started
            and not c.children
            and not PASSING.search(c.kind)
            and c.output is not None
        ]
        return between[-1] if between else call

    def _take(self, call: Call, tap: Tap | None) -> None:
        if tap is not None:
            self._taps[call] = tap

    def _drop_head(self) -> None:
        """Leave out a last block that gives the logits."""
        taken = [call for call in self._seen.by_end if call in self._taps]
        output = self._seen.output
        if not taken or output is None:
            return
        last = taken[-1]
        of_its_own = all(call.layers != last.layers for call in taken[:-1])
        in_a_row = not last.compound
        final = self._seen.after(last, weighs=True) is None
        if final and (in_a_row or (of_its_own and output.ndim == 2)):
            del self._taps[last]
            self._reasons[last] = "gives the model's output"

    def _candidate(self, call: Call) -> BlockCandidate:
        shape = None if call.output is None else tuple(call.output.shape[1:])
        chosen = call in self._taps
        reason = self._taken_because(call) if chosen else self._skipped_because(call)
        return BlockCandidate(call.label, call.kind, shape, chosen, reason)

    def _taken_because(self, call: Call) -> str:
        tap = self._taps[call]
        if tap.receives:
            return f"a block, seen as '{tap.module}' receives it"
        return "a block" if tap.name == call.label else f"a block, seen behind '{tap.name}'"

    def _skipped_because(self, call: Call) -> str:
        if call in self._reasons:
            return self._reasons[call]
        outer = call.parent
        while outer is not None:
            if outer in self._taps:
                return f"inside block '{outer.label}'"
            outer = outer.parent
        if call.output is None:
            return "gives no tensor"
        if not self._seen.on_path(call.node):
            return "what it gives does not lead from the input to the output"
        if not self._seen.is_cut(call.node):
            return "part of the input flows past it"
        if call.ended < min((c.started for c in self._taps), default=0):
            return "runs before the first block, whose step holds its share"
        return "a single layer outside of the blocks"


def _handed_on(made: Any, received: Any) -> bool:
    """Whether ``received`` is ``made`` but for its shape and pooling."""
    return _walk(made, received, RESHAPING) is not None


def _activated(made: Any, received: Any) -> bool:
    """Whether ``received`` is ``made`` after an activation, and nothing else but reshaping."""
    passed = _walk(made, received, re.compile(f"{RESHAPING.pattern}|{ACTIVATIONS.pattern}"))
    return passed is not None and any(ACTIVATIONS.search(name) for name in passed)


def _walk(made: Any, received: Any, allowed: re.Pattern[str]) -> list[str] | None:
    """Names of the nodes between, None where one is not ``allowed``."""
    passed: list[str] = []
    while received is not made:
        if received is None or not allowed.search(received.name()):
            return None
        passed.append(received.name())
        received = received.next_functions[0][0]
    return passed


def _runs_once(call: Call, seen: Trace) -> bool:
    return sum(other.module is call.module for other in seen.calls) == 1


def _behind(block: Call, last: Call | None = None, name: str | None = None) -> Tap:
    """What a block, or the last part of one, gives."""
    at = last or block
    shape = _shape(at.output)
    return Tap(name or at.label, block.kind, at.name, at.run, shape=shape, entry=_entry(block))


def _handed_to(block: Call, following: Call) -> Tap:
    """What the following part receives."""
    shape = _shape(following.received)
    at = (following.name, following.run)
    return Tap(block.label, block.kind, *at, receives=True, shape=shape, entry=_entry(block))


def _entry(block: Call) -> tuple[str, int]:
    return block.name, block.run


def _shape(tensor: Tensor | None) -> tuple[int, ...]:
    return () if tensor is None else tuple(tensor.shape)


def _is_named(call: Call, pattern: str) -> bool:
    return any(_matches(name, pattern) for name in call.names)


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
