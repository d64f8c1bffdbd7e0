"""Record one forward pass: which submodule ran when, and what flows past what.

Hooks on every submodule note each of its runs (``Call``). What flows past what is read from the
graph that autograd records of the same pass, see ``designer.probing.flow``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from designer.errors import ModelError
from designer.probing.calling import (
    Inputs,
    call_model,
    first_tensor,
    floating_inputs,
    floating_tensors,
    map_tensors,
    samples_of,
    submodules,
    tensor_at,
    tensors_of,
    with_gaps,
)
from designer.probing.flow import Flow
from designer.probing.places import Place, place_in
from designer.probing.untouched import state_kept

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
"""Layers that turn tokens into vectors. Gradients begin behind them, so paths do, too."""


ATTENTION = nn.MultiheadAttention
"""Applies the weights of its ``out_proj`` by itself, so that no hook sees ``out_proj`` run."""


def weights_of(module: nn.Module) -> list[nn.Parameter]:
    """Return the weight matrices in a module, without scales, shifts and embeddings."""
    layers = (part for part in module.modules() if not isinstance(part, EMBEDDINGS))
    return [p for part in layers for p in part.parameters(recurse=False) if p.ndim > 1]


@dataclass(frozen=True)
class Tap:
    """A place to look at in a forward pass: what one run of a submodule gives or receives."""

    name: str
    """Name of the block in results."""
    kind: str
    """Class name of the block."""
    module: str
    """Name of the submodule to hook."""
    run: int
    """Which of the submodule's runs in a forward pass is meant, from 0."""
    receives: bool = False
    """True if the tap sees what the submodule receives, not what it gives."""
    shape: tuple[int, ...] = ()
    """Shape of the tensor that the traced pass had there, samples included."""
    index: int | None = None
    """Which of several floating tensors there is meant; None for the first."""
    entry: tuple[str, int] = ("", 0)
    """Name and run of the block itself; what that run receives is the block's input."""
    entry_index: int | None = None
    """Which of several floating tensors that the block receives is its input; None for the
    first."""

    @property
    def before(self) -> Tap:
        """The tap at what the block receives."""
        return Tap("input", "", *self.entry, receives=True, index=self.entry_index)


@dataclass(eq=False)
class Call:
    """One run of a submodule within a forward pass."""

    name: str
    """First of the submodule's names."""
    module: nn.Module
    run: int
    """Which of the submodule's runs it is, from 0."""
    parent: Call | None
    """The run within which it ran; None at the top."""
    children: list[Call] = field(default_factory=list)
    """Runs directly within it, in the order in which they started."""
    label: str = ""
    """Name in results: unique within the pass."""
    names: tuple[str, ...] = ()
    """All names by which a caller may ask for it."""
    received: Tensor | None = None
    """The floating tensor among its arguments that flows through it."""
    stream: int | None = None
    """Which of its ``arguments`` that is; None for the first with axes."""
    arguments: tuple[Tensor, ...] = ()
    """All floating tensors among its arguments."""
    received_node: Any = None
    """Autograd node that computed ``received``."""
    received_nodes: tuple[Any, ...] = ()
    """Autograd nodes that computed all floating tensors among its arguments."""
    entry: Place = field(default_factory=Place)
    """Which of its arguments to look at."""
    output: Tensor | None = None
    """First floating tensor in what it gave."""
    node: Any = None
    """Autograd node that computed ``output``."""
    value: Any = None
    """What it gave, with None in the place of tensors in tuples and lists that nothing uses."""
    nodes: tuple[Any, ...] = ()
    """Autograd nodes that computed the floating tensors in what it gave."""
    place: Place = field(default_factory=Place)
    """Which of the tensors that it gave to look at."""
    is_stacked: bool = False
    """True for each of several recurrent layers that hold most weights of a model; such a layer is
    a block by itself, and single layers before and behind it are none."""
    started: int = 0
    """Tick at which it started; starts and ends share one clock."""
    ended: int = 0
    """Tick at which it ended."""

    @property
    def origins(self) -> tuple[tuple[int, Any], ...]:
        """What tells its ``arguments`` apart; one that was changed in place is another one."""
        return tuple(zip(map(id, self.arguments), self.received_nodes, strict=True))

    @property
    def kind(self) -> str:
        """Class name of the submodule."""
        return type(self.module).__name__

    @property
    def has_weights(self) -> bool:
        """True if it has weight matrices, not only scales, shifts or embeddings."""
        return not isinstance(self.module, EMBEDDINGS) and any(
            p.ndim >= 2 for p in self.module.parameters()
        )

    @property
    def descendants(self) -> Iterator[Call]:
        """All that ran within it, at any depth."""
        for child in self.children:
            yield child
            yield from child.descendants

    @property
    def is_compound(self) -> bool:
        """True if a part with weights ran within it, or if it is a stacked recurrent layer."""
        return self.is_stacked or any(child.has_weights for child in self.children)

    @property
    def is_numbered(self) -> bool:
        """True if it is an element of a list or sequence, whose names end in a number."""
        return self.name.rpartition(".")[2].isdigit()

    @property
    def structure(self) -> tuple[str, ...]:
        """Class names of all that ran in it; blocks of equal structure are alike."""
        return (self.kind, *(kind for child in self.children for kind in child.structure))


