"""Every order of blocks on one network: accuracy and cost of removing 2, 4 and 6 in that order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from rich.table import Table

from benchmarks.claim import Figures
from benchmarks.claims.pruning_networks import (
    PROBE,
    REMOVED,
    Subject,
    Task,
    by_family,
    counting,
    ignore,
    mean,
    trained_subject,
)
from benchmarks.command import wide_console
from benchmarks.statistics import mean_and_interval, rounded
from designer.choices import Criterion
from designer.measures.ranks import spearman
from designer.pruning.baselines import from_scratch, greedy_order
from designer.pruning.cut import cut
from designer.pruning.propose import propose
from designer.pruning.recover import recover
from designer.pruning.removable import Removable, removable_blocks
from designer.pruning.removal_trials import RemovalTrials
from designer.results.measured import FloatArray

VALIDATION = 0.5
"""Share of the samples in use that is held out: as many as there are to train on."""

CRITERIA = tuple(criterion for criterion in Criterion if criterion is not Criterion.BEST)
"""The criteria that give an order of blocks."""

OURS, SCRATCH = "heldout", "from scratch"


@dataclass(frozen=True)
class Order:
    """Blocks in the order in which they go."""

    blocks: Sequence[Removable]
    cost: float
    """Passes of the training data that it took to decide."""


def compare(task: Task) -> Figures:
    """Measure every criterion, greedy ablation and training from scratch on one network."""
    subject = trained_subject(task, VALIDATION)
    trials = subject.trials()
    removables = removable_blocks(subject.model, subject.splits.train.inputs[:PROBE])
    pool = [block for block in removables if block.can_go]
    singles = np.array([subject.accuracy_without(trials, [block]) for block in pool])
    orders = _orders_by_criterion(subject, removables)
    agreement = {name: _agreement(order, pool, singles) for name, order in orders.items()}
    orders |= _greedy_orders(subject, pool)
    return {
        **task.names,
        "blocks": len(removables),
        "removable": len(pool),
        "whole": subject.test_accuracy(),
        "spearman": {name: rounded(value) for name, value in agreement.items()},
        "to_decide": {name: round(order.cost, 1) for name, order in orders.items()},
        "removed": {
            str(k): _without_blocks(k, orders, subject, trials)
            for k in REMOVED
            if k <= len(pool) - 1
        },
    }


def _orders_by_criterion(subject: Subject, removables: Sequence[Removable]) -> dict[str, Order]:
    orders = {}
    for criterion in CRITERIA:
        with counting() as passes:
            proposal = propose(
                subject.model,
                removables,
                subject.splits,
                criterion,
                blocks=None,
                seed=subject.task.seed,
                progress=ignore,
            )
        cost = passes[0] / len(subject.splits.train)
        orders[str(criterion)] = Order(list(proposal.order), cost)
    return orders


def _agreement(order: Order, pool: Sequence[Removable], singles: FloatArray) -> float:
    """Return Spearman's correlation of an order with the accuracy without each block alone."""
    places = {block.name: -i for i, block in enumerate(order.blocks)}
    return float(spearman(np.array([places[block.name] for block in pool]), singles))


def _greedy_orders(subject: Subject, pool: Sequence[Removable]) -> dict[str, Order]:
    orders = {}
    count = min(max(REMOVED), len(pool))
    for epochs in subject.family.greedy:
        recovery = replace(subject.recovery, epochs=epochs)
        with counting() as passes:
            blocks, _ = greedy_order(subject.model, pool, count, subject.splits, recovery, ignore)
        name = f"greedy, {epochs} {'epoch' if epochs == 1 else 'epochs'}"
        orders[name] = Order(blocks, passes[0] / len(subject.splits.train))
    return orders


def _without_blocks(
    k: int, orders: dict[str, Order], subject: Subject, trials: RemovalTrials
) -> Figures:
    """Return the test accuracy with k blocks removed, and what each order took in all."""
    measured: dict[frozenset[str], tuple[float, float, float]] = {}
    accuracy, unfitted, in_all = {}, {}, {}
    for name, order in orders.items():
        blocks = order.blocks[:k]
        key = frozenset(block.name for block in blocks)
        if key not in measured:
            with counting() as passes:
                candidate = trials.recovered(blocks)
            measured[key] = (
                subject.test_accuracy(candidate.cut.model),
                _unfitted(subject, blocks),
                passes[0] / len(subject.splits.train),
            )
        accuracy[name], unfitted[name], recovery = measured[key]
        in_all[name] = round(order.cost + recovery, 1)
    accuracy[SCRATCH] = _from_scratch(subject, orders[OURS].blocks[:k])
    return {"accuracy": accuracy, "unfitted": unfitted, "in_all": in_all}


