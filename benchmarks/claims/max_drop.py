"""What ``designer prune --max-drop`` does: how many blocks go, and whether the bound holds.

    python -m benchmarks.run max_drop --data NAME=SOURCE ... [--family NAME] [--drop 0.01]

Networks are trained, and the product decides by itself how many of their blocks go, with its
defaults.  The bound is to hold on test data, which the product never sees.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from benchmarks.claim import Figures, Result
from benchmarks.claims.small_networks import FAMILIES, Task, trained_subject
from benchmarks.command import Parser, positive, say, wide_console
from benchmarks.processes import in_processes
from benchmarks.statistics import mean_and_interval, rounded
from designer.pruning.prune import prune

VALIDATION = 0.6
"""Share of the samples in use that is held out: many, so that they can bound a drop of a point."""

POINT = 0.01
"""One point of accuracy, as a fraction."""

SEEDS = 10
"""Networks of each family and data set."""


@dataclass(frozen=True)
class DropTask(Task):
    """One network to prune."""

    max_drop: float = POINT
    """Largest drop of validation accuracy, as a fraction."""


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument(
        "--data", action="append", required=True, metavar="NAME=SOURCE", help="a data set"
    )
    parser.add_argument("--family", action="append", choices=list(FAMILIES), help="only these")
    parser.add_argument("--seeds", type=positive, default=SEEDS, help="networks of each kind")
    parser.add_argument("--drop", type=float, default=POINT, help="what the user allows")


def run(options: argparse.Namespace) -> Result:
    """Train the networks, and let the product prune each."""
    seeds = list(range(options.seeds))
    tasks = [
        DropTask(name, source, family, seed, options.drop)
        for name, _, source in (text.partition("=") for text in options.data)
        for family in options.family or FAMILIES
        for seed in seeds
    ]
    rows = in_processes(decide, tasks, "networks")
    return Result(options, decided(rows), seeds)


def decide(task: DropTask) -> Figures:
    """Let ``prune(max_drop=...)`` decide how many blocks of one network go."""
    subject = trained_subject(task, VALIDATION)
    started = time.perf_counter()
    result = prune(
        subject.model,
        subject.data,
        max_drop=task.max_drop,
        learning_rate=subject.recovery.learning_rate,
        build=subject.untrained,
        seed=task.seed,
    )
    networks = {network.name: network for network in result.report.networks}
    whole, left = networks["original"], networks.get("pruned", networks["original"])
    if whole.test_accuracy is None or left.test_accuracy is None:
        raise ValueError("the benchmark's data have test sets")
    say(f"{task.family} on {task.data}, seed {task.seed}: {result.report.conclusion}")
    return {
        **task.names,
        "blocks": whole.blocks,
        "removed": len(result.report.removed),
        "parameters_left": round(left.parameters / whole.parameters, 3),
        "test_whole": whole.test_accuracy.value,
        "test_pruned": left.test_accuracy.value,
        "test_samples": whole.test_accuracy.samples,
        "validation_drop_bound": left.drop_bound,
        "trials_trained": sum(trial.recovered for trial in result.report.trials),
        "trials_fitted": sum(not trial.recovered for trial in result.report.trials),
        "seconds": round(time.perf_counter() - started, 1),
    }


def decided(rows: Sequence[Figures]) -> Figures:
    """Return by family and data set how often the bound held on test data, and how much went."""
    groups: dict[tuple[str, str], list[Figures]] = defaultdict(list)
    for row in rows:
        groups[row["family"], row["data"]].append(row)
    return {"groups": [_summary(*key, members) for key, members in groups.items()], "rows": rows}


def _summary(family: str, data: str, rows: Sequence[Figures]) -> Figures:
    drops = [row["test_whole"] - row["test_pruned"] for row in rows]
    shares = [row["removed"] / row["blocks"] for row in rows]
    return {
        "family": family,
        "data": data,
        "networks": len(rows),
        "within": sum(drop <= POINT for drop in drops),
        "a_third_removed": sum(share >= 1 / 3 for share in shares),
        "removed": rounded(np.mean([row["removed"] for row in rows])),
        "blocks": rows[0]["blocks"],
        "parameters_left": rounded(np.mean([row["parameters_left"] for row in rows])),
        "test_drop": mean_and_interval(np.array(drops)),
        "largest_test_drop": rounded(max(drops)),
        "trials_trained": rounded(np.mean([row["trials_trained"] for row in rows])),
    }


def show(result: Result) -> None:
    """Print a row for each family and data set."""
    table = Table("network", "data", "within", "a third", "removed", "test drop", "largest")
    for group in result.figures["groups"]:
        table.add_row(
            group["family"],
            group["data"],
            f"{group['within']} of {group['networks']}",
            f"{group['a_third_removed']} of {group['networks']}",
            f"{group['removed']:.1f} of {group['blocks']}",
            f"{100 * group['test_drop']['mean']:+.2f}",
            f"{100 * group['largest_test_drop']:+.2f}",
        )
    wide_console().print(table)
