"""Train the networks of the paper's figures, look inside, and keep what was trained in a file."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.claim import Figures
from benchmarks.claims.paper_figures import IN_TURN, RATES, Recipe
from benchmarks.processes import PROCESSES, as_they_finish
from designer.analysis.profile import profile
from designer.data.dataset import Dataset, LabelledTensors
from designer.data.loading import load_dataset
from designer.errors import TrialFailed
from designer.results.measured import measured
from designer.training.trainer import (
    WEIGHT_DECAY,
    MakeOptimizer,
    Schedule,
    accuracy,
    adam,
    build_seeded,
    train,
)
from search_spaces import CnnSpace, CnnSpec, MlpSpace, MlpSpec, ResnetSpace, ResnetSpec

Row = Mapping[str, Any]
"""A trained network as a line of the file: its recipe as ``run``, and what was measured."""

TRAIN_SIZE, IMAGE_SIZE = 1000, 10

PILOT_SEED = 100
PILOT_SHARE = 5
"""What the epochs of a run are divided by for its pilots."""

MINORITY = 5
"""How many times more images the larger half of the classes has in the imbalanced data."""

RESNET_LAYERS = ("stem", "stages.*.*.residual.2", "stages.*.*")
"""Patterns of all layers of a ResNet, inside its blocks, too."""

OPTIMIZERS: dict[str, MakeOptimizer] = {
    "adam": adam,
    "momentum": lambda parameters, rate: torch.optim.SGD(
        parameters, lr=rate, momentum=0.9, weight_decay=WEIGHT_DECAY
    ),
    "sgd": lambda parameters, rate: torch.optim.SGD(parameters, lr=rate, weight_decay=WEIGHT_DECAY),
}


class TrainedNetworks:
    """Reads networks that are already trained from a file of JSON lines, and trains the others."""

    def __init__(self, path: Path | None, sources: Mapping[str, Path]) -> None:
        self._path = path
        self._sources = {name: str(source) for name, source in sources.items()}
        lines = path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []
        self._rows = {key_of(row["run"]): row for row in map(json.loads, lines)}
        self._kept = set(self._rows)
        self._asked: set[str] = set()

    def train(self, recipes: Iterable[Recipe]) -> None:
        """Train all networks that are missing."""
        by_key = {key_of(asdict(recipe)): recipe for recipe in recipes}
        self._asked.update(by_key)
        missing = [recipe for key, recipe in by_key.items() if key not in self._rows]
        missing.sort(key=_cost, reverse=True)  # so that the last ones are short
        for _, row in as_they_finish(partial(trained, self._sources), missing, "networks"):
            self._rows[key_of(row["run"])] = row
            if self._path:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(f"{json.dumps(row)}\n")

    def __getitem__(self, recipe: Recipe) -> Row:
        row: Row = self._rows[key_of(asdict(recipe))]
        return row

    @property
    def earlier_seconds(self) -> float:
        """Wall time that earlier runs spent on what was asked for, in seconds."""
        kept = self._kept & self._asked
        return float(sum(self._rows[key]["seconds"] for key in kept)) / PROCESSES

    @property
    def seconds(self) -> float:
        """Seconds of all trainings together, one thread each."""
        return round(float(sum(self._rows[key]["seconds"] for key in self._asked)), 1)


def key_of(recipe: Mapping[str, Any]) -> str:
    """Return a key that is the same for equal recipes, also for one that was read from a file."""
    return json.dumps(recipe, sort_keys=True)


def _cost(recipe: Recipe) -> float:
    kinds = {"resnet": 1e6, "vgg": 5e5}
    return recipe.epochs * (kinds.get(recipe.kind, 0) + sum(3e3 + w**2 for w in recipe.widths))


# --- learning rates ---


def tune(recipes: Sequence[Recipe], networks: TrainedNetworks) -> dict[Recipe, Recipe]:
    """Return each recipe with the learning rate that served best in its pilots."""
    pilots = {
        recipe: [pilot(recipe, rate) for rate in recipe.rates or RATES[recipe.optimizer]]
        for recipe in recipes
    }
    networks.train(trial for trials in pilots.values() for trial in trials)

    def merit(trial: Recipe) -> float:
        row = networks[trial]
        if trial.lowest_loss:
            return -float(row.get("training_loss", math.inf))
        value = row["train_accuracy" if trial.shuffled else "validation_accuracy"]
        return -1.0 if value is None else float(value)

    return {
        recipe: replace(recipe, learning_rate=max(trials, key=merit).learning_rate)
        for recipe, trials in pilots.items()
    }


def pilot(recipe: Recipe, rate: float) -> Recipe:
    """Return a shorter run with a seed of its own, without looks inside and without early end."""
    epochs = max(recipe.epochs // PILOT_SHARE, 10)
    return replace(
        recipe, epochs=epochs, learning_rate=rate, seed=PILOT_SEED, looks=(), until_loss=0.0
    )


# --- one network ---


class _LossReached(Exception):
    """Training has reached the recipe's loss."""


