"""Call modules with any kind of input and find the tensors in what they return."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor, nn

from designer.errors import ModelError, first_line

Inputs = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
"""What a model takes: one tensor, several, or several by name; each (n, ...)."""


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model itself if it is wrapped for parallel or compiled execution.

    Raises:
        ModelError: if it is no module, or TorchScript or an exported program, which are no longer
            Python.
    """
    while True:
        _check_module(model)
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod  # type: ignore[assignment]
        else:
            return model


def _check_module(model: object) -> None:
    """Raise a ModelError unless this is a module in Python."""
    if isinstance(model, torch.jit.ScriptModule):
        raise ModelError(
            "Expected a module in Python, got one in TorchScript, which runs no hooks; pass "
            "the module that it was scripted from."
        )
    if isinstance(model, torch.export.ExportedProgram) or _is_exported(model):
        raise ModelError(
            "Expected a module in Python, got an exported program, whose layers are gone; pass "
            "the module that it was exported from."
        )
    if not isinstance(model, nn.Module):
        what = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise ModelError(f"Expected a torch.nn.Module, got {what}.")


def _is_exported(model: object) -> bool:
    """True for what ``ExportedProgram.module`` gives: torch replaces its ``eval`` by an error."""
    return isinstance(model, torch.fx.GraphModule) and "eval" in vars(model)


def arguments(inputs: Inputs) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Return the positional and the named arguments to call a model with."""
    if isinstance(inputs, Tensor):
        return (inputs,), {}
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return tuple(inputs), {}


def tensors_of(inputs: Inputs) -> list[Tensor]:
    """Return all tensors of a batch of inputs."""
    args, named = arguments(inputs)
    return [*args, *named.values()]


def samples_of(inputs: Inputs) -> int:
    """Return the number of samples in a batch of inputs; 0 if no tensor has an axis of samples."""
    return next((len(tensor) for tensor in tensors_of(inputs) if tensor.ndim), 0)


TOKEN_MASKS = ("attention_mask",)
"""Names of inputs (n, tokens) that are not 0 at tokens, as in Hugging Face's models."""

PADDING_MASKS = ("src_key_padding_mask", "key_padding_mask", "padding_mask")
"""Names of inputs (n, tokens) that are true, or not 0, at padding, as in torch's transformers."""


def token_mask(inputs: Inputs) -> Tensor | None:
    """Return the mask (n, tokens) that inputs by name give: true for tokens, false for padding.

    None if there is no such mask, or nothing is padded.
    """
    if not isinstance(inputs, Mapping):
        return None
    for name in (*TOKEN_MASKS, *PADDING_MASKS):
        values = inputs.get(name)
        if isinstance(values, Tensor) and values.ndim == 2:
            mask = values != 0 if name in TOKEN_MASKS else values == 0
            return None if bool(mask.all()) else mask
    return None


def without_padding(tensor: Tensor, mask: Tensor | None) -> Tensor:
    """Return the rows (rows, ...) of a tensor (n, tokens, ...) under a mask (n, tokens).

    Without a mask, or if the tensor has other axes, it is returned as it is.
    """
    if mask is None or tensor.ndim < 3 or tensor.shape[:2] != mask.shape:
        return tensor
    return tensor[mask.to(tensor.device)]


def floating_inputs(inputs: Inputs) -> list[Tensor]:
    """Return the floating tensors of a batch of inputs, without masks.

    A mask is a floating tensor with the name of one, or with one number per token, in the shape of
    the tokens themselves.
    """
    if isinstance(inputs, Mapping):
        masks = (*TOKEN_MASKS, *PADDING_MASKS)
        inputs = {name: tensor for name, tensor in inputs.items() if name not in masks}
    tensors = tensors_of(inputs)
    token_shapes = [tensor.shape for tensor in tensors if not tensor.is_floating_point()]
    return [t for t in tensors if t.is_floating_point() and t.shape not in token_shapes]


