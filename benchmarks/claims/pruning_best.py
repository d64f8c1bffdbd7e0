"""The better of two orders, beside these two and a random one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.table import Table

from benchmarks.claim import Figures
from benchmarks.claims.pruning_networks import (
    PROBE,
    REMOVED,
    Task,
    by_family,
    counting,
    ignore,
    mean,
    trained_subject,
)
from benchmarks.claims.pruning_orders import VALIDATION
from benchmarks.command import wide_console
from benchmarks.statistics import mean_and_interval, rounded
from designer.choices import Criterion
from designer.pruning.propose import propose
from designer.pruning.removable import Removable, removable_blocks

TWO = (Criterion.HELDOUT, Criterion.BLOCK_INFLUENCE)


def choose(task: Task) -> Figures:
    """Measure two orders, the better one and a random one on one network."""
    subject = trained_subject(task, VALIDATION)
    trials, samples = subject.trials(), len(subject.splits.train)
    removables = removable_blocks(subject.model, subject.splits.train.inputs[:PROBE])
    orders: dict[str, Sequence[Removable]] = {}
    with counting() as passes:
        for criterion in (*TWO, Criterion.RANDOM):
            proposal = propose(
                subject.model,
                removables,
                subject.splits,
                criterion,
                blocks=None,
                seed=task.seed,
                progress=ignore,
            )
            orders[str(criterion)] = proposal.order
    measured: dict[frozenset[str], float] = {}
    removed = {}
    for k in (k for k in REMOVED if k < len(orders[Criterion.RANDOM])):
        choices = {name: list(order[:k]) for name, order in orders.items()}
        with counting() as comparing:
            choices["best"] = trials.best_of([choices[name] for name in TWO])
        accuracy = {}
        for name, blocks in choices.items():
            key = frozenset(block.name for block in blocks)
            if key not in measured:
                measured[key] = subject.accuracy_without(trials, blocks)
            accuracy[name] = measured[key]
        cost = (passes[0] + comparing[0]) / samples
        removed[str(k)] = {"accuracy": accuracy, "to_decide": round(cost, 1)}
    return {**task.names, "whole": subject.test_accuracy(), "removed": removed}


def chosen(rows: Sequence[Figures]) -> Figures:
    """Return means over the seeds, and over the data sets, of each family."""
    return by_family(rows, _summary)


def _summary(rows: Sequence[Figures]) -> Figures:
    return {
        "networks": len(rows),
        "whole": rounded(np.mean([row["whole"] for row in rows])),
        "removed": {k: _removed([row["removed"][k] for row in rows]) for k in rows[0]["removed"]},
    }


def _removed(rows: Sequence[Figures]) -> Figures:
    """Return means over networks, and the leads of the better order over every other."""
    accuracies = [row["accuracy"] for row in rows]
    names = list(accuracies[0])
    return {
        "accuracy": {name: rounded(mean(row[name] for row in accuracies)) for name in names},
        "best_minus": {
            name: mean_and_interval(np.array([row["best"] - row[name] for row in accuracies]))
            for name in names
            if name != "best"
        },
        "to_decide": round(mean(row["to_decide"] for row in rows), 1),
    }


def show_chosen(figures: Figures) -> None:
    """Print a row for each family and data set."""
    names = (*TWO, "random", "best")
    counts = list(map(str, REMOVED))
    table = Table("network", "data", *(f"{k} removed" for k in counts))
    table.title = " / ".join(names)
    for group in figures["groups"]:
        removed = [group["removed"].get(k, {}).get("accuracy", {}) for k in counts]
        cells = [" / ".join(f"{100 * row[n]:.1f}" for n in names if n in row) for row in removed]
        table.add_row(group["family"], group["data"], *cells)
    wide_console().print(table)
