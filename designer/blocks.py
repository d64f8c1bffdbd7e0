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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from designer.errors import InvalidInputError, ModelError, first_line

Inputs = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
"""What a model is called with: one tensor, several, or several by name; all (n, ...)."""

RESHAPING = re.compile(
    r"View|Reshape|Squeeze|Flatten|Pool|Mean|Transpose|Permute|Clone|Copy|Slice|Select"
)
"""Autograd nodes that hand a layer's output on without another activation."""

ACTIVATIONS = re.compile(
    r"[PR]relu|Relu|Gelu|Elu|Silu|Mish|Tanh|Sigmoid|Softplus|Hard(swish|tanh)|Clamp"
)

PASSING = re.compile(r"Pool|Flatten|Dropout|Identity")
"""Modules that do the same."""

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)

ATTENTION = nn.MultiheadAttention
"""Applies the weights of its ``out_proj`` by itself."""


@dataclass(frozen=True)
class Tap:
    """Where to look: at what the given run of a submodule gives, or at what it receives."""

    name: str
    """As reported."""
    kind: str
    """Class of the block."""
    module: str
    """Name of the submodule to hook."""
    run: int
    """Which of its runs in a forward pass, from 0."""
    receives: bool = False
    """Whether what it receives is meant, not what it gives."""
    shape: tuple[int, ...] = ()
    """Of what was seen there."""
    entry: tuple[str, int] = ("", 0)
    """The block itself and its run: where to look for what it receives."""

    @property
    def before(self) -> Tap:
        """Where to look for what the block receives."""
        return Tap("input", "", *self.entry, receives=True)


@dataclass(frozen=True)
class Candidate:
    """A part of the model that might be a block."""

    name: str
    kind: str
    shape: tuple[int, ...] | None
    """Of what it gives for one sample; None where that is no tensor."""
    chosen: bool
    reason: str
    """Why it is taken or not."""


@dataclass(eq=False)
class Call:
    """One run of a submodule within a forward pass."""

    name: str
    module: nn.Module
    run: int
    parent: Call | None
    children: list[Call] = field(default_factory=list)
    label: str = ""
    names: tuple[str, ...] = ()
    """By which it may be asked for."""
    received: Tensor | None = None
    received_node: Any = None
    output: Tensor | None = None
    node: Any = None
    """Of autograd, that made ``output``."""
    started: int = 0
    ended: int = 0

    @property
    def kind(self) -> str:
        return type(self.module).__name__

    @property
    def weighs(self) -> bool:
        """Whether it has weights, not only scales and shifts."""
        return not isinstance(self.module, EMBEDDINGS) and any(
            p.ndim >= 2 for p in self.module.parameters()
        )

    @property
    def compound(self) -> bool:
        """Whether it is made of parts, of which one has weights."""
        return any(child.weighs for child in self.children)

    @property
    def numbered(self) -> bool:
        """Whether it is one of a sequence."""
        return self.name.rpartition(".")[2].isdigit()

    @property
    def layers(self) -> tuple[str, ...]:
        """Classes of all that ran in it: what makes two blocks alike."""
        return (self.kind, *(kind for child in self.children for kind in child.layers))


