"""Record one forward pass: which module was called when, and how its tensors are connected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from designer.probing.calling import (
    Inputs,
    call_model,
    first_tensor,
    floating_inputs,
    map_tensors,
    submodules,
)

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


@torch.inference_mode(mode=False)
def trace_forward(model: nn.Module, inputs: Inputs, *, flow: bool) -> Trace:
    """Watch one forward pass; ``flow`` says whether to find out what flows past what."""
    recorder = _Recorder(model)
    values = floating_inputs(inputs)
    leaves: list[Tensor] = []

    def leaf(tensor: Tensor) -> Tensor:
        copied = tensor.clone()
        if flow and any(tensor is value for value in values):
            leaves.append(copied.requires_grad_())
            return copied * 1  # a layer that works in place may not change a leaf
        return copied

    with torch.set_grad_enabled(flow), recorder:
        output = call_model(model, map_tensors(inputs, leaf))
    sources = [_leaf_node(tensor) for tensor in leaves] or recorder.embedded
    return Trace(recorder.calls, output, sources or recorder.first_received())


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
