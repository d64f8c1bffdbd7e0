"""The searches that the payoff compares, and the true accuracy of what they find."""

from __future__ import annotations

import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, cast

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import Trial, TrialState
from torch import nn

import designer
from benchmarks.claim import Figures
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.errors import TrialFailed
from designer.models.size import ModelSize
from designer.results.front import pareto_front
from designer.results.search import SearchResult, TrialRow
from designer.search.candidates import size_of, spec_values, train_spec
from designer.search.options import SearchOptions
from designer.search.progress import Phase, Progress
from designer.search.study.claims import Rejected, check_new
from designer.search.study.history import history_of
from designer.search.study.keys import REJECTED, SPEC
from designer.training.trainer import Schedule, accuracy
from search_spaces import CnnSpace, CnnSpec, MlpSpace, MlpSpec, Space

FULL_EPOCHS = 20
"""Epochs of a trial of Optuna's arms that is not pruned."""

TRUTH_EPOCHS, TRUTH_SEEDS, TRUTH_SPLIT = 60, (1001, 1002), 0

FRONT_POINTS = 8
"""Networks of a front whose true accuracy is measured, at the most."""

OURS, HALF, NO_EDITS, NO_PRUNING, PARETO = (
    "designer",
    "designer, half",
    "designer, no edits",
    "designer, no pruning",
    "designer, pareto",
)
NSGA2 = "NSGA-II"

SPACES: dict[str, tuple[Space[Any], type[MlpSpec | CnnSpec]]] = {
    "mlp": (MlpSpace(), MlpSpec),
    "cnn": (CnnSpace(), CnnSpec),
}

Spec = MlpSpec | CnnSpec


@dataclass(frozen=True)
class Setting:
    """What is searched, and on which data; each seed splits them anew."""

    space: str
    data: str
    train_size: int | None = None
    image_size: int | None = None
    max_params: int | None = None
    max_flops: int | None = None

    def load(self, seed: int) -> Dataset:
        """Return the data, split by a seed."""
        return _load(self.data, self.train_size, self.image_size, seed)

    def spec(self, values: Figures) -> Spec:
        """Return the spec that JSON values describe."""
        read: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return SPACES[self.space][1](**read)


@dataclass(frozen=True)
class SearchTask:
    """One arm with one seed."""

    setting: Setting
    arm: str
    seed: int
    seconds: float = 0.0
    """Processor seconds after which Optuna's arms stop; ours end by themselves."""
    trials: int = SearchOptions.trials
    """Trials of our arms."""


@dataclass(frozen=True)
class TruthTask:
    """One network to train for long."""

    setting: Setting
    spec: tuple[tuple[str, Any], ...]
    """Pairs of field and value, without lists."""


