"""Why the search's sampler and pruner are what they are.

    python -m benchmarks.run search --table FILE.json [--seeds 20]
    python -m benchmarks.run search --data SOURCE --train-size N --image-size S

The first lets samplers search a table of networks that others trained (NAS-Bench-Macro: eight
slots, each one of three kinds) and shows simple regret: by how many points of mean test accuracy
the best so far is behind the best of the table.  Every sampler takes the place of TPE in the
designer's own, so a proposal that is known already is handed back and not counted.

The second runs searches on real training, without edits, every arm with the same seeds, splits and
first proposals.  It shows the test accuracy of what would be recommended (the best three by design
score, trained again for longer with fresh seeds, the best of them by validation accuracy), the
best design score of a trial, what the trials cost in epochs and the whole search in processor
time, and the difference to the same search without pruning, paired by seed.  ``pruning, equal
epochs`` goes on after ``pruning`` until it has trained about as many epochs as without.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from unittest.mock import patch

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import Trial, TrialState
from rich.table import Table

from benchmarks.claim import Figures, Result
from benchmarks.command import (
    Parser,
    positive,
    refuse,
    wide_console,
)
from benchmarks.processes import in_processes
from benchmarks.statistics import mean_and_interval
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.errors import InvalidInputError, TrialFailed
from designer.results.measured import FloatArray
from designer.results.search import SearchResult
from designer.search.search import search
from designer.search.study import sampler as sampler_module
from designer.search.study.keys import REJECTED
from designer.search.study.sampler import STARTUP_TRIALS, SeededSampler

KINDS = ("0", "1", "2")
"""The kinds of a slot in the table's networks: identity, or one of two convolutions."""

MOMENTS = (10, 25, 50)
"""Numbers of trials after which regret is shown, besides the last."""

NSGA_POPULATION = 10

DESIGNERS = "tpe_multivariate"
"""The sampler that the designer uses, which is Optuna's default."""

SAMPLERS: dict[str, Callable[..., BaseSampler]] = {
    DESIGNERS: TPESampler,
    "tpe_univariate": partial(TPESampler, multivariate=False),
    "tpe_group": partial(TPESampler, multivariate=True, group=True),
    "gp": GPSampler,
    "nsga2": lambda seed, **_: NSGAIISampler(seed=seed, population_size=NSGA_POPULATION),
    "random": lambda seed, **_: RandomSampler(seed=seed),
}
"""What makes a sampler for a trial, called as the designer's ``SeededSampler`` calls TPE."""


@dataclass(frozen=True)
class Arm:
    """One way to search."""

    prune: bool = False
    sampler: str = DESIGNERS
    equal_epochs: bool = False
    """True to go on until about as many epochs are trained as without pruning."""


NO_PRUNING, PRUNING = "no pruning", "pruning"

ARMS = {
    NO_PRUNING: Arm(),
    PRUNING: Arm(prune=True),
    "pruning, equal epochs": Arm(prune=True, equal_epochs=True),
    "univariate, no pruning": Arm(sampler="tpe_univariate"),
    "group, no pruning": Arm(sampler="tpe_group"),
    "random, no pruning": Arm(sampler="random"),
}
"""The arms by name; ``pruning`` is the designer's default, and the reference is without it."""


@dataclass(frozen=True)
class Outcome:
    """The result of one search and what its trials cost."""

    test_accuracy: float
    """Test accuracy of the recommended architecture in percent, mean over confirmation seeds."""
    best_score: float
    """Highest design score of a trial."""
    trials: int
    pruned: int
    epochs: int
    """Epochs of all trials together; the confirmation is the same for every arm."""
    cpu_seconds: float
    """Processor seconds of the whole search with its confirmation."""


@dataclass(frozen=True)
class TableTask:
    """One sampler with one seed on the table."""

    sampler: str
    seed: int
    trials: int
    accuracies: dict[str, float]
    """Test accuracy in percent, by network."""


@dataclass(frozen=True)
class SearchTask:
    """All arms with one seed."""

    source: str
    train_size: int | None
    image_size: int | None
    space: str
    seed: int
    trials: int
    epochs: int
    confirm_epochs: int
    confirm_seeds: int


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--table", type=Path, help="table of NAS-Bench-Macro, as JSON")
    source.add_argument("--data", help="train on this instead; as for `designer search`")
    parser.add_argument("--trials", type=positive, help="per search [default: 50, or 25 trained]")
    parser.add_argument("--seeds", type=positive, help="per sampler [default: 20, or 8 trained]")
    parser.add_argument("--space", default="mlp", help="where architectures come from")
    parser.add_argument("--epochs", type=positive, default=10, help="of each trial")
    parser.add_argument("--confirm-epochs", type=positive, default=30, help="of the best three")
    parser.add_argument("--confirm-seeds", type=positive, default=3, help="of the best three")
    parser.add_argument("--train-size", type=positive, help="samples to train on")
    parser.add_argument("--image-size", type=positive, help="resize images to this, in pixels")
    parser.checks.append(_check)


