"""What a worker does with one trial: of the search, or of the confirmation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import optuna
import torch
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import Trial, TrialState
from safetensors.torch import save as save_tensors
from torch import nn

from designer.analysis.profile import profile
from designer.choices import Objective
from designer.errors import SpaceError, StorageError, TrialFailed
from designer.results.layers import Curve, LawSummary
from designer.results.serialisation import profile_to_json
from designer.search.candidates import (
    Outcome,
    intermediate_score,
    spec_values,
    train_and_measure,
    train_and_measure_all,
)
from designer.search.confirmation import confirmation_seeds
from designer.search.job import Job
from designer.search.stopping import Stop
from designer.search.storage.artifacts import Artifacts
from designer.search.study.claims import end, hand_back, reject
from designer.search.study.proposals import described, reason_of
from designer.search.study.trials import EMERGENCE, REASON, RECORD, SECONDS, SPEC
from designer.training.trainer import Schedule
from search_spaces import Spec

CONFIRMATION_RESAMPLES = 200


CONTIGUOUS = torch.contiguous_format
"""And cloned: safetensors takes no tensors that share memory, as tied weights do."""


STACKED = 32
"""Networks at the most that are trained in one step."""


LOOKS = 12
"""Moments at the most at which one confirmation run of each candidate is looked into."""


Record = dict[str, Any]
"""What is kept of a run, as JSON values."""


Run = Callable[[], tuple[Record, list[float]]]
"""Trains; gives what to keep, and the values of the objective."""


@dataclass(frozen=True, eq=False)
class Confirmation:
    """A longer run of a candidate, and what was seen on its way."""

    spec: Spec
    outcome: Outcome
    curves: tuple[Curve, ...]


class Stopped(Exception):
    """The run was asked to stop; the trial is handed back."""


def run_search_trial(job: Job, study: Study, trial: Trial, stop: Stop) -> None:
    """Train briefly, look inside, score; whatever happens, the trial is told."""
    _tell(job, study, trial, lambda: _search(job, trial, stop))


def run_confirmation_trials(
    job: Job, study: Study, trials: Sequence[Trial], stop: Stop, artifacts: Artifacts
) -> None:
    """Train a candidate longer with a fresh seed for each trial; keep profiles and weights."""
    trained: list[Confirmation | TrialFailed] = []

    def confirmed(i: int) -> tuple[Record, list[float]]:
        if not trained:
            if stop():  # as the first of them may have heard
                raise Stopped
            trained.extend(_train_confirmations(job, trials, stop))
        return _keep_confirmation(job, trials[i], trained[i], artifacts)

    for i, trial in enumerate(trials):
        _tell(job, study, trial, partial(confirmed, i))


def together(device: torch.device) -> int:
    """How many seeds of a candidate are trained in one step: small networks leave a GPU idle."""
    return STACKED if device.type == "cuda" else 1


def _tell(job: Job, study: Study, trial: Trial, run: Run) -> None:
    """Run a trial and say what came of it, unless it was taken away meanwhile."""
    with suppress(UpdateFinishedTrialError):
        _run_and_tell(job, study, trial, run)


def _run_and_tell(job: Job, study: Study, trial: Trial, run: Run) -> None:
    started = time.perf_counter()

    def keep(record: dict[str, Any]) -> None:
        seconds = round(time.perf_counter() - started, 3)
        trial.set_user_attr(RECORD, {**record, SECONDS: seconds})

    try:
        record, values = run()
    except Stopped:
        if job.location.shared:
            hand_back(study, trial)
        else:
            reject(study, trial, "the run was stopped", lost=True)
    except optuna.TrialPruned as reason:
        trial.set_user_attr(REASON, str(reason))
        keep(trial.user_attrs.get(RECORD, {}))
        study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
    except SpaceError:
        reject(study, trial, "the space broke its contract")
        raise
    except (StorageError, UpdateFinishedTrialError):
        raise
    except Exception as error:  # noqa: BLE001 - one bad architecture must not end the run
        trial.set_user_attr(REASON, reason_of(error))
        keep(trial.user_attrs.get(RECORD, {}))
        end(study, trial, TrialState.FAIL)
    else:
        keep(record)
        end(study, trial, TrialState.COMPLETE, values)


def _search(job: Job, trial: Trial, stop: Stop) -> tuple[Record, list[float]]:
    spec = job.space.suggest(trial)
    if SPEC not in trial.user_attrs:  # somebody asked for it by hand
        for key, value in described(job, spec).items():
            trial.set_user_attr(key, value)
    size = trial.user_attrs[RECORD]
    outcome = train_and_measure(
        job,
        spec,
        seed=job.settings.seed,
        epochs=job.settings.epochs,
        schedule=Schedule.CONSTANT,
        resamples=0,
        on_epoch=_watch(job, trial, stop),
    )
    values = _objective_values(job, outcome, size["parameters"])
    return {**size, **outcome.record(), "law": _law(outcome)}, values


def _train_confirmations(
    job: Job, trials: Sequence[Trial], stop: Stop
) -> list[Confirmation | TrialFailed]:
    """Of one candidate; what the first seed of a confirmation sees on its way is kept."""
    spec, epochs = job.space.suggest(trials[0]), trials[0].user_attrs["epochs"]
    seeds = [trial.user_attrs["seed"] for trial in trials]
    curves: list[dict[int, Curve]] = [{} for _ in seeds]  # by epoch: some are trained twice
    looked_into = {i for i, seed in enumerate(seeds) if seed == confirmation_seeds(job)[0]}
    looks = looking_epochs(epochs)

    def on_epoch(epoch: int, models: Mapping[int, nn.Module]) -> None:
        if stop():
            raise Stopped
        for i in models.keys() & looked_into if epoch in looks else ():
            seen = profile(models[i], job.data.train, permutations=0, resamples=0)
            curves[i][epoch] = Curve.of(seen, epoch)

    outcomes = train_and_measure_all(
        job,
        spec,
        seeds=seeds,
        epochs=epochs,
        schedule=Schedule.STEP,
        resamples=CONFIRMATION_RESAMPLES,
        on_epoch=on_epoch,
    )
    return [
        outcome
        if isinstance(outcome, TrialFailed)
        else Confirmation(spec, outcome, tuple(seen.values()))
        for outcome, seen in zip(outcomes, curves, strict=True)
    ]


def _keep_confirmation(
    job: Job, trial: Trial, confirmation: Confirmation | TrialFailed, artifacts: Artifacts
) -> tuple[Record, list[float]]:
    job.space.suggest(trial)
    if isinstance(confirmation, TrialFailed):
        raise confirmation
    outcome = confirmation.outcome
    trial.set_user_attr(SPEC, spec_values(confirmation.spec))
    trial.set_user_attr(EMERGENCE, [asdict(curve) for curve in confirmation.curves])
    artifacts.keep(trial, "profile.json", profile_to_json(outcome.profile))
    state = outcome.model.state_dict()
    weights = {k: v.detach().cpu().clone(memory_format=CONTIGUOUS) for k, v in state.items()}
    artifacts.keep(trial, "model.safetensors", save_tensors(weights))
    return outcome.record(), [outcome.validation_accuracy]


def _watch(job: Job, trial: Trial, stop: Stop) -> Callable[[int, nn.Module], None]:
    """After each epoch: stop where asked to, prune where the candidate falls behind."""
    checkpoints = pruning_epochs(job.settings.epochs) if prunes(job) else frozenset()

    def on_epoch(epoch: int, model: nn.Module) -> None:
        if stop():
            raise Stopped
        if epoch in checkpoints:
            score = intermediate_score(job, model)
            trial.report(score, epoch)
            if trial.should_prune():
                trial.set_user_attr(RECORD, {**trial.user_attrs[RECORD], "epochs": epoch})
                raise optuna.TrialPruned(
                    f"After {epoch} epochs its score of {score:.3f} was below the median."
                )

    return on_epoch


def prunes(job: Job) -> bool:
    """Whether candidates that fall behind are stopped early."""
    return job.settings.prune and job.settings.objective is not Objective.PARETO


def pruning_epochs(epochs: int) -> frozenset[int]:
    """When to compare: at half of the run, once the bottom layers' head start is over."""
    return frozenset({epochs // 2} - {0, epochs})


def looking_epochs(epochs: int) -> frozenset[int]:
    """When to look at the law emerging: often at first, then ever more seldom, and at the end."""
    return frozenset(math.ceil(epochs ** (i / (LOOKS - 1))) for i in range(LOOKS))


def _objective_values(job: Job, outcome: Outcome, parameters: int) -> list[float]:
    score, correct = outcome.score, outcome.validation_accuracy
    values = {
        Objective.DESIGN: [score.value],
        Objective.LAW: [score.adherence],
        Objective.ACCURACY: [correct],
        Objective.PARETO: [score.value, correct, float(parameters)],
    }[job.settings.objective]
    if not all(map(math.isfinite, values)):
        raise TrialFailed(f"Its {job.settings.objective} objective could not be measured.")
    return values


def _law(outcome: Outcome) -> dict[str, Any]:
    return asdict(LawSummary.of(outcome.profile.law))
