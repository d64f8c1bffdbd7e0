"""The small networks that blocks are removed from: five families, and passes through them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from benchmarks.claim import Figures
from benchmarks.claims.pretrained_resnets import CifarResnet
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.pruning.options import RecoveryOptions
from designer.pruning.splits import Splits, splits_of
from designer.training.trainer import Schedule, build_seeded, train
from search_spaces import (
    CnnSpace,
    CnnSpec,
    MlpSpace,
    MlpSpec,
    ResnetSpace,
    ResnetSpec,
    VitSpace,
    VitSpec,
)

TRAIN_SIZE, IMAGE_SIZE = 1000, 10

PROBE = 5
"""Inputs on which the blocks that can go are found."""

TRAINING_STEP = 3
"""Forward passes that a training step is counted as."""


class ResidualMlp(nn.Module):
    """A perceptron whose blocks add to what flows past them."""

    def __init__(self, inputs: int, width: int, depth: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())
            for _ in range(depth)
        )
        self.head = nn.Linear(width, classes)
        self.block_names = tuple(f"blocks.{i}" for i in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, K) of inputs (n, ...)."""
        x = self.stem(x.flatten(1))
        for block in self.blocks:
            x = x + block(x)
        logits: Tensor = self.head(x)
        return logits


@dataclass(frozen=True)
class Family:
    """A kind of network and how it is trained."""

    build: Callable[[tuple[int, ...], int], nn.Module]
    """Makes an untrained network from the input's shape and the number of classes."""
    epochs: int
    learning_rate: float
    greedy_epochs: int = 1
    """Epochs of recovery in each trial of greedy ablation."""


def _mlp(shape: tuple[int, ...], classes: int) -> nn.Module:
    return MlpSpace().build(MlpSpec((100,) * 10, "batch", "relu", 1e-3), shape, classes)


def _residual_mlp(shape: tuple[int, ...], classes: int) -> nn.Module:
    return ResidualMlp(math.prod(shape), 100, 10, classes)


def _cnn(shape: tuple[int, ...], classes: int) -> nn.Module:
    return CnnSpace().build(CnnSpec((5, 5), (8, 16), "batch", 3e-3), shape, classes)


def _resnet(shape: tuple[int, ...], classes: int) -> nn.Module:
    return ResnetSpace().build(ResnetSpec("basic", (5, 5), (8, 16), 3e-3), shape, classes)


def _vit(shape: tuple[int, ...], classes: int) -> nn.Module:
    return VitSpace().build(VitSpec(2, 6, 32, 2, 2e-3), shape, classes)


FAMILIES = {
    "plain MLP": Family(_mlp, 60, 1e-3, greedy_epochs=5),
    "residual MLP": Family(_residual_mlp, 60, 1e-3, greedy_epochs=5),
    "ResNet": Family(_resnet, 20, 3e-3),
    "ViT": Family(_vit, 40, 2e-3),
    "CNN": Family(_cnn, 20, 3e-3),
}

ROOTS: tuple[type[nn.Module], ...] = (
    ResidualMlp,
    CifarResnet,
    *(type(family.build((1, 8, 8), 2)) for family in FAMILIES.values()),
)
"""Classes of whole networks."""


@dataclass(frozen=True)
class Task:
    """One network on one data set."""

    data: str
    """Name of the data set."""
    source: str
    family: str
    seed: int

    @property
    def names(self) -> Figures:
        """What identifies the network in a result file."""
        return {"data": self.data, "family": self.family, "seed": self.seed}


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained network and all that is needed to remove blocks from it."""

    task: Task
    model: nn.Module
    data: Dataset
    splits: Splits
    recovery: RecoveryOptions

    @property
    def family(self) -> Family:
        """The family of the network."""
        return FAMILIES[self.task.family]

    def untrained(self, seed: int) -> nn.Module:
        """Return a network of the family with the initial weights of a seed."""
        return build_seeded(
            lambda: self.family.build(self.data.input_shape, self.data.num_classes),
            seed,
            torch.device("cpu"),
        )


def trained_subject(task: Task, validation: float) -> Subject:
    """Train the whole network.

    Args:
        task: the network and its data.
        validation: share of the samples in use that is held out.
    """
    family = FAMILIES[task.family]
    bundled = task.source == "digits"
    data = load_dataset(
        task.source,
        train_size=None if bundled else TRAIN_SIZE,
        image_size=None if bundled else IMAGE_SIZE,
        validation_fraction=validation,
        seed=task.seed,
    )
    model = build_seeded(
        lambda: family.build(data.input_shape, data.num_classes), task.seed, torch.device("cpu")
    )
    train(
        model,
        data.train,
        epochs=family.epochs,
        learning_rate=family.learning_rate,
        seed=task.seed,
        schedule=Schedule.STEP,
    )
    recovery = RecoveryOptions(learning_rate=family.learning_rate, seed=task.seed)
    return Subject(task, model.eval(), data, splits_of(data), recovery)


@contextmanager
def counting() -> Iterator[list[float]]:
    """Count the samples that pass through whole networks, a training step as three."""
    passes = [0.0]

    def count(module: nn.Module, inputs: Any) -> None:
        if isinstance(module, ROOTS) and inputs:
            steps = module.training and torch.is_grad_enabled()
            passes[0] += len(inputs[0]) * (TRAINING_STEP if steps else 1)

    handle = register_module_forward_pre_hook(count)
    try:
        yield passes
    finally:
        handle.remove()


def by_family(rows: Sequence[Figures], summary: Callable[[Sequence[Figures]], Figures]) -> Figures:
    """Return a summary of each family on each data set and on all of them, and the rows."""
    groups: dict[tuple[str, str], list[Figures]] = defaultdict(list)
    for row in rows:
        groups[row["family"], row["data"]].append(row)
        groups[row["family"], "all"].append(row)
    return {
        "groups": [
            {"family": family, "data": data, **summary(members)}
            for (family, data), members in groups.items()
        ],
        "rows": list(rows),
    }


def ignore(_what: str, _done: int, _total: int) -> None:
    """Take progress and show nothing."""
