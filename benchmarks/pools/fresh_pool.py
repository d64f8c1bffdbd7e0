"""Measure a pool from scratch: architectures of a search space, trained as a search trains them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import optuna
from optuna.samplers import RandomSampler
from torch import nn

from benchmarks.command import say
from benchmarks.pools.pool import Row
from benchmarks.pools.zero_cost import (
    gradient_norm,
    jacobian_covariance,
    naswot,
    snip,
    synflow_log,
)
from benchmarks.processes import in_processes
from designer.analysis.profile import profile
from designer.data.dataset import Dataset
from designer.errors import InvalidInputError, TrialFailed
from designer.probing.probes import probing
from designer.results.measured import FloatArray, measured
from designer.search.candidates import size_of, spec_key, spec_values, train_spec
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


@dataclass(frozen=True, eq=False)
class Protocol:
    """How every network of a pool is trained."""

    space: Space[Any]
    data: Dataset
    epochs: int
    """Of the short run, at the constant learning rate, as in a search trial."""
    final_epochs: int
    """Of the long run, with the learning rate falling in steps, as in the confirmation."""

    def checkpoints(self) -> list[int]:
        """Return the epochs of the short run after which to look inside."""
        return sorted({*(e for e in CHECKPOINTS if e < self.epochs), self.epochs})


@dataclass(frozen=True, eq=False)
class _Task:
    protocol: Protocol
    architecture: int
    spec: Spec
    seed: int


def measure_pool(
    protocol: Protocol, architectures: int, seeds: Sequence[int], sampling_seed: int
) -> list[Row]:
    """Return the rows of a pool; an architecture is left out if one of its runs failed.

    Args:
        protocol: space, data and epochs.
        architectures: how many to draw.
        seeds: training seeds; every architecture is trained with each.
        sampling_seed: the seed of the draw.

    Raises:
        InvalidInputError: if the space has fewer distinct specs.
        TrialFailed: if every architecture failed.
    """
    specs = distinct_specs(protocol.space, architectures, sampling_seed)
    tasks = [_Task(protocol, i, spec, seed) for i, spec in enumerate(specs) for seed in seeds]
    outcomes = list(in_processes(_measured, tasks, "networks"))
    failed = {t.architecture for t, row in zip(tasks, outcomes, strict=True) if row is None}
    if failed:
        say(f"{len(failed)} of {architectures} architectures failed to train and are left out")
    rows = [row for row in outcomes if row is not None and row["architecture"] not in failed]
    if not rows:
        raise TrialFailed("Every architecture failed to train.")
    return rows


def distinct_specs(space: Space[Any], count: int, seed: int) -> list[Spec]:
    """Return ``count`` different specs, drawn at random."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=RandomSampler(seed=seed))
    specs: dict[str, Spec] = {}
    in_vain = 0
    while len(specs) < count:
        spec = space.suggest(study.ask())
        known = len(specs)
        specs.setdefault(spec_key(spec_values(spec)), spec)
        in_vain = in_vain + 1 if len(specs) == known else 0
        if in_vain == MAX_IN_VAIN:
            raise InvalidInputError(
                f"Expected at least {count} different architectures in space '{space.name}', "
                f"found {known}; ask for fewer."
            )
    return list(specs.values())


def _measured(task: _Task) -> Row | None:
    """Return a row of the pool, or None if training failed."""
    space, data = task.protocol.space, task.protocol.data
    try:
        short, final = _short_run(task), _long_run(task)
    except TrialFailed:
        return None
    untrained = _untrained(task)
    size = size_of(space, task.spec, data.input_shape, data.num_classes)
    return {
        "architecture": task.architecture,
        "seed": task.seed,
        "spec": spec_values(task.spec),
        "widths": _widths(untrained, data),
        "parameters": size.parameters,
        "flops": size.flops,
        **_zero_cost(untrained, data),
        "chance": data.chance,
        "final": final,
        "short": short,
    }


def _short_run(task: _Task) -> dict[str, Row]:
    """Return what each checkpoint shows, by number of epochs."""
    data, checkpoints = task.protocol.data, task.protocol.checkpoints()
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
    data = task.protocol.data
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    accuracies = {f"{name}_accuracy": accuracy(model, part) for name, part in parts.items()}
    return {"epoch": task.protocol.final_epochs, **accuracies}


def _trained(
    task: _Task, epochs: int, schedule: Schedule, on_epoch: EpochCallback | None = None
) -> tuple[nn.Module, TrainingHistory]:
    return train_spec(
        task.protocol.space,
        task.spec,
        task.protocol.data,
        seed=task.seed,
        epochs=epochs,
        schedule=schedule,
        on_epoch=on_epoch,
    )


def _untrained(task: _Task) -> nn.Module:
    space, data = task.protocol.space, task.protocol.data
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
