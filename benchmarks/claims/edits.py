"""Does it pay to try edits, and does the report say what to try first?

    python -m benchmarks.run edits --data NAME=SOURCE ... [--networks N] [--edits N] [--runs FILE]

Every network was recommended by a short search of its own that tried nothing.  From there the
edits of ``designer search`` are tried twice, with as many training runs: in the order that the
report of the network advises, and the usual edits and those of the widest and the narrowest block
in random order.  A kept edit is chosen on validation data.  What it is worth is measured on test
data, which nothing was chosen on: the network at the start and the one at the end are trained
again with fresh seeds.  An end is better if it is smaller and loses at most half a point, or if it
is more accurate by the whole 95 % interval.

The order is compared by the runs that it takes until an arm has come as far as the arm that came
less far: so small, while every network on the way was kept.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

import designer
from benchmarks.claim import Figures, Result
from benchmarks.claims.one_candidate import OneCandidate, Order, long_accuracies, spec_of
from benchmarks.command import Parser, output_file, positive, wide_console
from benchmarks.kept_outcomes import KeptOutcomes
from benchmarks.statistics import mean_and_t_interval, rounded
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.results.search import SearchResult, TriedEdit
from designer.search.edits.judgement import TOLERANCE
from search_spaces import MlpSpace, MlpSpec

NETWORKS, RUNS, SEARCH_TRIALS = 10, 24, 10
"""Networks for each data set, training runs of each arm, and trials of the search before it."""

EPOCHS, TEST_SEEDS = 30, tuple(range(101, 106))
"""Epochs of the training, and fresh seeds of the networks that are compared on test data."""

ADVISED, RANDOM = "advised", "random"
ARMS = {ADVISED: Order.ADVISED, RANDOM: Order.USUAL}


@dataclass(frozen=True)
class EditsTask:
    """Edits of the network that one search recommends."""

    data: str
    source: str
    seed: int
    runs: int


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument(
        "--data", action="append", required=True, metavar="NAME=SOURCE", help="a data set"
    )
    parser.add_argument("--networks", type=positive, default=NETWORKS, help="for each data set")
    parser.add_argument("--edits", type=positive, default=RUNS, help="training runs of each arm")
    parser.add_argument("--runs", type=output_file, help="file that keeps what is measured")


def run(options: argparse.Namespace) -> Result:
    """Try edits of every network in both orders."""
    tasks = [
        EditsTask(name, source, seed, options.edits)
        for name, _, source in (text.partition("=") for text in options.data)
        for seed in range(options.networks)
    ]
    kept = KeptOutcomes(options.runs)
    rows = kept.measure(edits_of, tasks, "networks")
    seeds = [*range(options.networks), *TEST_SEEDS]
    return Result(options, summary_of(rows), seeds, earlier_seconds=kept.earlier_seconds)


def edits_of(task: EditsTask) -> Figures:
    """Return what edits of one recommended network led to, by arm."""
    data = _data(task)
    with tempfile.TemporaryDirectory() as folder:
        first = designer.search(
            MlpSpace(),
            data,
            trials=SEARCH_TRIALS,
            seed=task.seed,
            edits=0,
            out=Path(folder) / "first",
        )
        start = spec_of(first.recommendations[0].spec, MlpSpec)
        arms = {}
        for arm, order in ARMS.items():
            space = OneCandidate(MlpSpace(), start, order, task.seed)
            result = designer.search(
                space,
                data,
                trials=1,
                confirm=1,
                seed=task.seed,
                edits=task.runs,
                out=Path(folder) / arm,
            )
            arms[arm] = _arm(result, data)
    return {"data": task.data, "seed": task.seed, "start": list(start.widths), "arms": arms}


def _data(task: EditsTask) -> Dataset:
    if task.source == "digits":
        return load_dataset(task.source, seed=task.seed)
    return load_dataset(task.source, seed=task.seed, train_size=1000, image_size=10)


def _arm(result: SearchResult, data: Dataset) -> Figures:
    """Return the path of one arm, and both its ends on test data."""
    whole, *kept = result.confirmed
    last = kept[-1] if kept else whole
    return {
        "path": _path(result.tried, whole.parameters),
        "tried": sum(edit.runs > 0 for edit in result.tried),
        "kept": len(kept),
        "runs": sum(edit.runs for edit in result.tried),
        "parameters": [whole.parameters, last.parameters],
        "validation": [row.validation_accuracy.mean for row in (whole, last)],
        "test": [
            long_accuracies(MlpSpace(), spec_of(row.spec, MlpSpec), data, EPOCHS, TEST_SEEDS)
            for row in (whole, last)
        ],
    }


def _path(tried: Sequence[TriedEdit], parameters: int) -> list[tuple[int, int]]:
    """Return the number of runs and of parameters at the start and after each kept edit."""
    path, runs = [(0, parameters)], 0
    for edit in tried:
        runs += edit.runs
        if edit.kept and edit.parameters is not None:
            path.append((runs, edit.parameters))
    return path


# --- over networks ---


def summary_of(rows: Sequence[Figures]) -> Figures:
    """Return shares and means over networks, for each data set and for all."""
    names = dict.fromkeys(row["data"] for row in rows)
    groups = {name: [row for row in rows if row["data"] == name] for name in names}
    return {
        "groups": {name: _summary(group) for name, group in {**groups, "all": list(rows)}.items()},
        "networks": list(rows),
    }


def _summary(rows: Sequence[Figures]) -> Figures:
    return {
        "networks": len(rows),
        "arms": {arm: _arm_summary([row["arms"][arm] for row in rows]) for arm in ARMS},
        "runs_until_level": runs_until_level(rows),
    }


def _arm_summary(arms: Sequence[Figures]) -> Figures:
    changes = np.array([np.mean(arm["test"][1]) - np.mean(arm["test"][0]) for arm in arms])
    changed = [arm for arm in arms if arm["kept"]]
    ratios = [math.log(arm["parameters"][1] / arm["parameters"][0]) for arm in arms]
    return {
        "changed": len(changed),
        "better": sum(map(is_better, changed)),
        "kept": rounded(np.mean([arm["kept"] for arm in arms]), 2),
        "tried": rounded(np.mean([arm["tried"] for arm in arms]), 2),
        "runs": rounded(np.mean([arm["runs"] for arm in arms]), 2),
        "size": rounded(math.exp(float(np.mean(ratios))), 3),
        "test_change": mean_and_t_interval(changes) if len(changes) > 1 else None,
    }


def is_better(arm: Figures) -> bool:
    """Return True if the end is better than the start on test data."""
    before, after = map(np.array, arm["test"])
    gain = mean_and_t_interval(after - before)
    smaller = arm["parameters"][1] < arm["parameters"][0]
    return bool((smaller and gain["mean"] >= -TOLERANCE) or gain["interval"][0] > 0)


def runs_until_level(rows: Sequence[Figures]) -> Figures:
    """Return the mean runs of both arms until each is as small as the end of the larger one."""
    taken: dict[str, list[int]] = {arm: [] for arm in ARMS}
    for row in rows:
        paths = {arm: row["arms"][arm]["path"] for arm in ARMS}
        goal = max(path[-1][1] for path in paths.values())
        if goal == paths[ADVISED][0][1]:
            continue  # an arm that found nothing has no goal
        for arm, path in paths.items():
            taken[arm].append(next(runs for runs, parameters in path if parameters <= goal))
    means = {arm: rounded(np.mean(runs), 2) if runs else None for arm, runs in taken.items()}
    share = sum(taken[ADVISED]) / sum(taken[RANDOM]) if sum(taken[RANDOM]) else math.nan
    return {**means, "networks": len(taken[ADVISED]), "ratio": rounded(share, 3)}


def show(result: Result) -> None:
    """Print the figures."""
    table = Table("data", "order", "changed", "better on test", "size", "test change", "runs")
    for name, group in result.figures["groups"].items():
        for arm, row in group["arms"].items():
            change = row["test_change"]
            table.add_row(
                name,
                arm,
                f"{row['changed']} of {group['networks']}",
                str(row["better"]),
                f"{row['size']:.2f}",
                "" if change is None else f"{100 * change['mean']:+.2f}",
                f"{group['runs_until_level'][arm]} until level",
            )
    wide_console().print(table)
