"""Plain convolutional networks: stages of 3x3 convolutions with pooling between them.

They follow Simonyan & Zisserman, ICLR 2015, with global average pooling before the head.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from search_spaces.base import Trial
from search_spaces.choices import suggest_learning_rate
from search_spaces.edits import Edit, EditKind
from search_spaces.images import (
    image_shape,
    stage_edits,
    stage_parameters,
    suggest_depths,
    suggest_widths,
)

NORMALISATIONS = ("batch", "none")


@dataclass(frozen=True)
class CnnSpec:
    """One network, with ``depths[s]`` blocks of ``widths[s]`` channels in stage s."""

    depths: tuple[int, ...]
    """Number of blocks of each stage."""
    widths: tuple[int, ...]
    """Number of channels of each stage."""
    normalisation: str
    """One of ``NORMALISATIONS``."""
    learning_rate: float
    """Learning rate before any schedule."""


@dataclass(frozen=True)
class CnnSpace:
    """Plain convolutional networks: stages, their depths and widths, normalisation, learning rate.

    The first width is rounded to a multiple of ``width_step``; the later stages all have the same
    width, or each has twice as many channels as the one before.
    """

    min_stages: int = 2
    max_stages: int = 3
    min_depth: int = 1
    max_depth: int = 3
    min_width: int = 8
    max_width: int = 32
    width_step: int = 4
    normalisations: tuple[str, ...] = NORMALISATIONS
    min_learning_rate: float = 1e-3
    max_learning_rate: float = 1e-2

    name: ClassVar[str] = "cnn"

    def suggest(self, trial: Trial) -> CnnSpec:
        """Propose a network from the trial's choices."""
        stages = trial.suggest_int("stages", self.min_stages, self.max_stages)
        return CnnSpec(
            depths=suggest_depths(trial, stages, self.min_depth, self.max_depth),
            widths=suggest_widths(trial, stages, self.min_width, self.max_width, self.width_step),
            normalisation=str(trial.suggest_categorical("normalisation", self.normalisations)),
            learning_rate=suggest_learning_rate(
                trial, self.min_learning_rate, self.max_learning_rate
            ),
        )

    def build(self, spec: CnnSpec, input_shape: tuple[int, ...], num_classes: int) -> Cnn:
        """Build the network of ``spec`` for images of ``input_shape``.

        Raises:
            ValueError: if the inputs are no images.
        """
        channels, _, _ = image_shape(input_shape)
        return Cnn(spec, channels, num_classes)

    def edits(self, spec: CnnSpec) -> Iterator[Edit]:
        """Return changes of depth, width, normalisation and rate; see ``EditableSpace``."""
        params = {
            **stage_parameters(spec.depths, spec.widths),
            "normalisation": spec.normalisation,
            "learning_rate": spec.learning_rate,
        }
        yield from stage_edits(spec.depths, params)
        yield Edit(EditKind.NORMALISE, {**params, "normalisation": "batch"})


class Cnn(nn.Module):
    """Stages of blocks, average pooling, linear head; ``block_names`` lists the blocks."""

    cuda_graphs = True

    def __init__(self, spec: CnnSpec, channels: int, num_classes: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for depth, width in zip(spec.depths, spec.widths, strict=True):
            inputs = (channels, *[width] * (depth - 1))
            self.stages.append(nn.Sequential(*(_block(i, width, spec) for i in inputs)))
            channels = width
        self.head = nn.Linear(channels, num_classes)
        self.block_names = tuple(
            f"stages.{stage}.{block}"
            for stage, depth in enumerate(spec.depths)
            for block in range(depth)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, channels, height, width) images to (n, num_classes) logits."""
        for i, stage in enumerate(self.stages):
            if i > 0:  # rounding up keeps the border of maps of odd size, and maps of one pixel
                x = functional.max_pool2d(x, 2, ceil_mode=True)
            x = stage(x)
        logits: torch.Tensor = self.head(x.mean((2, 3)))
        return logits


def _block(inputs: int, outputs: int, spec: CnnSpec) -> nn.Sequential:
    normalised = spec.normalisation == "batch"
    # BatchNorm subtracts the mean, so a bias before it would have no effect
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=not normalised)
    # He et al., ICCV 2015: without this initialisation the signal fades if nothing normalises it
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
    if normalised:
        layers["norm"] = nn.BatchNorm2d(outputs)
    layers["activation"] = nn.ReLU()
    return nn.Sequential(layers)
