"""Change the structure of a module in ways that can be written down and repeated.

A block that is removed leaves a ``PassThrough`` in its place, which has no parameters and costs
nothing. Code that names the block or counts its siblings still runs, and the names of all other
parts stay. If the model's code uses parts of the block directly, a stand-in does not suffice, so
the block is deleted from the list that holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from designer.errors import ModelError
from designer.probing.calling import submodules, tensor_at


class Way(StrEnum):
    """What comes in the place of a block that is removed."""

    PASS = "pass"  # noqa: S105 - no password
    """A stand-in that hands on what it receives."""
    ZERO = "zero"
    """A stand-in that gives zeros, for a branch that is added to what flows past it."""
    DELETE = "delete"
    """Nothing: the block is deleted from the list or sequence that holds it."""


@dataclass(frozen=True)
class Form:
    """The form in which a block gives its tensor: bare, or in a tuple, list or dict."""

    kind: str = "tensor"
    """``tensor``, ``tuple``, ``list`` or ``dict``."""
    keys: tuple[str, ...] = ()
    """Keys of the dict, or ``0``, ``1``, ... for the places of a tuple or list."""
    at: str = ""
    """Key under which the tensor is; all other values are None."""
    states: tuple[tuple[str, int], ...] = ()
    """Keys under which there are tuples of None, such as the two states of an LSTM that nothing
    uses, and how long these are."""

    def around(self, tensor: Tensor) -> object:
        """Return ``tensor`` in this form."""
        if self.kind == "tensor":
            return tensor
        lengths = dict(self.states)
        parts: dict[str, object] = {
            key: (None,) * lengths[key] if key in lengths else None for key in self.keys
        }
        parts[self.at] = tensor
        if self.kind == "dict":
            return parts
        return tuple(parts.values()) if self.kind == "tuple" else list(parts.values())


@dataclass(frozen=True)
class Removal:
    """The removal of one block."""

    block: str
    """Name of its module in the model before the removal."""
    way: Way
    """What comes in its place."""
    form: Form = Form()
    """The form in which a stand-in gives its tensor."""
    index: int | None = None
    """Which of the floating tensors that the block receives is handed on; None for the first."""


class PassThrough(nn.Module):
    """A stand-in where a block was; it has no parameters."""

    def __init__(self, way: Way, form: Form, index: int | None = None) -> None:
        super().__init__()
        self.way = way
        self.form = form
        self.index = index

    def forward(self, *args: Any, **named: Any) -> object:
        """Return what the block received, or zeros like it, in the form in which the block gave.

        Raises:
            ModelError: if there is no floating tensor among the arguments.
        """
        received = tensor_at((*args, *named.values()), self.index)
        if received is None:
            raise ModelError("Expected the removed block to receive a floating tensor, got none.")
        return self.form.around(torch.zeros_like(received) if self.way is Way.ZERO else received)

    def extra_repr(self) -> str:
        """Return how the stand-in is shown in the ``repr`` of a model."""
        return str(self.way)


def form_of(output: object) -> Form | None:
    """Return the form of what a block gives; None if it gives more than a single tensor."""
    if isinstance(output, Tensor):
        return Form()
    if isinstance(output, Mapping):
        kind, parts = "dict", {str(key): value for key, value in output.items()}
    elif type(output) in (tuple, list):
        parts = {str(i): value for i, value in enumerate(output)}  # type: ignore[arg-type,var-annotated]
        kind = type(output).__name__
    else:
        return None
    states = {
        key: len(value)
        for key, value in parts.items()
        if isinstance(value, tuple) and all(part is None for part in value)
    }
    filled = [key for key, value in parts.items() if value is not None and key not in states]
    if len(filled) != 1 or not isinstance(parts[filled[0]], Tensor):
        return None
    return Form(kind, tuple(parts), filled[0], tuple(states.items()))


def places_of(model: nn.Module, module: nn.Module) -> list[tuple[nn.Module, str]]:
    """Return the parents that hold a module, and its key in each.

    The wrapper of a compiled module counts as the module, so that its parents are returned.
    """
    places: list[tuple[nn.Module, str]] = []
    for parent in model.modules():
        for key, child in parent._modules.items():
            if child is module:
                places += places_of(model, parent) if key == "_orig_mod" else [(parent, key)]
    return places


def remove(model: nn.Module, removals: Sequence[Removal]) -> None:
    """Remove blocks from a model in place, and update its ``block_names`` if it has any.

    Args:
        model: the model. Block names are those that its parts have before the call.
        removals: the blocks to remove, each of them held by one parent.

    Raises:
        ModelError: if a block is not there, or one that is to be deleted is in no list or
            sequence.
    """
    known = submodules(model)
    for removal in removals:
        if removal.block not in known:
            raise ModelError(f"Expected a block '{removal.block}' to remove, found none.")
    for removal in removals:
        for parent, key in places_of(model, known[removal.block]):
            _replace(parent, key, removal)
    _update_block_names(model, known)


def name_after(name: str, removals: Sequence[Removal]) -> str:
    """Return the name that a part has once blocks are removed.

    Deleting an element of a list renumbers those behind it.

    Args:
        name: the name before, which may end in the number of a run.
        removals: what is removed; none of it holds the part.
    """
    deleted = [removal.block for removal in removals if removal.way is Way.DELETE]
    path, mark, run = name.partition("#")
    keys = path.split(".")
    for depth, key in enumerate(path.split(".")):
        parent = path.split(".")[:depth]
        beside = [other.split(".")[-1] for other in deleted if other.split(".")[:-1] == parent]
        if key.isdigit():
            lower = [other for other in beside if other.isdigit() and int(other) < int(key)]
            keys[depth] = str(int(key) - len(lower))
    return f"{'.'.join(keys)}{mark}{run}"


def _update_block_names(model: nn.Module, known: Mapping[str, nn.Module]) -> None:
    """Let ``block_names`` name the same modules as before, without those that are gone.

    Deleting an element of a list renumbers those behind it. Names that belong to no submodule may
    be patterns and stay; so do names that the model computes in a property.

    Args:
        model: after the removals.
        known: submodules that it had before, by name.
    """
    names = getattr(model, "block_names", None)
    computed = isinstance(getattr(type(model), "block_names", None), property)
    if not isinstance(names, tuple | list) or computed:
        return
    left = submodules(model)
    names_now = {module: name for name, module in left.items()}
    kept = []
    for name in names:
        module = known.get(name)
        if module is None or left.get(name) is module:
            kept.append(name)
        elif module in names_now:  # it has another number now
            kept.append(names_now[module])
    if kept != list(names):
        model.block_names = tuple(kept)  # type: ignore[assignment]


def _replace(parent: nn.Module, key: str, removal: Removal) -> None:
    if removal.way is not Way.DELETE:
        parent._modules[key] = PassThrough(removal.way, removal.form, removal.index)
    elif isinstance(parent, nn.ModuleList | nn.Sequential):
        del parent[list(parent._modules).index(key)]
    else:
        raise ModelError(
            f"Expected '{removal.block}' in a list or sequence to delete it from, found it in "
            f"{type(parent).__name__}."
        )


def resize(model: nn.Module, shapes: Mapping[str, Sequence[int]]) -> None:
    """Give parameters and buffers other shapes in place, and their layers matching attributes.

    Args:
        model: the model; layers whose shapes change have fresh weights afterwards.
        shapes: new shape of each tensor by its name in the state dict. Tensors that have it
            already are left alone.

    Raises:
        ModelError: if a layer is of a kind that cannot be resized.
    """
    for path, module in model.named_modules():
        changed = dict(_changed(path, module, shapes))
        if not changed:
            continue
        if not isinstance(module, RESIZABLE):
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
    nn.Conv3d,
    nn.modules.batchnorm._NormBase,  # also of instances
    nn.LayerNorm,
    nn.GroupNorm,
    nn.PReLU,
)
"""Kinds of layers that can be resized; all of them have ``reset_parameters``."""


def match_attributes(layer: nn.Module) -> None:
    """Set the attributes of a layer that state its widths to those of its weights."""
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        depthwise = layer.groups > 1 and layer.weight.shape[1] == 1
        per_group = layer.out_channels // layer.groups
        layer.out_channels = layer.weight.shape[0]
        layer.groups = layer.out_channels // per_group if depthwise else layer.groups
        layer.in_channels = layer.weight.shape[1] * layer.groups
    elif isinstance(layer, nn.modules.batchnorm._NormBase):
        per_channel = layer.weight if layer.affine else layer.running_mean
        if per_channel is not None:
            layer.num_features = len(per_channel)
    elif isinstance(layer, nn.LayerNorm):
        layer.normalized_shape = tuple(layer.weight.shape)
    elif isinstance(layer, nn.GroupNorm):
        layer.num_channels = len(layer.weight)
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = len(layer.weight)


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
