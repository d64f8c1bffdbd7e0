"""The searches that the payoff compares: ten arms, and the true accuracy of what they find."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import Trial, TrialState
from torch import nn

from benchmarks.command import say
from benchmarks.processes import in_processes
from designer.analysis.profile import profile
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.errors import TrialFailed
from designer.measures.score import design_score
from designer.results.measured import FloatArray
from designer.search.candidates import spec_key, spec_values, train_spec
from designer.search.study.claims import Rejected, check_new
from designer.search.study.keys import REJECTED, SPEC
from designer.search.study.sampler import SeededSampler
from designer.search.study.trials import trials_of
from designer.training.trainer import Schedule, accuracy
from search_spaces import MlpSpace, MlpSpec

SPACE = MlpSpace()
SHORT_EPOCHS, FULL_EPOCHS = 10, 20
TRUTH_EPOCHS, TRUTH_SEEDS, TRUTH_SPLIT = 60, (1001, 1002), 0

PRUNED, COMPLETE, CONFIRMED = range(3)
"""Standings of a trial: a higher one beats any value of a lower one."""

OURS, REFERENCE = "designer", "median"

Truths = dict[str, FloatArray]
"""Test accuracies (TRUTH_SEEDS,) in percent, by spec."""


@dataclass(frozen=True)
class Arm:
    """One way to search."""

    study: Callable[[int], Study]
    """Makes a study from a seed."""
    epochs: int
    """Epochs of a trial that is not pruned."""
    value: Callable[[nn.Module, Dataset], float]
    """Value of a trained network, to be maximised."""
    confirms: bool = False
    """True if half of the epochs go into longer runs of the best trials so far."""


@dataclass(frozen=True)
class Source:
    """The origin of the data; each seed splits them anew."""

    data: str
    train_size: int | None
    image_size: int | None


@dataclass(frozen=True)
class SearchTask:
    """One arm with one seed."""

    arm: str
    source: Source
    seed: int
    budget: int
    """Training epochs."""


@dataclass(frozen=True)
class Moment:
    """The state of a search after a trial."""

    epochs: int
    seconds: float
    """Processor seconds."""
    incumbent: MlpSpec

    @property
    def key(self) -> str:
        """Key of the incumbent among the truths."""
        return _key(self.incumbent)


@dataclass(frozen=True)
class FinishedSearch:
    """One search, within its budget."""

    moments: tuple[Moment, ...]
    trials: int
    pruned: int
    known: int
    """Proposals that were handed back."""
    epochs: int
    """All trained epochs, also those by which the last trial overran the budget."""
    seconds: float
    """Processor seconds."""


@dataclass(frozen=True)
class _Attempt:
    """The result of training one spec."""

    epochs: int
    value: float
    """The value; not finite if training failed."""
    standing: int
    """``PRUNED``, ``COMPLETE`` or ``CONFIRMED``; counts before any value."""


# --- arms ---


def validation_accuracy(model: nn.Module, data: Dataset) -> float:
    """Return the accuracy on validation data, which needs no look inside."""
    return accuracy(model, data.validation)


def inner_score(model: nn.Module, data: Dataset) -> float:
    """Return the design score, as in a search trial."""
    return design_score(profile(model, data.train, data.validation, resamples=0)).value


def designers_study(seed: int) -> Study:
    """Return a study with the sampler of ``designer search``, without pruning."""
    sampler, pruner = SeededSampler(seed), NopPruner()
    return optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)


def pruned_study(seed: int) -> Study:
    """Return the same study with median pruning after every epoch, which costs looks."""
    sampler = SeededSampler(seed)
    return optuna.create_study(direction="maximize", sampler=sampler, pruner=MedianPruner())


def _optunas(sampler: Callable[..., BaseSampler], pruner: Callable[[], BasePruner]) -> Arm:
    """Return an arm of Optuna's own means, on validation accuracy after a full run."""

    def study(seed: int) -> Study:
        return optuna.create_study(
            study_name=f"seed {seed}",  # from the name Hyperband derives who is in which bracket
            direction="maximize",
            sampler=sampler(seed=seed),
            pruner=pruner(),
        )

    return Arm(study, FULL_EPOCHS, validation_accuracy)


ARMS = {
    OURS: Arm(designers_study, SHORT_EPOCHS, inner_score),
    "accuracy": Arm(designers_study, SHORT_EPOCHS, validation_accuracy),
    "designer, pruned": Arm(pruned_study, SHORT_EPOCHS, inner_score),
    "accuracy, pruned": Arm(pruned_study, SHORT_EPOCHS, validation_accuracy),
    "designer, confirmed": Arm(designers_study, SHORT_EPOCHS, inner_score, confirms=True),
    "accuracy, confirmed": Arm(designers_study, SHORT_EPOCHS, validation_accuracy, confirms=True),
    REFERENCE: _optunas(TPESampler, lambda: MedianPruner(n_startup_trials=5, n_warmup_steps=5)),
    "hyperband": _optunas(
        TPESampler,
        lambda: HyperbandPruner(min_resource=2, max_resource=FULL_EPOCHS, reduction_factor=3),
    ),
    "halving": _optunas(
        RandomSampler, lambda: SuccessiveHalvingPruner(min_resource=2, reduction_factor=3)
    ),
    "random": _optunas(RandomSampler, NopPruner),
}


# --- one search ---