def _check(parser: Parser, options: argparse.Namespace) -> None:
    if options.table:
        names = ("space", "epochs", "confirm_epochs", "confirm_seeds", "train_size", "image_size")
        refuse(parser, options, names, "--data")
    options.trials = options.trials or (50 if options.table else 25)
    options.seeds = options.seeds or (20 if options.table else 8)


def run(options: argparse.Namespace) -> Result:
    """Search a table, or train."""
    return on_table(options) if options.table else on_training(options)


def show(result: Result) -> None:
    """Print the figures by sampler or by arm."""
    if result.options.table:
        show_table(result.figures, len(result.seeds))
    else:
        show_training(result.figures, len(result.seeds))


def on_table(options: argparse.Namespace) -> Result:
    """Measure {sampler: {trials: regret}} on the table."""
    accuracies, seeds = read_table(options.table), list(range(options.seeds))
    tasks = [
        TableTask(name, seed, options.trials, accuracies) for name in SAMPLERS for seed in seeds
    ]
    best = max(accuracies.values())
    curves = np.stack(in_processes(best_so_far, tasks, "studies"))
    regrets = (best - curves).reshape(len(SAMPLERS), options.seeds, options.trials)
    moments = sorted({*(m for m in MOMENTS if m < options.trials), options.trials})
    reference = regrets[list(SAMPLERS).index(DESIGNERS)]
    figures = {
        name: {str(m): _against(mine[:, m - 1], reference[:, m - 1]) for m in moments}
        for name, mine in zip(SAMPLERS, regrets, strict=True)
    }
    about = {"networks": len(accuracies), "best_accuracy": round(best, 4)}
    return Result(options, figures, seeds, about)


def values_from_table(study: Study, accuracies: Mapping[str, float], trials: int) -> list[float]:
    """Return the accuracies of the networks that a study tries, none twice, in order.

    Args:
        study: a new one.
        accuracies: of all networks, from the table.
        trials: how many to try.
    """
    known: set[str] = set()
    values: list[float] = []
    while len(values) < trials:
        trial = study.ask()
        network = network_of(trial)
        if network in known:
            trial.set_user_attr(REJECTED, "known")
            study.tell(trial, state=TrialState.FAIL)
            continue
        known.add(network)
        values.append(accuracies[network])
        study.tell(trial, values[-1])
    return values


