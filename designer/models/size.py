"""Measure what a network costs: parameters and floating-point operations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from designer.probing.calling import Inputs, call_model, map_tensors


@dataclass(frozen=True)
class ModelSize:
    """The cost of one network."""

    parameters: int
    """Number of parameters; those that several layers share count once."""
    flops: int
    """Number of floating-point operations of one forward pass on one sample."""


@torch.no_grad()
def size_of_model(model: nn.Module, sample: Inputs) -> ModelSize:
    """Count the parameters and the forward FLOPs of a model.

    Args:
        model: in eval mode.
        sample: a batch of one sample, as the model takes it.

    Raises:
        ModelError: if the model raises.
    """
    fused = {
        torch.ops.aten.mkldnn_rnn_layer: _recurrent_flops_on_cpu,
        torch.ops.aten._cudnn_rnn: _recurrent_flops_on_gpu,
    }
    counting = FlopCounterMode(display=False, custom_mapping=fused)
    with _unfused(), _frozen(model), counting as counter:
        # a first layer that works in place must not change the data
        call_model(model, map_tensors(sample, torch.clone))
    return ModelSize(sum(p.numel() for p in model.parameters()), int(counter.get_total_flops()))


def _recurrent_flops_on_cpu(
    inputs: Sequence[int], first: Sequence[int], second: Sequence[int], *_: object, **__: object
) -> int:
    """Return the FLOPs of a fused recurrent layer, from the shapes of inputs and weights."""
    return _recurrent_flops_on_gpu(inputs, [first, second])


def _recurrent_flops_on_gpu(
    inputs: Sequence[int], weights: Sequence[Sequence[int]], *_: object, **__: object
) -> int:
    """Return the FLOPs of fused recurrent layers: each step of each sample meets each weight."""
    matrices = sum(math.prod(shape) for shape in weights if len(shape) == 2)
    return 2 * math.prod(inputs[:-1]) * matrices


@contextmanager
def _unfused() -> Iterator[None]:
    """Let transformer layers run their parts one by one, since the fused kernel is not counted."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Let no parameter require a gradient.

    The counter puts a hook on each tensor with a gradient that a submodule receives, and cannot do
    so without autograd for the view of a parameter, such as a class token.
    """
    required = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in required:
            parameter.requires_grad = False
        yield
    finally:
        for parameter in required:
            parameter.requires_grad = True
