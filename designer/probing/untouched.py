"""Run a model and leave it exactly as it was."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import nn

from designer.probing.calling import check_has_values


@contextmanager
def untouched(model: nn.Module, *, python_random: bool = True) -> Iterator[None]:
    """Restore the training modes and buffers of a model, and the global random states, on leaving.

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
    check_has_values(*model.parameters(), *model.buffers())
    modules = list(model.modules())  # once: in a small network this takes as long as a layer
    states = [(module, module.training, dict(module._buffers)) for module in modules]
    registered = (buffer for *_, own in states for buffer in own.values() if buffer is not None)
    buffers = [(buffer, buffer.clone()) for buffer in registered]
    python = _python_random_kept() if python_random else nullcontext()
    with torch.random.fork_rng(devices=_gpus(model)), python, _eager(modules), _padded(modules):
        try:
            yield
        finally:
            for module, mode, own in states:
                module.training = mode
                module._buffers.update(own)  # a forward pass may replace them
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.data.copy_(before)


def _gpus(model: nn.Module) -> list[torch.device]:
    """Return the CUDA devices that parameters and buffers are on."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return []
    return list({t.device for t in (*model.parameters(), *model.buffers()) if t.is_cuda})


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