def _unfitted(subject: Subject, blocks: Sequence[Removable]) -> float:
    """Return the test accuracy if nothing is fitted that need not be, and one training follows."""
    smaller = cut(subject.model, blocks, subject.splits.train, fit=False).model
    recover(smaller, subject.splits, subject.recovery)
    return subject.test_accuracy(smaller)


def _from_scratch(subject: Subject, blocks: Sequence[Removable]) -> float:
    """Return the test accuracy of a network of the smaller size, trained from scratch."""
    smaller = cut(subject.model, blocks, subject.splits.train)
    scratch = from_scratch(
        smaller.model,
        smaller.removals,
        subject.splits,
        subject.recovery,
        subject.family.epochs,
        subject.untrained,
        ignore,
    )
    return subject.test_accuracy(scratch)


# --- over networks ---


def compared(rows: Sequence[Figures]) -> Figures:
    """Return means over the seeds, and over the data sets, of each family."""
    return by_family(rows, _summary)


def _summary(rows: Sequence[Figures]) -> Figures:
    names = list(rows[0]["to_decide"])
    counts = [k for k in map(str, REMOVED) if all(k in row["removed"] for row in rows)]
    return {
        "networks": len(rows),
        "whole": rounded(np.mean([row["whole"] for row in rows])),
        "spearman": {
            name: rounded(np.nanmean([row["spearman"][name] for row in rows])) for name in CRITERIA
        },
        "to_decide": {
            name: round(mean(row["to_decide"][name] for row in rows), 1) for name in names
        },
        "removed": {k: _removed([row["removed"][k] for row in rows], names) for k in counts},
    }


def _removed(rows: Sequence[Figures], names: Sequence[str]) -> Figures:
    """Return means over networks, and the leads of held-out steps over every other order."""
    everything = (*names, SCRATCH)
    return {
        "accuracy": {
            name: rounded(mean(row["accuracy"][name] for row in rows)) for name in everything
        },
        "unfitted": {name: rounded(mean(row["unfitted"][name] for row in rows)) for name in names},
        "in_all": {name: round(mean(row["in_all"][name] for row in rows), 1) for name in names},
        "heldout_minus": _leads([row["accuracy"] for row in rows], everything),
        "unfitted_minus": _leads([row["unfitted"] for row in rows], names),
    }


def _leads(accuracies: Sequence[dict[str, float]], names: Sequence[str]) -> Figures:
    """Return what the order by held-out steps is ahead of every other."""
    return {
        name: mean_and_interval(np.array([row[OURS] - row[name] for row in accuracies]))
        for name in names
        if name != OURS
    }


def show_compared(figures: Figures) -> None:
    """Print a table for each group."""
    for group in figures["groups"]:
        counts = list(group["removed"])
        titles = [f"{k} removed" for k in counts] + [f"{k}, not fitted" for k in counts]
        table = Table("order", "Spearman", "to decide", "in all", *titles)
        table.title = (
            f"{group['family']}, {group['data']}: {group['networks']} networks, whole "
            f"{100 * group['whole']:.1f} %"
        )
        for name in (*group["to_decide"], SCRATCH):
            table.add_row(name, *_cells(group, name))
        wide_console().print(table)


def _cells(group: Figures, name: str) -> list[str]:
    removed = list(group["removed"].values())
    agreement, cost = group["spearman"].get(name), group["to_decide"].get(name)
    in_all = removed[-1]["in_all"].get(name) if removed else None
    return [
        "" if agreement is None else f"{agreement:.2f}",
        "" if cost is None else f"{cost:.0f}",
        "" if in_all is None else f"{in_all:.0f}",
        *(f"{100 * row['accuracy'][name]:.1f}" for row in removed),
        *(f"{100 * row['unfitted'][name]:.1f}" for row in removed if name in row["unfitted"]),
    ]
