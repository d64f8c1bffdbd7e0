"""How well each criterion agrees with the true effect of removing every single block.

The effects are measured on test data, which no criterion looks at: the accuracy lost and the rise
of the cross-entropy, before and after a short recovery, compared with the whole network, which
trains the same way.  Small networks are also measured with what follows the block fitted again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.table import Table

from benchmarks.claim import Figures
from benchmarks.claims.contribution_criteria import CRITERIA, CriteriaJob, criteria_of
from benchmarks.claims.contribution_networks import (
    SHORT,
    NetworkTask,
    RemovalJob,
    without_blocks,
)
from benchmarks.claims.small_networks import by_family
from benchmarks.command import wide_console
from benchmarks.kept_outcomes import KeptOutcomes
from benchmarks.statistics import bootstrap, interval, mean_and_interval, rounded
from designer.measures.ranks import spearman
from designer.results.measured import FloatArray

REMOVED, FITTED, RECOVERED = "removed", "fitted", "recovered"
"""A network without a block: as it is, with what follows fitted again, and after recovery."""

EFFECTS = ("accuracy", "cross-entropy")
"""The accuracy lost, as a fraction, and the rise of the cross-entropy, in nats."""

CHANCE_DRAWS = 5000


def measure_effects(tasks: Sequence[NetworkTask], kept: KeptOutcomes) -> list[Figures]:
    """Return for each network the values of all criteria and the effects of all removals."""
    measured = kept.measure(criteria_of, [CriteriaJob(task) for task in tasks], "criteria")
    jobs = {
        (task, block, state): job
        for task, row in zip(tasks, measured, strict=True)
        for block in (None, *row["blocks"])
        for state, job in _jobs(task, block).items()
    }
    outcomes = dict(
        zip(jobs, kept.measure(without_blocks, list(jobs.values()), "removals"), strict=True)
    )
    rows = []
    for task, row in zip(tasks, measured, strict=True):
        effects = {
            state: _effects(
                [_tested(outcomes[task, block, state], state) for block in (None, *row["blocks"])]
            )
            for state in _states(task)
        }
        rows.append({**row, "effects": effects, "spearman": _agreements(row["values"], effects)})
    return rows


def _states(task: NetworkTask) -> tuple[str, ...]:
    """Return which states of a network are measured."""
    return (REMOVED, RECOVERED) if task.pretrained else (REMOVED, FITTED, RECOVERED)


def _jobs(task: NetworkTask, block: str | None) -> dict[str, RemovalJob]:
    """Return the jobs for a block, or for the whole network, by the state that they measure."""
    blocks = () if block is None else (block,)
    trained = RemovalJob(task, blocks, fit=False, recovery=SHORT, seeds=(task.seed,))
    fitted = RemovalJob(task, blocks, fit=bool(blocks))
    return {state: fitted if state == FITTED else trained for state in _states(task)}


def _tested(outcome: Figures, state: str) -> Figures:
    """Return what a network without a block has on test data, from the outcome of its job."""
    tested: Figures = outcome["after"][0] if state == RECOVERED else outcome["before"]
    return tested


def _effects(tested: Sequence[Figures]) -> dict[str, list[float]]:
    """Return both effects of every block, from test data for the whole network and without each."""
    whole, *without = tested
    return {
        "accuracy": [round(whole["accuracy"] - row["accuracy"], 6) for row in without],
        "cross-entropy": [
            round(row["cross_entropy"] - whole["cross_entropy"], 6) for row in without
        ],
    }


def _agreements(
    values: Figures, effects: dict[str, dict[str, list[float]]]
) -> dict[str, dict[str, Figures]]:
    """Return Spearman's correlation of every criterion, by state and effect."""
    return {
        state: {
            effect: {name: agreement(column, truth) for name, column in values.items()}
            for effect, truth in by_effect.items()
        }
        for state, by_effect in effects.items()
    }


def agreement(values: Sequence[float | None], effects: Sequence[float]) -> Figures:
    """Return Spearman's correlation over blocks, with its 95 % bootstrap interval.

    A block without a value counts as needed most, as it does for the product.
    """
    x = np.array([np.inf if value is None else value for value in values])
    y = np.array(effects)
    drawn = spearman(*_resampled(x, y))
    return {
        "mean": rounded(float(spearman(x, y))),
        "interval": interval(drawn[np.isfinite(drawn)]),
    }


def _resampled(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    rows = bootstrap(len(x))
    return x[rows], y[rows]


# --- over networks ---


def summary_of_effects(rows: Sequence[Figures]) -> Figures:
    """Return the means over networks, of each family on each data set and on all of them."""
    return by_family(rows, _summary)


def _summary(rows: Sequence[Figures]) -> Figures:
    states = rows[0]["spearman"]
    return {
        "networks": len(rows),
        "blocks": len(rows[0]["blocks"]),
        "whole": rounded(np.mean([row["whole"]["accuracy"] for row in rows])),
        "largest_loss": {
            state: rounded(np.mean([max(row["effects"][state]["accuracy"]) for row in rows]))
            for state in states
        },
        "chance": chance([len(row["blocks"]) for row in rows]),
        "passes": rows[0]["passes"],
        "seconds": rows[0]["seconds"],
        "missing": rows[0]["missing"],
        "spearman": {
            state: {
                effect: {
                    name: _over_networks([row["spearman"][state][effect][name] for row in rows])
                    for name in CRITERIA
                    if name in rows[0]["values"]
                }
                for effect in EFFECTS
            }
            for state in states
        },
    }


def _over_networks(agreements: Sequence[Figures]) -> Figures:
    """Return the mean over networks with its interval; that over blocks for a single network."""
    if len(agreements) == 1:
        return agreements[0]
    values = [row["mean"] for row in agreements if row["mean"] is not None]
    return (
        mean_and_interval(np.array(values)) if values else {"mean": None, "interval": [None, None]}
    )


def chance(sizes: Sequence[int]) -> list[float | None]:
    """Return the 95 % interval of the mean correlation of random orders, for blocks by network."""
    generator = np.random.default_rng(0)
    means = np.zeros(CHANCE_DRAWS)
    for size in sizes:
        draws = generator.permuted(np.tile(np.arange(size), (CHANCE_DRAWS, 1)), axis=1)
        means += spearman(draws.astype(float), np.arange(float(size))) / len(sizes)
    return interval(means)


def show_effects(figures: Figures) -> None:
    """Print a table for each group."""
    for group in figures["groups"]:
        columns = [(state, effect) for state in group["spearman"] for effect in EFFECTS]
        table = Table("criterion", *(f"{state}, {effect}" for state, effect in columns))
        low, high = group["chance"]
        table.title = (
            f"{group['family']}, {group['data']}: {group['networks']} networks, Spearman; random "
            f"orders {low:.2f} to {high:.2f}"
        )
        for name in CRITERIA:
            cells = [group["spearman"][state][effect].get(name) for state, effect in columns]
            table.add_row(
                name,
                *("-" if c is None or c["mean"] is None else f"{c['mean']:.2f}" for c in cells),
            )
        wide_console().print(table)
