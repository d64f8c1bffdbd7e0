"""One candidate: its spec as plain values, its size, and its training runs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from numbers import Real
from typing import Any

import torch
from torch import nn

from designer.analysis.profile import profile
from designer.choices import DEFAULT_BATCH_SIZE, Augmentation
from designer.data.dataset import Dataset, LabelledTensors
from designer.data.streamed import StreamedImages
from designer.errors import SpaceError, TrialFailed
from designer.measures.logits import OutputKind, output_kind
from designer.measures.score import LAST_EPOCHS, design_score
from designer.models.size import ModelSize, size_of_model
from designer.results.layers import Curve
from designer.results.measured import DesignScore, SeparationProfile, measured
from designer.search.job import Job
from designer.search.study.records import Measurements, spec_key
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

NOT_NORMALISED = frozenset({"none", "no", "nonorm", "without", "off", "false", "identity"})
"""First words of ``normalisation`` in specs of networks without it."""


COUNTED_AS_BUILT = 1 << 22
"""Largest number of parameters of a network whose operations are counted on the CPU. On the meta
device, which needs no memory for weights, torch runs every operation in Python."""


@dataclass(frozen=True, eq=False)
class TrainedCandidate:
    """A finished training run and what was measured inside the network."""

    model: nn.Module
    """The trained network."""
    history: TrainingHistory
    """Its losses, epoch by epoch."""
    profile: SeparationProfile
    """D through the network, on training and validation data."""
    score: DesignScore
    """The number that a search maximises, with its parts."""
    validation_accuracy: float
    """Accuracy on validation data, from 0 to 1."""
    train_accuracy: float
    """Accuracy on training data, from 0 to 1."""

    def measurements(self) -> Measurements:
        """Return what is kept with the trial, apart from its size, its law and its time."""
        return Measurements(
            score=measured(self.score.value),
            heldout_separation=measured(self.score.heldout_separation),
            accuracy_above_chance=measured(self.score.accuracy_above_chance),
            adherence=measured(self.score.adherence),
            validation_accuracy=self.validation_accuracy,
            train_accuracy=self.train_accuracy,
            training_loss=self.history.summed_loss,
            epochs=len(self.history.losses),
            depth=len(self.profile.layers) - 1,
            curve=Curve.of(self.profile),
        )


def spec_values(spec: Spec) -> dict[str, Any]:
    """Return a spec as JSON values, among them the learning rate, which may be a property.

    Raises:
        TrialFailed: if the learning rate is no finite number of at least 0.
    """
    rate: object = spec.learning_rate
    if not isinstance(rate, Real) or not 0 <= float(rate) < math.inf:
        raise TrialFailed(f"Expected a learning rate that is a number of at least 0, got {rate!r}.")
    described = {**asdict(spec), "learning_rate": rate}  # type: ignore[call-overload]
    values: dict[str, Any] = as_stored(described)
    return values


def as_stored(value: object) -> Any:
    """Return a value of a spec as a study, which keeps JSON, gives it back.

    Raises:
        TypeError, ValueError: if JSON has no such values, and they are no numbers.
    """
    return json.loads(json.dumps(value, default=float))


def is_normalised(spec: Mapping[str, Any]) -> bool | None:
    """Return whether a spec says that the network has normalisation; None if it does not say."""
    value = spec.get("normalisation")
    if isinstance(value, str):
        first_word = re.split(r"[^a-z]+", value.lower())[0]  # "norm" is not "no"
        return first_word not in NOT_NORMALISED if value else None
    return value if isinstance(value, bool) else None


def architecture_key(values: dict[str, Any]) -> str:
    """Return a text that is equal for equal architectures, whatever their learning rate."""
    return spec_key({k: v for k, v in values.items() if k != "learning_rate"})


def size_of(space: Space[Any], spec: Spec, input_shape: tuple[int, ...], classes: int) -> ModelSize:
    """Count parameters and FLOPs of a forward pass, without the weights of a large network.

    Args:
        space: builds the network.
        spec: spec of the network.
        input_shape: shape of one input, channels first.
        classes: number of logits.

    Raises:
        SpaceError: if the space builds something that does not map inputs to logits.
    """
    device = torch.device("meta")
    with device:
        model = build_seeded(lambda: space.build(spec, input_shape, classes), 0, device)
    if sum(p.numel() for p in model.parameters()) <= COUNTED_AS_BUILT:
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
    if not logits.is_meta and output_kind(logits) is not OutputKind.LOGITS:
        raise SpaceError(
            f"Expected the modules of space '{space.name}' to give logits, got probabilities: "
            f"leave the softmax out, since training applies one."
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
) -> TrainedCandidate:
    """Train one candidate and measure it layer by layer.

    Args:
        job: space, data, batch size and augmentation.
        spec: spec of the candidate.
        seed: seed of its weights and batches.
        epochs: epochs of the training run.
        schedule: schedule of the learning rate.
        resamples: bootstrap draws of D.
        on_epoch: called after each epoch with the epoch and the model; may raise to end the run.

    Raises:
        TrialFailed: if the loss diverges or memory runs out.
    """
    latest = _LatestAccuracies(job, epochs)

    def after_epoch(epoch: int, model: nn.Module) -> None:
        if on_epoch:
            on_epoch(epoch, model)
        latest.after(epoch, model)

    with memory_exhaustion_as_failure():
        model, history = train_spec(
            job.space,
            spec,
            job.data,
            seed=seed,
            epochs=epochs,
            schedule=schedule,
            batch_size=job.options.batch_size,
            augmentation=job.options.augment,
            on_epoch=after_epoch,
        )
        return _measure(job, model, history, latest.values, resamples)


def train_and_measure_all(
    job: Job,
    spec: Spec,
    *,
    seeds: Sequence[int],
    epochs: int,
    schedule: Schedule,
    resamples: int,
    on_epoch: Callable[[int, Mapping[int, nn.Module]], None],
) -> list[TrainedCandidate | TrialFailed]:
    """Train one candidate with several seeds, all in one step where the models can be stacked.

    Args:
        job: space, data, batch size and augmentation.
        spec: spec of the candidate.
        seeds: seeds of weights and batches, one per run.
        epochs: epochs of each run.
        schedule: schedule of the learning rate.
        resamples: bootstrap draws of D.
        on_epoch: called after each epoch with the models that were trained in it, by the position
            of their seeds; may raise to end the runs.

    Returns:
        For each seed the trained candidate, or why it failed.
    """
    models = [_built(job.space, spec, job.data, seed) for seed in seeds]
    train_part = job.data.train
    in_memory = not isinstance(train_part, StreamedImages)
    if in_memory and len(models) > 1 and can_be_stacked(models, train_part.inputs):
        with suppress(TrialFailed):  # there may be memory for one model at a time
            return _stacked(
                job, spec.learning_rate, models, seeds, epochs, schedule, resamples, on_epoch
            )

    def alone(i: int, seed: int) -> TrainedCandidate:
        return train_and_measure(
            job,
            spec,
            seed=seed,
            epochs=epochs,
            schedule=schedule,
            resamples=resamples,
            on_epoch=lambda epoch, model: on_epoch(epoch, {i: model}),
        )

    return [_result_or_failure(partial(alone, i, seed)) for i, seed in enumerate(seeds)]


def _stacked(
    job: Job,
    rate: float,
    models: Sequence[nn.Module],
    seeds: Sequence[int],
    epochs: int,
    schedule: Schedule,
    resamples: int,
    on_epoch: Callable[[int, Mapping[int, nn.Module]], None],
) -> list[TrainedCandidate | TrialFailed]:
    """Train models of one candidate in one step each; see ``train_and_measure_all``."""
    latest = [_LatestAccuracies(job, epochs) for _ in models]

    def after_epoch(epoch: int) -> None:
        on_epoch(epoch, dict(enumerate(models)))
        for accuracies, model in zip(latest, models, strict=True):
            accuracies.after(epoch, model)

    histories = train_stacked(
        models,
        job.data.train,
        epochs=epochs,
        learning_rates=[rate] * len(models),
        seeds=seeds,
        schedule=schedule,
        batch_size=job.options.batch_size,
        augmentation=job.options.augment,
        on_epoch=after_epoch,
    )
    return [
        _result_or_failure(
            partial(_measure_checked, job, model, history, rate, accuracies.values, resamples)
        )
        for model, history, accuracies in zip(models, histories, latest, strict=True)
    ]


class _LatestAccuracies:
    """Validation accuracies of one model after the epochs that its design score averages over.

    That after the very last epoch is not among them, because the profile has it.

    Args:
        job: gives the validation data.
        epochs: epochs of the run.
    """

    def __init__(self, job: Job, epochs: int) -> None:
        self._data = job.data.validation
        self._when = range(epochs - LAST_EPOCHS + 1, epochs)
        self.values: list[float] = []

    def after(self, epoch: int, model: nn.Module) -> None:
        """Measure the model if this epoch counts."""
        if epoch in self._when:
            self.values.append(accuracy(model, self._data))


def _result_or_failure(run: Callable[[], TrainedCandidate]) -> TrainedCandidate | TrialFailed:
    try:
        return run()
    except TrialFailed as failure:
        return failure


def _measure_checked(
    job: Job,
    model: nn.Module,
    history: TrainingHistory,
    rate: float,
    accuracies: Sequence[float],
    resamples: int,
) -> TrainedCandidate:
    """Check the losses of a model that was trained in a stack, then measure it.

    A model that diverges does not stop the others of its stack.

    Raises:
        TrialFailed: if its loss diverged or memory runs out.
    """
    history.check(rate)
    with memory_exhaustion_as_failure():
        return _measure(job, model, history, accuracies, resamples)


def _measure(
    job: Job,
    model: nn.Module,
    history: TrainingHistory,
    accuracies: Sequence[float],
    resamples: int,
) -> TrainedCandidate:
    """Measure a trained model layer by layer; ``accuracies`` are those of the epochs before."""
    data = job.data
    separations = profile(model, data.train, data.validation, resamples=resamples)
    return TrainedCandidate(
        model=model,
        history=history,
        profile=separations,
        score=design_score(separations, accuracies),
        validation_accuracy=_known_or(separations.accuracy_heldout, model, data.validation),
        train_accuracy=_known_or(separations.accuracy, model, data.train),
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
    """Build a spec and train it at its own learning rate; see ``designer.training.trainer``.

    Args:
        space: builds the model.
        spec: spec of the model.
        data: data set, of which the training part is used.
        seed: seed of weights and batches.
        epochs: epochs of the training run.
        schedule: schedule of the learning rate.
        batch_size: samples per step.
        augmentation: how training images are varied.
        on_epoch: called after each epoch with the epoch and the model; may raise to end the run.

    Returns:
        The trained model and its losses.

    Raises:
        TrialFailed: if the loss diverges.
    """
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
        cuda_graphs=_graphed(model, data.train),
        on_epoch=on_epoch,
    )
    return model, history


def _graphed(model: nn.Module, data: LabelledTensors) -> bool:
    """True if steps are to be replayed from a CUDA graph; decoding would take longer than they."""
    on_gpu = data.device.type == "cuda" and not isinstance(data, StreamedImages)
    return on_gpu and bool(getattr(model, "cuda_graphs", False))


def _built(space: Space[Any], spec: Spec, data: Dataset, seed: int) -> nn.Module:
    return build_seeded(
        lambda: space.build(spec, data.input_shape, data.num_classes),
        seed,
        data.train.device,
    )


def _known_or(measured_accuracy: float, model: nn.Module, data: LabelledTensors) -> float:
    """Return the accuracy that the profile measured, or compute it if that is NaN."""
    return accuracy(model, data) if math.isnan(measured_accuracy) else measured_accuracy
