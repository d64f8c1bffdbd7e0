"""Does the search pay: the true accuracy of the best so far, against the compute it took.

    python -m benchmarks.run payoff --data SOURCE [--train-size N] [--image-size S] [--json FILE]

Every arm searches the space ``mlp`` with the same trainer until it has trained so many epochs:
the designer's search on the design score after a short run, the same search on validation
accuracy, each also with median pruning after every epoch, and with half of the epochs spent on
confirming: as ``designer search`` does at its end, the best trials are trained longer, and
validation accuracy after that is trusted; and what Optuna offers for full runs: TPE with median
pruning and with Hyperband, random search with successive halving and without pruning.

No arm trains a spec twice: a proposal that is known already is handed back and costs no epochs.
After every trial the incumbent is noted, the best of the confirmed, else of the complete, else of
the pruned trials, with the epochs and the processor seconds spent until then.  Looking inside
costs seconds and no epochs; arms on accuracy do not look.

The true accuracy of an incumbent is that on test data after long training with the learning rate
falling in steps, mean over two fresh seeds, on one split for all searches; searches have splits of
their own.  Regret is what it lacks to the best known: the best of all incumbents of all arms.  That
best is picked for its measured accuracy, so it flatters itself a little, for all arms alike.
``seed_sd`` says how much one long run differs from the next by its seed alone, in the better half
of the incumbents.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

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
from rich.table import Column, Table
from torch import nn

from benchmarks.claim import Figures
from benchmarks.command import (
    Parser,
    positive,
    refuse,
    say,
    wide_console,
)
from benchmarks.processes import in_processes
from benchmarks.statistics import mean_and_interval, rounded
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

Unit = Literal["epochs", "seconds"]

SPACE = MlpSpace()
SHORT_EPOCHS, FULL_EPOCHS = 10, 20
TRUTH_EPOCHS, TRUTH_SEEDS, TRUTH_SPLIT = 60, (1001, 1002), 0

STRIDE = 50
"""Epochs between two points of a curve."""

TIMES = 12
"""Points of a curve over seconds, the last where the quickest search ended."""

NEAR = 0.5
"""Points to the best known that are near enough."""

PRUNED, COMPLETE, CONFIRMED = range(3)

COSTS = ("trials", "pruned", "known", "epochs", "seconds")
"""Attributes of a run."""

OURS, REFERENCE = "designer", "median"


@dataclass(frozen=True)
class Arm:
    """One way to search."""

    study: Callable[[int], Study]
    """Makes a study from a seed."""
    epochs: int
    """Of a trial that is not pruned."""
    value: Callable[[nn.Module, Dataset], float]
    """Of a trained network, to be maximised."""
    confirms: bool = False
    """Whether half of the epochs go into longer runs of the best trials so far."""


def validation_accuracy(model: nn.Module, data: Dataset) -> float:
    """What is seen from outside."""
    return accuracy(model, data.validation)


def inner_score(model: nn.Module, data: Dataset) -> float:
    """The design score, as in a search trial."""
    return design_score(profile(model, data.train, data.validation, resamples=0)).value


def designers_study(seed: int) -> Study:
    """With the sampler of ``designer search``; runs that are short already are not pruned."""
    sampler, pruner = SeededSampler(seed), NopPruner()
    return optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)


def pruned_study(seed: int) -> Study:
    """The same with median pruning after every epoch, which costs looks."""
    sampler = SeededSampler(seed)
    return optuna.create_study(direction="maximize", sampler=sampler, pruner=MedianPruner())


def _full(sampler: Callable[..., BaseSampler], pruner: Callable[[], BasePruner]) -> Arm:
    """Optuna's own means, on validation accuracy after a full run."""

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
    REFERENCE: _full(TPESampler, lambda: MedianPruner(n_startup_trials=5, n_warmup_steps=5)),
    "hyperband": _full(
        TPESampler,
        lambda: HyperbandPruner(min_resource=2, max_resource=FULL_EPOCHS, reduction_factor=3),
    ),
    "halving": _full(
        RandomSampler, lambda: SuccessiveHalvingPruner(min_resource=2, reduction_factor=3)
    ),
    "random": _full(RandomSampler, NopPruner),
}


@dataclass(frozen=True)
class Source:
    """Where data come from; each seed splits them anew."""

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
    """How a search stands after a trial."""

    epochs: int
    seconds: float
    """By the processor's clock."""
    incumbent: MlpSpec


