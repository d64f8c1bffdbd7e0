"""Networks with one planted defect each: plain and residual perceptrons, CNNs and ResNets.

All blocks of a network have one width, so that each of them could be the one with the defect.

==============  ==================================================================================
defect          the block at ``place``
==============  ==================================================================================
identity        gives what it receives: weights frozen at the identity, or a branch frozen at zero
bottleneck      has only a few units; in a residual network it widens again, and nothing flows past
dead            only ``ALIVE`` of its units, or of those of its branch, ever give anything but zero
far too wide    has ``WIDER`` times the units, within the branch where there is one
frozen          keeps its initial weights
surplus depth   there are ``SURPLUS`` blocks more than in a healthy network
==============  ==================================================================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor, nn


class Defect(StrEnum):
    """What is planted in a network."""

    NONE = "healthy"
    IDENTITY = "identity"
    BOTTLENECK = "bottleneck"
    DEAD = "dead"
    WIDE = "far too wide"
    FROZEN = "frozen"
    DEEP = "surplus depth"


class Family(StrEnum):
    """The kinds of networks."""

    MLP = "plain MLP"
    RESIDUAL_MLP = "residual MLP"
    CNN = "CNN"
    RESNET = "ResNet"

    @property
    def of_images(self) -> bool:
        """True if its layers are convolutions."""
        return self in {Family.CNN, Family.RESNET}

    @property
    def residual(self) -> bool:
        """True if something flows past its blocks."""
        return self in {Family.RESIDUAL_MLP, Family.RESNET}

    @property
    def width(self) -> int:
        """Units, or channels, of every block."""
        return 16 if self.of_images else 100


DEPTH, SURPLUS = 6, 10
"""Blocks of a healthy network, and how many more an over-deep one has."""

ALIVE = 0.125
"""Share of the units of a dead block that are alive."""

WIDER = 10


@dataclass(frozen=True)
class PlantedSpec:
    """A network and its defect."""

    family: Family
    defect: Defect
    seed: int

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return DEPTH + SURPLUS if self.defect is Defect.DEEP else DEPTH

    @property
    def place(self) -> int:
        """Which block has the defect, from 0: never the first one or the last."""
        return 1 + self.seed % (DEPTH - 2)

    @property
    def planted(self) -> range:
        """The blocks that a tool should name; empty for a healthy network."""
        if self.defect is Defect.NONE:
            return range(0)
        if self.defect is Defect.DEEP:
            return range(DEPTH, self.depth)
        return range(self.place, self.place + 1)


class PlantedNetwork(nn.Module):
    """A stem, blocks of one width and a linear head; images are halved in the middle."""

    def __init__(self, spec: PlantedSpec, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        family, width = spec.family, spec.family.width
        self.stem = _body(family, shape[0] if family.of_images else math.prod(shape), width)
        self.blocks = nn.Sequential(*(_block(spec, i) for i in range(spec.depth)))
        self.pool = nn.AdaptiveAvgPool2d(1) if family.of_images else nn.Identity()
        self.flatten = nn.Flatten()
        self.head = nn.Linear(width, classes)
        self.block_names = ("stem", *(f"blocks.{i}" for i in range(spec.depth)))
        self._of_images = family.of_images

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs (n, ...) to logits (n, K)."""
        x = self.blocks(self.stem(x if self._of_images else self.flatten(x)))
        logits: Tensor = self.head(self.flatten(self.pool(x)))
        return logits


class Residual(nn.Module):
    """Adds a branch to what flows past it; ReLU follows in a ResNet."""

    def __init__(self, branch: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.branch, self.activation = branch, activation

    def forward(self, x: Tensor) -> Tensor:
        """Map features to features of the same shape."""
        y: Tensor = self.activation(x + self.branch(x))
        return y


class Mask(nn.Module):
    """Lets only the first ``alive`` of all units or channels through."""

    def __init__(self, units: int, alive: int) -> None:
        super().__init__()
        self.register_buffer("mask", (torch.arange(units) < alive).float())

    def forward(self, x: Tensor) -> Tensor:
        """Return features (n, units, ...) of the same shape."""
        mask: Tensor = self.get_buffer("mask")
        return x * mask.view(-1, *[1] * (x.ndim - 2))


def _block(spec: PlantedSpec, i: int) -> nn.Module:
    """Return block i, with the pooling in front of it if it is the first of the second half."""
    family, width = spec.family, spec.family.width
    defect = spec.defect if i in spec.planted else Defect.NONE
    if spec.defect in {Defect.WIDE, Defect.BOTTLENECK} and not family.residual:
        changed = WIDER * width if spec.defect is Defect.WIDE else _few(family, spec.seed)
        inputs, outputs = (changed if j in spec.planted else width for j in (i - 1, i))
        block: nn.Module = _body(family, inputs, outputs)
    else:
        block = _with_defect(family, width, defect, spec.seed)
    if family.of_images and i == spec.depth // 2:
        return nn.Sequential(nn.MaxPool2d(2), block)
    return block


def _with_defect(family: Family, width: int, defect: Defect, seed: int) -> nn.Module:
    if defect is Defect.BOTTLENECK:
        few = _few(family, seed)
        return nn.Sequential(_body(family, width, few), _body(family, few, width))
    branch = _branch(family, width, defect)
    if not family.residual:
        return branch
    return Residual(branch, nn.ReLU() if family.of_images else nn.Identity())


def _few(family: Family, seed: int) -> int:
    """Return how many units, or channels, a bottleneck has."""
    return 2 if family.of_images else 4 + seed % 3


def _branch(family: Family, width: int, defect: Defect) -> nn.Module:
    """Return what a block computes, apart from what flows past it."""
    if defect is Defect.WIDE:
        return nn.Sequential(
            _body(family, width, WIDER * width), _body(family, WIDER * width, width)
        )
    if defect is Defect.IDENTITY:
        return _zeros(family, width) if family.residual else _identity(family, width)
    body = _body(family, width, width)
    if defect is Defect.DEAD:
        return nn.Sequential(body, Mask(width, int(ALIVE * width)))
    if defect is Defect.FROZEN:
        body.requires_grad_(requires_grad=False)
    return body


def _layer(family: Family, inputs: int, outputs: int) -> nn.Module:
    if family.of_images:
        return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Linear(inputs, outputs, bias=False)


def _body(family: Family, inputs: int, outputs: int) -> nn.Sequential:
    norm = nn.BatchNorm2d(outputs) if family.of_images else nn.BatchNorm1d(outputs)
    return nn.Sequential(_layer(family, inputs, outputs), norm, nn.ReLU())


def _identity(family: Family, width: int) -> nn.Module:
    """Return a layer that gives what it receives, as long as that is not negative."""
    layer = _layer(family, width, width)
    weight = layer.get_parameter("weight")
    if family.of_images:
        nn.init.dirac_(weight)
    else:
        nn.init.eye_(weight)
    return nn.Sequential(layer, nn.ReLU()).requires_grad_(requires_grad=False)


def _zeros(family: Family, width: int) -> nn.Module:
    layer = _layer(family, width, width)
    nn.init.zeros_(layer.get_parameter("weight"))
    return nn.Sequential(layer, nn.ReLU()).requires_grad_(requires_grad=False)