def search_outcome(task: SearchTask) -> Figures:
    """Search with one arm.

    Returns:
        ``moments``: seconds and spec of every new incumbent; ``front``: specs of the networks that
        are smaller than every more accurate one; ``seconds``: processor time in all; ``phases``:
        seconds until the end of each phase, of our arms; ``trials``: how many were finished;
        ``epochs``: how many a trial trained for on average.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", ExperimentalWarning)
    data = task.setting.load(task.seed)
    _warm_up(task.setting, data)
    return _ours(task, data) if task.arm in OUR_OPTIONS else _Optunas(task, data).run()


# --- ours ---

OUR_OPTIONS: dict[str, Figures] = {
    OURS: {},
    HALF: {"edits": SearchOptions.edits // 2},
    NO_EDITS: {"edits": 0},
    NO_PRUNING: {"prune": False},
    PARETO: {"objective": "pareto"},
}
"""What differs from ``designer search`` as it comes."""


def _ours(task: SearchTask, data: Dataset) -> Figures:
    """Search with ``designer.search``, and note the time after every trial."""
    ended: dict[Phase, list[float]] = {}
    started = time.process_time()

    def note(progress: Progress) -> None:
        ended.setdefault(progress.phase, []).append(time.process_time() - started)

    with tempfile.TemporaryDirectory() as folder:
        result = designer.search(
            SPACES[task.setting.space][0],
            data,
            trials=task.trials,
            seed=task.seed,
            workers=1,
            max_params=task.setting.max_params,
            max_flops=task.setting.max_flops,
            out=folder,
            progress=note,
            **OUR_OPTIONS[task.arm],
        )
    seconds = time.process_time() - started
    finished = [row for row in result.trials if row.state != "failed"]
    return {
        "moments": [
            *_moments_of_trials(finished, ended.get(Phase.SEARCH, [])),
            *_moments_of_networks(result, ended, seconds),
        ],
        "front": _front(
            [
                *_complete(finished),
                *((c.spec, c.parameters, c.validation_accuracy.mean) for c in result.confirmed),
            ]
        ),
        "seconds": round(seconds, 2),
        "phases": {phase.name: round(times[-1], 2) for phase, times in ended.items()},
        "trials": len(finished),
        "epochs": sum(row.epochs for row in finished) / max(len(finished), 1),
    }


def _moments_of_trials(
    finished: Sequence[TrialRow], ended: Sequence[float]
) -> Iterator[tuple[float, Figures]]:
    """Yield seconds and spec of every trial that had the highest design score so far."""
    best = -math.inf
    for row, seconds in zip(finished, ended, strict=False):
        if row.state == "complete" and row.score is not None and row.score > best:
            best = row.score
            yield round(seconds, 2), row.spec


def _moments_of_networks(
    result: SearchResult, ended: dict[Phase, list[float]], seconds: float
) -> Iterator[tuple[float, Figures]]:
    """Yield what confirmation finds the most accurate, and what is recommended in the end."""
    candidates = [row for row in result.confirmed if not row.edits]
    if candidates and Phase.CONFIRMATION in ended:
        most_accurate = max(candidates, key=lambda row: row.validation_accuracy.mean)
        yield round(ended[Phase.CONFIRMATION][-1], 2), most_accurate.spec
    if result.recommendations:
        yield round(seconds, 2), result.recommendations[0].spec


def _complete(rows: Sequence[TrialRow]) -> Iterator[tuple[Figures, int, float]]:
    for row in rows:
        if row.state == "complete" and row.validation_accuracy is not None:
            yield row.spec, row.parameters or 0, row.validation_accuracy


def _front(networks: Sequence[tuple[Figures, int, float]]) -> list[Figures]:
    """Return at most ``FRONT_POINTS`` specs of (spec, parameters, accuracy) on the front."""
    front = pareto_front({i: pair for i, (_, *pair) in enumerate(networks)})  # type: ignore[misc]
    count = min(len(front), FRONT_POINTS)
    spread = [front[i * (len(front) - 1) // max(count - 1, 1)] for i in range(count)]
    return [networks[i][0] for i in spread]


# --- Optuna's ---


@dataclass(frozen=True)
class Means:
    """A sampler and a pruner of Optuna."""

    sampler: Callable[..., BaseSampler]
    pruner: Callable[[], BasePruner] = NopPruner
    directions: tuple[Literal["maximize", "minimize"], ...] = ("maximize",)
    """Of validation accuracy, and of the number of parameters if there are two."""

    def study(self, seed: int) -> Study:
        """Return a new study."""
        return optuna.create_study(
            study_name=f"seed {seed}",  # from the name Hyperband derives who is in which bracket
            directions=list(self.directions),
            sampler=self.sampler(seed=seed),
            pruner=self.pruner(),
        )


REFERENCE = "TPE, MedianPruner"

OPTUNAS = {
    REFERENCE: Means(TPESampler, lambda: MedianPruner(n_startup_trials=5, n_warmup_steps=5)),
    "TPE, Hyperband": Means(
        TPESampler,
        lambda: HyperbandPruner(min_resource=2, max_resource=FULL_EPOCHS, reduction_factor=3),
    ),
    NSGA2: Means(NSGAIISampler, directions=("maximize", "minimize")),
    "random, successive halving": Means(
        RandomSampler, lambda: SuccessiveHalvingPruner(min_resource=2, reduction_factor=3)
    ),
    "random": Means(RandomSampler),
}

ARMS = (*OUR_OPTIONS, *OPTUNAS)


class _Optunas:
    """A search with Optuna's own means, on validation accuracy after full runs."""

    def __init__(self, task: SearchTask, data: Dataset) -> None:
        self._task, self._data = task, data
        self._means = OPTUNAS[task.arm]
        self._study = self._means.study(task.seed)
        self._epochs = 0

    def run(self) -> Figures:
        """Search until the time is over; a trial that ends later does not count."""
        started = time.process_time()
        moments: list[tuple[float, Figures]] = []
        complete: list[tuple[Figures, int, float]] = []
        best = (False, -math.inf)
        while True:
            proposal = self._proposed()
            standing = self._attempt(*proposal) if proposal else None
            seconds = time.process_time() - started
            if seconds > self._task.seconds:
                break
            if proposal is None or standing is None:
                continue
            _, spec, parameters = proposal
            if standing[0]:
                complete.append((spec_values(spec), parameters, standing[1]))
            if standing > best:
                best = standing
                moments.append((round(seconds, 2), spec_values(spec)))
        finished = [
            t for t in self._study.get_trials(deepcopy=False) if REJECTED not in t.user_attrs
        ]
        return {
            "moments": moments,
            "front": _front(complete),
            "seconds": round(seconds, 2),
            "trials": len(finished),
            "epochs": self._epochs / max(len(finished), 1),
        }

    def _proposed(self) -> tuple[Trial, Spec, int] | None:
        """Return a trial with its spec and size; None if it is known or too large."""
        trial = self._study.ask()
        setting = self._task.setting
        space = SPACES[setting.space][0]
        spec = cast("Spec", space.suggest(trial))
        trial.set_user_attr(SPEC, spec_values(spec))
        try:
            check_new(history_of(self._study), spec_values(spec), before=trial.number)
        except Rejected:
            trial.set_user_attr(REJECTED, "known")
            self._study.tell(trial, state=TrialState.FAIL)
            return None
        size = size_of(space, spec, self._data.input_shape, self._data.num_classes)
        if self._is_too_large(size):
            trial.set_user_attr(REJECTED, "too large")
            self._study.tell(trial, **self._worst(size))
            return None
        return trial, spec, size.parameters

    def _is_too_large(self, size: ModelSize) -> bool:
        limits = (
            (self._task.setting.max_params, size.parameters),
            (self._task.setting.max_flops, size.flops or 0),
        )
        return any(limit is not None and value > limit for limit, value in limits)

    def _worst(self, size: ModelSize) -> dict[str, Any]:
        """Return what a study is told of a network over the limit, so that its sampler learns it.

        TPE ranks pruned trials without a value last; NSGA-II only sees complete ones.
        """
        if len(self._means.directions) == 1:
            return {"state": TrialState.PRUNED}
        return {"values": [0.0, size.parameters]}

    def _attempt(self, trial: Trial, spec: Spec, parameters: int) -> tuple[bool, float] | None:
        """Train what a trial proposes, and tell the study.

        Returns:
            If it was complete, and its accuracy; the higher, the better. None if it failed.
        """
        prunes = len(self._means.directions) == 1
        latest = math.nan

        def on_epoch(epoch: int, model: nn.Module) -> None:
            nonlocal latest
            self._epochs += 1
            if prunes:
                latest = accuracy(model, self._data.validation)
                trial.report(latest, epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned

        space = SPACES[self._task.setting.space][0]
        try:
            model, _ = train_spec(
                space,
                spec,
                self._data,
                seed=self._task.seed,
                epochs=FULL_EPOCHS,
                on_epoch=on_epoch,
            )
        except optuna.TrialPruned:
            self._study.tell(trial, state=TrialState.PRUNED)
            return False, latest
        except TrialFailed:
            self._study.tell(trial, state=TrialState.FAIL)
            return None
        value = accuracy(model, self._data.validation)
        self._study.tell(trial, value if prunes else [value, parameters])
        return True, value


def _warm_up(setting: Setting, data: Dataset) -> None:
    """Train once: the first training of a process takes longer, and that is no arm's cost."""
    space = SPACES[setting.space][0]
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    spec = cast("Spec", space.suggest(study.ask()))
    model, _ = train_spec(space, replace(spec, learning_rate=1e-3), data, seed=0, epochs=1)
    designer.profile(model, data.train, data.validation, resamples=0)


# --- true accuracies ---


def truth_task(setting: Setting, values: Figures) -> TruthTask:
    """Return the task that measures the true accuracy of a spec, given as JSON values."""
    pairs = ((k, tuple(v) if isinstance(v, list) else v) for k, v in sorted(values.items()))
    return TruthTask(setting, tuple(pairs))


def true_accuracy(task: TruthTask) -> Figures:
    """Return test accuracies in percent after long training, and the number of parameters.

    A run that fails has 0.
    """
    space = SPACES[task.setting.space][0]
    spec = task.setting.spec(dict(task.spec))
    data = task.setting.load(TRUTH_SPLIT)
    accuracies = []
    for seed in TRUTH_SEEDS:
        try:
            model, _ = train_spec(
                space, spec, data, seed=seed, epochs=TRUTH_EPOCHS, schedule=Schedule.STEP
            )
            accuracies.append(round(100 * accuracy(model, data.test), 3))
        except TrialFailed:
            accuracies.append(0.0)
    size = size_of(space, spec, data.input_shape, data.num_classes)
    return {"accuracies": accuracies, "parameters": size.parameters}


@cache
def _load(source: str, train_size: int | None, image_size: int | None, seed: int) -> Dataset:
    return load_dataset(source, train_size=train_size, image_size=image_size, seed=seed)
