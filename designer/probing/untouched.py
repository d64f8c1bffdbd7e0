"""Run a model and leave it exactly as it was.

Some models keep tensors that they compute, such as a bias for each resolution, in plain attributes
or in dicts and lists there. What a traced pass computes belongs to autograd's graph, so that the
model could no longer be copied. Attributes and such containers are put back, too.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from designer.probing.calling import check_has_values


@contextmanager
def untouched(model: nn.Module, *, python_random: bool = True) -> Iterator[None]:
    """Restore the modes, buffers and attributes of a model, and the global random states, on
    leaving.

    Within the context, compiled parts run as plain Python, since compiled code runs no hooks, and
    transformer encoders do not pack padded sequences into nested tensors, which have no regular
    shape. (A transformer layer leaves out its fused kernel by itself once it has a hook.)

    Args:
        model: may be wrapped. Parameters and gradients are not restored: do not change them.
        python_random: False for a model that draws no random numbers from Python or NumPy, whose
            states take as long to keep as a layer of a small network.

    Raises:
        ModelError: if the model has no values, since it is on the meta device.
    """
    modules = list(model.modules())  # once: in a small network this takes as long as a layer
    check_has_values(*_tensors(modules))
    # read and written beside ``nn.Module``, which is slow; a compiled module only passes it on
    modes = [(own, own["training"]) for own in map(vars, modules) if "training" in own]
    python = _python_random_kept() if python_random else nullcontext()
    with (
        torch.random.fork_rng(devices=_gpus(model)),
        python,
        _eager(modules),
        state_kept(modules),
        _padded(modules),
    ):
        try:
            yield
        finally:
            for own, mode in modes:
                own["training"] = mode


def _tensors(modules: Sequence[nn.Module]) -> Iterator[Tensor]:
    """Yield the parameters and buffers of modules."""
    for module in modules:
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                yield tensor


@contextmanager
def state_kept(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Restore the buffers of modules, their plain attributes, and what these hold.

    Parts, parameters, hooks and the training mode are no plain attributes.

    Args:
        modules: all modules of a model.
    """
    # a forward pass may replace buffers and attributes, and change what they hold
    states = [(vars(module), _plain(vars(module)), dict(module._buffers)) for module in modules]
    values = [value for _, *known in states for own in known for value in own.values()]
    copies = [(part, _copied(part)) for value in values for part in _parts(value)]
    try:
        yield
    finally:
        for attributes, own, buffers in states:
            for name in attributes.keys() - own.keys() - _OWN:
                del attributes[name]
            attributes.update(own)
            attributes["_buffers"].update(buffers)
        for part, copied in copies:
            _put_back(part, copied)


_OWN = frozenset(vars(nn.Module())) | {"forward"}
"""Attributes that torch itself manages, and the one that replays put in the place of a method."""


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: attributes[name] for name in attributes.keys() - _OWN}


def _parts(value: object) -> Iterator[Any]:
    """Yield the tensors, dicts, lists and sets in a value; containers may hold others."""
    if isinstance(value, Tensor):
        if not isinstance(value, nn.Parameter):
            yield value
        return
    if isinstance(value, dict | list | set):
        yield value
    if isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _parts(part)


def _copied(part: Any) -> Any:
    if isinstance(part, Tensor):
        return part.detach().clone()
    kind = next(kind for kind in (dict, list, set) if isinstance(part, kind))
    return kind(part)


def _put_back(part: Any, copied: Any) -> None:
    """Let a tensor or a container hold what its copy holds, if that has changed."""
    if isinstance(part, Tensor):
        _set_tensor(part, copied)
    elif isinstance(part, list):
        if not _are_same(part, copied):
            part[:] = copied
    elif isinstance(part, set):
        if part != copied:
            part.clear()
            part.update(copied)
    elif not (_are_same(part, copied) and _are_same(part.values(), copied.values())):
        part.clear()
        part.update(copied)


def _are_same(some: Collection[object], others: Collection[object]) -> bool:
    """True if two collections hold the very same objects; tensors cannot be compared by value."""
    return len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))


def _set_tensor(tensor: Tensor, before: Tensor) -> None:
    """Let a tensor hold what it held before, outside of the graph of a pass that wrote to it."""
    if tensor.grad_fn is not None and tensor._base is None:
        tensor.detach_()
    if not torch.equal(tensor, before):
        tensor.data.copy_(before)


def _gpus(model: nn.Module) -> list[torch.device]:
    """Return the CUDA devices that parameters and buffers are on."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return []
    return list({t.device for t in (*model.parameters(), *model.buffers()) if t.is_cuda})


@contextmanager
def random_kept() -> Iterator[None]:
    """Restore the global random states on leaving, but for those of GPUs."""
    with torch.random.fork_rng(devices=[]), _python_random_kept():
        yield


@contextmanager
def generators_kept(*sources: object) -> Iterator[None]:
    """Restore on leaving what ``DataLoader``s, and their samplers, draw from by themselves.

    Args:
        sources: data of any kind; those without a generator of torch are left alone.
    """
    samplers = [getattr(source, "sampler", None) for source in sources]
    generators = [getattr(holder, "generator", None) for holder in (*sources, *samplers)]
    kept = [(g, g.get_state()) for g in generators if isinstance(g, torch.Generator)]
    try:
        yield
    finally:
        for generator, state in kept:
            generator.set_state(state)


@contextmanager
def _python_random_kept() -> Iterator[None]:
    """Restore Python's and NumPy's global generators on leaving."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - the user's code may use it
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


def python_random_states() -> tuple[object, ...]:
    """Return the states of Python's and NumPy's global generators, to be compared."""
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 - the user's code may use it
    return random.getstate(), pickle.dumps(numpy_state)


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the model's first parameter; the CPU if it has none."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


@contextmanager
def _eager(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Run compiled parts as plain Python.

    This imports a part of torch that is slow to import, so it is done only if there are any.
    """
    if not any(map(_is_compiled, modules)):
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def _padded(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Keep sequences padded inside torch's own transformer encoders."""
    encoders = (m for m in modules if isinstance(m, nn.TransformerEncoder))
    packing = [encoder for encoder in encoders if encoder.use_nested_tensor]
    try:
        for module in packing:
            module.use_nested_tensor = False
        yield
    finally:
        for module in packing:
            module.use_nested_tensor = True


def _is_compiled(module: nn.Module) -> bool:
    return "_orig_mod" in module._modules or module._compiled_call_impl is not None
