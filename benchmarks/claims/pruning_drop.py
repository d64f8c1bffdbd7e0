"""What ``--max-drop`` does: how many blocks go, and whether the bound holds on test data."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from rich.table import Table

from benchmarks.claim import Figures
from benchmarks.claims.pruning_networks import Task, trained_subject
from benchmarks.command import say, wide_console
from benchmarks.statistics import mean_and_interval, rounded
from designer.pruning.prune import prune

VALIDATION = 0.6
"""Share of the samples in use that is held out: many, so that they can bound a drop of a point."""

POINT = 0.01
"""One point of accuracy, as a fraction."""


def decide(task: Task) -> Figures:
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


def show_decided(figures: Figures) -> None:
    """Print a row for each family and data set."""
    table = Table("network", "data", "within", "a third", "removed", "test drop", "largest")
    for group in figures["groups"]:
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