def trained(sources: Mapping[str, str], recipe: Recipe) -> Row:
    """Train one network and look inside.

    Args:
        sources: where the data sets are, by name; bundled ones may be left out.
        recipe: the network.
    """
    started = time.perf_counter()
    data = data_of(sources.get(recipe.data, recipe.data), recipe)
    model = build_seeded(lambda: build(recipe, data), recipe.seed, torch.device("cpu"))
    row: Figures = {"run": asdict(recipe), "values": None, "inner": None}
    try:
        looks = _train(model, data, recipe)
    except TrialFailed:
        failed = {f"{part}_accuracy": None for part in ("train", "validation", "test")}
        return {**row, **failed, "seconds": round(time.perf_counter() - started, 2)}
    inner = RESNET_LAYERS if recipe.kind == "resnet" else None
    return {
        **row,
        "values": values_of(model, data.train),
        "inner": values_of(model, data.train, inner) if inner else None,
        **looks,
        "training_loss": round(loss_of(model, data.train), 5),
        **_accuracies(model, data),
        "seconds": round(time.perf_counter() - started, 2),
    }


def _train(model: nn.Module, data: Dataset, recipe: Recipe) -> Figures:
    """Train as the recipe says; return what its looks show and the number of epochs.

    Raises:
        TrialFailed: if the loss is no longer finite.
    """
    emergence: dict[str, list[float | None]] = {}
    ended = recipe.epochs

    def on_epoch(epoch: int, current: nn.Module) -> None:
        nonlocal ended
        if epoch in recipe.looks:
            emergence[str(epoch)] = values_of(current, data.train)
        if recipe.until_loss and loss_of(current, data.train) <= recipe.until_loss:
            ended = epoch
            raise _LossReached

    with suppress(_LossReached):
        if recipe.frozen == IN_TURN:
            ended = _train_in_turn(model, data, recipe)
        else:
            _train_whole(model, data, recipe, Schedule.STEP, on_epoch=on_epoch)
    return {"emergence": emergence, "epochs": ended}


def _train_whole(
    model: nn.Module, data: Dataset, recipe: Recipe, schedule: Schedule, **other: Any
) -> None:
    """Train all that is not frozen."""
    options = {
        "epochs": recipe.epochs,
        "learning_rate": recipe.learning_rate,
        "seed": recipe.seed,
        "optimizer": OPTIMIZERS[recipe.optimizer],
    }
    train(model, data.train, schedule=schedule, **{**options, **other})


def _train_in_turn(model: nn.Module, data: Dataset, recipe: Recipe) -> int:
    """Train the first half of the blocks at a constant rate, and then the rest, as the paper does.

    Its program is at github.com/HornHehhf/Equi-Separation. Nobody looks inside on the way.

    Returns:
        The number of epochs, of both halves together.
    """
    first = list(model.get_submodule("blocks").children())
    first = first[: math.ceil(len(first) / 2)]
    model.requires_grad_(requires_grad=False)
    _require(first, requires_grad=True)
    before = 3 * recipe.epochs // 2
    _train_whole(model, data, recipe, Schedule.CONSTANT, epochs=before)
    model.requires_grad_(requires_grad=True)
    _require(first, requires_grad=False)
    _train_whole(model, data, recipe, Schedule.STEP)
    return before + recipe.epochs