@dataclass(frozen=True)
class Run:
    """One search, within its budget."""

    moments: tuple[Moment, ...]
    trials: int
    pruned: int
    known: int
    """Proposals that were handed back."""
    epochs: int
    """All that were trained, those included with which the last trial overran the budget."""
    seconds: float


@dataclass(frozen=True)
class Tried:
    """What came of a trial."""

    epochs: int
    value: float
    """Not finite where it failed."""
    standing: int
    """Before any value: ``PRUNED``, ``COMPLETE`` or ``CONFIRMED``."""


Truths = dict[str, FloatArray]
"""Test accuracies (TRUTH_SEEDS,) in percent, by spec."""


def main(arguments: Sequence[str]) -> None:
    """Measure, print, and write the result file where asked to."""
    given = _arguments(arguments)
    started = time.perf_counter()
    source = Source(given.data, given.train_size, given.image_size)
    seeds = list(range(given.seeds))
    tasks = [SearchTask(arm, source, seed, given.epochs) for seed in seeds for arm in ARMS]
    runs = list(in_processes(run_search, tasks, "searches"))
    truths = measure_truths(source, runs)
    by_arm = {arm: [r for t, r in zip(tasks, runs, strict=True) if t.arm == arm] for arm in ARMS}
    figures = figures_of(by_arm, truths, given.epochs)
    show(figures, given.seeds)
    if given.json:
        seconds = time.perf_counter() - started
        used = [*seeds, *TRUTH_SEEDS]
        meta = meta_of("bench_payoff", arguments, seeds=used, seconds=seconds)
        searches = {arm: [_changes(run, truths) for run in mine] for arm, mine in by_arm.items()}
        write_result(given.json, figures, {**meta, "searches": searches})


def run_search(task: SearchTask) -> Run:
    """Search until the budget is spent; a trial that overruns it is not noted."""
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
            spec, tried = confirmation.next()
        elif (proposal := _proposed(study)) is None:
            known += 1
            continue
        else:
            trial, spec = proposal
            tried = _try(arm, study, trial, spec, data, task.seed)
            confirmation.add(spec, tried)
        spent += tried.epochs
        if math.isfinite(tried.value) and (tried.standing, tried.value) > best:
            best, incumbent = (tried.standing, tried.value), spec
        if spent <= task.budget and math.isfinite(best[1]):
            moments.append(Moment(spent, time.process_time() - started, incumbent))
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    return Run(
        moments=tuple(moments),
        trials=len(states) - known,
        pruned=states.count(TrialState.PRUNED),
        known=known,
        epochs=spent,
        seconds=time.process_time() - started,
    )


def _proposed(study: Study) -> tuple[Trial, MlpSpec] | None:
    """What the sampler wants to try, unless it is known already and was handed back."""
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

    def add(self, spec: MlpSpec, tried: Tried) -> None:
        """What may be confirmed."""
        if tried.standing == COMPLETE and math.isfinite(tried.value):
            self._open.append((tried.value, spec))

    def due(self, spent: int) -> bool:
        """Whether the next one keeps to half of all epochs."""
        return bool(self._open) and 2 * (self._spent + FULL_EPOCHS) <= spent + FULL_EPOCHS

    def next(self) -> tuple[MlpSpec, Tried]:
        """The most promising one, trained."""
        value, spec = max(self._open, key=lambda pair: pair[0])
        self._open.remove((value, spec))
        self._spent += FULL_EPOCHS
        try:
            model, _ = train_spec(
                SPACE, spec, self._data, seed=self._seed + 1, epochs=FULL_EPOCHS,
                schedule=Schedule.STEP,
            )  # fmt: skip
        except TrialFailed:
            return spec, Tried(FULL_EPOCHS, math.nan, CONFIRMED)
        return spec, Tried(FULL_EPOCHS, validation_accuracy(model, self._data), CONFIRMED)


