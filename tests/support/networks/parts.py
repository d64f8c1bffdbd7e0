"""Inputs, and the parts that the small networks of this folder are wired from.

Vectors are (n, 6), images (n, 3, 8, 8), sequences (n, 5, 8), tokens (n, 5) out of 11; each network
tells 3 classes apart.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

torch.set_num_threads(1)  # small tensors gain nothing from more, and a busy machine loses much

GENERATOR = torch.Generator().manual_seed(0)
VECTORS = torch.randn(7, 6, generator=GENERATOR)
IMAGES = torch.randn(7, 3, 8, 8, generator=GENERATOR)
SEQUENCES = torch.randn(7, 5, 8, generator=GENERATOR)
TOKENS = torch.randint(0, 11, (7, 5), generator=GENERATOR)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """Build a network with the same weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


class Wired(nn.Module):
    """A module made of named parts, and of a function that is its forward pass."""

    def __init__(self, wiring: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self._wiring = wiring
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *args: Any, **named: Any) -> Any:
        return self._wiring(self, *args, **named)


@cache
def _class(kind: str) -> type[Wired]:
    return type(kind, (Wired,), {})


def wired(kind: str, wiring: Callable[..., Any], **parts: nn.Module) -> Wired:
    """Build a module of named parts, whose class is called ``kind``.

    Args:
        kind: name of the class; modules of one kind are of one class.
        wiring: takes the module and the inputs, and is the forward pass.
        **parts: submodules by name.
    """
    return _class(kind)(wiring, **parts)


def head(width: int = 6) -> nn.Linear:
    """Build a classifier of 3 classes."""
    return nn.Linear(width, 3)


def linear(inputs: int = 6, outputs: int = 6) -> nn.Linear:
    """Build a linear layer."""
    return nn.Linear(inputs, outputs)


def dense(inputs: int = 6, outputs: int = 6) -> nn.Sequential:
    """Build a linear layer with its activation."""
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU())


def conv(inputs: int = 4, outputs: int = 4, stride: int = 1, size: int = 3) -> nn.Conv2d:
    """Build a convolution that keeps the size of a map at stride 1."""
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


def norm(channels: int = 4) -> nn.BatchNorm2d:
    """Build a batch normalisation of maps."""
    return nn.BatchNorm2d(channels)


def chain(parts: Any, x: Tensor) -> Tensor:
    """Run parts one after the other."""
    for part in parts:
        x = part(x)
    return x
