"""One candidate: its spec as plain values, its size, and one training run of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from designer.analysis.profile import profile
from designer.choices import DEFAULT_BATCH_SIZE, Augmentation, Objective
from designer.data.dataset import Dataset, LabelledTensors
from designer.errors import SpaceError, TrialFailed
from designer.measures.score import design_score
from designer.models.size import ModelSize, size_of_model
from designer.results.layers import Curve
from designer.results.measured import DesignScore, SeparationProfile, measured
from designer.search.job import Job
from designer.training.stacked import can_be_stacked, train_stacked
from designer.training.trainer import (
    EpochCallback,
    Schedule,
    TrainingHistory,
    accuracy,
    build_seeded,
    memory_exhaustion_as_failure,
    train,
)
from search_spaces import Space, Spec

SMALL = 1 << 22
"""Networks of so many parameters are counted as they are: on the meta device, where no memory is
needed, torch runs every operation in Python."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """A finished training run and what was seen inside."""

    model: nn.Module
    history: TrainingHistory
    profile: SeparationProfile
    score: DesignScore
    validation_accuracy: float
    train_accuracy: float

    def record(self) -> dict[str, Any]:
        """Plain values to keep with the trial."""
        return {
            "score": measured(self.score.value),
            "heldout_separation": measured(self.score.heldout_separation),
            "adherence": measured(self.score.adherence),
            "validation_accuracy": self.validation_accuracy,
            "train_accuracy": self.train_accuracy,
            "training_loss": self.history.summed_loss,
            "epochs": len(self.history.losses),
            "depth": len(self.profile.layers) - 1,
            "curve": asdict(Curve.of(self.profile)),
        }


def spec_values(spec: Spec) -> dict[str, Any]:
    """The spec as JSON values."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(spec)))  # type: ignore[call-overload]
    return values


def architecture_key(values: dict[str, Any]) -> str:
    """Equal for equal architectures, whatever their learning rate."""
    return spec_key({k: v for k, v in values.items() if k != "learning_rate"})


def spec_key(values: dict[str, Any]) -> str:
    """Equal for equal specs."""
    return json.dumps(values, sort_keys=True)


def size_of(space: Space[Any], spec: Spec, input_shape: tuple[int, ...], classes: int) -> ModelSize:
    """Parameters and forward FLOPs, counted without allocating the weights of a large network.

    Raises:
        SpaceError: where the space builds something that does not map inputs to logits.
    """
    device = torch.device("meta")
    with device:
        model = build_seeded(lambda: space.build(spec, input_shape, classes), 0, device)
    if sum(p.numel() for p in model.parameters()) <= SMALL:
        device = torch.device("cpu")
        model = build_seeded(lambda: space.build(spec, input_shape, classes), 0, device)
    model.eval()
    inputs = torch.zeros(1, *input_shape, device=device)
    with torch.no_grad():
        logits = model(inputs)
    if tuple(logits.shape) != (1, classes):
        raise SpaceError(
            f"Expected the modules of space '{space.name}' to give logits of shape "
            f"(n, {classes}), got {tuple(logits.shape)} for one sample."
        )
    return size_of_model(model, inputs)


def train_and_measure(
    job: Job,
    spec: Spec,
    *,
    seed: int,
    epochs: int,
    schedule: Schedule,
    resamples: int,
    on_epoch: EpochCallback | None = None,
) -> Outcome:
    """Train one candidate and look inside.

    Raises:
        TrialFailed: on divergence or when memory runs out.
    """
    data = job.data
    with memory_exhaustion_as_failure():
        model, history = train_spec(
            job.space,
            spec,
            data,
            seed=seed,
            epochs=epochs,
            schedule=schedule,
            batch_size=job.settings.batch_size,
            augmentation=job.settings.augment,
            on_epoch=on_epoch,
        )
        return _measured(job, model, history, resamples)


