"""Changes to the structure of a module that can be written down and made again.

A block that is removed leaves a ``PassThrough`` in its place, which has no parameters and
costs nothing: code that names the block or counts its siblings still runs, and the names of all
other parts stay.  Where such a stand-in will not do, because somebody looks into the block, it is
deleted from the list that holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from designer.errors import ModelError
from designer.probing.calling import first_tensor, submodules


class Way(StrEnum):
    """How a block is gone."""

    PASS = "pass"  # noqa: S105 - no password
    """What it receives is handed on."""
    ZERO = "zero"
    """Zeros are handed on, for a branch that is added to what flows past it."""
    DELETE = "delete"
    """It is taken out of the list or sequence that holds it."""


@dataclass(frozen=True)
class Form:
    """What a block gives besides its tensor: nothing, or a tuple, list or dict around it."""

    kind: str = "tensor"
    keys: tuple[str, ...] = ()
    """Of a dict, or ``0``, ``1``, ... of a tuple or list."""
    at: str = ""
    """Where the tensor is; all else is None."""

    def around(self, tensor: Tensor) -> object:
        """The same form with ``tensor`` in it."""
        if self.kind == "tensor":
            return tensor
        parts = {key: tensor if key == self.at else None for key in self.keys}
        if self.kind == "dict":
            return parts
        return tuple(parts.values()) if self.kind == "tuple" else list(parts.values())


@dataclass(frozen=True)
class Removal:
    """One block that is gone."""

    block: str
    """Name of its module in the whole model."""
    way: Way
    form: Form = Form()


class PassThrough(nn.Module):
    """Stands where a block was."""

    def __init__(self, way: Way, form: Form) -> None:
        super().__init__()
        self.way = way
        self.form = form

    def forward(self, *args: Any, **named: Any) -> object:
        """What the block received, or zeros like it, in the form in which the block gave."""
        received = first_tensor((*args, *named.values()))
        if received is None:
            raise ModelError("Expected the removed block to receive a floating tensor, got none.")
        return self.form.around(torch.zeros_like(received) if self.way is Way.ZERO else received)

    def extra_repr(self) -> str:
        return str(self.way)


def form_of(output: object) -> Form | None:
    """The form of what a block gives; None where it gives more than one tensor."""
    if isinstance(output, Tensor):
        return Form()
    if isinstance(output, Mapping):
        kind, parts = "dict", {str(key): value for key, value in output.items()}
    elif type(output) in (tuple, list):
        parts = {str(i): value for i, value in enumerate(output)}  # type: ignore[arg-type,var-annotated]
        kind = type(output).__name__
    else:
        return None
    filled = [key for key, value in parts.items() if value is not None]
    if len(filled) != 1 or not isinstance(parts[filled[0]], Tensor):
        return None
    return Form(kind, tuple(parts), filled[0])


def places_of(model: nn.Module, module: nn.Module) -> list[tuple[nn.Module, str]]:
    """The parents that hold a module, and its key in each; a compiled module is held by those
    that hold its wrapper."""
    places: list[tuple[nn.Module, str]] = []
    for parent in model.modules():
        for key, child in parent._modules.items():
            if child is module:
                places += places_of(model, parent) if key == "_orig_mod" else [(parent, key)]
    return places


def remove(model: nn.Module, removals: Sequence[Removal]) -> None:
    """Remove blocks in place; what the model says of its ``block_names`` stays true.

    Args:
        model: whole; names are those that its parts have now.
        removals: of blocks that each have one place.

    Raises:
        ModelError: where a block is not there.
    """
    known = submodules(model)
    for removal in removals:
        if removal.block not in known:
            raise ModelError(f"Expected a block '{removal.block}' to remove, found none.")
    for removal in removals:
        for parent, key in places_of(model, known[removal.block]):
            _replace(parent, key, removal)
    _keep_names_true(model, known)


def _keep_names_true(model: nn.Module, known: Mapping[str, nn.Module]) -> None:
    """Let ``block_names`` name what they named, less what is gone.

    Args:
        model: without some of its parts.
        known: submodules that it had before, by name. Names that are none of theirs, which may
            be patterns, are left as they are, and so are names that the model works out itself.
    """
    names = getattr(model, "block_names", None)
    worked_out = isinstance(getattr(type(model), "block_names", None), property)
    if not isinstance(names, tuple | list) or worked_out:
        return
    left = submodules(model)
    names_now = {module: name for name, module in left.items()}
    kept = []
    for name in names:
        module = known.get(name)
        if module is None or left.get(name) is module:
            kept.append(name)
        elif module in names_now:  # under another number
            kept.append(names_now[module])
    if kept != list(names):
        model.block_names = tuple(kept)  # type: ignore[assignment]


def _replace(parent: nn.Module, key: str, removal: Removal) -> None:
    if removal.way is not Way.DELETE:
        parent._modules[key] = PassThrough(removal.way, removal.form)
    elif isinstance(parent, nn.ModuleList | nn.Sequential):
        del parent[list(parent._modules).index(key)]
    else:
        raise ModelError(
            f"Expected '{removal.block}' in a list or sequence to delete it from, found it in "
            f"{type(parent).__name__}."
        )


def resize(model: nn.Module, shapes: Mapping[str, Sequence[int]]) -> None:
    """Give parameters and buffers other shapes, and their layers the matching attributes.

    Args:
        model: in place; layers that change have fresh weights afterwards.
        shapes: by name in the state dict; those of the same shape are left alone.

    Raises:
        ModelError: for a layer of a kind that cannot be resized.
    """
    for path, module in model.named_modules():
        changed = dict(_changed(path, module, shapes))
        if not changed:
            continue
        if not isinstance(module, RESIZABLE):  # all of which can reset their parameters
            raise ModelError(
                f"Expected layers that can be narrower, got {type(module).__name__} '{path}'."
            )
        for name, shape in changed.items():
            _set_tensor(module, name, getattr(module, name).new_zeros(shape))
        match_attributes(module)
        module.reset_parameters()


RESIZABLE = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.modules.batchnorm._BatchNorm,
    nn.LayerNorm,
    nn.GroupNorm,
)


def match_attributes(layer: nn.Module) -> None:
    """Make what a layer says of its widths true of its weights."""
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, nn.Conv1d | nn.Conv2d):
        depthwise = layer.groups > 1 and layer.weight.shape[1] == 1
        per_group = layer.out_channels // layer.groups
        layer.out_channels = layer.weight.shape[0]
        layer.groups = layer.out_channels // per_group if depthwise else layer.groups
        layer.in_channels = layer.weight.shape[1] * layer.groups
    elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
        one = layer.weight if layer.affine else layer.running_mean
        layer.num_features = layer.num_features if one is None else len(one)
    elif isinstance(layer, nn.LayerNorm):
        layer.normalized_shape = tuple(layer.weight.shape)
    elif isinstance(layer, nn.GroupNorm):
        layer.num_channels = len(layer.weight)


def _changed(
    path: str, module: nn.Module, shapes: Mapping[str, Sequence[int]]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    own = {**module._parameters, **module._buffers}
    for name, tensor in own.items():
        wanted = shapes.get(f"{path}.{name}" if path else name)
        if tensor is not None and wanted is not None and tuple(wanted) != tuple(tensor.shape):
            yield name, tuple(wanted)


def _set_tensor(module: nn.Module, name: str, tensor: Tensor) -> None:
    if name in module._parameters:
        module._parameters[name] = nn.Parameter(tensor)
    else:
        module._buffers[name] = tensor
