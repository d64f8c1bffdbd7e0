"""Models that give more in training than in use, such as the logits of an auxiliary head."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from designer.data.dataset import LabelledTensors
from designer.probing.calling import cloned, first_tensor, floating_tensors, run_model
from designer.probing.untouched import untouched

FEW_SAMPLES = 8


@contextmanager
def giving_logits(model: nn.Module, data: LabelledTensors) -> Iterator[None]:
    """Let a model give in training the tensor that it gives in use, where that is not the first.

    Args:
        model: its first tensor in eval mode is what counts; outside of this it is as it was.
        data: at least one sample; left as they are.
    """
    place = _place_of_logits(model, data)
    if not place:
        yield
        return

    def only_logits(module: nn.Module, _arguments: object, output: object) -> Tensor | None:
        return list(floating_tensors(output))[place] if module.training else None

    handle = model.register_forward_hook(only_logits)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def _place_of_logits(model: nn.Module, data: LabelledTensors) -> int:
    """Return which floating tensor of its output in training is the first of that in use.

    Modules with parts of their own run as in training, all others, such as norms, as in use: then
    the tensor is the same, but for dropout that is a function. So the nearest one is meant.
    """
    few = data.at(slice(FEW_SAMPLES)).inputs
    with untouched(model):
        logits = first_tensor(run_model(model.eval(), cloned(few)))
        for module in model.modules():
            module.training = next(module.children(), None) is not None
        tensors = list(floating_tensors(run_model(model, cloned(few))))
    if logits is None or len(tensors) < 2:
        return 0
    distances = [
        float((tensor - logits).norm()) if tensor.shape == logits.shape else math.inf
        for tensor in tensors
    ]
    return distances.index(min(distances))