def best_so_far(task: TableTask) -> FloatArray:
    """Return the accuracy (trials,) of the best network so far after each trial."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=SeededSampler(task.seed))
    with _sampling_with(task.sampler):
        values = values_from_table(study, task.accuracies, task.trials)
    best: FloatArray = np.maximum.accumulate(values)
    return best


def read_table(path: Path) -> dict[str, float]:
    """Read the mean test accuracy in percent of every network of NAS-Bench-Macro.

    Raises:
        InvalidInputError: if the file is missing or is no such table.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        accuracies = {str(name): float(row["mean_acc"]) for name, row in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(
            f"Expected the table of NAS-Bench-Macro in '{path}', but reading it failed: "
            f"{type(error).__name__} {error}."
        ) from error
    if len(accuracies) != len(KINDS) ** 8:
        raise InvalidInputError(
            f"Expected {len(KINDS) ** 8} networks in '{path}', got {len(accuracies)}."
        )
    return accuracies


def on_training(options: argparse.Namespace) -> Result:
    """Measure {arm: figures} with real training; the searches themselves are recorded, too."""
    seeds = list(range(options.seeds))
    tasks = [
        SearchTask(
            source=options.data,
            train_size=options.train_size,
            image_size=options.image_size,
            space=options.space,
            seed=seed,
            trials=options.trials,
            epochs=options.epochs,
            confirm_epochs=options.confirm_epochs,
            confirm_seeds=options.confirm_seeds,
        )
        for seed in seeds
    ]
    outcomes = in_processes(run_arms, tasks, "seeds")
    figures = {arm: _figures(outcomes, arm) for arm in ARMS}
    searches = {arm: [asdict(by_arm[arm]) for by_arm in outcomes] for arm in ARMS}
    return Result(options, figures, seeds, about={"searches": searches})


def run_arms(task: SearchTask) -> dict[str, Outcome]:
    """Run every arm with one seed, on the same data."""
    data = load_dataset(
        task.source, train_size=task.train_size, image_size=task.image_size, seed=task.seed
    )
    turn = task.seed % len(ARMS)  # so that no arm always has the cold start
    names = [*list(ARMS)[turn:], *list(ARMS)[:turn]]
    return {name: run_arm(task, ARMS[name], data) for name in names}


def run_arm(task: SearchTask, arm: Arm, data: Dataset) -> Outcome:
    """Run one search."""

    def searched(folder: str, trials: int) -> SearchResult:
        return search(
            task.space,
            data,
            trials=trials,
            epochs=task.epochs,
            seed=task.seed,
            confirm=3,
            confirm_epochs=task.confirm_epochs,
            confirm_seeds=task.confirm_seeds,
            edits=0,
            prune=arm.prune,
            out=folder,
        )

    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder, _sampling_with(arm.sampler):
        result = searched(folder, task.trials)
        if arm.equal_epochs:
            result = searched(folder, task.trials + _affordable(result, task))
    return outcome(result, time.process_time() - started)


def outcome(result: SearchResult, cpu_seconds: float) -> Outcome:
    """Return the figures of a finished search.

    Raises:
        TrialFailed: if nothing could be recommended.
    """
    if not result.recommendations or result.recommendations[0].test_accuracy is None:
        raise TrialFailed("The search recommended nothing.")
    return Outcome(
        test_accuracy=round(100 * result.recommendations[0].test_accuracy.mean, 3),
        best_score=round(max(row.score for row in result.trials if row.score is not None), 5),
        trials=result.study.trials.complete + result.study.trials.pruned,
        pruned=result.study.trials.pruned,
        epochs=sum(row.epochs for row in result.trials),
        cpu_seconds=round(cpu_seconds, 2),
    )


def show_table(figures: Figures, seeds: int) -> None:
    """Print regret by sampler, and what it means."""
    console = wide_console()
    table = Table("sampler", box=None, title=f"Simple regret in points, {seeds} seeds [95 %]")
    last = list(figures[DESIGNERS])[-1]
    for moment in figures[DESIGNERS]:
        table.add_column(f"{moment} trials", justify="right")
    table.add_column(f"difference, {last} trials", justify="right")
    for name, by_moment in figures.items():
        cells = [_cell(row) for row in by_moment.values()]
        table.add_row(name.replace("_", " "), *cells, _cell(by_moment[last]["difference"]))
    console.print(table)
    best = min(figures, key=lambda name: float(figures[name][last]["mean"]))
    console.print(
        f"After {last} trials {best.replace('_', ' ')} has the least regret; multivariate TPE, "
        f"the designer's, lacks {figures[DESIGNERS][last]['mean']:.2f} points to the best network "
        f"and random search {figures['random'][last]['mean']:.2f}.",
        highlight=False,
    )


def show_training(figures: Figures, seeds: int) -> None:
    """Print accuracy and cost by arm, and what they mean."""
    console = wide_console()
    table = Table("arm", box=None, title=f"Searches, {seeds} seeds; differences to {NO_PRUNING}")
    for column in ("test accuracy", "difference", "score difference", "epochs", "CPU seconds"):
        table.add_column(column, justify="right", no_wrap=True)
    for arm, row in figures.items():
        table.add_row(
            arm,
            f"{row['test_accuracy']['mean']:.2f}",
            _cell(row["test_accuracy"]["difference"]),
            _cell(row["best_score"]["difference"], 3),
            f"{row['epochs']['mean']:.0f}",
            f"{row['cpu_seconds']['mean']:.1f}",
        )
    console.print(table)
    pruning, without = figures[PRUNING], figures[NO_PRUNING]
    epochs = pruning["epochs"]["mean"] / without["epochs"]["mean"]
    seconds = pruning["cpu_seconds"]["mean"] / without["cpu_seconds"]["mean"]
    console.print(
        f"Pruning trains {epochs:.0%} of the epochs, takes {seconds:.0%} of the time, and changes "
        f"the accuracy of what is recommended by "
        f"{_cell(pruning['test_accuracy']['difference'])} points.",
        highlight=False,
    )


def _figures(outcomes: Sequence[dict[str, Outcome]], arm: str) -> Figures:
    """Return mean, interval and paired difference of every number of an outcome."""

    def column(name: str, of: str) -> FloatArray:
        return np.array([getattr(by_arm[of], name) for by_arm in outcomes], dtype=np.float64)

    names = Outcome.__dataclass_fields__
    return {name: _against(column(name, arm), column(name, NO_PRUNING)) for name in names}


def _against(values: FloatArray, reference: FloatArray) -> Figures:
    """Return the mean over the seeds, that of the difference to a reference, and intervals."""
    return {**mean_and_interval(values), "difference": mean_and_interval(values - reference)}


def _affordable(result: SearchResult, task: SearchTask) -> int:
    """Return how many more trials a search with pruning may have for the epochs that it saved.

    They take as many epochs each as the trials that could have been pruned.
    """
    saved = task.trials * task.epochs - sum(row.epochs for row in result.trials)
    compared = [row.epochs for row in result.trials[STARTUP_TRIALS:]]
    return round(saved / mean(compared)) if compared else 0


@contextmanager
def _sampling_with(sampler: str) -> Iterator[None]:
    """Let the designer's ``SeededSampler`` use this sampler in place of TPE."""
    with warnings.catch_warnings(), patch.object(sampler_module, "TPESampler", SAMPLERS[sampler]):
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def network_of(trial: Trial) -> str:
    """Return the network of the table that a trial proposes."""
    return "".join(str(trial.suggest_categorical(f"slot_{i}", KINDS)) for i in range(8))


def _cell(row: Figures, decimals: int = 2) -> str:
    low, high = row["interval"]
    return f"{row['mean']:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"