def _try(arm: Arm, study: Study, trial: Trial, spec: MlpSpec, data: Dataset, seed: int) -> Tried:
    """Train what a trial proposes, and tell the study."""
    prunes = not isinstance(study.pruner, NopPruner)
    epochs, seen = 0, math.nan

    def on_epoch(epoch: int, model: nn.Module) -> None:
        nonlocal epochs, seen
        epochs = epoch
        if prunes:
            seen = arm.value(model, data)
            trial.report(seen, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    try:
        model, _ = train_spec(SPACE, spec, data, seed=seed, epochs=arm.epochs, on_epoch=on_epoch)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        return Tried(epochs, seen, standing=PRUNED)
    except TrialFailed:
        study.tell(trial, state=TrialState.FAIL)
        return Tried(epochs + 1, math.nan, standing=PRUNED)
    value = arm.value(model, data)
    study.tell(trial, value)
    return Tried(epochs, value, standing=COMPLETE)


def measure_truths(source: Source, runs: Sequence[Run]) -> Truths:
    """Long training of every incumbent, once each."""
    specs = {_key(moment.incumbent): moment.incumbent for run in runs for moment in run.moments}
    if not specs:
        raise TrialFailed("Expected a trial within the budget, but every search found nothing.")
    say(f"{len(specs)} incumbents to train for {TRUTH_EPOCHS} epochs")
    tasks = [(source, spec) for spec in specs.values()]
    return dict(zip(specs, in_processes(true_accuracies, tasks, "incumbents"), strict=True))


def true_accuracies(task: tuple[Source, MlpSpec]) -> FloatArray:
    """(TRUTH_SEEDS,) test accuracies in percent; a run that fails gets none right."""
    source, spec = task
    data = _load(source, TRUTH_SPLIT)
    found = np.zeros(len(TRUTH_SEEDS))
    for i, seed in enumerate(TRUTH_SEEDS):
        try:
            model, _ = train_spec(
                SPACE, spec, data, seed=seed, epochs=TRUTH_EPOCHS, schedule=Schedule.STEP
            )
            found[i] = 100 * accuracy(model, data.test)
        except TrialFailed as error:
            say(f"{spec}: {error}")
    return found


def figures_of(by_arm: dict[str, list[Run]], truths: Truths, budget: int) -> Figures:
    """All that is reported; accuracies and regrets in points."""
    runs = [run for mine in by_arm.values() for run in mine]
    best = max(float(found.mean()) for found in truths.values())
    near = {arm: _nearness(mine, truths, best) for arm, mine in by_arm.items()}
    budgets = sorted({*range(STRIDE, budget, STRIDE), budget})
    times = np.linspace(0, min(run.seconds for run in runs), TIMES + 1)[1:]
    return {
        "arms": {
            arm: {
                "curve": {str(e): _regret(mine, truths, best, "epochs", e) for e in budgets},
                "curve_seconds": {
                    f"{s:.3g}": _regret(mine, truths, best, "seconds", float(s)) for s in times
                },
                "to_within_half_a_point": near[arm],
                **{name: _mean_of(mine, name) for name in COSTS},
            }
            for arm, mine in by_arm.items()
        },
        f"{OURS}_to_{REFERENCE}": {
            unit: _ratio(near[OURS][f"median_{unit}"], near[REFERENCE][f"median_{unit}"])
            for unit in ("epochs", "seconds")
        },
        "best_known": rounded(best),
        "incumbents": len(truths),
        "seed_sd": _seed_sd(truths),
    }


def show(figures: Figures, seeds: int) -> None:
    """Regret and cost by arm, and what they mean."""
    console = wide_console()
    table = Table(
        Column("arm", no_wrap=True),
        box=None,
        title=f"Regret in points, {seeds} seeds [95 %]; - is never",
    )
    budgets = list(figures["arms"][OURS]["curve"])
    shown = sorted({(len(budgets) - 1) // 4, (len(budgets) - 1) // 2, len(budgets) - 1})
    for i in shown:
        table.add_column(f"{budgets[i]} epochs", justify="right", no_wrap=True)
    for column in (f"within {NEAR}", "epochs", "CPU s", "trials", "CPU s in all"):
        table.add_column(column, justify="right", no_wrap=True)
    for arm, row in figures["arms"].items():
        near = row["to_within_half_a_point"]
        table.add_row(
            arm,
            *(_cell(row["curve"][budgets[i]]) for i in shown),
            f"{near['reached']}/{seeds}",
            _or_never(near["median_epochs"], 0),
            _or_never(near["median_seconds"], 1),
            f"{row['trials']['mean']:.0f}",
            f"{row['seconds']['mean']:.1f}",
        )
    console.print(table)
    ratio = figures[f"{OURS}_to_{REFERENCE}"]
    console.print(
        f"Best known: {figures['best_known']:.2f} %, of {figures['incumbents']} incumbents; two "
        f"long runs of one spec differ with a standard deviation of {figures['seed_sd']:.2f}. To "
        f"within {NEAR} points {OURS} takes {_or_never(ratio['epochs'], 2)} times the epochs of "
        f"{REFERENCE} and {_or_never(ratio['seconds'], 2)} times the seconds (medians).",
        highlight=False,
    )


@cache
def _load(source: Source, seed: int) -> Dataset:
    return load_dataset(
        source.data, train_size=source.train_size, image_size=source.image_size, seed=seed
    )


def _warm_up(data: Dataset) -> None:
    """What a process does for the first time takes longer, and is no arm's cost."""
    spec = MlpSpec((16, 16), "batch", "relu", 1e-3)
    model, _ = train_spec(SPACE, spec, data, seed=0, epochs=1)
    inner_score(model, data)


def _true_at(run: Run, truths: Truths, unit: Unit, limit: float) -> float:
    """True accuracy of the incumbent once so much is spent; nan where there is none yet."""
    reached = [moment for moment in run.moments if getattr(moment, unit) <= limit]
    return _truth(reached[-1], truths) if reached else math.nan


def _regret(runs: Sequence[Run], truths: Truths, best: float, unit: Unit, limit: float) -> Figures:
    """Mean over the searches; None where one of them has found nothing yet."""
    found = np.array([_true_at(run, truths, unit, limit) for run in runs])
    if np.isnan(found).any():
        return {"mean": None, "interval": [None, None]}
    return mean_and_interval(best - found)


def _nearness(runs: Sequence[Run], truths: Truths, best: float) -> Figures:
    """What each search spent until an incumbent was near the best known for the first time."""
    firsts = [
        next((m for m in run.moments if _truth(m, truths) >= best - NEAR), None) for run in runs
    ]
    epochs = np.array([math.inf if m is None else m.epochs for m in firsts])
    seconds = np.array([math.inf if m is None else m.seconds for m in firsts])
    return {
        "reached": sum(m is not None for m in firsts),
        "epochs": [None if m is None else m.epochs for m in firsts],
        "seconds": [rounded(s, 2) for s in seconds],
        "median_epochs": rounded(np.median(epochs), 1),
        "median_seconds": rounded(np.median(seconds), 2),
    }


def _changes(run: Run, truths: Truths) -> list[list[float | None]]:
    """Epochs, seconds and true accuracy each time that the incumbent was a new one."""
    pairs = zip((None, *run.moments), run.moments, strict=False)
    return [
        [new.epochs, rounded(new.seconds, 2), rounded(_truth(new, truths), 3)]
        for old, new in pairs
        if old is None or old.incumbent != new.incumbent
    ]


def _mean_of(runs: Sequence[Run], name: str) -> Figures:
    return mean_and_interval(np.array([getattr(run, name) for run in runs], np.float64), 2)


def _seed_sd(truths: Truths) -> float | None:
    """Of one long run, over the better half of the incumbents: weak ones vary more."""
    better = sorted(truths.values(), key=np.mean)[len(truths) // 2 :]
    return rounded(np.sqrt(np.mean([found.var(ddof=1) for found in better])))


def _ratio(mine: float | None, other: float | None) -> float | None:
    """None where one of them never got there."""
    return None if mine is None or not other else rounded(mine / other, 3)


def _truth(moment: Moment, truths: Truths) -> float:
    return float(truths[_key(moment.incumbent)].mean())


def _key(spec: MlpSpec) -> str:
    return spec_key(spec_values(spec))


def _cell(row: Figures) -> str:
    low, high = row["interval"]
    return "-" if row["mean"] is None else f"{row['mean']:.2f} [{low:.2f}, {high:.2f}]"


def _or_never(number: float | None, decimals: int) -> str:
    return "-" if number is None else f"{number:.{decimals}f}"


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser("bench_payoff", description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="as for `designer search`")
    parser.add_argument("--json", type=output_file, help="result file to write")
    parser.add_argument("--seeds", type=positive, default=10, help="searches per arm")
    parser.add_argument("--epochs", type=positive, default=600, help="budget of each search")
    parser.add_argument("--train-size", type=positive, help="samples to train on [default: 1000]")
    parser.add_argument("--image-size", type=positive, help="resize images to [default: 10]")
    given = parser.parse_args(arguments)
    if given.data == "digits":
        refuse(parser, given, ("train_size", "image_size"), "other data than the digits")
        return given
    given.train_size = given.train_size or 1000
    given.image_size = given.image_size or 10
    return given
