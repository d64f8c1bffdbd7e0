"""The networks whose blocks are left out: small ones trained here, and pretrained ResNets."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from benchmarks.claim import Figures
from benchmarks.claims.pretrained_resnets import (
    ALL,
    BLOCKS_PER_STAGE,
    TRAIN,
    cifar_splits,
    pretrained_resnet,
)
from benchmarks.claims.small_networks import FAMILIES, PROBE, Task, trained_subject
from designer.choices import Augmentation
from designer.data.augmentation import augmented
from designer.data.dataset import LabelledTensors
from designer.models.size import size_of_model
from designer.pruning.cut import cut
from designer.pruning.evaluation import mean_loss
from designer.pruning.options import RecoveryOptions
from designer.pruning.recover import recover
from designer.pruning.removable import Removable, removable_blocks
from designer.pruning.splits import Splits
from designer.training.devices import usable_device
from designer.training.trainer import correct_answers

SMALL, PRETRAINED = tuple(FAMILIES), tuple(BLOCKS_PER_STAGE)

PLAIN = ("plain MLP", "CNN")
"""Families in which nothing flows past a block."""

VALIDATION = 0.5
"""Share of a small network's samples that is held out: as many as there are to train on."""

RATE, MOMENTUM, BATCH = 0.02, 0.9, 128
"""How the pretrained networks recover: SGD, the rate falling to 0 along a cosine, with flips."""


@dataclass(frozen=True)
class Recovery:
    """How long a pretrained network trains after a removal."""

    epochs: int
    images: int


SHORT, LONG, FULL = Recovery(1, 2000), Recovery(2, TRAIN), Recovery(5, ALL)
"""After the removal of a single block, of several, and of several with all images that there are.
Small networks recover as the product does by default, after any removal."""


@dataclass(frozen=True)
class NetworkTask:
    """One network on one data set."""

    data: str
    """Name of the data set."""
    source: str
    family: str
    seed: int
    """Seed of a small network's data and training; 0 for a pretrained one."""
    models: str = ""
    """The folder of the pretrained weights."""
    device: str = "cpu"
    images: int = TRAIN
    """Training images of a pretrained network."""

    @property
    def pretrained(self) -> bool:
        """True if others trained the network."""
        return self.family in PRETRAINED

    @property
    def names(self) -> Figures:
        """What identifies the network in a result file."""
        return {"data": self.data, "family": self.family, "seed": self.seed}


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained network, its data and its blocks."""

    task: NetworkTask
    model: nn.Module
    splits: Splits
    removables: Sequence[Removable]
    """All blocks in running order, also those that must stay."""

    @property
    def pool(self) -> list[Removable]:
        """The blocks that can go."""
        return [block for block in self.removables if block.can_go]


@lru_cache(maxsize=1)
def subject_of(task: NetworkTask) -> Subject:
    """Return the network with its data; the latest one is kept."""
    if task.pretrained:
        device = usable_device(task.device)
        model: nn.Module = pretrained_resnet(task.family, Path(task.models)).to(device)
        splits = cifar_splits(Path(task.source), task.images).to(device)
    else:
        trained = trained_subject(Task(task.data, task.source, task.family, task.seed), VALIDATION)
        model, splits = trained.model, trained.splits
    return Subject(task, model, splits, removable_blocks(model, splits.train.inputs[:PROBE]))


@dataclass(frozen=True)
class RemovalJob:
    """Blocks to remove from a network, and how to go on."""

    task: NetworkTask
    blocks: tuple[str, ...]
    """Names of the blocks, in running order; empty for the whole network."""
    fit: bool
    """True to fit what follows to what it receives now, as the product does."""
    recovery: Recovery | None = None
    """The training afterwards; None for none."""
    seeds: tuple[int, ...] = ()
    """Seeds of the trainings, each of which begins with the same network."""


def without_blocks(job: RemovalJob) -> Figures:
    """Return accuracy and cross-entropy on test data without the blocks, and after trainings."""
    subject = subject_of(job.task)
    blocks = [block for block in subject.pool if block.name in job.blocks]
    if len(blocks) != len(job.blocks):
        raise ValueError(f"expected blocks that can go, got {job.blocks}")
    smaller = (
        cut(subject.model, blocks, subject.splits.train, fit=job.fit).model
        if blocks
        else copy.deepcopy(subject.model)
    )
    outcome: Figures = {"before": tested(smaller, subject.splits), "size": _size(smaller, subject)}
    if job.recovery:
        outcome["after"] = [
            tested(recovered(smaller, subject, job.recovery, seed), subject.splits)
            for seed in job.seeds
        ]
    return outcome


def tested(model: nn.Module, splits: Splits) -> Figures:
    """Return accuracy, as a fraction, and cross-entropy in nats, on test data."""
    if splits.test is None:
        raise ValueError("the benchmark's data have test sets")
    return {
        "accuracy": round(float(correct_answers(model, splits.test).float().mean()), 6),
        "cross_entropy": round(mean_loss(model, splits.test), 6),
    }


def _size(smaller: nn.Module, subject: Subject) -> Figures:
    """Return the shares of the whole network's parameters and operations that are left."""
    few = subject.splits.train.inputs[:1]
    left, whole = (size_of_model(model, few.clone()) for model in (smaller, subject.model))
    return {
        "parameters": round(left.parameters / whole.parameters, 4),
        "flops": round(left.flops / whole.flops, 4),
    }


def recovered(model: nn.Module, subject: Subject, recovery: Recovery, seed: int) -> nn.Module:
    """Return a trained copy of a smaller network."""
    model = copy.deepcopy(model)
    if subject.task.pretrained:
        train = subject.splits.train
        images = LabelledTensors(train.inputs[: recovery.images], train.labels[: recovery.images])
        train_with_sgd(model, images, recovery.epochs, seed)
    else:
        rate = FAMILIES[subject.task.family].learning_rate
        recover(model, subject.splits, RecoveryOptions(learning_rate=rate, seed=seed))
    return model


def train_with_sgd(model: nn.Module, data: LabelledTensors, epochs: int, seed: int) -> None:
    """Train in place with SGD and flips, the rate falling to 0 along a cosine.

    Args:
        model: gives logits (n, K); left in eval mode.
        data: images (n, channels, height, width).
        epochs: passes over the data.
        seed: seed of the order and of the flips.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    steps = epochs * -(-len(data) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(data), generator=generator), BATCH):
            inputs = augmented(data.inputs[rows], Augmentation.FLIP, generator)
            loss = functional.cross_entropy(model(inputs), data.labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    model.eval()
