"""Plain multi-layer perceptrons: blocks of Linear, normalisation, activation; a linear head."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Any, ClassVar

import torch
from torch import nn

from search_spaces.base import Trial
from search_spaces.choices import suggest_learning_rate
from search_spaces.edits import WIDEN_BY, Edit, EditKind, rate_edits, resampled

NORMALISATIONS = ("batch", "layer", "none")
ACTIVATIONS = ("relu", "gelu", "tanh")
SHAPES = ("constant", "tapered", "free")


@dataclass(frozen=True)
class MlpSpec:
    """One perceptron, with one hidden block for each width."""

    widths: tuple[int, ...]
    """Number of units of each hidden block."""
    normalisation: str
    """One of ``NORMALISATIONS``."""
    activation: str
    """One of ``ACTIVATIONS``."""
    learning_rate: float
    """Learning rate before any schedule."""

    @property
    def depth(self) -> int:
        """Number of hidden blocks."""
        return len(self.widths)


@dataclass(frozen=True)
class MlpSpace:
    """Perceptrons: depth, width per layer, normalisation, activation, learning rate.

    Widths are ``constant``, ``tapered`` (geometric from the first to the last) or ``free``
    (one choice per layer). Widths are rounded to multiples of ``width_step`` within the bounds, so
    that nearly equal architectures count as one.
    """

    min_depth: int = 2
    max_depth: int = 12
    min_width: int = 16
    max_width: int = 256
    width_step: int = 8
    normalisations: tuple[str, ...] = NORMALISATIONS
    activations: tuple[str, ...] = ACTIVATIONS
    min_learning_rate: float = 3e-4
    max_learning_rate: float = 1e-2

    name: ClassVar[str] = "mlp"

    def suggest(self, trial: Trial) -> MlpSpec:
        """Propose a perceptron from the trial's choices."""
        depth = trial.suggest_int("depth", self.min_depth, self.max_depth)
        return MlpSpec(
            widths=self._suggest_widths(trial, depth),
            normalisation=str(trial.suggest_categorical("normalisation", self.normalisations)),
            activation=str(trial.suggest_categorical("activation", self.activations)),
            learning_rate=suggest_learning_rate(
                trial, self.min_learning_rate, self.max_learning_rate
            ),
        )

    def build(self, spec: MlpSpec, input_shape: tuple[int, ...], num_classes: int) -> Mlp:
        """Build the perceptron of ``spec`` for inputs of ``input_shape``, which it flattens."""
        return Mlp(spec, prod(input_shape), num_classes)

    def edits(self, spec: MlpSpec) -> Iterator[Edit]:
        """Return changes of depth, width, normalisation and rate; see ``EditableSpace``."""
        widths = spec.widths
        by_kind = {
            EditKind.HALF_DEPTH: resampled(widths, -(-spec.depth // 2)),
            EditKind.ONE_BLOCK_FEWER: resampled(widths, spec.depth - 1),
            EditKind.ONE_BLOCK_MORE: resampled(widths, spec.depth + 1),
            EditKind.HALF_WIDTH: tuple(self._round(width / 2) for width in widths),
            EditKind.DOUBLE_WIDTH: tuple(self._round(width * 2) for width in widths),
        }
        for kind, edited in by_kind.items():
            yield Edit(kind, _parameters(replace(spec, widths=edited)))
        yield Edit(EditKind.NORMALISE, _parameters(replace(spec, normalisation="batch")))
        yield from rate_edits(_parameters(spec))
        for i, width in enumerate(widths):
            before, behind, block = widths[:i], widths[i + 1 :], f"blocks.{i}"
            for kind, own in (
                (EditKind.REMOVE_BLOCK, ()),
                (EditKind.WIDEN_BLOCK, (self._round(width * WIDEN_BY),)),
                (EditKind.NARROW_BLOCK, (self._round(width / 2),)),
            ):
                changed = replace(spec, widths=(*before, *own, *behind))
                yield Edit(kind, _parameters(changed), block)

    def _suggest_widths(self, trial: Trial, depth: int) -> tuple[int, ...]:
        shape = trial.suggest_categorical("shape", SHAPES)
        if shape == "free":
            return tuple(self._suggest_width(trial, f"width_{i}") for i in range(depth))
        first = self._suggest_width(trial, "width")
        if shape == "constant":
            return (first,) * depth
        last = self._suggest_width(trial, "last_width")
        ratio = (last / first) ** (1 / (depth - 1)) if depth > 1 else 1.0
        return tuple(self._round(first * ratio**i) for i in range(depth))

    def _suggest_width(self, trial: Trial, name: str) -> int:
        return self._round(trial.suggest_int(name, self.min_width, self.max_width, log=True))

    def _round(self, width: float) -> int:
        rounded = self.width_step * round(width / self.width_step)
        return min(max(rounded, self.min_width), self.max_width)


def _parameters(spec: MlpSpec) -> dict[str, Any]:
    """Return what a trial must suggest to propose a perceptron."""
    return {
        "depth": spec.depth,
        "shape": "free",
        **{f"width_{i}": width for i, width in enumerate(spec.widths)},
        "normalisation": spec.normalisation,
        "activation": spec.activation,
        "learning_rate": spec.learning_rate,
    }


class Mlp(nn.Module):
    """Flatten, hidden blocks, linear head; ``block_names`` lists the blocks."""

    cuda_graphs = True

    def __init__(self, spec: MlpSpec, inputs: int, num_classes: int) -> None:
        super().__init__()
        dims = (inputs, *spec.widths)
        self.blocks = nn.ModuleList(_block(a, b, spec) for a, b in pairwise(dims))
        self.head = nn.Linear(dims[-1], num_classes)
        self.block_names = tuple(f"blocks.{i}" for i in range(spec.depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, ...) inputs to (n, num_classes) logits."""
        x = x.flatten(1)
        for block in self.blocks:
            x = block(x)
        logits: torch.Tensor = self.head(x)
        return logits


def _block(inputs: int, outputs: int, spec: MlpSpec) -> nn.Sequential:
    normalised = spec.normalisation == "batch"
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    # BatchNorm subtracts the mean, so a bias before it would have no effect
    layers["linear"] = nn.Linear(inputs, outputs, bias=not normalised)
    if normalised:
        layers["norm"] = nn.BatchNorm1d(outputs)
    elif spec.normalisation == "layer":
        layers["norm"] = nn.LayerNorm(outputs)
    layers["activation"] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}[spec.activation]()
    return nn.Sequential(layers)
