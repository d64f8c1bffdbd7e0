"""What a worker does with one trial of the search, or with those that confirm one candidate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import optuna
import torch
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import Trial, TrialState
from safetensors.torch import save as save_tensors
from torch import nn

from designer.analysis.options import AnalysisOptions
from designer.analysis.pooled_contributions import contributions_or_reasons
from designer.analysis.profile import profile
from designer.choices import Objective
from designer.errors import SpaceError, StorageError, TrialFailed
from designer.folders import WEIGHTS_FILE
from designer.interrupts import Stop
from designer.results.contribution import BlockContribution
from designer.results.layers import Curve, LawSummary
from designer.results.serialisation import contributions_to_json, profile_to_json
from designer.search.candidates import (
    TrainedCandidate,
    spec_values,
    train_and_measure,
    train_and_measure_all,
)
from designer.search.confirmation import CONTRIBUTIONS_FILE, PROFILE_FILE, confirmation_seeds
from designer.search.job import Job
from designer.search.looks import Looks
from designer.search.storage.artifacts import Artifacts
from designer.search.study.claims import TrialClaims
from designer.search.study.keys import EPOCHS, REASON, RECORD, SEED
from designer.search.study.proposals import measure_size, reason_of
from designer.search.study.records import Measurements, TrialRecord
from designer.training.trainer import Schedule
from search_spaces import Spec

CONFIRMATION_RESAMPLES = 200
"""Bootstrap draws of D in a confirmation run; a search trial needs none."""

CONFIRMATION_SAMPLES = 512
"""Training samples, and validation samples, on which a confirmation run leaves out each block."""

MAX_STACKED = 32
"""Largest number of networks that are trained in one step."""

MAX_RECORDED = 12
"""Largest number of epochs at which a confirmation run records D."""

Training = Callable[[], tuple[Measurements, list[float]]]
"""Trains a candidate; returns what is kept with the trial, and the values of the objective."""


@dataclass(frozen=True, eq=False)
class ConfirmationRun:
    """A longer training run of a candidate, with D during training."""

    spec: Spec
    """The candidate."""
    trained: TrainedCandidate
    """The result of the run."""
    curves: tuple[Curve, ...]
    """D on training data after some epochs; empty for all seeds but the first."""


class Stopped(Exception):
    """The run was asked to stop; the trial is handed back."""


def run_search_trial(job: Job, claims: TrialClaims, trial: Trial, stop: Stop) -> None:
    """Train briefly, measure layer by layer and score; in every case the trial is ended.

    Args:
        job: space, data and options.
        claims: claims on the trials of the search.
        trial: a trial that the caller has claimed.
        stop: returns True once the run should stop after the current epoch.

    Raises:
        SpaceError: if the space breaks its contract.
        StorageError: if the storage does not answer.
    """
    _run_and_end_own(job, claims, trial, lambda: _search(job, claims.study, trial, stop))


def run_confirmation_trials(
    job: Job, claims: TrialClaims, trials: Sequence[Trial], stop: Stop, artifacts: Artifacts
) -> None:
    """Train a candidate longer, with a fresh seed for each trial; keep profiles and weights.

    Args:
        job: space, data and options.
        claims: claims on the trials of the confirmation.
        trials: trials of one candidate, which the caller has claimed.
        stop: returns True once the run should stop after the current epoch.
        artifacts: where profiles and weights are kept.

    Raises:
        SpaceError: if the space breaks its contract.
        StorageError: if the storage does not answer.
    """
    runs: list[ConfirmationRun | TrialFailed] = []

    def confirm(i: int) -> tuple[Measurements, list[float]]:
        if not runs:  # the first trial trains for all
            if stop():
                raise Stopped
            runs.extend(_train_confirmations(job, trials, stop))
        return _keep_confirmation(job, trials[i], runs[i], artifacts)

    for i, trial in enumerate(trials):
        _run_and_end_own(job, claims, trial, partial(confirm, i))


def together(device: torch.device) -> int:
    """Return how many seeds are trained in one step: small networks leave a GPU idle."""
    return MAX_STACKED if device.type == "cuda" else 1


def _run_and_end_own(job: Job, claims: TrialClaims, trial: Trial, training: Training) -> None:
    """Run a trial and end it; do nothing if another worker has ended it meanwhile."""
    with suppress(UpdateFinishedTrialError):
        _run_and_end(job, claims, trial, training)


def _run_and_end(job: Job, claims: TrialClaims, trial: Trial, training: Training) -> None:
    """Run a trial and end it in the state that fits what happened.

    Raises:
        UpdateFinishedTrialError: if another worker has ended it meanwhile.
    """
    started = time.perf_counter()

    def keep(measurements: Measurements) -> None:
        seconds = round(time.perf_counter() - started, 3)
        trial.set_user_attr(RECORD, replace(measurements, seconds=seconds).stored())

    def keep_with_reason(reason: str) -> None:
        trial.set_user_attr(REASON, reason)
        keep(TrialRecord.read(trial).measurements)

    try:
        measurements, values = training()
    except Stopped:
        if job.location.shared:
            claims.hand_back(trial)
        else:
            claims.reject(trial, "the run was stopped", lost=True)
    except optuna.TrialPruned as reason:
        keep_with_reason(str(reason))
        # Unlike ``claims.end``, this gives a pruned trial its last reported value.
        claims.study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
    except SpaceError:
        claims.reject(trial, "the space broke its contract")
        raise
    except (StorageError, UpdateFinishedTrialError):
        raise
    except Exception as error:  # noqa: BLE001 - one bad architecture must not end the run
        keep_with_reason(reason_of(error))
        claims.end(trial, TrialState.FAIL)
    else:
        keep(measurements)
        claims.end(trial, TrialState.COMPLETE, values)


def _search(job: Job, study: Study, trial: Trial, stop: Stop) -> tuple[Measurements, list[float]]:
    """Train the candidate of a search trial."""
    spec = job.space.suggest(trial)
    record = TrialRecord.read(trial)
    if record.spec is None:  # a user enqueued the trial, so nothing is known of it yet
        record = TrialRecord(spec=spec_values(spec), record=measure_size(job, spec))
        for key, value in record.attributes().items():
            trial.set_user_attr(key, value)
    size, looks = record.measurements, Looks(job, study, trial)

    def on_epoch(epoch: int, model: nn.Module) -> None:
        if stop():
            raise Stopped
        looks.after(epoch, model)

    trained = train_and_measure(
        job,
        spec,
        seed=job.options.seed,
        epochs=job.options.epochs,
        schedule=Schedule.CONSTANT,
        resamples=0,
        on_epoch=on_epoch,
    )
    measurements = replace(
        trained.measurements(),
        parameters=size.parameters,
        flops=size.flops,
        law=LawSummary.of(trained.profile.law),
        looks=looks.scores or None,
    )
    return measurements, _objective_values(job, trained, measurements)


def _train_confirmations(
    job: Job, trials: Sequence[Trial], stop: Stop
) -> list[ConfirmationRun | TrialFailed]:
    """Train one candidate with every seed; record D during training for the first seed."""
    spec, epochs = job.space.suggest(trials[0]), trials[0].user_attrs[EPOCHS]
    seeds = [trial.user_attrs[SEED] for trial in trials]
    # By epoch, because a stack of models that fails is trained again one by one.
    curves: list[dict[int, Curve]] = [{} for _ in seeds]
    recorded_runs = {i for i, seed in enumerate(seeds) if seed == confirmation_seeds(job)[0]}
    when = recorded_epochs(epochs)

    def on_epoch(epoch: int, models: Mapping[int, nn.Module]) -> None:
        if stop():
            raise Stopped
        for i in models.keys() & recorded_runs if epoch in when else ():
            separations = profile(models[i], job.data.train, permutations=0, resamples=0)
            curves[i][epoch] = Curve.of(separations, epoch)

    results = train_and_measure_all(
        job,
        spec,
        seeds=seeds,
        epochs=epochs,
        schedule=Schedule.STEP,
        resamples=CONFIRMATION_RESAMPLES,
        on_epoch=on_epoch,
    )
    return [
        result
        if isinstance(result, TrialFailed)
        else ConfirmationRun(spec, result, tuple(by_epoch.values()))
        for result, by_epoch in zip(results, curves, strict=True)
    ]


def _keep_confirmation(
    job: Job, trial: Trial, run: ConfirmationRun | TrialFailed, artifacts: Artifacts
) -> tuple[Measurements, list[float]]:
    """Keep profile, contributions and weights of a confirmation run.

    Raises:
        TrialFailed: if the run failed.
    """
    job.space.suggest(trial)  # so that the trial has its parameters
    if isinstance(run, TrialFailed):
        raise run
    trained = run.trained
    size = TrialRecord.read(trial).measurements  # known for edits alone
    record = TrialRecord(
        spec=spec_values(run.spec), emergence=run.curves, losses=trained.history.losses
    )
    for key, value in record.attributes().items():
        trial.set_user_attr(key, value)
    artifacts.keep(trial, PROFILE_FILE, profile_to_json(trained.profile))
    artifacts.keep(trial, CONTRIBUTIONS_FILE, contributions_to_json(_contributions(job, trained)))
    artifacts.keep(trial, WEIGHTS_FILE, save_tensors(_separate_weights(trained.model)))
    measurements = replace(trained.measurements(), parameters=size.parameters, flops=size.flops)
    return measurements, [trained.validation_accuracy]


def _contributions(job: Job, trained: TrainedCandidate) -> tuple[BlockContribution, ...]:
    """Measure what the network loses without each block, on few samples to save time."""
    return contributions_or_reasons(
        trained.model,
        job.data.train,
        job.data.validation,
        None,
        AnalysisOptions(),
        trained.profile,
        samples=CONFIRMATION_SAMPLES,
    )


def _separate_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of all weights, because safetensors refuses tensors that share memory."""
    layout = torch.contiguous_format
    return {
        name: weight.detach().cpu().clone(memory_format=layout)
        for name, weight in model.state_dict().items()
    }


def recorded_epochs(epochs: int) -> frozenset[int]:
    """Return the epochs at which D is recorded: dense at first, then sparse, and the last."""
    return frozenset(math.ceil(epochs ** (i / (MAX_RECORDED - 1))) for i in range(MAX_RECORDED))


def _objective_values(
    job: Job, trained: TrainedCandidate, measurements: Measurements
) -> list[float]:
    """Return the values that Optuna maximises; of ``pareto`` it minimises the third, the size.

    Raises:
        TrialFailed: if a value does not exist.
    """
    score, accuracy = trained.score, trained.validation_accuracy
    values = {
        Objective.DESIGN: [score.value],
        Objective.LAW: [score.adherence],
        Objective.ACCURACY: [accuracy],
        Objective.PARETO: [score.value, accuracy, float(measurements.parameters or 0)],
    }[job.options.objective]
    if not all(map(math.isfinite, values)):
        raise TrialFailed(f"Its {job.options.objective} objective could not be measured.")
    return values
