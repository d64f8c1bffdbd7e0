"""Decide which parts of a model are its blocks, from one traced forward pass.

A block is a *cut* of the graph: all that the output learns of the input passes through it, see
``designer.probing.tracing``. So the layers behind a block work with its output alone, and that
output is what separation is measured on. There are many cuts; the blocks are those that repeat and
are small enough to be a layer in the sense of He & Su (PNAS 2023). What all blocks of a list
receive beside what the one before gave, such as a query for a whole stage, is an input of theirs
and flows past none.

The algorithm, step by step:

1. Enter. A part that holds all weights, such as a network in a wrapper, is replaced by its parts.
2. Expand, from the outermost parts inwards. A part that is made of parts with weights

   a. is opened if it holds blocks: several parts that are cuts, or several alike parts in a list
      whose results are put together outside of them (``_holds_blocks``); but a class that repeats,
      and in which nothing repeats that holds most of its weights, is a unit and stays closed, such
      as a layer of a post-norm transformer, whose two sub-layers are cuts (``unit_classes``). It
      is no unit if all of its parts can be seen, and one is a block of a class of which most stand
      in lists elsewhere;
   b. is split into its layers if it is a flat ``nn.Sequential`` that no part beside it resembles;
   c. is a block otherwise, if there is a place behind it where everything passes.

   Parts of one class are treated alike: if one of them is a block, all are.
3. If that gives no block made of parts, the model is a flat row of layers; its layers are blocks.
4. Split rows. Each layer of a row ends behind its activation, be that a module or a function.
5. Tap. A block is seen where it ends: at what it gives; or, if an activation or the sum with a
   shortcut follows that is not a module, at what the next part receives. A part that can be seen in
   neither place is no block, nor is one that gives no row for each sample. Of several tensors the
   first with a row for each sample is seen that the block does not just hand through.
6. Drop the ends. A last block that gives the logits is the classifier, and a first one that
   receives tokens is the embedding.

For example, a small residual network whose ``Block`` computes ``relu(x + conv2(relu(conv1(x))))``::

    part           cut  decision
    conv1          yes  runs before the first block, and is not made of parts
    layers         yes  holds two parts that are cuts, so it is opened (2a)
      layers.0     yes  no cuts inside, since x flows past conv1 and conv2: a block (2c)
        conv1      no   inside a block
        conv2      no   inside a block
      layers.1     yes  a block, like layers.0
    fc             yes  a single layer outside of the blocks
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from operator import eq
from typing import Any

from torch import nn

from designer.errors import InvalidInputError
from designer.probing.calling import submodules
from designer.probing.places import Place
from designer.probing.tracing import EMBEDDINGS, Call, Tap, Trace
from designer.probing.units import unit_classes

RESHAPING = re.compile(
    r"View|Reshape|Squeeze|Flatten|Pool|Mean|Transpose|Permute|Clone|Copy|Slice|Select"
)
"""Names of autograd nodes that hand a tensor on, reshaped or pooled, without an activation."""


ACTIVATIONS = re.compile(
    r"[PR]relu|Relu|Gelu|Elu|Silu|Mish|Tanh|Sigmoid|Softplus|Hard(swish|tanh)|Clamp"
)
"""Names of autograd nodes that are activations."""


PASSING = re.compile(r"Pool|Flatten|Dropout|Identity")
"""Class names of modules that hand their input on without an activation."""


UNSEEN = "no module receives what it gives"
"""Why the last part before functions that make the logits cannot be looked at."""


@dataclass(frozen=True)
class BlockCandidate:
    """A part of the model that might be a block."""

    name: str
    """Name of the submodule, with the number of the run if it runs several times."""
    kind: str
    """Class name of the submodule."""
    shape: tuple[int, ...] | None
    """Shape of what it gives for one sample; None if that is no tensor."""
    chosen: bool
    """True if it is a block."""
    reason: str
    """Why it is a block or not."""


def taps_named(trace: Trace, model: nn.Module, patterns: Sequence[str]) -> list[Tap]:
    """Return taps at what the named submodules give, in the order in which their runs ended.

    Args:
        trace: of the model.
        model: unwrapped.
        patterns: names of submodules, in which ``*``, ``?`` and ``[..]`` stand for parts of a name
            between dots; but what is the whole name of a submodule names that one alone.

    Raises:
        InvalidInputError: if one of them is no submodule, did not run, or gave no tensor.
    """
    known = {*submodules(model), *(name for call in trace.calls for name in call.names)}
    tests = {pattern: _name_test(pattern, known) for pattern in patterns}
    for pattern, is_meant in tests.items():
        if not any(map(is_meant, known)):
            raise InvalidInputError(
                f"Expected `blocks` among the model's submodules, got '{pattern}'. "
                f"Its submodules are {_listed(name for name, _ in model.named_children())}."
            )
        calls = [call for call in trace.calls if any(map(is_meant, call.names))]
        if not calls:
            raise InvalidInputError(
                f"Expected block '{pattern}' to run in the forward pass, but it did not."
            )
        if all(call.output is None for call in calls):
            raise InvalidInputError(f"Expected block '{pattern}' to give a tensor, got none.")
    return [
        _behind(call)
        for call in trace.by_end
        if call.output is not None
        and any(is_meant(name) for is_meant in tests.values() for name in call.names)
    ]


def find_blocks(trace: Trace) -> tuple[list[Tap], list[BlockCandidate]]:
    """Find the blocks of a traced model.

    Args:
        trace: recorded with ``flow=True``.

    Returns:
        Taps at the blocks, in the order in which these ended, and what was decided on every part
        with weights, in the order in which these started. No taps if there are no blocks.
    """
    return _BlockFinder(trace).result()


def gives_logits(trace: Trace, call: Call) -> bool:
    """Return True if a last part gives as many numbers as the model does, in some axis."""
    numbers = 1 if trace.output is None or trace.output.ndim < 2 else trace.output.shape[-1]
    return call.output is not None and numbers in call.output.shape[1:]


class _BlockFinder:
    """Decides on every candidate, from the outermost inwards."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._taps: dict[Call, Tap] = {}
        """Where each block is seen."""
        self._reasons: dict[Call, str] = {}
        """Why parts are no blocks, where that was decided on the way."""
        self._rows: list[list[Call]] = []
        """Layers with weights of each flat row."""
        self._units = unit_classes(
            trace, self._may_be_block, lambda call: self._tap(call) is not None
        )
        """Classes whose runs are blocks, though parts of them are cuts."""
        # Without this rule the blocks of a MobileNetV2 that have no shortcut would be opened, since
        # all parts inside are cuts, beside blocks of the same class that have one and stay whole.
        # The class Sequential says nothing about what it holds, so each one is judged by itself.
        self._block_classes = {
            type(c.module)
            for c in trace.calls
            if c.is_compound
            and not isinstance(c.module, nn.Sequential)
            and not self._holds_blocks(c)
        }
        """Classes of which at least one run is no more than a block."""

    def result(self) -> tuple[list[Tap], list[BlockCandidate]]:
        top = self._entered(self._trace.top)
        self._expand(top)
        if not any(call.is_compound for call in self._taps):
            self._rows.append([c for c in top if c.has_weights and not c.is_compound])
        self._split_rows()
        self._drop_embedding()
        self._drop_head()
        chosen = [call for call in self._trace.by_end if call in self._taps]
        candidates = [self._candidate(call) for call in self._trace.calls if call.has_weights]
        return [self._taps[call] for call in chosen], candidates

    def _entered(self, calls: list[Call]) -> list[Call]:
        """Step 1: replace a part that holds all weights by its parts, as often as possible."""
        parts = [call for call in calls if call.has_weights]
        if len(parts) == 1 and parts[0].is_compound:
            self._reasons[parts[0]] = "holds everything"
            return self._entered(parts[0].children)
        return calls

    def _expand(self, calls: list[Call]) -> None:
        """Step 2: open each part, note it as a row to split, or take it as a block."""
        compound = [call for call in calls if call.is_compound]
        alike = Counter(call.structure for call in compound)
        for call in compound:
            if self._holds_blocks(call) and type(call.module) not in self._block_classes:
                self._reasons[call] = "holds blocks of its own"
                self._expand(call.children)
            # rows that repeat, such as the two convolutions of each level in a U-Net, are the
            # units of their network; a row that is the only one of its kind is a network itself
            elif self._is_row(call) and alike[call.structure] == 1:
                self._reasons[call] = "a row of layers, each a block of its own"
                self._rows.append([c for c in call.children if c.has_weights])
            else:
                self._take(call, self._tap(call))

    def _holds_blocks(self, call: Call) -> bool:
        """True if a part holds blocks, rather than being one.

        It does if it has

        - several parts made of parts that everything passes through, such as a stage of residual
          blocks;
        - one that holds blocks itself;
        - a single one that gives the part's own output, for which the part is only a wrapper;
        - several alike parts in a list that have a place where everything passes behind them, such
          as residual branches whose sums lie in the part's own ``forward``. Only a list shows that
          they are meant to repeat: the two branches within a mixer block look alike, too.
        """
        if type(call.module) in self._units:
            return False
        parts = [c for c in call.children if c.is_compound]
        cuts = [c for c in parts if self._is_cut(c)]
        repeated = Counter(c.structure for c in parts if c.is_numbered and self._tap(c) is not None)
        return (
            len(cuts) > 1
            or any(map(self._holds_blocks, cuts))
            or (len(cuts) == 1 and cuts[0].node is call.node is not None)
            or max(repeated.values(), default=0) > 1
        )

    def _may_be_block(self, call: Call) -> bool:
        """True if a part is made of parts, and there is a place behind it where all passes."""
        return call.is_compound and (
            self._is_cut(call) or (call.is_numbered and self._tap(call) is not None)
        )

    def _is_row(self, call: Call) -> bool:
        """True for an ``nn.Sequential`` of several layers with weights, all of them cuts.

        A subclass is no row: whoever gives a sequence a class of its own means a unit.
        """
        layers = [c for c in call.children if c.has_weights]
        plain = type(call.module) is nn.Sequential and not any(c.is_compound for c in layers)
        return plain and len(layers) > 1 and all(map(self._is_cut, layers))

    def _is_cut(self, call: Call) -> bool:
        """True if everything passes through what a part gives."""
        return self._trace.passes_through(call)

    def _tap(self, call: Call) -> Tap | None:
        """Step 5: return where a block is seen; None if what flows past it never joins it again.

        Networks are often written with the last activation, or the sum with the shortcut, in the
        ``forward`` of the module that holds the blocks. The block ends behind them, where no module
        ends, so it is seen at what the next part receives.
        """
        if self._is_cut(call):
            following = self._trace.next_call(call, with_weights=True)
            if following is not None and _is_activated(call.node, following.received_node):
                return _handed_to(call, following)
            return _behind(call)
        # any next part will do here, a norm or an activation as well: it receives the sum
        following = self._trace.next_call(call)
        if following is None or not self._trace.merges_at(call.node, following.received_node):
            return None
        return _handed_to(call, following)

    def _split_rows(self) -> None:
        """Step 4: take each layer of the rows as a block, in running order."""
        layers = sorted((c for row in self._rows for c in row), key=lambda call: call.started)
        for call in layers:
            self._take(call, self._tap_behind_layer(call))

    def _tap_behind_layer(self, call: Call) -> Tap | None:
        """Return where a layer of a row is seen: behind its norm and activation, before pooling."""
        following = self._trace.next_call(call, with_weights=True)
        if following is None:
            return self._tap(call)
        last = self._last_before(call, following)
        if self._is_cut(last) and _is_handed_on(last.node, following.received_node):
            # an activation that serves all layers has one name, so that it cannot name a block
            name = None if _runs_once(last, self._trace) else call.label
            return _behind(call, last, name)
        if self._trace.merges_at(call.node, following.received_node):  # a function comes between
            return _handed_to(call, following)
        return _behind(call, last) if self._is_cut(last) else None

    def _last_before(self, call: Call, following: Call) -> Call:
        """Return the last module from ``call`` on that does more than hand its input on."""
        between = [
            c
            for c in self._trace.calls
            if call.ended < c.started < following.started
            and not c.children
            and not PASSING.search(c.kind)
            and c.output is not None
        ]
        return between[-1] if between else call

    def _take(self, call: Call, tap: Tap | None) -> None:
        if tap is None:
            return
        if self._trace.samples in tap.shape[:2]:
            self._taps[call] = tap
        else:
            self._reasons[call] = "gives no row for each sample"

    def _drop_embedding(self) -> None:
        """Leave out first blocks that receive tokens, which are no features, and no vectors."""
        for call in [call for call in self._trace.by_end if call in self._taps]:
            if call.received is not None:
                return
            del self._taps[call]
            self._reasons[call] = "turns tokens into vectors"

    def _drop_head(self) -> None:
        """Step 6: leave out a last block that gives the logits.

        A single last layer always does. A last block made of parts does if it is unlike all others
        and gives (n, K), such as a classifier of two layers, or (n, tokens, K), such as the head of
        BERT; a stack of equal blocks without a head keeps its last one.
        """
        taken = [call for call in self._trace.by_end if call in self._taps]
        output = self._trace.output
        if not taken or output is None:
            return
        last = taken[-1]
        unlike_others = all(call.structure != last.structure for call in taken[:-1])
        is_final = self._trace.next_call(last, with_weights=True) is None
        head = output.ndim == 2 or _gives_tokens(last, self._trace)
        if is_final and (not last.is_compound or (unlike_others and head)):
            del self._taps[last]
            logits = gives_logits(self._trace, last)
            self._reasons[last] = "gives the model's output" if logits else UNSEEN

    def _candidate(self, call: Call) -> BlockCandidate:
        shape = None if call.output is None else call.place.shape[1:]
        chosen = call in self._taps
        reason = self._why_taken(call) if chosen else self._why_skipped(call)
        return BlockCandidate(call.label, call.kind, shape, chosen, reason)

    def _why_taken(self, call: Call) -> str:
        tap = self._taps[call]
        if tap.receives:
            return f"a block, seen as '{tap.module}' receives it"
        return "a block" if tap.name == call.label else f"a block, seen behind '{tap.name}'"

    def _why_skipped(self, call: Call) -> str:
        if call in self._reasons:
            return self._reasons[call]
        outer = call.parent
        while outer is not None:
            if outer in self._taps:
                return f"inside block '{outer.label}'"
            outer = outer.parent
        if call.output is None:
            return "gives no tensor"
        if not any(map(self._trace.on_path, call.nodes)):
            return "its output is not on the way from the input to the model's output"
        if not self._is_cut(call):
            return "part of the input flows past it"
        if call.ended < min((c.started for c in self._taps), default=0):
            return "runs before the first block, whose step includes it"
        return "a single layer outside of the blocks"


