"""Several blocks go in the order of each criterion, before and after the same recovery.

Contribution is measured again after each removal; the other orders come from one measurement.  A
network without its blocks is measured as it is, with what follows fitted again as the product does
it, and after recovery from there.  The whole network trains in the same way.  A pretrained network
recovers with several seeds, and intervals are over these; small networks recover once each, and
intervals are over the networks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from rich.table import Table

from benchmarks.claim import Figures
from benchmarks.claims.contribution_criteria import CriteriaJob, criteria_of
from benchmarks.claims.contribution_networks import (
    FULL,
    LONG,
    NetworkTask,
    RemovalJob,
    without_blocks,
)
from benchmarks.claims.contribution_orders import (
    BLOCK_INFLUENCE,
    HELDOUT,
    LARGE,
    ORDERS,
    OURS,
    PUBLISHED_COUNTS,
    OrderJob,
    counts_of,
    order_names,
    order_of,
    orders_by_value,
    random_orders,
)
from benchmarks.claims.pretrained_resnets import ALL
from benchmarks.claims.small_networks import by_family
from benchmarks.command import wide_console
from benchmarks.kept_outcomes import KeptOutcomes
from benchmarks.statistics import difference_and_t_interval, mean_and_t_interval, rounded
from designer.results.measured import FloatArray

RECOVERY_SEEDS, RANDOM_CHOICES = 5, 10

SEEDED = (OURS, BLOCK_INFLUENCE, HELDOUT)
"""Orders after which a pretrained network recovers with all seeds; after the others with one."""

RANDOM, WHOLE = "random", "whole"

REMOVED, FITTED, RECOVERED = "removed", "fitted", "recovered"
"""A network without blocks: as it is, with what follows fitted again, and after recovery."""

STATES = (REMOVED, FITTED, RECOVERED)

Key = tuple[NetworkTask, int, str]
"""A network, how many of its blocks go, and the order in which they go."""


def measure_removals(
    tasks: Sequence[NetworkTask],
    kept: KeptOutcomes,
    seeds: int,
    choices: int,
    only: Sequence[str] | None = None,
    counts: Sequence[int] | None = None,
) -> list[Figures]:
    """Return for each network the accuracies on test data without its blocks, by order.

    Args:
        tasks: the networks.
        kept: does the jobs.
        seeds: recoveries of a pretrained network.
        choices: random choices of blocks, per network.
        only: orders to compare contribution with, besides random ones; None for all.
        counts: how many blocks go; None for those that suit the depth of each network.
    """
    criteria = kept.measure(criteria_of, [CriteriaJob(task) for task in tasks], "criteria")
    wanted = ORDERS if only is None else (OURS, *only)
    order_jobs = [
        OrderJob(task, name) for task in tasks for name in order_names(task) if name in wanted
    ]
    ordered = kept.measure(order_of, order_jobs, "orders")
    proposed = dict(zip(order_jobs, ordered, strict=True))
    jobs: dict[Key, tuple[RemovalJob, RemovalJob]] = {}
    for task, row in zip(tasks, criteria, strict=True):
        orders = {job.order: out["blocks"] for job, out in proposed.items() if job.task == task}
        by_value = orders_by_value(row)
        orders |= {name: order for name, order in by_value.items() if name in wanted}
        for i, order in enumerate(random_orders(row["blocks"], choices)):
            orders[f"{RANDOM} {i}"] = order
        jobs |= _jobs(task, row["blocks"], orders, seeds, counts)
    flat = [job for pair in jobs.values() for job in pair]
    outcomes = kept.measure(without_blocks, flat, "removals")
    measured = {
        key: _accuracies(outcomes[2 * i], outcomes[2 * i + 1]) for i, key in enumerate(jobs)
    }
    return [
        {**_row(task, row, measured), "passes": _passes(task, proposed, row)}
        for task, row in zip(tasks, criteria, strict=True)
    ]


def _jobs(
    task: NetworkTask,
    blocks: Sequence[str],
    orders: dict[str, list[str]],
    seeds: int,
    counts: Sequence[int] | None,
) -> dict[Key, tuple[RemovalJob, RemovalJob]]:
    """Return two jobs per number of blocks and order: as it is, and fitted and recovered."""
    every = tuple(range(seeds)) if task.pretrained else (task.seed,)
    jobs = {(task, 0, WHOLE): _pair(task, (), every)}
    for name, order in orders.items():
        chosen = (int(name.split()[-1]),) if name.startswith(RANDOM) else every[:1]
        own = every if name in SEEDED or not task.pretrained else chosen
        own_counts = counts_of(len(blocks)) if counts is None else tuple(counts)
        if name == OURS and len(blocks) >= LARGE:
            own_counts = tuple(sorted({*own_counts, *PUBLISHED_COUNTS}))
        for k in own_counts:
            gone = tuple(block for block in blocks if block in order[:k])
            jobs[task, k, name] = _pair(task, gone, own)
    return jobs


def _pair(
    task: NetworkTask, blocks: tuple[str, ...], seeds: tuple[int, ...]
) -> tuple[RemovalJob, RemovalJob]:
    recovery = FULL if task.images == ALL else LONG
    fitted = RemovalJob(task, blocks, fit=bool(blocks), recovery=recovery, seeds=seeds)
    return RemovalJob(task, blocks, fit=False), fitted


def _accuracies(removed: Figures, fitted: Figures) -> Figures:
    """Return the accuracies of a network in all its states; after recovery by seed."""
    return {
        REMOVED: removed["before"]["accuracy"],
        FITTED: fitted["before"]["accuracy"],
        RECOVERED: [tested["accuracy"] for tested in fitted["after"]],
        "flops": fitted["size"]["flops"],
        "parameters": fitted["size"]["parameters"],
    }


def _row(task: NetworkTask, criteria: Figures, measured: dict[Key, Figures]) -> Figures:
    own = {(k, name): row for (of, k, name), row in measured.items() if of == task}
    counts = sorted({k for k, _ in own if k})
    return {
        **task.names,
        "blocks": len(criteria["blocks"]),
        "whole": own[0, WHOLE],
        "removed": {
            str(k): {name: row for (of, name), row in own.items() if of == k} for k in counts
        },
    }


def _passes(
    task: NetworkTask, proposed: dict[OrderJob, Figures], criteria: Figures
) -> dict[str, float]:
    """Return what it took to find each order, in passes of the training samples."""
    own = {job.order: out["passes"] for job, out in proposed.items() if job.task == task}
    return {**own, "contribution, once": criteria["passes"]["contribution"]}


# --- over networks ---


def summary_of_removals(rows: Sequence[Figures]) -> Figures:
    """Return means over networks, of each family on each data set and on all of them."""
    return by_family(rows, _summary)


def _summary(rows: Sequence[Figures]) -> Figures:
    counts = [k for k in rows[0]["removed"] if all(k in row["removed"] for row in rows)]
    whole = [row["whole"] for row in rows]
    return {
        "networks": len(rows),
        "blocks": rows[0]["blocks"],
        "whole": {
            "before": rounded(np.mean([row[REMOVED] for row in whole])),
            "after": mean_and_t_interval(_values(whole, RECOVERED)),
        },
        "passes": {
            name: rounded(np.mean([row["passes"][name] for row in rows]), 1)
            for name in rows[0]["passes"]
        },
        "removed": {k: _without([row["removed"][k] for row in rows], whole) for k in counts},
    }


def _without(rows: Sequence[Figures], whole: Sequence[Figures]) -> Figures:
    """Return means by order, and what contribution is ahead of every order and of the whole."""
    names = [name for name in rows[0] if not name.startswith(RANDOM)]
    by_order = {name: [[row[name]] for row in rows] for name in names}
    drawn = [[out for name, out in row.items() if name.startswith(RANDOM)] for row in rows]
    if all(drawn):
        by_order[RANDOM] = drawn
    return {
        "flops": rounded(np.mean([row[OURS]["flops"] for row in rows])),
        "parameters": rounded(np.mean([row[OURS]["parameters"] for row in rows])),
        "accuracy": {
            name: {state: _mean(networks, state) for state in STATES}
            for name, networks in by_order.items()
        },
        "lead": {
            name: {state: lead(by_order[OURS], networks, state) for state in STATES}
            for name, networks in by_order.items()
            if name != OURS
        },
        "minus_whole": lead(by_order[OURS], [[row] for row in whole], RECOVERED),
    }


def _mean(networks: Sequence[Sequence[Figures]], state: str) -> Figures:
    """Return the mean with its interval, over networks, or over what a single network has."""
    if len(networks) == 1:
        return mean_and_t_interval(_values(networks[0], state))
    return mean_and_t_interval(_means(networks, state))


def lead(
    ours: Sequence[Sequence[Figures]], other: Sequence[Sequence[Figures]], state: str
) -> Figures:
    """Return how far ahead one order is of another, in accuracy, with its 95 % interval.

    Args:
        ours: by network, the removals in this order; usually a single one.
        other: the same for the other order; several where choices are random.
        state: one of ``STATES``.

    Returns:
        Over several networks the mean paired difference. For a single one the difference paired by
        seed of recovery, or that of two means if choices are random; without an interval where
        there is a single value.
    """
    if len(ours) > 1:
        return mean_and_t_interval(_means(ours, state) - _means(other, state))
    x, y = _values(ours[0], state), _values(other[0], state)
    if len(other[0]) > 1:
        return difference_and_t_interval(x, y)
    paired = min(len(x), len(y))
    return mean_and_t_interval(x[:paired] - y[:paired])


def _means(networks: Sequence[Sequence[Figures]], state: str) -> FloatArray:
    return np.array([_values(removals, state).mean() for removals in networks])


def _values(removals: Iterable[Figures], state: str) -> FloatArray:
    """Return all accuracies in a state: one per removal, or one per seed of recovery."""
    return np.array([v for row in removals for v in np.atleast_1d(row[state])])


def show_removals(figures: Figures) -> None:
    """Print a table for each group."""
    for group in figures["groups"]:
        for k, removed in group["removed"].items():
            table = Table("order", *STATES, "contribution is ahead by, recovered")
            table.title = (
                f"{group['family']}, {group['data']}: {k} of {group['blocks']} blocks gone, whole "
                f"{100 * group['whole']['before']:.1f} %, trained as well "
                f"{100 * group['whole']['after']['mean']:.1f} %"
            )
            for name, by_state in removed["accuracy"].items():
                ahead = removed["lead"].get(name, {}).get(RECOVERED)
                cells = [f"{100 * by_state[state]['mean']:.1f}" for state in STATES]
                table.add_row(name, *cells, "" if ahead is None else _points(ahead))
            wide_console().print(table)


def _points(ahead: Figures) -> str:
    low, high = ahead["interval"]
    mean = f"{100 * ahead['mean']:+.1f}"
    return mean if low is None else f"{mean} ({100 * low:+.1f} to {100 * high:+.1f})"
