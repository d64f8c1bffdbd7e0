"""Measure a pool from scratch: architectures of a search space, trained as a search trains them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import optuna
from optuna.samplers import RandomSampler
from torch import nn

from benchmarks.claim import Figures
from benchmarks.command import say
from benchmarks.kept_outcomes import KeptOutcomes
from benchmarks.pools.pool import Row
from benchmarks.pools.zero_cost import (
    gradient_norm,
    jacobian_covariance,
    naswot,
    snip,
    synflow_log,
)
from designer.analysis.profile import profile
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.errors import InvalidInputError, TrialFailed
from designer.importing import typed
from designer.models.spaces import find_space
from designer.probing.probes import probing
from designer.results.measured import FloatArray, measured
from designer.search.candidates import size_of, spec_values, train_spec
from designer.search.study.records import spec_key
from designer.training.devices import usable_device
from designer.training.trainer import (
    EpochCallback,
    Schedule,
    TrainingHistory,
    accuracy,
    build_seeded,
)
from search_spaces import Space, Spec

T = TypeVar("T")

CHECKPOINTS = (2, 5, 10, 20)
"""Epochs of the short run at which networks are looked into, besides its last."""

PERMUTATIONS = 3
"""Label permutations for the null, as in a search trial."""

ZERO_COST_BATCH = 128

MAX_IN_VAIN = 300
"""Known specs drawn in a row after which the space counts as exhausted."""


@dataclass(frozen=True)
class Protocol:
    """How every network of a pool is trained."""

    space: str
    """The space's name, as ``find_space`` takes it."""
    source: str
    """The data set, as ``load_dataset`` takes it."""
    train_size: int | None
    image_size: int | None
    validation_fraction: float
    seed: int
    """Of the draw of architectures and of the split."""
    epochs: int
    """Of the short run, at the constant learning rate, as in a search trial."""
    final_epochs: int
    """Of the long run, with the learning rate falling in steps, as in the confirmation."""
    flops: tuple[float, float] = (0.0, math.inf)
    """Least and most operations of an architecture per sample; others are not drawn."""
    device: str = "cpu"

    def checkpoints(self) -> list[int]:
        """Return the epochs of the short run after which to look inside."""
        return sorted({*(e for e in CHECKPOINTS if e < self.epochs), self.epochs})


@dataclass(frozen=True)
class PoolJob:
    """One network of a pool."""

    protocol: Protocol
    architecture: int
    """Place of the architecture among those that are drawn."""
    seed: int


@dataclass(frozen=True, eq=False)
class _Task:
    protocol: Protocol
    space: Space[Any]
    data: Dataset
    spec: Spec
    seed: int


def measure_pool(
    protocol: Protocol, architectures: int, seeds: Sequence[int], kept: KeptOutcomes
) -> Sequence[Row]:
    """Return the rows of a pool; an architecture is left out if one of its runs failed.

    Args:
        protocol: space, data and epochs.
        architectures: how many to draw.
        seeds: training seeds; every architecture is trained with each.
        kept: does the jobs.

    Raises:
        InvalidInputError: if the space has fewer distinct specs.
        TrialFailed: if every architecture failed.
    """
    _specs(protocol, architectures)
    jobs = [PoolJob(protocol, i, seed) for i in range(architectures) for seed in seeds]
    outcomes = kept.measure(measured_network, jobs, "networks")
    failed = {job.architecture for job, row in zip(jobs, outcomes, strict=True) if not row}
    if failed:
        say(f"{len(failed)} of {architectures} architectures failed to train and are left out")
    rows = [row for row in outcomes if row and row["architecture"] not in failed]
    if not rows:
        raise TrialFailed("Every architecture failed to train.")
    return rows


@lru_cache(maxsize=1)
def _data(protocol: Protocol) -> Dataset:
    return load_dataset(
        protocol.source,
        train_size=protocol.train_size,
        image_size=protocol.image_size,
        validation_fraction=protocol.validation_fraction,
        seed=protocol.seed,
    ).to(usable_device(protocol.device))


def _space(protocol: Protocol) -> Space[Any]:
    return find_space(protocol.space, typed(protocol.space))


def _specs(protocol: Protocol, count: int) -> list[Spec]:
    """Return the first architectures that are drawn; those before them are the same for all."""
    data, space = _data(protocol), _space(protocol)
    low, high = protocol.flops

    def fits(spec: Spec) -> bool:
        return low <= size_of(space, spec, data.input_shape, data.num_classes).flops <= high

    wanted = fits if (low, high) != (0.0, math.inf) else lambda _: True
    return distinct_specs(space, count, protocol.seed, wanted)


