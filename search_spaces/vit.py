"""Vision transformers (Dosovitskiy et al., ICLR 2021) that classify the mean over tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import lcm
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from search_spaces.base import Trial
from search_spaces.choices import suggest_learning_rate
from search_spaces.edits import Edit, EditKind, rate_edits
from search_spaces.images import image_shape, suggest_width, width_edits

MLP_RATIO = 2
"""Ratio of the width of a layer's perceptron to that of its tokens."""


@dataclass(frozen=True)
class VitSpec:
    """One transformer, with ``depth`` layers on tokens of ``width`` features.

    Raises:
        ValueError: if ``heads`` do not divide ``width``.
    """

    patch: int
    """Number of pixels along a side of the square that becomes one token."""
    depth: int
    """Number of encoder layers."""
    width: int
    """Number of features of a token."""
    heads: int
    """Number of attention heads of a layer."""
    learning_rate: float
    """Learning rate before any schedule."""

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(
                f"Expected heads that divide the width, got width {self.width} and "
                f"{self.heads} heads."
            )


@dataclass(frozen=True)
class VitSpace:
    """Vision transformers: patch, depth, width, heads, learning rate.

    Widths are rounded to multiples of ``width_step`` that the heads divide.
    """

    patches: tuple[int, ...] = (2, 4)
    min_depth: int = 3
    max_depth: int = 6
    min_width: int = 16
    max_width: int = 64
    width_step: int = 8
    heads: tuple[int, ...] = (1, 2, 4)
    min_learning_rate: float = 1e-3
    max_learning_rate: float = 1e-2

    name: ClassVar[str] = "vit"

    def suggest(self, trial: Trial) -> VitSpec:
        """Propose a transformer from the trial's choices."""
        heads = int(trial.suggest_categorical("heads", self.heads))
        step = lcm(self.width_step, heads)
        return VitSpec(
            patch=int(trial.suggest_categorical("patch", self.patches)),
            depth=trial.suggest_int("depth", self.min_depth, self.max_depth),
            width=suggest_width(trial, self.min_width, self.max_width, step),
            heads=heads,
            learning_rate=suggest_learning_rate(
                trial, self.min_learning_rate, self.max_learning_rate
            ),
        )

    def build(self, spec: VitSpec, input_shape: tuple[int, ...], num_classes: int) -> Vit:
        """Build the transformer of ``spec`` for images of ``input_shape``.

        Raises:
            ValueError: if the inputs are no images.
        """
        return Vit(spec, image_shape(input_shape), num_classes)

    def edits(self, spec: VitSpec) -> Iterator[Edit]:
        """Return changes of depth, width and learning rate; see ``EditableSpace``."""
        params = asdict(spec)
        for kind, depth in (
            (EditKind.HALF_DEPTH, -(-spec.depth // 2)),
            (EditKind.ONE_BLOCK_FEWER, spec.depth - 1),
            (EditKind.ONE_BLOCK_MORE, spec.depth + 1),
        ):
            yield Edit(kind, {**params, "depth": depth})
        yield from width_edits(params)
        yield from rate_edits(params)


class Vit(nn.Module):
    """Patches and positions, encoder layers, norm, mean over tokens, linear head.

    ``block_names`` lists the encoder layers, each of which gives (n, tokens, width).
    """

    block_features = "pool"
    cuda_graphs = True

    def __init__(self, spec: VitSpec, shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.padding = (0, -width % spec.patch, 0, -height % spec.patch)
        tokens = -(-height // spec.patch) * -(-width // spec.patch)
        self.patches = nn.Conv2d(channels, spec.width, spec.patch, spec.patch)
        self.positions = nn.Parameter(torch.empty(tokens, spec.width))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.blocks = nn.ModuleList(_block(spec) for _ in range(spec.depth))
        self.norm = nn.LayerNorm(spec.width)
        self.head = nn.Linear(spec.width, num_classes)
        self.block_names = tuple(f"blocks.{i}" for i in range(spec.depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, channels, height, width) images to (n, num_classes) logits."""
        x = self.patches(functional.pad(x, self.padding))
        x = x.flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            x = block(x)
        logits: torch.Tensor = self.head(self.norm(x).mean(1))
        return logits


def _block(spec: VitSpec) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        spec.width,
        spec.heads,
        MLP_RATIO * spec.width,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