class Trace:
    """All runs of submodules in one forward pass, and what flows past what.

    Attributes:
        calls: in the order in which they started.
        by_end: the same in the order in which they ended.
        top: those that ran within no other.
        output: the first floating tensor that the model gave; None if there was none.
        samples: number of samples in the pass.
    """

    def __init__(
        self,
        calls: Sequence[Call],
        output: object,
        sources: Iterable[Collection[Any]],
        samples: int,
    ) -> None:
        self.calls = calls
        self.samples = samples
        _mark_stacked(calls)
        self.by_end = sorted(calls, key=lambda call: call.ended)
        self.top = [call for call in calls if call.parent is None]
        self.output = first_tensor(output)
        node = None if self.output is None else self.output.grad_fn
        self._flow = Flow(node, sources)
        for call in calls:
            self._leave_out_unused(call)
        self._passed: dict[Call, bool] = {}
        """Calls of which it is known whether everything passes through them."""

    def is_cut(self, node: Any) -> bool:
        """True if all paths from an input to the output pass through ``node``."""
        return self._flow.is_cut(node)

    def _leave_out_unused(self, call: Call) -> None:
        """Put None in the place of what a run gave and nothing uses, and look at what is used."""
        unused = {id(t) for t in floating_tensors(call.value) if self._is_unused(call, t)}
        if id(call.output) in unused:
            call.place = place_in(call.value, self.samples, unused)
            call.output = tensor_at(call.value, call.place.index)
            call.node = getattr(call.output, "grad_fn", None)
        call.value = with_gaps(call.value, unused)

    def _is_unused(self, call: Call, tensor: Tensor) -> bool:
        """True if no path leads to the output from a tensor that a run gave.

        Paths through others that it gave, as from an attention map, count only for what is like
        something that it received, such as a second stream. What has no gradient may be used.
        """
        is_stream = any(tensor.shape == received.shape for received in call.arguments)
        others = set() if is_stream else {*call.nodes} - {tensor.grad_fn}
        return tensor.grad_fn is not None and not self._flow.leads_past(others, tensor.grad_fn)

    def passes_through(self, call: Call) -> bool:
        """True if all paths from an input to the output pass through what a run gave.

        It may give several tensors, such as a list of maps or a last state: then all count.
        """
        if call.output is None:
            return False
        if call not in self._passed:
            nodes = {node for node in call.nodes if self.on_path(node)}
            self._passed[call] = (
                any(map(self.is_cut, {call.node, *nodes}))
                or (len(nodes) > 1 and self._flow.is_cut_together(nodes))
                or (bool(nodes) and self._passes_with_shared(call, nodes))
            )
        return self._passed[call]

    def _passes_with_shared(self, call: Call, nodes: set[Any]) -> bool:
        """True if all paths pass through what a run gave or what all runs like it receive.

        The blocks of a list may all receive one more tensor, such as a query for the whole stage.
        It is a further input of them, and flows past none. Without the blocks, other paths must
        remain: a tensor through which everything passes says nothing of the blocks behind it.
        """
        if not call.is_numbered:
            return False
        beside = self.top if call.parent is None else call.parent.children
        alike = [other for other in beside if other.is_numbered and other.kind == call.kind]
        if len(alike) < 2:
            return False
        shared = set.intersection(
            *(set(other.received_nodes) - {other.received_node, None} for other in alike)
        )
        shared = {node for node in shared if self.on_path(node)}
        return (
            bool(shared)
            and not self._flow.is_cut_together(shared)
            and self._flow.is_cut_together(nodes | shared)
        )

    def on_path(self, node: Any) -> bool:
        """True if any path from an input to the output passes through ``node``, or none is
        known."""
        return self._flow.on_path(node)

    def merges_at(self, node: Any, later: Any) -> bool:
        """True if ``later`` is a cut downstream of ``node``, so that it gathers what ``node`` gave
        and what flowed past it."""
        return self._flow.merges_at(node, later)

    def has_layers_before(self, tap: Tap) -> bool:
        """True if anything with weights runs before the tap's block."""
        name, run = tap.entry
        block = next(call for call in self.calls if (call.name, call.run) == (name, run))
        return any(call.has_weights and call.ended < block.started for call in self.calls)

    def idle_layers(self, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """Yield the names and modules of layers with weights that did not run."""
        ran = {call.module for call in self.calls}
        used = {call.module.out_proj for call in self.calls if isinstance(call.module, ATTENTION)}
        for name, module in submodules(model).items():
            parameters = module.parameters(recurse=False)
            if module not in ran | used and any(p.ndim >= 2 for p in parameters):
                yield name, module

    def next_call(self, call: Call, *, with_weights: bool = False) -> Call | None:
        """Return the first run, or the first with weights, that started after ``call`` ended.

        None if there is none.
        """
        later = (c for c in self.calls if c.started > call.ended)
        return next((c for c in later if c.has_weights or not with_weights), None)


@torch.inference_mode(mode=False)
def trace_forward(model: nn.Module, inputs: Inputs, *, flow: bool) -> Trace:
    """Run a model once and record what ran.

    Args:
        model: unwrapped, in eval mode. Its gradients stay as they are.
        inputs: a few samples, as the model takes them; left as they are.
        flow: whether to record autograd's graph, which tells what flows past what. Without it
            every part counts as a cut.

    Raises:
        ModelError: if the model raises.
    """
    try:
        return _traced(model, inputs, flow=flow, forced=flow)
    except ModelError:
        if not flow:
            raise
        return _traced(model, inputs, flow=flow, forced=False)  # what it does may need them off


def _traced(model: nn.Module, inputs: Inputs, *, flow: bool, forced: bool) -> Trace:
    """Trace a model, with gradients also where it turns them off if that is forced."""
    samples = samples_of(inputs)
    recorder = _Recorder(model, samples, forced=forced)
    values = floating_inputs(inputs)
    leaves: list[Tensor] = []

    def leaf(tensor: Tensor) -> Tensor:
        copied = tensor.clone()
        if flow and any(tensor is value for value in values):
            leaves.append(copied.requires_grad_())
            return copied * 1  # autograd refuses layers that change a leaf in place
        return copied

    # what the model keeps of this pass would belong to its graph
    with state_kept(list(model.modules())), torch.set_grad_enabled(flow), recorder:
        output = call_model(model, map_tensors(inputs, leaf))
    tokens = [tensor for tensor in tensors_of(inputs) if not tensor.is_floating_point()]
    return Trace(recorder.calls, output, recorder.sources(leaves, tokens), samples)


class _Recorder:
    """Hooks on all submodules that note each run."""

    def __init__(self, model: nn.Module, samples: int, *, forced: bool) -> None:
        self._forced = forced
        self.calls: list[Call] = []
        self._samples = samples
        self.embedded: list[tuple[Any, Tensor]] = []
        """Autograd node of what each embedding gave, with the tokens that it received."""
        self._stack: list[Call] = []
        """Runs under way, outermost first."""
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
                module.register_forward_hook(self._end, with_kwargs=True),
            ]

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        for call in self.calls:
            self._label(call)
        _find_streams(self.calls)

    def sources(self, leaves: Sequence[Tensor], tokens: Sequence[Tensor]) -> Iterator[list[Any]]:
        """Yield groups of nodes at which paths may begin, the best first.

        Paths begin at floating inputs. Tokens have no gradient, so theirs begin behind the
        embeddings that receive them. Other embeddings, such as those of relative positions, which
        every layer receives, say nothing of the input; they count if no embedding receives the
        tokens as they are. Where an input is rounded to tokens, or tokens become floats without
        any embedding, paths begin at the first part with weights.
        """
        fed = [
            node for node, ids in self.embedded if any(torch.equal(ids.to(t), t) for t in tokens)
        ]
        yield [*map(_leaf_node, leaves), *fed]
        rows = {len(tensor) for tensor in (*leaves, *tokens)}
        yield [node for node, ids in self.embedded if ids.ndim > 0 and len(ids) in rows]
        yield [node for node, _ in self.embedded]
        weighted = [call for call in self.calls if call.has_weights]
        yield [call.received_node for call in weighted[:1] if call.received_node is not None]
        layers = [call for call in weighted if not call.is_compound]
        yield [call.node for call in layers[:1] if call.node is not None]

    def _start(
        self, name: str, module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        if self._forced:  # also where the model turns gradients off, as for a frozen backbone
            torch.set_grad_enabled(True)
        parent = self._stack[-1] if self._stack else None
        arguments = (*args, *named.values())
        received = first_tensor(arguments)
        call = Call(name, module, self._runs[module], parent, received=received)
        call.entry = place_in(arguments, self._samples)
        call.received_node = None if received is None else received.grad_fn
        call.arguments = tuple(floating_tensors(arguments))
        call.received_nodes = tuple(tensor.grad_fn for tensor in call.arguments)
        call.started = self._tick()
        self._runs[module] += 1
        self.calls.append(call)
        self._stack.append(call)
        if parent is not None:
            parent.children.append(call)

    def _end(
        self, module: nn.Module, args: tuple[Any, ...], named: dict[str, Any], output: object
    ) -> object:
        call = self._stack.pop()
        while call.module is not module:  # a part inside it raised, so no hook saw that part end
            call = self._stack.pop()
        embedded = isinstance(module, EMBEDDINGS) and torch.is_grad_enabled()
        if embedded and isinstance(output, Tensor) and not output.requires_grad:
            # a frozen embedding records no node; times 1, because no layer may change a leaf
            output = output.requires_grad_() * 1
        call.output = first_tensor(output)
        call.node = None if call.output is None else call.output.grad_fn
        call.value = output
        call.nodes = tuple(tensor.grad_fn for tensor in floating_tensors(output))
        call.place = place_in(output, self._samples, _handed_through(call, args, named))
        call.ended = self._tick()
        if embedded:
            ids = next((value for value in args if isinstance(value, Tensor)), torch.empty(0))
            self.embedded.append((call.node, ids))
        return output

    def _label(self, call: Call) -> None:
        """Name a run after its module.

        The runs of a module that runs several times are numbered. But if it is registered under
        exactly as many names, these name its runs in order.
        """
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


def _find_streams(calls: Iterable[Call]) -> None:
    """Let the runs of a list receive what differs between them, where something else comes first.

    What all of them receive, as in ``block(condition, x)``, is no input that flows through them.
    """
    lists: dict[tuple[Call | None, str], list[Call]] = {}
    for call in calls:
        if call.is_numbered:
            lists.setdefault((call.parent, call.kind), []).append(call)
    for alike in lists.values():
        shared = set.intersection(*(set(call.origins) for call in alike))
        same_form = len({len(call.arguments) for call in alike}) == 1
        for call in alike if len(alike) > 1 and same_form else ():
            first = next((i for i, t in enumerate(call.arguments) if t is call.received), None)
            if call.output is None or first is None or call.origins[first] not in shared:
                continue
            like_output = (
                (i, tensor)
                for i, tensor in enumerate(call.arguments)
                if call.origins[i] not in shared and tensor.shape == call.output.shape
            )
            for index, tensor in islice(like_output, 1):
                call.stream, call.entry = index, Place(index, tuple(tensor.shape))
                call.received, call.received_node = tensor, call.received_nodes[index]


def _handed_through(call: Call, args: tuple[Any, ...], named: dict[str, Any]) -> set[int]:
    """Return the ids of the tensors that a run received and has not changed in place."""
    tensors = floating_tensors((*args, *named.values()))
    nodes = call.received_nodes
    return {id(t) for t, node in zip(tensors, nodes, strict=False) if t.grad_fn is node}


def _mark_stacked(calls: Sequence[Call]) -> None:
    recurrent = [call for call in calls if isinstance(call.module, nn.RNNBase)]
    held = sum(_weight({call.module for call in recurrent}))
    if len(recurrent) > 1 and 2 * held >= sum(_weight({c.module for c in calls if not c.parent})):
        for call in recurrent:
            call.is_stacked = True


def _weight(modules: Iterable[nn.Module]) -> Iterator[int]:
    return (weight.numel() for module in modules for weight in weights_of(module))


def _leaf_node(leaf: Tensor) -> Any:
    """Return the autograd node that stands for a leaf tensor, which has no ``grad_fn`` itself."""
    with torch.enable_grad():
        node: Any = leaf.view_as(leaf).grad_fn
    return node.next_functions[0][0]