def _is_handed_on(produced: Any, received: Any) -> bool:
    """True if node ``received`` is ``produced`` but for its shape and pooling."""
    return _nodes_between(produced, received, RESHAPING) is not None


def _is_activated(produced: Any, received: Any) -> bool:
    """True if node ``received`` is ``produced`` behind an activation and nothing but reshaping."""
    allowed = re.compile(f"{RESHAPING.pattern}|{ACTIVATIONS.pattern}")
    names = _nodes_between(produced, received, allowed)
    return names is not None and any(ACTIVATIONS.search(name) for name in names)


def _nodes_between(produced: Any, received: Any, allowed: re.Pattern[str]) -> list[str] | None:
    """List the nodes from ``received`` back to ``produced``; None if one is not ``allowed``."""
    names: list[str] = []
    while received is not produced:
        if received is None or not allowed.search(received.name()):
            return None
        names.append(received.name())
        received = received.next_functions[0][0]
    return names


def _gives_tokens(call: Call, trace: Trace) -> bool:
    """True if a part makes (n, tokens, K) of (n, tokens, features) in a model with an embedding."""
    received, output = call.entry.shape, call.place.shape
    embeds = any(isinstance(other.module, EMBEDDINGS) for other in trace.calls)
    return embeds and len(output) == 3 and received[:2] == output[:2] and received != output


def _runs_once(call: Call, trace: Trace) -> bool:
    return sum(other.module is call.module for other in trace.calls) == 1


def _behind(block: Call, last: Call | None = None, name: str | None = None) -> Tap:
    """Tap at what a block gives, or at what its ``last`` part gives."""
    at = last or block
    return _tap(name or at.label, block, at, at.place)


def _handed_to(block: Call, following: Call) -> Tap:
    """Tap at what the part that follows a block receives."""
    return _tap(block.label, block, following, following.entry, receives=True)


def _tap(name: str, block: Call, at: Call, place: Place, *, receives: bool = False) -> Tap:
    return Tap(
        name,
        block.kind,
        at.name,
        at.run,
        receives=receives,
        shape=place.shape,
        index=place.index,
        entry=(block.name, block.run),
        entry_index=block.entry.index,
    )


def _name_test(pattern: str, known: Collection[str]) -> Callable[[str], bool]:
    """Return what tells whether a name is meant: one that is known stands for itself alone."""
    return partial(eq if pattern in known else _matches, pattern)


def _matches(pattern: str, name: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
