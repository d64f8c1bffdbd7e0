"""Run a model and leave it exactly as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Restore the training modes and buffers of a model, and the global random states, on leaving.

    Within the context, compiled parts run as plain Python, since compiled code runs no hooks, and
    transformer encoders do not pack padded sequences into nested tensors, which have no regular
    shape. (A transformer layer leaves out its fused kernel by itself once it has a hook.)

    Args:
        model: may be wrapped. Parameters and gradients are not restored: do not change them.
    """
    modules = list(model.modules())
    states = [(module.training, dict(module._buffers)) for module in modules]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    devices = {t.device for t in (*model.parameters(), *model.buffers()) if t.is_cuda}
    with _rng_kept(list(devices)), _eager(model), _padded(model):
        try:
            yield
        finally:
            for module, (mode, registered) in zip(modules, states, strict=True):
                module.training = mode
                module._buffers.update(registered)  # a forward pass may replace them
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.data.copy_(before)


@contextmanager
def _rng_kept(devices: list[torch.device]) -> Iterator[None]:
    """Restore Python's, NumPy's and torch's global generators on leaving."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - the user's code may use it
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the model's first parameter; the CPU if it has none."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


@contextmanager
def _eager(model: nn.Module) -> Iterator[None]:
    """Run compiled parts as plain Python.

    This imports a part of torch that is slow to import, so it is done only if there are any.
    """
    if not any(_is_compiled(module) for module in model.modules()):
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def _padded(model: nn.Module) -> Iterator[None]:
    """Keep sequences padded inside torch's own transformer encoders."""
    encoders = (m for m in model.modules() if isinstance(m, nn.TransformerEncoder))
    packing = [encoder for encoder in encoders if encoder.use_nested_tensor]
    try:
        for module in packing:
            module.use_nested_tensor = False
        yield
    finally:
        for module in packing:
            module.use_nested_tensor = True


def _is_compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or module._compiled_call_impl is not None
