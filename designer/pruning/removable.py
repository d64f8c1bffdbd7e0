"""Which blocks of a model can be removed, how, and why the others cannot.

A block can go where what it receives can stand for what it gives: where both have the same shape,
or where the next layer that everything passes through is linear (a ``Linear`` or a convolution)
and can be fitted to the other width.  Every block is tried, alone, on a few samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from designer.blocks import Call, Inputs, Tap, arguments, first_tensor, submodules, trace
from designer.errors import first_line
from designer.probes import taps_of, untouched
from designer.surgery import Form, Removal, Way, form_of, places_of, remove

FITTED = (nn.Linear, nn.Conv2d)
"""Layers that can be fitted to another input by least squares."""


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
        trial = _Trial(model, few)
        return [trial.of(tap, place) for place, tap in enumerate(taps)]


def names_left(
    found: Sequence[Removable], removed: Sequence[str], blocks: Sequence[str] | None
) -> list[str] | None:
    """Names of the blocks that are left, where the caller named blocks; else None."""
    return None if blocks is None else [one.name for one in found if one.name not in removed]


class _Trial:
    """Tries to remove one block after the other."""

    def __init__(self, model: nn.Module, few: Inputs) -> None:
        self._model, self._few = model, few
        self._seen = trace(model, few, flow=True)
        self._known = submodules(model)
        self._forms: dict[nn.Module, Form | None] = {}
        with _hooked(self._known.values(), self._note_form):
            self._shape = self._run().shape

    def of(self, tap: Tap, place: int) -> Removable:
        """What became of the tap's block."""
        call = self._call(*tap.entry)
        parts = self._parts(call, tap)
        stays = partial(Removable, tap.name, tap.kind, place, (), (), refit=False)
        why_not = self._fixed(call, parts)
        if why_not:
            return stays(reason=why_not)
        consumers = self._consumers(parts[-1])
        said = ""
        for way in self._ways(call, tap):
            removals = self._removals(parts, way)
            refit, problem = self._tried(removals, consumers)
            if not problem:
                how = _how(way, consumers, refit=refit)
                return Removable(tap.name, tap.kind, place, removals, consumers, refit, how)
            said = said or problem
        return stays(reason=_in_shapes(call, tap, said))

    def _fixed(self, call: Call, parts: list[Call]) -> str:
        """Why the block cannot go, whatever is put in its place; empty where nothing speaks
        against trying."""
        runs = sum(other.module is call.module for other in self._seen.calls)
        if runs > 1:
            return f"it runs {runs} times with the same weights, so removing it once frees nothing"
        if len(places_of(self._model, call.module)) != 1:
            return "it stands in several places of the model"
        if self._forms.get(call.module) is None:
            return "it gives more than one tensor, and what replaces it could give only one"
        inside = {id(p) for part in parts for p in part.module.parameters()}
        parents = {part.module for part in parts}
        outside = {
            id(p)
            for module in self._model.modules()
            if not any(module in parent.modules() for parent in parents)
            for p in module.parameters(recurse=False)
        }
        if inside and inside <= outside:
            return "all its weights are tied to other layers, so removing it frees nothing"
        return ""

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
        own = [c for c in between if sum(o.module is c.module for o in self._seen.calls) == 1]
        return [call, *own]

    def _consumers(self, last: Call) -> tuple[str, ...]:
        """Linear layers and convolutions behind a block that everything passes through."""
        counts = [c.module for c in self._seen.calls]
        return tuple(
            c.name
            for c in self._seen.calls
            if c.started > last.ended
            and type(c.module) in FITTED
            and counts.count(c.module) == 1
            and c.node is not None
            and self._seen.is_cut(c.node)
            and self._seen.is_cut(c.received_node)
        )

    def _ways(self, call: Call, tap: Tap) -> Iterator[Way]:
        if tap.receives and self._adds_outside(call, tap):
            yield Way.ZERO
        yield Way.PASS
        if isinstance(places_of(self._model, call.module)[0][0], nn.ModuleList):
            yield Way.DELETE

    def _adds_outside(self, call: Call, tap: Tap) -> bool:
        """Whether what the block gives is added to what it received, outside of any module."""
        wanted = call.received
        removals = self._removals([call], Way.ZERO)
        seen: list[Tensor | None] = []

        def note(_module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
            seen.append(first_tensor((*args, *named.values())))

        handle = self._known[tap.module].register_forward_pre_hook(note, with_kwargs=True)
        try:
            with without(self._model, removals):
                self._run()
        except Exception:  # noqa: BLE001 - the model is the user's and may raise anything
            return False
        finally:
            handle.remove()
        found = seen[tap.run] if tap.run < len(seen) else None
        return found is not None and wanted is not None and torch.equal(found, wanted)

    def _removals(self, parts: list[Call], way: Way) -> tuple[Removal, ...]:
        first, *rest = parts
        form = self._forms.get(first.module) or Form()
        return (
            Removal(first.name, way, form),
            *(Removal(part.name, Way.PASS, Form()) for part in rest),
        )

    def _tried(self, removals: tuple[Removal, ...], consumers: tuple[str, ...]) -> tuple[bool, str]:
        """Whether the first consumer has to be fitted to another width, and what speaks against
        removing the block this way."""
        dense = self._received(consumers)
        try:
            with without(self._model, removals):
                found = self._received(consumers)
                if found is None or dense is None or found.shape == dense.shape:
                    shape = self._run().shape
                    return False, "" if shape == self._shape else "the model's output changes shape"
        except Exception as error:  # noqa: BLE001 - the model is the user's and may raise anything
            return (
                False,
                f"without it the model raises {type(error).__name__} ({first_line(error)})",
            )
        first = self._known[consumers[0]]
        if not _fits(first, dense, found):
            return False, (
                f"'{consumers[0]}', the next layer, would receive {_shown(found)} instead of "
                f"{_shown(dense)}"
            )
        freed = _freed(self._known, removals)
        grown = _growth(first, found)
        if grown >= freed:
            return False, (
                f"'{consumers[0]}', fitted to it, would grow by {grown:,} parameters, and only "
                f"{freed:,} would be freed"
            )
        return True, ""

    def _received(self, consumers: tuple[str, ...]) -> Tensor | None:
        """What the first consumer receives; None without any."""
        if not consumers:
            return None
        return received(self._model, self._known[consumers[0]], self._few)

    def _run(self) -> Tensor:
        args, named = arguments(self._few)
        with torch.no_grad():
            output = first_tensor(self._model(*args, **named))
        if output is None:
            raise ValueError("it gives no tensor")
        return output

    def _note_form(self, module: nn.Module, _args: object, output: object) -> None:
        self._forms[module] = form_of(output)

    def _call(self, name: str, run: int) -> Call:
        return next(c for c in self._seen.calls if (c.name, c.run) == (name, run))


@contextmanager
def without(model: nn.Module, removals: Sequence[Removal]) -> Iterator[None]:
    """The model with blocks removed; on leaving they are back."""
    before = [(module, dict(module._modules)) for module in model.modules()]
    names = getattr(model, "block_names", None)
    try:
        remove(model, removals)
        yield
    finally:
        if names is not None:
            model.block_names = names
        for module, children in before:
            module._modules.clear()
            module._modules.update(children)


class _Reached(Exception):
    """The forward pass has come far enough."""


@torch.no_grad()
def received(model: nn.Module, module: nn.Module, inputs: Inputs) -> Tensor:
    """What a module receives in a forward pass of the model, which ends there.

    Raises:
        ValueError: where the module does not run.
    """
    seen: list[Tensor] = []

    def stop(_module: nn.Module, args: tuple[Any, ...]) -> None:
        seen.append(args[0])
        raise _Reached

    handle = module.register_forward_pre_hook(stop)
    args, named = arguments(inputs)
    try:
        model(*args, **named)
    except _Reached:
        return seen[0]
    finally:
        handle.remove()
    raise ValueError("the layer behind it no longer runs")


@contextmanager
def _hooked(modules: Any, hook: Callable[..., None]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module in set(modules)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _fits(layer: nn.Module, dense: Tensor, found: Tensor) -> bool:
    """Whether a layer fitted to what it receives now could give what it gave."""
    if isinstance(layer, nn.Linear):
        return found.shape[:-1] == dense.shape[:-1]
    return (
        isinstance(layer, nn.Conv2d)
        and layer.groups == 1
        and found.ndim == dense.ndim
        and (found.shape[0], *found.shape[2:]) == (dense.shape[0], *dense.shape[2:])
    )


def _growth(layer: nn.Module, found: Tensor) -> int:
    """Parameters that it would have more."""
    weight = cast("Tensor", layer.weight)
    channels = found.shape[-1] if isinstance(layer, nn.Linear) else found.shape[1]
    return (channels - weight.shape[1]) * weight[:, 0].numel()


def _freed(known: dict[str, nn.Module], removals: Sequence[Removal]) -> int:
    gone = {p for removal in removals for p in known[removal.block].parameters()}
    return sum(p.numel() for p in gone)


def _how(way: Way, consumers: tuple[str, ...], *, refit: bool) -> str:
    if refit:
        return f"'{consumers[0]}' is fitted to what it receives"
    return {
        Way.PASS: "what it receives is handed on",
        Way.ZERO: "what flows past it goes on alone",
        Way.DELETE: "it is taken out of its list",
    }[way]


def _shown(tensor: Tensor | None) -> str:
    return "no tensor" if tensor is None else _shape(tuple(tensor.shape))


def _in_shapes(call: Call, tap: Tap, said: str) -> str:
    """Why a block must stay: where what it gives has another shape than what it takes, that."""
    if call.received is None or tuple(call.received.shape[1:]) == tap.shape[1:]:
        return said
    shapes = f"it takes {_shown(call.received)} and gives {_shape(tap.shape)}"
    return f"{shapes}: {said}" if said.startswith("'") else f"{shapes}, which what follows needs"


def _shape(shape: tuple[int, ...]) -> str:
    return f"(n, {', '.join(map(str, shape[1:]))})"