def train_and_measure_all(
    job: Job,
    spec: Spec,
    *,
    seeds: Sequence[int],
    epochs: int,
    schedule: Schedule,
    resamples: int,
    on_epoch: Callable[[int, Mapping[int, nn.Module]], None],
) -> list[Outcome | TrialFailed]:
    """The same for several seeds, in one step for all of them where that can be.

    Args:
        job, spec, seeds, epochs, schedule, resamples: of the runs.
        on_epoch: called after each epoch with the models under way, by position of their seeds;
            may raise to end the runs.

    Returns:
        For each seed what came of it, or why it failed.
    """
    data, rate = job.data, spec.learning_rate
    models = [_built(job.space, spec, data, seed) for seed in seeds]
    if len(models) > 1 and can_be_stacked(models, data.train.inputs):
        with suppress(TrialFailed):  # there may be memory for one at a time
            histories = train_stacked(
                models,
                data.train,
                epochs=epochs,
                learning_rates=[rate] * len(models),
                seeds=seeds,
                schedule=schedule,
                batch_size=job.settings.batch_size,
                augmentation=job.settings.augment,
                on_epoch=lambda epoch: on_epoch(epoch, dict(enumerate(models))),
            )
            return [
                _outcome_or_failure(partial(_checked, job, model, history, rate, resamples))
                for model, history in zip(models, histories, strict=True)
            ]

    def alone(i: int, seed: int) -> Outcome:
        return train_and_measure(
            job,
            spec,
            seed=seed,
            epochs=epochs,
            schedule=schedule,
            resamples=resamples,
            on_epoch=lambda epoch, model: on_epoch(epoch, {i: model}),
        )

    return [_outcome_or_failure(partial(alone, i, seed)) for i, seed in enumerate(seeds)]


def _outcome_or_failure(run: Callable[[], Outcome]) -> Outcome | TrialFailed:
    try:
        return run()
    except TrialFailed as failure:
        return failure


def _checked(
    job: Job, model: nn.Module, history: TrainingHistory, rate: float, resamples: int
) -> Outcome:
    """What came of a model that was trained beside others, which do not wait for it to fail."""
    history.check(rate)
    with memory_exhaustion_as_failure():
        return _measured(job, model, history, resamples)


def _measured(job: Job, model: nn.Module, history: TrainingHistory, resamples: int) -> Outcome:
    """A trained model, looked into."""
    data = job.data
    seen = profile(model, data.train, data.validation, resamples=resamples)
    return Outcome(
        model=model,
        history=history,
        profile=seen,
        score=design_score(seen),
        validation_accuracy=_known_or(seen.accuracy_heldout, model, data.validation),
        train_accuracy=_known_or(seen.accuracy, model, data.train),
    )


def train_spec(
    space: Space[Any],
    spec: Spec,
    data: Dataset,
    *,
    seed: int,
    epochs: int,
    schedule: Schedule = Schedule.CONSTANT,
    batch_size: int = DEFAULT_BATCH_SIZE,
    augmentation: Augmentation = Augmentation.NONE,
    on_epoch: EpochCallback | None = None,
) -> tuple[nn.Module, TrainingHistory]:
    """Build a spec and train it at its own learning rate; see ``designer.trainer.train``."""
    model = _built(space, spec, data, seed)
    history = train(
        model,
        data.train,
        epochs=epochs,
        learning_rate=spec.learning_rate,
        seed=seed,
        schedule=schedule,
        batch_size=batch_size,
        augmentation=augmentation,
        on_epoch=on_epoch,
    )
    return model, history


def _built(space: Space[Any], spec: Spec, data: Dataset, seed: int) -> nn.Module:
    return build_seeded(
        lambda: space.build(spec, data.input_shape, data.num_classes),
        seed,
        data.train.inputs.device,
    )


def _known_or(seen: float, model: nn.Module, data: LabelledTensors) -> float:
    """The accuracy that the profile saw; computed where its last block gives the logits."""
    return accuracy(model, data) if math.isnan(seen) else seen


def intermediate_score(job: Job, model: nn.Module) -> float:
    """The value that pruning compares in mid-training, for a single objective."""
    if job.settings.objective is Objective.ACCURACY:
        return accuracy(model, job.data.validation)
    seen = profile(model, job.data.train, job.data.validation, permutations=1, resamples=0)
    score = design_score(seen)
    value = score.adherence if job.settings.objective is Objective.LAW else score.value
    return value if math.isfinite(value) else 0.0
