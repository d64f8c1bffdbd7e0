"""Residual networks of basic or bottleneck blocks (He et al., CVPR 2016), for small images.

The stem is a single 3x3 convolution without pooling, as in that paper's networks for CIFAR-10.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import nn

from search_spaces.base import Trial
from search_spaces.choices import suggest_learning_rate
from search_spaces.edits import Edit
from search_spaces.images import (
    image_shape,
    stage_edits,
    stage_parameters,
    suggest_depths,
    suggest_widths,
)

BLOCKS = ("basic", "bottleneck")

BOTTLENECK = 4
"""Ratio of the output channels of a bottleneck block to its inner ones."""


@dataclass(frozen=True)
class ResnetSpec:
    """One network, with ``depths[s]`` blocks of ``widths[s]`` output channels in stage s."""

    block: str
    """One of ``BLOCKS``."""
    depths: tuple[int, ...]
    """Number of blocks of each stage."""
    widths: tuple[int, ...]
    """Number of output channels of each stage."""
    learning_rate: float
    """Learning rate before any schedule."""


@dataclass(frozen=True)
class ResnetSpace:
    """Residual networks: kind of block, stages, their depths and widths, learning rate.

    The first width is rounded to a multiple of ``width_step``; the later stages all have the same
    width, or each has twice as many channels as the one before.
    """

    blocks: tuple[str, ...] = BLOCKS
    min_stages: int = 2
    max_stages: int = 3
    min_depth: int = 1
    max_depth: int = 3
    min_width: int = 8
    max_width: int = 32
    width_step: int = 4
    min_learning_rate: float = 1e-3
    max_learning_rate: float = 1e-2

    name: ClassVar[str] = "resnet"

    def suggest(self, trial: Trial) -> ResnetSpec:
        """Propose a network from the trial's choices."""
        stages = trial.suggest_int("stages", self.min_stages, self.max_stages)
        return ResnetSpec(
            block=str(trial.suggest_categorical("block", self.blocks)),
            depths=suggest_depths(trial, stages, self.min_depth, self.max_depth),
            widths=suggest_widths(trial, stages, self.min_width, self.max_width, self.width_step),
            learning_rate=suggest_learning_rate(
                trial, self.min_learning_rate, self.max_learning_rate
            ),
        )

    def build(self, spec: ResnetSpec, input_shape: tuple[int, ...], num_classes: int) -> Resnet:
        """Build the network of ``spec`` for images of ``input_shape``.

        Raises:
            ValueError: if the inputs are no images.
        """
        channels, _, _ = image_shape(input_shape)
        return Resnet(spec, channels, num_classes)

    def edits(self, spec: ResnetSpec) -> Iterator[Edit]:
        """Return changes of depth, width and learning rate; see ``EditableSpace``."""
        params = {
            "block": spec.block,
            **stage_parameters(spec.depths, spec.widths),
            "learning_rate": spec.learning_rate,
        }
        yield from stage_edits(spec.depths, params)


class Resnet(nn.Module):
    """Stem, stages, average pooling, linear head; ``block_names`` lists the stem and the blocks."""

    cuda_graphs = True

    def __init__(self, spec: ResnetSpec, channels: int, num_classes: int) -> None:
        super().__init__()
        first = _inner_width(spec.block, spec.widths[0])
        widths = (first, *spec.widths)
        self.stem = nn.Sequential(*_convolution(channels, first, 3), nn.ReLU())
        self.stages = nn.ModuleList(
            _stage(spec.block, depth, inputs, outputs, stride=1 if stage == 0 else 2)
            for stage, (depth, (inputs, outputs)) in enumerate(
                zip(spec.depths, pairwise(widths), strict=True)
            )
        )
        self.head = nn.Linear(widths[-1], num_classes)
        self.block_names = (
            "stem",
            *(
                f"stages.{stage}.{block}"
                for stage, depth in enumerate(spec.depths)
                for block in range(depth)
            ),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, channels, height, width) images to (n, num_classes) logits."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        logits: torch.Tensor = self.head(x.mean((2, 3)))
        return logits


class ResidualBlock(nn.Module):
    """Computes ``relu(residual(x) + shortcut(x))``; the shortcut projects if the shape changes."""

    def __init__(self, kind: str, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        make = {"basic": _basic, "bottleneck": _bottleneck}[kind]
        self.residual = nn.Sequential(*make(inputs, outputs, stride))
        self.shortcut = (
            nn.Identity()
            if inputs == outputs and stride == 1
            else nn.Sequential(*_convolution(inputs, outputs, 1, stride))
        )
        self.activation = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, inputs, height, width) to (n, outputs, ...); stride 2 halves height and width."""
        y: torch.Tensor = self.activation(self.residual(x) + self.shortcut(x))
        return y


def _stage(kind: str, depth: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    first = ResidualBlock(kind, inputs, outputs, stride)
    rest = (ResidualBlock(kind, outputs, outputs, 1) for _ in range(depth - 1))
    return nn.Sequential(first, *rest)


def _basic(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [
        *_convolution(inputs, outputs, 3, stride),
        nn.ReLU(),
        *_convolution(outputs, outputs, 3),
    ]


def _bottleneck(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    inner = _inner_width("bottleneck", outputs)
    return [
        *_convolution(inputs, inner, 1),
        nn.ReLU(),
        *_convolution(inner, inner, 3, stride),  # a 1x1 convolution with stride would skip pixels
        nn.ReLU(),
        *_convolution(inner, outputs, 1),
    ]


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> list[nn.Module]:
    """Return a convolution without bias and its BatchNorm, which makes a bias useless."""
    conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return [conv, nn.BatchNorm2d(outputs)]


def _inner_width(kind: str, outputs: int) -> int:
    return max(outputs // BOTTLENECK, 1) if kind == "bottleneck" else outputs