def run_search(task: SearchTask) -> FinishedSearch:
    """Search until the budget is spent; a trial that exceeds the budget is not recorded."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", ExperimentalWarning)
    arm, data = ARMS[task.arm], _load(task.source, task.seed)
    _warm_up(data)
    study = arm.study(task.seed)
    started = time.process_time()
    moments: list[Moment] = []
    spent = known = 0
    best: tuple[int, float] = (PRUNED, -math.inf)
    confirmation = _Confirmation(data, task.seed)
    while spent < task.budget:
        if arm.confirms and confirmation.due(spent):
            spec, attempt = confirmation.next()
        elif (proposal := _proposed(study)) is None:
            known += 1
            continue
        else:
            trial, spec = proposal
            attempt = _attempt(arm, study, trial, spec, data, task.seed)
            confirmation.add(spec, attempt)
        spent += attempt.epochs
        if math.isfinite(attempt.value) and (attempt.standing, attempt.value) > best:
            best, incumbent = (attempt.standing, attempt.value), spec
        if spent <= task.budget and math.isfinite(best[1]):
            moments.append(Moment(spent, time.process_time() - started, incumbent))
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    return FinishedSearch(
        moments=tuple(moments),
        trials=len(states) - known,
        pruned=states.count(TrialState.PRUNED),
        known=known,
        epochs=spent,
        seconds=time.process_time() - started,
    )


def _proposed(study: Study) -> tuple[Trial, MlpSpec] | None:
    """Return a trial with its spec, or None if the spec is known and was handed back."""
    before = trials_of(study)
    trial = study.ask()
    spec = SPACE.suggest(trial)
    values = spec_values(spec)
    trial.set_user_attr(SPEC, values)
    try:
        check_new(before, values)
    except Rejected:
        trial.set_user_attr(REJECTED, "known")
        study.tell(trial, state=TrialState.FAIL)
        return None
    return trial, spec


class _Confirmation:
    """Longer runs with a fresh seed, the learning rate falling, on validation accuracy."""

    def __init__(self, data: Dataset, seed: int) -> None:
        self._data, self._seed = data, seed
        self._open: list[tuple[float, MlpSpec]] = []
        self._spent = 0

    def add(self, spec: MlpSpec, attempt: _Attempt) -> None:
        """Add a spec that may be confirmed."""
        if attempt.standing == COMPLETE and math.isfinite(attempt.value):
            self._open.append((attempt.value, spec))

    def due(self, spent: int) -> bool:
        """True if the next confirmation stays within half of all epochs."""
        return bool(self._open) and 2 * (self._spent + FULL_EPOCHS) <= spent + FULL_EPOCHS

    def next(self) -> tuple[MlpSpec, _Attempt]:
        """Train the most promising spec."""
        value, spec = max(self._open, key=lambda pair: pair[0])
        self._open.remove((value, spec))
        self._spent += FULL_EPOCHS
        try:
            model, _ = train_spec(
                SPACE, spec, self._data, seed=self._seed + 1, epochs=FULL_EPOCHS,
                schedule=Schedule.STEP,
            )  # fmt: skip
        except TrialFailed:
            return spec, _Attempt(FULL_EPOCHS, math.nan, CONFIRMED)
        return spec, _Attempt(FULL_EPOCHS, validation_accuracy(model, self._data), CONFIRMED)


def _attempt(
    arm: Arm, study: Study, trial: Trial, spec: MlpSpec, data: Dataset, seed: int
) -> _Attempt:
    """Train what a trial proposes, and tell the study."""
    prunes = not isinstance(study.pruner, NopPruner)
    epochs, latest = 0, math.nan

    def on_epoch(epoch: int, model: nn.Module) -> None:
        nonlocal epochs, latest
        epochs = epoch
        if prunes:
            latest = arm.value(model, data)
            trial.report(latest, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    try:
        model, _ = train_spec(SPACE, spec, data, seed=seed, epochs=arm.epochs, on_epoch=on_epoch)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        return _Attempt(epochs, latest, standing=PRUNED)
    except TrialFailed:
        study.tell(trial, state=TrialState.FAIL)
        return _Attempt(epochs + 1, math.nan, standing=PRUNED)
    value = arm.value(model, data)
    study.tell(trial, value)
    return _Attempt(epochs, value, standing=COMPLETE)


def _warm_up(data: Dataset) -> None:
    """Train once: the first training of a process takes longer, and that is no arm's cost."""
    spec = MlpSpec((16, 16), "batch", "relu", 1e-3)
    model, _ = train_spec(SPACE, spec, data, seed=0, epochs=1)
    inner_score(model, data)


# --- true accuracies ---


def measure_truths(source: Source, searches: Sequence[FinishedSearch]) -> Truths:
    """Train every incumbent for long, once each.

    Raises:
        TrialFailed: if no search has an incumbent.
    """
    specs = {moment.key: moment.incumbent for search in searches for moment in search.moments}
    if not specs:
        raise TrialFailed("No search completed a trial within its budget; give more --epochs.")
    say(f"{len(specs)} incumbents to train for {TRUTH_EPOCHS} epochs")
    tasks = [(source, spec) for spec in specs.values()]
    return dict(zip(specs, in_processes(true_accuracies, tasks, "incumbents"), strict=True))


def true_accuracies(task: tuple[Source, MlpSpec]) -> FloatArray:
    """Return test accuracies (TRUTH_SEEDS,) in percent; a run that fails has 0."""
    source, spec = task
    data = _load(source, TRUTH_SPLIT)
    accuracies = np.zeros(len(TRUTH_SEEDS))
    for i, seed in enumerate(TRUTH_SEEDS):
        try:
            model, _ = train_spec(
                SPACE, spec, data, seed=seed, epochs=TRUTH_EPOCHS, schedule=Schedule.STEP
            )
            accuracies[i] = 100 * accuracy(model, data.test)
        except TrialFailed as error:
            say(f"{spec}: {error}")
    return accuracies


@cache
def _load(source: Source, seed: int) -> Dataset:
    return load_dataset(
        source.data, train_size=source.train_size, image_size=source.image_size, seed=seed
    )


def _key(spec: MlpSpec) -> str:
    return spec_key(spec_values(spec))
