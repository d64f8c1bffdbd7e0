"""The floating-point types of a model's tensors, which may differ from each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

import torch
from torch import Tensor, nn


def floating_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the floating parameters and buffers by name, also those that no state dict holds."""
    return {name: tensor for name, tensor in _state(model) if tensor.is_floating_point()}


def cast(model: nn.Module, dtypes: Mapping[str, torch.dtype]) -> nn.Module:
    """Give the floating parameters and buffers with these names these types; return the model."""
    for name, tensor in floating_state(model).items():
        if name in dtypes:
            tensor.data = tensor.data.to(dtypes[name])
    return model


def _state(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(model.named_parameters(), model.named_buffers())
