"""Whether a search proposes as well where its sampler learns from a part of the history.

    python -m benchmarks.run bounded_history --table FILE.json [--json FILE]
    python -m benchmarks.run bounded_history --data SOURCE [--json FILE]

The first searches the table of NAS-Bench-Macro as the claim ``search`` does, the second trains
perceptrons.  Up to the bound a sampler is the same with it and without, so that only later trials
can differ: ``late`` is the mean of all trials after the designer's bound, and ``best`` the best of
all, in points of test accuracy on the table, else design score.  A much narrower bound shows what
it takes to do harm.  All ways have the same seeds, and differences are paired by seed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from unittest.mock import patch

import numpy as np
import optuna
from rich.table import Table

from benchmarks.claim import Figures, Result
from benchmarks.claims.search import read_table, values_from_table
from benchmarks.command import Parser, positive, wide_console
from benchmarks.processes import in_processes
from benchmarks.statistics import mean_and_t_interval
from designer.data.loading import load_dataset
from designer.results.measured import FloatArray
from designer.search.search import search
from designer.search.study import ranking, remembered
from designer.search.study.remembered import REMEMBERED
from designer.search.study.sampler import SeededSampler

UNBOUNDED = "all trials"

BOUNDS = {UNBOUNDED: 10**9, f"{REMEMBERED} trials": REMEMBERED, "60 trials": 60}
"""Most finished trials that the sampler learns from, by name."""

BEST_OF_NARROW = 25
"""Best trials that are always kept if the bound is narrow: as many as TPE takes for good."""


@dataclass(frozen=True)
class Task:
    """One search."""

    bound: int
    seed: int
    trials: int
    table: Path | None
    data: str | None
    train_size: int | None
    epochs: int


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--table", type=Path, help="table of NAS-Bench-Macro, as JSON")
    source.add_argument("--data", help="train perceptrons on this instead")
    parser.add_argument("--trials", type=positive, default=600, help="per search")
    parser.add_argument("--seeds", type=positive, default=6, help="per way")
    parser.add_argument("--train-size", type=positive, help="samples to train on")
    parser.add_argument("--epochs", type=positive, default=2, help="of each training")
    parser.checks.append(_check)


def _check(parser: Parser, options: argparse.Namespace) -> None:
    if options.trials <= REMEMBERED or options.seeds < 2:
        parser.error(f"Expected more than {REMEMBERED} --trials and at least two --seeds.")


def run(options: argparse.Namespace) -> Result:
    """Search in every way with every seed."""
    seeds = list(range(options.seeds))
    tasks = [
        Task(
            bound, seed, options.trials, options.table, options.data, options.train_size,
            options.epochs,
        )
        for seed in seeds
        for bound in BOUNDS.values()
    ]  # fmt: skip
    values = np.array(in_processes(values_of, tasks, "searches"))
    values = values.reshape(len(seeds), len(BOUNDS), options.trials)
    by_way = {way: values[:, i] for i, way in enumerate(BOUNDS)}
    figures = {way: _figures(mine, by_way[UNBOUNDED]) for way, mine in by_way.items()}
    return Result(options, figures, seeds)


def show(result: Result) -> None:
    """Print the figures by way."""
    table = Table("learns from", "late", "difference", "best", "difference", box=None)
    for way, row in result.figures.items():
        cells = [_cell(row[name][part]) for name in ("late", "best") for part in ("mean", "lead")]
        table.add_row(way, *cells)
    wide_console().print(table)


def values_of(task: Task) -> list[float]:
    """Return the value of every finished trial in order: accuracy in percent, or design score."""
    kept = min(ranking.BEST, BEST_OF_NARROW) if task.bound < REMEMBERED else ranking.BEST
    with (
        patch.object(remembered, "REMEMBERED", task.bound),
        patch.object(ranking, "BEST", kept),
    ):
        return (_on_table if task.table is not None else _trained)(task)


def _on_table(task: Task) -> list[float]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    accuracies = read_table(task.table or Path())
    study = optuna.create_study(direction="maximize", sampler=SeededSampler(task.seed))
    return values_from_table(study, accuracies, task.trials)


def _trained(task: Task) -> list[float]:
    data = load_dataset(task.data or "", train_size=task.train_size, seed=task.seed)
    with tempfile.TemporaryDirectory() as folder:
        result = search(
            "mlp", data, trials=task.trials, epochs=task.epochs, seed=task.seed, prune=False,
            confirm=1, confirm_epochs=1, confirm_seeds=1, edits=0, out=folder,
        )  # fmt: skip
    complete = [row for row in result.trials if row.state == "complete"]
    return [row.score or 0.0 for row in complete][: task.trials]


def _figures(values: FloatArray, reference: FloatArray) -> Figures:
    """Return mean and paired lead of the late and the best trials of searches (seeds, trials)."""
    measures: dict[str, Callable[[FloatArray], float]] = {
        "late": lambda row: fmean(row[REMEMBERED:]),
        "best": lambda row: float(row.max()),
    }
    figures = {}
    for name, measure in measures.items():
        mine, theirs = (np.array([measure(row) for row in rows]) for rows in (values, reference))
        figures[name] = {
            "mean": mean_and_t_interval(mine),
            "lead": mean_and_t_interval(mine - theirs),
        }
    return figures


def _cell(row: Figures) -> str:
    low, high = row["interval"]
    return f"{row['mean']:.3f} [{low:.3f}, {high:.3f}]"