class Trace:
    """All runs of submodules in one forward pass, and what flows past what."""

    def __init__(self, calls: Sequence[Call], output: object, sources: Iterable[Any]) -> None:
        self.calls = calls
        self.by_end = sorted(calls, key=lambda call: call.ended)
        self.top = [call for call in calls if call.parent is None]
        self.output = first_tensor(output)
        node = None if self.output is None else self.output.grad_fn
        self._through = _paths_through(node, sources)
        self._total = max(self._through.values(), default=0)
        self._place = {node: i for i, node in enumerate(self._through)}
        """Of autograd's nodes, from the output backwards."""

    def is_cut(self, node: Any) -> bool:
        """Whether all paths from input to output pass through ``node``."""
        return not self._total or self._through.get(node, 0) == self._total

    def leads_to(self, tap: Tap) -> bool:
        """Whether anything with weights runs before the tap's block."""
        name, run = tap.entry
        block = next(call for call in self.calls if (call.name, call.run) == (name, run))
        return any(call.weighs and call.ended < block.started for call in self.calls)

    def idle(self, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """Layers with weights that did not run, with their names."""
        ran = {call.module for call in self.calls}
        used = {call.module.out_proj for call in self.calls if isinstance(call.module, ATTENTION)}
        for name, module in submodules(model).items():
            parameters = module.parameters(recurse=False)
            if module not in ran | used and any(p.ndim >= 2 for p in parameters):
                yield name, module

    def on_path(self, node: Any) -> bool:
        """Whether any path does."""
        return not self._total or self._through.get(node, 0) > 0

    def gathers(self, node: Any, later: Any) -> bool:
        """Whether all paths pass through ``later``, and those through ``node`` go on to there."""
        known = node in self._place and later in self._place
        downstream = known and self._place[later] <= self._place[node]
        return downstream and self.on_path(node) and self.is_cut(later)

    def after(self, call: Call, *, weighs: bool = False) -> Call | None:
        """The first run to start once ``call`` has ended; with weights, if asked for."""
        later = (c for c in self.calls if c.started > call.ended)
        return next((c for c in later if c.weighs or not weighs), None)


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself where it is wrapped for parallel or compiled execution.

    Raises:
        ModelError: where it is not in Python any more.
    """
    while True:
        if isinstance(model, torch.jit.ScriptModule):
            raise ModelError(
                "Expected a module in Python, got one in TorchScript, which runs no hooks; pass "
                "the module that it was scripted from."
            )
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod  # type: ignore[assignment]
        else:
            return model


def arguments(inputs: Inputs) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Positional and named arguments to call a model with."""
    if isinstance(inputs, Tensor):
        return (inputs,), {}
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return tuple(inputs), {}


def tensors_of(inputs: Inputs) -> list[Tensor]:
    """All tensors of a batch of inputs."""
    args, named = arguments(inputs)
    return [*args, *named.values()]


def values_of(inputs: Inputs) -> list[Tensor]:
    """The floating tensors of a batch of inputs, less masks: those with a number per token."""
    tensors = tensors_of(inputs)
    tokens = [tensor.shape for tensor in tensors if not tensor.is_floating_point()]
    return [t for t in tensors if t.is_floating_point() and t.shape not in tokens]


def mapped(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """Inputs of the same form with every tensor changed."""
    if isinstance(inputs, Tensor):
        return change(inputs)
    if isinstance(inputs, Mapping):
        return {name: change(tensor) for name, tensor in inputs.items()}
    return tuple(map(change, inputs))


def called(model: nn.Module, inputs: Inputs) -> object:
    """What a model gives.

    Raises:
        ModelError: where it raises anything.
    """
    args, named = arguments(inputs)
    try:
        return model(*args, **named)
    except (Exception, SystemExit) as error:  # the model is the user's and may raise anything
        shapes = ", ".join(f"(n, {', '.join(map(str, t.shape[1:]))})" for t in tensors_of(inputs))
        raise ModelError(
            f"Expected {type(model).__name__} to run on inputs of shape {shapes}, but it raised "
            f"{type(error).__name__}: {first_line(error)}."
        ) from error


def submodules(model: nn.Module) -> dict[str, nn.Module]:
    """All submodules by each of their names, less the wrappers of compilation and what makes
    weights from others, such as a spectral norm."""
    named = model.named_modules(remove_duplicate=False)
    return {
        _clean(name): module
        for name, module in named
        if module is not model and "parametrizations" not in name.split(".")
    }


def first_tensor(value: object) -> Tensor | None:
    """The first floating tensor in what a module gives, ``logits`` before all others."""
    if isinstance(value, Tensor):
        return value if value.is_floating_point() else None
    if isinstance(value, Mapping):
        parts: Iterable[object] = (value.get("logits"), *value.values())
    elif isinstance(value, tuple | list):
        parts = value
    else:
        return None
    return next((t for t in map(first_tensor, parts) if t is not None), None)


@torch.inference_mode(mode=False)
def trace(model: nn.Module, inputs: Inputs, *, flow: bool) -> Trace:
    """Watch one forward pass; ``flow`` says whether to find out what flows past what."""
    recorder = _Recorder(model)
    values = values_of(inputs)
    leaves: list[Tensor] = []

    def leaf(tensor: Tensor) -> Tensor:
        copied = tensor.clone()
        if flow and any(tensor is value for value in values):
            leaves.append(copied.requires_grad_())
            return copied * 1  # a layer that works in place may not change a leaf
        return copied

    with torch.set_grad_enabled(flow), recorder:
        output = called(model, mapped(inputs, leaf))
    sources = [_leaf_node(tensor) for tensor in leaves] or recorder.embedded
    return Trace(recorder.calls, output, sources or recorder.first_received())


def matching(seen: Trace, model: nn.Module, patterns: Sequence[str]) -> list[Tap]:
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


def find_blocks(seen: Trace) -> tuple[list[Tap], list[Candidate]]:
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

    def result(self) -> tuple[list[Tap], list[Candidate]]:
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

    def _candidate(self, call: Call) -> Candidate:
        shape = None if call.output is None else tuple(call.output.shape[1:])
        chosen = call in self._taps
        reason = self._taken_because(call) if chosen else self._skipped_because(call)
        return Candidate(call.label, call.kind, shape, chosen, reason)

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


class _Recorder:
    """Hooks on all submodules that note each run."""

    def __init__(self, model: nn.Module) -> None:
        self.calls: list[Call] = []
        self.embedded: list[Any] = []
        """Autograd nodes of embeddings, where tokens become vectors."""
        self._model = model
        self._stack: list[Call] = []
        self._runs: Counter[nn.Module] = Counter()
        self._clock = 0
        self._handles: list[Any] = []
        self._names: dict[nn.Module, list[str]] = {}
        for name, module in submodules(model).items():
            self._names.setdefault(module, []).append(name)

    def __enter__(self) -> None:
        for module, names in self._names.items():
            self._handles += [
                module.register_forward_pre_hook(partial(self._start, names[0]), with_kwargs=True),
                module.register_forward_hook(self._end),
            ]

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        for call in self.calls:
            self._label(call)

    def first_received(self) -> list[Any]:
        """Autograd node of what the first part with weights received."""
        nodes = (c.received_node for c in self.calls if c.weighs and c.received_node is not None)
        return list(islice(nodes, 1))

    def _start(
        self, name: str, module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        parent = self._stack[-1] if self._stack else None
        received = first_tensor((*args, *named.values()))
        call = Call(name, module, self._runs[module], parent, received=received)
        call.received_node = None if received is None else received.grad_fn
        call.started = self._tick()
        self._runs[module] += 1
        self.calls.append(call)
        self._stack.append(call)
        if parent is not None:
            parent.children.append(call)

    def _end(self, module: nn.Module, _args: object, output: object) -> object:
        call = self._stack.pop()
        while call.module is not module:  # one that raised, and whose caller went on
            call = self._stack.pop()
        embedded = isinstance(module, EMBEDDINGS) and torch.is_grad_enabled()
        if embedded and isinstance(output, Tensor) and not output.requires_grad:  # frozen
            output = output.requires_grad_() * 1  # not the leaf, as above
        call.output = first_tensor(output)
        call.node = None if call.output is None else call.output.grad_fn
        call.ended = self._tick()
        if embedded:
            self.embedded.append(call.node)
        return output

    def _label(self, call: Call) -> None:
        """Its module's name; where that runs more than once, with the number of the run, unless
        it has a name for each."""
        names, runs = self._names[call.module], self._runs[call.module]
        if runs == 1:
            call.label, call.names = names[0], tuple(names)
        elif runs == len(names):
            call.label, call.names = names[call.run], (names[call.run],)
        else:
            call.label = f"{names[0]}#{call.run + 1}"
            call.names = (call.label, *names)

    def _tick(self) -> int:
        self._clock += 1
        return self._clock


def _paths_through(output: Any, sources: Iterable[Any]) -> dict[Any, int]:
    """Per autograd node, how many paths from the sources to the output pass through it."""
    if output is None:
        return {}
    order = _topological(output)
    to_output: Counter[Any] = Counter({output: 1})
    for node in order:
        for following, _ in node.next_functions:
            if following is not None:
                to_output[following] += to_output[node]
    wanted = set(sources)
    from_source: Counter[Any] = Counter()
    for node in reversed(order):
        from_source[node] = int(node in wanted) + sum(
            from_source[following] for following, _ in node.next_functions if following is not None
        )
    return {node: from_source[node] * to_output[node] for node in order}


def _topological(output: Any) -> list[Any]:
    """All nodes from the output backwards, each before those that it depends on."""
    done: set[Any] = set()
    order: list[Any] = []
    stack = [(output, False)]
    while stack:
        node, left = stack.pop()
        if left:
            order.append(node)
        elif node not in done:
            done.add(node)
            stack.append((node, True))
            stack += [(n, False) for n, _ in node.next_functions if n is not None and n not in done]
    return order[::-1]


def _leaf_node(leaf: Tensor) -> Any:
    """The autograd node that stands for a leaf."""
    with torch.enable_grad():
        node: Any = leaf.view_as(leaf).grad_fn
    return node.next_functions[0][0]


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


def _clean(name: str) -> str:
    """A submodule's name without the wrappers of compilation."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
