"""Forward passes of a model that is changed for as long as they take.

Blocks are left out, a layer receives another tensor, or the pass ends early; afterwards the model
is as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from designer.errors import ModelError
from designer.models.surgery import Removal, remove
from designer.probing.calling import Inputs, arguments, first_tensor, map_tensors


@contextmanager
def without(model: nn.Module, removals: Sequence[Removal]) -> Iterator[None]:
    """Remove blocks from a model, and put them back on leaving.

    Args:
        model: the whole model.
        removals: what to remove, see ``surgery.remove``.

    Raises:
        ModelError: if a block is not there.
    """
    children = [(module, dict(module._modules)) for module in model.modules()]
    own_names = {key: value for key, value in vars(model).items() if key == "block_names"}
    try:
        remove(model, removals)
        yield
    finally:
        vars(model).pop("block_names", None)
        vars(model).update(own_names)
        for module, before in children:
            module._modules.clear()
            module._modules.update(before)


class _Reached(Exception):
    """The forward pass has come far enough."""


@dataclass(frozen=True, eq=False)
class Place:
    """A place in a model where a tensor is seen: what a module receives, or what it gives."""

    module: nn.Module
    """A part of the model; its first run counts."""
    receives: bool
    """True for what it receives, False for what it gives."""


@torch.no_grad()
def observed(model: nn.Module, places: Sequence[Place], inputs: Inputs) -> list[Tensor]:
    """Return the tensors at some places in a forward pass of the model.

    The pass ends once all have been seen.

    Args:
        model: the model that runs.
        places: where to look.
        inputs: what the model is called with, all (n, ...); left as they are.

    Raises:
        ModelError: if a module does not run, or there is no floating tensor.
    """
    tensors: dict[Place, Tensor | None] = {}

    def note(place: Place, values: object) -> None:
        tensors.setdefault(place, first_tensor(values))
        if len(tensors) == len(places):
            raise _Reached

    handles = [_hooked(place, note) for place in places]
    # a first layer that works in place must not change the data
    args, named = arguments(map_tensors(inputs, torch.clone))
    try:
        model(*args, **named)
    except _Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return [_known(tensors.get(place), place) for place in places]


def _hooked(place: Place, note: Callable[[Place, object], None]) -> RemovableHandle:
    if not place.receives:
        return place.module.register_forward_hook(lambda _module, _args, out: note(place, out))
    return place.module.register_forward_pre_hook(
        lambda _module, args, named: note(place, (*args, *named.values())), with_kwargs=True
    )


def _known(tensor: Tensor | None, place: Place) -> Tensor:
    if tensor is None:
        does = "receive" if place.receives else "give"
        kind = type(place.module).__name__
        raise ModelError(f"Expected {kind} to run and {does} a tensor.")
    return tensor


def received(model: nn.Module, module: nn.Module, inputs: Inputs) -> Tensor:
    """Return what a module receives in a forward pass of the model, which ends there.

    Args:
        model: the model that runs.
        module: one of its parts; its first run counts.
        inputs: what the model is called with, all (n, ...); left as they are.

    Raises:
        ModelError: if the module does not run, or receives no floating tensor.
    """
    return observed(model, [Place(module, receives=True)], inputs)[0]


@contextmanager
def handed(module: nn.Module, tensor: Tensor) -> Iterator[None]:
    """Let a module receive ``tensor``, whatever the model hands to it."""
    handle = module.register_forward_pre_hook(lambda *_: ((tensor,), {}), with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