def distinct_specs(
    space: Space[Any],
    count: int,
    seed: int,
    wanted: Callable[[Spec], bool] = lambda _: True,
) -> list[Spec]:
    """Return ``count`` different specs that are wanted, drawn at random."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=RandomSampler(seed=seed))
    specs: dict[str, Spec] = {}
    in_vain = 0
    while len(specs) < count:
        spec = space.suggest(study.ask())
        known = len(specs)
        if wanted(spec):
            specs.setdefault(spec_key(spec_values(spec)), spec)
        in_vain = in_vain + 1 if len(specs) == known else 0
        if in_vain == MAX_IN_VAIN:
            raise InvalidInputError(
                f"Expected at least {count} different architectures in space '{space.name}', "
                f"found {known}; ask for fewer."
            )
    return list(specs.values())


def measured_network(job: PoolJob) -> Figures:
    """Return a row of the pool; an empty one if training failed."""
    protocol = job.protocol
    spec = _specs(protocol, job.architecture + 1)[-1]
    task = _Task(protocol, _space(protocol), _data(protocol), spec, job.seed)
    try:
        short, final = _short_run(task), _long_run(task)
    except TrialFailed:
        return {}
    untrained = _untrained(task)
    size = size_of(task.space, spec, task.data.input_shape, task.data.num_classes)
    return {
        "architecture": job.architecture,
        "seed": job.seed,
        "device": protocol.device,
        "spec": spec_values(spec),
        "widths": _widths(untrained, task.data),
        "parameters": size.parameters,
        "flops": size.flops,
        **_zero_cost(untrained, task.data),
        "chance": task.data.chance,
        "final": final,
        "short": short,
    }


def _short_run(task: _Task) -> dict[str, Row]:
    """Return what each checkpoint shows, by number of epochs."""
    data, checkpoints = task.data, task.protocol.checkpoints()
    shown: dict[int, Row] = {}
    accuracies: list[float] = []
    aside = 0.0
    began = time.process_time()

    def look(epoch: int, model: nn.Module) -> None:
        nonlocal aside
        started = time.process_time()
        accuracies.append(accuracy(model, data.validation))
        if epoch in checkpoints:
            inside, seconds = _timed(lambda: _inside(model, data))
            shown[epoch] = {
                **inside,
                "validation_accuracy": accuracies[-1],
                "validation_accuracies": list(accuracies),
                "seconds": {"training": started - began - aside, "looking": seconds},
            }
        aside += time.process_time() - started

    _, history = _trained(task, task.protocol.epochs, Schedule.CONSTANT, look)
    return {
        str(epoch): {
            **inside,
            "summed_training_loss": sum(history.losses[:epoch]),
            "training_losses": [float(f"{loss:.6g}") for loss in history.losses[:epoch]],
        }
        for epoch, inside in shown.items()
    }


def _long_run(task: _Task) -> Row:
    model, _ = _trained(task, task.protocol.final_epochs, Schedule.STEP)
    data = task.data
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    accuracies = {f"{name}_accuracy": accuracy(model, part) for name, part in parts.items()}
    return {"epoch": task.protocol.final_epochs, **accuracies}


def _trained(
    task: _Task, epochs: int, schedule: Schedule, on_epoch: EpochCallback | None = None
) -> tuple[nn.Module, TrainingHistory]:
    return train_spec(
        task.space,
        task.spec,
        task.data,
        seed=task.seed,
        epochs=epochs,
        schedule=schedule,
        on_epoch=on_epoch,
    )


def _untrained(task: _Task) -> nn.Module:
    space, data = task.space, task.data
    device = data.train.inputs.device
    return build_seeded(
        lambda: space.build(task.spec, data.input_shape, data.num_classes), task.seed, device
    )


def _inside(model: nn.Module, data: Dataset) -> Row:
    """Return separation per layer, measured as in a search trial."""
    inside = profile(model, data.train, data.validation, permutations=PERMUTATIONS, resamples=0)
    return {
        "separation_train": _rounded(inside.values),
        "separation_permuted_labels": _rounded(inside.nulls),
        "separation_cross_fitted": _rounded(inside.values_heldout),
        "nearest_class_mean_accuracy": [
            layer.nearest_class_mean_accuracy for layer in inside.layers
        ],
    }


def _zero_cost(model: nn.Module, data: Dataset) -> Row:
    inputs, labels = (part[:ZERO_COST_BATCH] for part in data.train)
    scores: dict[str, Callable[[], float]] = {
        "naswot": lambda: naswot(model, inputs),
        "synflow_log": lambda: synflow_log(model, data.input_shape),
        "gradient_norm": lambda: gradient_norm(model, inputs, labels),
        "snip": lambda: snip(model, inputs, labels),
        "jacobian_covariance": lambda: jacobian_covariance(model, inputs),
    }
    timed = {name: _timed(score) for name, score in scores.items()}
    return {
        **{name: measured(value) for name, (value, _) in timed.items()},
        "zero_cost_seconds": {name: seconds for name, (_, seconds) in timed.items()},
    }


def _timed(run: Callable[[], T]) -> tuple[T, float]:
    """Return the outcome and the processor seconds that it took."""
    started = time.process_time()
    return run(), time.process_time() - started


def _widths(model: nn.Module, data: Dataset) -> list[int]:
    """Return the number of features per sample after each block."""
    with probing(model) as probe:
        return [features.shape[1] for features in probe.features(data.train.inputs[:1])[1:]]


def _rounded(values: FloatArray) -> list[float | None]:
    """Return numbers of six digits for JSON, None for nan and infinity."""
    return [measured(float(f"{value:.6g}")) for value in values]
