"""Forward passes of a model that is changed for as long as they take.

Blocks are left out, a layer receives another tensor, or the pass ends early; afterwards the model
is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

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


@torch.no_grad()
def received(model: nn.Module, module: nn.Module, inputs: Inputs) -> Tensor:
    """Return what a module receives in a forward pass of the model, which ends there.

    Args:
        model: the model that runs.
        module: one of its parts; its first run counts.
        inputs: what the model is called with, all (n, ...); left as they are.

    Raises:
        ModelError: if the module does not run, or receives no floating tensor.
    """
    tensors: list[Tensor | None] = []

    def stop(_module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        tensors.append(first_tensor((*args, *named.values())))
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
    if not tensors or tensors[0] is None:
        raise ModelError(f"Expected {type(module).__name__} to run and receive a tensor.")
    return tensors[0]


@contextmanager
def handed(module: nn.Module, tensor: Tensor) -> Iterator[None]:
    """Let a module receive ``tensor``, whatever the model hands to it."""
    handle = module.register_forward_pre_hook(lambda *_: ((tensor,), {}), with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
