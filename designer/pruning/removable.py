"""Which blocks of a model can be removed, how, and why the others cannot.

A block can go where what it receives can stand for what it gives: where both have the same shape,
or where the next layer that everything passes through is linear (a ``Linear`` or a convolution)
and can be fitted to the other width.  Every block is tried, alone, on a few samples.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from designer.errors import ModelError, first_line
from designer.models.size import size_of_model
from designer.models.surgery import Form, Removal, Way, form_of, places_of, remove
from designer.probing.blocks import RESHAPING
from designer.probing.calling import (
    Inputs,
    arguments,
    first_tensor,
    map_tensors,
    submodules,
    tensors_of,
)
from designer.probing.probes import taps_of
from designer.probing.tracing import Call, Tap, trace_forward
from designer.probing.untouched import untouched

Fitted = nn.Linear | nn.Conv2d
"""Layers that can be fitted to another input by least squares."""


FIT_WIDTH = 4096
"""The most features that a layer is fitted to."""


SUMS = re.compile(r"^(Add|Sub)Backward")
"""Autograd nodes that add."""


SCALING = re.compile(f"{RESHAPING.pattern}|^(Mul|Div)Backward")
"""Autograd nodes that make zeros of zeros."""


@dataclass(frozen=True)
class Removable:
    """One block, and what it takes to remove it."""

    name: str
    kind: str
    place: int
    """In running order, from 0."""
    removals: tuple[Removal, ...]
    """Of its parts; empty where it must stay."""
    consumers: tuple[str, ...]
    """Names of the layers behind it, in running order, that can be fitted again."""
    refit: bool
    """Whether the first of them must be, since the width changes."""
    reason: str
    """Why it must stay, or how it goes."""

    @property
    def can_go(self) -> bool:
        return bool(self.removals)


def removable_blocks(
    model: nn.Module, few: Inputs, blocks: Sequence[str] | None = None
) -> list[Removable]:
    """Every block of a model in running order.

    Args:
        model: unwrapped, in eval mode; left as it was.
        few: a few samples, as the model takes them.
        blocks: see ``designer.profile``.

    Raises:
        InvalidInputError: where there are no blocks, or those that are named are not there.
        ModelError: where the model raises.
    """
    with untouched(model):
        _, taps = taps_of(model, few, blocks)
        return _Trial(model, few).of_all(taps)


def names_left(
    found: Sequence[Removable], removed: Sequence[str], blocks: Sequence[str] | None
) -> list[str] | None:
    """Names of the blocks that are left, where the caller named blocks; else None."""
    return None if blocks is None else [one.name for one in found if one.name not in removed]


class _Stays(Exception):
    """Why a block must."""


class _Trial:
    """Tries to remove one block after the other."""

    def __init__(self, model: nn.Module, few: Inputs) -> None:
        self._model, self._few = model, few
        self._samples = len(tensors_of(few)[0])
        self._seen = trace_forward(model, few, flow=True)
        self._known = submodules(model)
        self._runs = Counter(call.module for call in self._seen.calls)
        self._takers = _takers(None if self._seen.output is None else self._seen.output.grad_fn)
        self._users = _users(model)
        self._deleting: set[nn.Module] = set()
        """Lists from which blocks have to be deleted, since somebody looks into them."""
        self._forms: dict[nn.Module, Form | None] = {}
        with _hooked(self._known.values(), self._note_form):
            self._shape = self._run().shape
        self._flops = self._count_flops()

    def of_all(self, taps: Sequence[Tap]) -> list[Removable]:
        """What became of every tap's block; of one list all go in the same way."""
        found = [self._of(tap, place) for place, tap in enumerate(taps)]
        deleted = [r.block for one in found for r in one.removals if r.way is Way.DELETE]
        if not deleted:
            return found
        self._deleting = {self._parent(self._known[name]) for name in deleted}
        return [self._of(tap, place) for place, tap in enumerate(taps)]

    def _of(self, tap: Tap, place: int) -> Removable:
        call = self._call(*tap.entry)
        parts = self._parts(call, tap)
        stays = partial(Removable, tap.name, tap.kind, place, (), (), refit=False)
        why_not = self._fixed(call, parts)
        if why_not:
            return stays(reason=why_not)
        consumers = self._consumers(parts)
        reasons = []
        for way in self._ways(call):
            removals = self._removals(parts, way)
            try:
                refit = self._tried(parts, removals, consumers)
            except Exception as error:  # noqa: BLE001 - the model is the user's and may raise anything
                reasons.append(self._why(parts, error))
            else:
                how = _how(way, consumers, refit=refit)
                return Removable(tap.name, tap.kind, place, removals, consumers, refit, how)
        return stays(reason=reasons[0])

    def _fixed(self, call: Call, parts: list[Call]) -> str:
        """Why the block cannot go, whatever is put in its place; empty where nothing speaks
        against trying."""
        runs = self._runs[call.module]
        if runs > 1:
            return f"it runs {runs} times with the same weights, so removing it once frees nothing"
        if len(places_of(self._model, call.module)) != 1:
            return "it stands in several places of the model"
        if self._forms.get(call.module) is None:
            return "it gives more than one tensor, and what replaces it could give only one"
        if not any(True for part in parts for _ in part.module.parameters()):
            return "it has no weights, so removing it frees nothing"
        if not self._freed(parts):
            return "all its weights are tied to other layers, so removing it frees nothing"
        return ""

    def _freed(self, parts: Sequence[Call]) -> int:
        """Parameters that nothing but these parts uses."""
        inside = {module for part in parts for module in part.module.modules()}
        own = {p for module in inside for p in module.parameters(recurse=False)}
        return sum(p.numel() for p in own if self._users[p] <= inside)

    def _parts(self, call: Call, tap: Tap) -> list[Call]:
        """The block itself, and for a row of layers what follows up to where it is seen: norm,
        activation, dropout."""
        if tap.receives or (tap.module, tap.run) == tap.entry:
            return [call]
        last = self._call(tap.module, tap.run)
        between = [
            c
            for c in self._seen.calls
            if c.parent is call.parent and call.ended < c.started and c.ended <= last.ended
        ]
        return [call, *(c for c in between if self._runs[c.module] == 1)]

    def _consumers(self, parts: Sequence[Call]) -> tuple[str, ...]:
        """Linear layers and convolutions behind a block that everything passes through."""
        gone = {module for part in parts for module in part.module.modules()}
        return tuple(
            c.name
            for c in self._seen.calls
            if c.started > parts[-1].ended
            and _fittable(c.module)
            and self._users[c.module.get_parameter("weight")] <= gone | {c.module}
            and self._runs[c.module] == 1
            and c.node is not None
            and self._seen.is_cut(c.node)
            and self._seen.is_cut(c.received_node)
        )

    def _ways(self, call: Call) -> Iterator[Way]:
        stand_in = Way.ZERO if self._is_added(call) else Way.PASS
        parent = self._parent(call.module)
        if parent not in self._deleting:
            yield stand_in
        if isinstance(parent, nn.ModuleList):
            yield Way.DELETE
        if parent in self._deleting:
            yield stand_in

    def _is_added(self, call: Call) -> bool:
        """Whether what the block gives is added, outside of it, to what flows past it."""
        node = call.node
        takers = [] if self._seen.is_cut(node) else self._takers.get(node, [])
        while len(takers) == 1:
            before, node = node, takers[0]
            if SUMS.search(node.name()):
                summands = [given for given, _ in node.next_functions if given is not before]
                return any(self._seen.on_path(given) for given in summands)
            takers = self._takers[node] if SCALING.search(node.name()) else []
        return False

    def _parent(self, module: nn.Module) -> nn.Module:
        return places_of(self._model, module)[0][0]

    def _removals(self, parts: Sequence[Call], way: Way) -> tuple[Removal, ...]:
        first, *rest = parts
        form = self._forms.get(first.module) or Form()
        return (
            Removal(first.name, way, form),
            *(Removal(part.name, Way.PASS, Form()) for part in rest),
        )

    def _tried(
        self, parts: Sequence[Call], removals: Sequence[Removal], consumers: tuple[str, ...]
    ) -> bool:
        """Remove the block for a while; whether the first consumer has to be fitted to another
        width.

        Raises:
            _Stays: where it must stay.
            Exception: what the model raises without it.
        """
        first = self._call(consumers[0], 0) if consumers else None
        dense = None if first is None else received(self._model, first.module, self._few)
        with without(self._model, removals):
            found = None if first is None else received(self._model, first.module, self._few)
            if first is None or dense is None or found is None or found.shape == dense.shape:
                self._check_rest()
                return False
            self._check_fit(first, dense, found, self._freed(parts))
            with _handed(first.module, dense):  # what it will give once it is fitted
                self._check_rest(more=_growth(first, found) * 2 * _rows_of(first))
            return True

    def _check_fit(self, first: Call, dense: Tensor, found: Tensor, freed: int) -> None:
        """Whether fitting the first consumer to what it receives is possible, and worth it."""
        if not _fits(first, dense, found):
            raise _Stays(
                f"'{first.name}', the next layer, would receive {self._shown(found)} instead of "
                f"{self._shown(dense)}"
            )
        width = fitted_width(first.module, found)
        if width > FIT_WIDTH:
            raise _Stays(
                f"'{first.name}', the next layer, would have to be fitted to {width:,} features, "
                f"and the most are {FIT_WIDTH:,}"
            )
        grown = _growth(first, found)
        if grown >= freed:
            raise _Stays(
                f"'{first.name}', fitted to it, would grow by {grown:,} parameters, and only "
                f"{freed:,} would be freed"
            )

    def _check_rest(self, *, more: int = 0) -> None:
        """Whether the model without the block, of which a layer needs ``more`` operations than
        now, gives what it gave at less cost."""
        if self._run().shape != self._shape:
            raise _Stays("the model's output changes shape")
        flops = self._count_flops() + more
        if flops > self._flops:
            now, then = (count // self._samples for count in (self._flops, flops))
            raise _Stays(f"without it the model would need {then:,} operations instead of {now:,}")

    def _count_flops(self) -> int:
        return size_of_model(self._model, map_tensors(self._few, torch.clone)).flops

    def _run(self) -> Tensor:
        args, named = arguments(map_tensors(self._few, torch.clone))
        with torch.no_grad():
            output = first_tensor(self._model(*args, **named))
        if output is None:
            raise ModelError("Expected the model to give a floating tensor, got none.")
        return output

    def _note_form(self, module: nn.Module, _args: object, output: object) -> None:
        self._forms[module] = form_of(output)

    def _call(self, name: str, run: int) -> Call:
        return next(c for c in self._seen.calls if (c.name, c.run) == (name, run))

    def _why(self, parts: Sequence[Call], error: Exception) -> str:
        """Why a block must stay: what was raised without it, or where what it gives has another
        shape than what it takes, that."""
        takes, gives = parts[0].received, parts[-1].output
        said = str(error) if isinstance(error, _Stays) else ""
        if takes is None or gives is None or takes.shape[1:] == gives.shape[1:]:
            return (
                said or f"without it the model raises {type(error).__name__} ({first_line(error)})"
            )
        shapes = f"it takes {self._shown(takes)} and gives {self._shown(gives)}"
        return f"{shapes}: {said}" if said else f"{shapes}, which what follows needs"

    def _shown(self, tensor: Tensor) -> str:
        """A shape, with n for the number of samples."""
        rows, *others = tensor.shape
        times, rest = divmod(rows, self._samples)
        first = str(rows) if rest or not times else "n" if times == 1 else f"{times}n"
        return f"({', '.join([first, *map(str, others)])})"


@contextmanager
def without(model: nn.Module, removals: Sequence[Removal]) -> Iterator[None]:
    """The model with blocks removed; on leaving they are back."""
    before = [(module, dict(module._modules)) for module in model.modules()]
    names = {key: value for key, value in vars(model).items() if key == "block_names"}
    try:
        remove(model, removals)
        yield
    finally:
        vars(model).pop("block_names", None)
        vars(model).update(names)
        for module, children in before:
            module._modules.clear()
            module._modules.update(children)


class _Reached(Exception):
    """The forward pass has come far enough."""


@torch.no_grad()
def received(model: nn.Module, module: nn.Module, inputs: Inputs) -> Tensor:
    """What a module receives in a forward pass of the model, which ends there.

    Raises:
        ModelError: where the module does not run, or receives no tensor.
    """
    seen: list[Tensor | None] = []

    def stop(_module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.append(first_tensor((*args, *named.values())))
        raise _Reached

    handle = module.register_forward_pre_hook(stop, with_kwargs=True)
    # a first layer that works in place must not change the data
    args, named = arguments(map_tensors(inputs, torch.clone))
    try:
        model(*args, **named)
    except _Reached:
        pass
    finally:
        handle.remove()
    if not seen or seen[0] is None:
        raise ModelError(f"Expected {type(module).__name__} to run and receive a tensor.")
    return seen[0]


@contextmanager
def _handed(module: nn.Module, tensor: Tensor) -> Iterator[None]:
    """The module receives ``tensor`` whatever is handed to it."""
    handle = module.register_forward_pre_hook(lambda *_: ((tensor,), {}), with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _hooked(modules: Any, hook: Callable[..., None]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module in set(modules)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _takers(output: Any) -> dict[Any, list[Any]]:
    """Per autograd node those that take what it gives, of all that lead to ``output``."""
    found: dict[Any, list[Any]] = {output: []}
    waiting = [] if output is None else [output]
    while waiting:
        node = waiting.pop()
        for given in {given for given, _ in node.next_functions if given is not None}:
            if given not in found:
                waiting.append(given)
            found.setdefault(given, []).append(node)
    return found


def _users(model: nn.Module) -> dict[Any, set[nn.Module]]:
    """Per parameter the modules that have it for their own."""
    found: dict[Any, set[nn.Module]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            found.setdefault(parameter, set()).add(module)
    return found


def _fittable(layer: nn.Module) -> bool:
    """Whether least squares can find the weights of such a layer, and they are its own."""
    if type(layer) not in Fitted.__args__ or "weight" not in layer._parameters:
        return False
    return not isinstance(layer, nn.Conv2d) or layer.groups == 1


def _fits(layer: Call, dense: Tensor, found: Tensor) -> bool:
    """Whether a layer fitted to what it receives now could give what it gave."""
    channels = _channel_axis(layer.module) % dense.ndim
    return found.ndim == dense.ndim and all(
        found.shape[i] == dense.shape[i] for i in range(dense.ndim) if i != channels
    )


def _channel_axis(layer: nn.Module) -> int:
    return 1 if isinstance(layer, nn.Conv2d) else -1


def fitted_width(layer: nn.Module, x: Tensor) -> int:
    """Weights per output that a layer has once it is fitted to ``x``, its bias left out."""
    kernel = layer.get_parameter("weight")[0, 0].numel()
    return x.shape[_channel_axis(layer)] * kernel


def _growth(layer: Call, found: Tensor) -> int:
    """Parameters that it would have more."""
    weight: Any = layer.module.weight
    return len(weight) * fitted_width(layer.module, found) - int(weight.numel())


def _rows_of(layer: Call) -> int:
    """Rows or positions in what it gives for the samples."""
    return 0 if layer.output is None else layer.output.numel() // len(layer.module.weight)  # type: ignore[arg-type]


def _how(way: Way, consumers: tuple[str, ...], *, refit: bool) -> str:
    if refit:
        return f"'{consumers[0]}' is fitted to what it receives"
    return {
        Way.PASS: "what it receives is handed on",
        Way.ZERO: "what flows past it goes on alone",
        Way.DELETE: "it is taken out of its list",
    }[way]