def _require(blocks: Iterable[nn.Module], *, requires_grad: bool) -> None:
    for block in blocks:
        block.requires_grad_(requires_grad=requires_grad)


def _accuracies(model: nn.Module, data: Dataset) -> Figures:
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    return {f"{name}_accuracy": round(accuracy(model, part), 4) for name, part in parts.items()}


@lru_cache(maxsize=4)
def _loaded(source: str, size: int | None, seed: int, *, shuffled: bool) -> Dataset:
    bundled = source == "digits"
    return load_dataset(
        source,
        train_size=None if bundled else size,
        image_size=None if bundled else IMAGE_SIZE,
        seed=seed,
        shuffle_labels=shuffled,
    )


def data_of(source: str, recipe: Recipe) -> Dataset:
    """Return the images of a network; each seed draws its own."""
    if recipe.data == "CIFAR-10":
        return _green(_loaded(source, TRAIN_SIZE, recipe.seed, shuffled=recipe.shuffled))
    if not recipe.imbalanced:
        return _loaded(source, TRAIN_SIZE, recipe.seed, shuffled=recipe.shuffled)
    whole = _loaded(source, MINORITY * TRAIN_SIZE, recipe.seed, shuffled=False)
    labels = whole.train.labels
    kept = torch.ones(len(labels), dtype=torch.bool)
    for small in range(whole.num_classes // 2, whole.num_classes):
        places = (labels == small).nonzero().flatten()
        kept[places[len(places) // MINORITY :]] = False
    return replace(whole, train=LabelledTensors(whole.train.inputs[kept], labels[kept]))


def _green(data: Dataset) -> Dataset:
    """Return images with their green channel alone, as the paper's program has them."""
    train_part, validation, test = (
        LabelledTensors(part.inputs[:, 1:2].contiguous(), part.labels)
        for part in (data.train, data.validation, data.test)
    )
    return replace(data, train=train_part, validation=validation, test=test)


def build(recipe: Recipe, data: Dataset) -> nn.Module:
    """Return the untrained network."""
    shape, classes, rate = data.input_shape, data.num_classes, recipe.learning_rate
    if recipe.kind == "resnet":
        spec = ResnetSpec("basic", (4, 4), recipe.widths, rate)
        return ResnetSpace().build(spec, shape, classes)
    if recipe.kind == "vgg":
        return CnnSpace().build(CnnSpec((3, 3), recipe.widths, "batch", rate), shape, classes)
    perceptron = MlpSpec(recipe.widths, recipe.normalisation, "relu", rate)
    model = MlpSpace().build(perceptron, shape, classes)
    blocks = list(model.blocks)
    if recipe.kind == "linear":
        for block in blocks:
            block.activation = nn.Identity()
    half = len(blocks) // 2
    for block in {"first": blocks[:half], "last": blocks[half:]}.get(recipe.frozen, []):
        block.requires_grad_(requires_grad=False)
    return model


def values_of(
    model: nn.Module, data: LabelledTensors, blocks: Sequence[str] | None = None
) -> list[float | None]:
    """Return D on the input and after every block, None where it does not exist."""
    layers = profile(model, data, blocks=blocks, permutations=0, resamples=0)
    return [measured(float(f"{value:.6g}")) for value in layers.values]


@torch.no_grad()
def loss_of(model: nn.Module, data: LabelledTensors) -> float:
    """Return the cross-entropy in nats, in eval mode."""
    training = model.training
    model.eval()
    loss = float(nn.functional.cross_entropy(model(data.inputs), data.labels))
    model.train(training)
    return loss