def map_tensors(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """Return inputs of the same form, with ``change`` applied to every tensor."""
    if isinstance(inputs, Tensor):
        return change(inputs)
    if isinstance(inputs, Mapping):
        return {name: change(tensor) for name, tensor in inputs.items()}
    return tuple(map(change, inputs))


def with_gaps(value: Any, left_out: Collection[int]) -> Any:
    """Return a value with None in the place of some of the tensors in its tuples and lists.

    Args:
        value: what a module gave.
        left_out: ids of these tensors.
    """
    if type(value) not in (tuple, list):
        return value
    return type(value)(
        None if isinstance(part, Tensor) and id(part) in left_out else with_gaps(part, left_out)
        for part in value
    )


def samples_at(inputs: Inputs, rows: slice | Tensor) -> Inputs:
    """Return some samples of inputs.

    Args:
        inputs: n samples.
        rows: a slice, a mask (n,) or indices; a tensor may be on another device.
    """
    if isinstance(inputs, Tensor):
        return inputs[rows.to(inputs.device) if isinstance(rows, Tensor) else rows]
    return map_tensors(inputs, lambda tensor: cast("Tensor", samples_at(tensor, rows)))


def cloned(inputs: Inputs) -> Inputs:
    """Return a copy of inputs, so that a first layer that works in place cannot change the data."""
    return map_tensors(inputs, torch.clone)


def run_model(model: nn.Module, inputs: Inputs) -> Any:
    """Run a model and return whatever it gives; what it raises is left as it is."""
    if isinstance(inputs, Tensor):
        return model(inputs)
    args, named = arguments(inputs)
    return model(*args, **named)


def call_model(model: nn.Module, inputs: Inputs) -> object:
    """Run a model and return whatever it gives.

    Raises:
        ModelError: if the model raises anything, also ``SystemExit``.
    """
    try:
        return cast("object", run_model(model, inputs))
    except (Exception, SystemExit) as error:  # the model is the user's and may raise anything
        shapes = ", ".join(f"(n, {', '.join(map(str, t.shape[1:]))})" for t in tensors_of(inputs))
        raise ModelError(
            f"Expected {type(model).__name__} to run on inputs of shape {shapes}, but it raised "
            f"{type(error).__name__}: {first_line(error)}."
        ) from error


def check_has_values(*tensors: Tensor) -> None:
    """Check that tensors hold numbers.

    Raises:
        ModelError: if one is on the meta device, where tensors have a shape and nothing else.
    """
    if any(tensor.is_meta for tensor in tensors):
        raise ModelError(
            "Expected a model and data that hold numbers, got tensors on torch's meta device; "
            "make the model with to_empty and load its weights, and make the data, on a real one."
        )


def check_rows(output: Tensor, samples: int) -> None:
    """Check that a model gives one row per sample.

    Raises:
        ModelError: if it gives more or fewer.
    """
    if output.ndim == 0 or len(output) != samples:
        rows = len(output) if output.ndim else "no"
        raise ModelError(
            f"Expected a model that gives one row per sample, got {rows} for {samples} samples."
        )


def submodules(model: nn.Module) -> dict[str, nn.Module]:
    """Return all submodules by each of their names.

    The names are without the wrappers of compilation. Parametrizations, which make weights from
    other weights, such as a spectral norm, are left out.
    """
    named = model.named_modules(remove_duplicate=False)
    return {
        _clean(name): module
        for name, module in named
        if module is not model and "parametrizations" not in name.split(".")
    }


def first_tensor(value: object) -> Tensor | None:
    """Return the first floating tensor in what a module gives; None if there is none.

    Tuples, lists and dicts are searched in order; in a dict ``logits`` comes before all others.
    Tensors without axes, such as a loss, do not count.
    """
    if isinstance(value, Tensor):
        return value if value.is_floating_point() and value.ndim else None
    if isinstance(value, Mapping):
        parts: Iterable[object] = (value.get("logits"), *value.values())
    elif isinstance(value, tuple | list):
        parts = value
    else:
        return None
    return next((t for t in map(first_tensor, parts) if t is not None), None)


def class_tensor(value: object, num_classes: int) -> Tensor | None:
    """Return the tensor in what a model gives that has a number for every class.

    That is the one called ``logits``; else, of several, the first with so many columns; else the
    ``first_tensor``. Models that give their embedding, too, may give it first.
    """
    first = first_tensor(value)
    if isinstance(value, Tensor) or (isinstance(value, Mapping) and "logits" in value):
        return first
    fitting = (t for t in floating_tensors(value) if t.ndim > 1 and t.shape[-1] == num_classes)
    return next(fitting, first)


def tensor_at(value: object, index: int | None) -> Tensor | None:
    """Return one of the floating tensors in what a module gives or receives.

    Args:
        value: a tensor, or a container of values.
        index: which of its ``floating_tensors`` is meant; None for its ``first_tensor``.

    Returns:
        The tensor; None if there is none.
    """
    if index is None:
        return first_tensor(value)
    return next(islice(floating_tensors(value), index, None), None)


def floating_tensors(value: object) -> Iterator[Tensor]:
    """Yield all floating tensors in what a module gives, in order."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping | tuple | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from floating_tensors(part)


def _clean(name: str) -> str:
    """Return a submodule's name without the wrappers of compilation."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")
