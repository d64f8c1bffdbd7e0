"""How well scores of untrained networks rank trained ones in a table that others published.

    python -m benchmarks.run published --table FILE [--json FILE]

The table is NASLib's: for networks of NAS-Bench-201 and three tasks, zero-cost scores and the
accuracy after training.  Spearman and Kendall's tau over all networks of a task and over the better
half of them, with 95 % bootstrap intervals over networks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.table import Table
from scipy.stats import kendalltau

from benchmarks.claim import Figures, Result
from benchmarks.command import Parser, wide_console
from benchmarks.statistics import bootstrap, interval, rounded
from designer.errors import InvalidInputError
from designer.measures.ranks import spearman
from designer.results.measured import FloatArray

SPACE, MERIT = "nasbench201", "val_accuracy"
BOOTSTRAP_SEED = 0
Rows = Sequence[dict[str, float]]


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument("--table", type=Path, required=True, help="NASLib's scores, a JSON file")


def run(options: argparse.Namespace) -> Result:
    """Compare every score with the accuracy, task by task."""
    tasks = {task: compare(rows) for task, rows in read_table(options.table).items()}
    return Result(options, {"tasks": tasks}, seeds=[BOOTSTRAP_SEED])


def read_table(path: Path) -> dict[str, Rows]:
    """Return the scores and the accuracy of each network, by task.

    Raises:
        InvalidInputError: if the file is missing or is no such table.
    """
    try:
        tasks = json.loads(path.read_text(encoding="utf-8"))[SPACE]
        table: dict[str, Rows] = {task: list(networks.values()) for task, networks in tasks.items()}
        assert all(MERIT in row for rows in table.values() for row in rows)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, AssertionError) as error:
        raise InvalidInputError(
            f"Expected NASLib's zero-cost scores of NAS-Bench-201 in '{path}', but reading it "
            f"failed: {type(error).__name__} {error}."
        ) from error
    return table


def compare(rows: Rows) -> Figures:
    """Return how well each score ranks the networks of one task."""
    merit = _column(rows, MERIT)
    names = sorted(set.intersection(*(set(row) for row in rows)) - {MERIT})
    return {
        "networks": len(rows),
        "spearman": {name: agreement(_column(rows, name), merit) for name in names},
    }


def agreement(score: FloatArray, merit: FloatArray) -> Figures:
    """Return rank correlations of a score (n,) with the merit (n,)."""
    drawn = bootstrap(len(merit), seed=BOOTSTRAP_SEED)
    half = merit >= np.median(merit)
    return {
        "all": rounded(spearman(score, merit)),
        "interval": interval(spearman(score[drawn], merit[drawn])),
        "kendall": rounded(kendalltau(score, merit).statistic),
        "top_half": rounded(spearman(score[half], merit[half])),
    }


def _column(rows: Rows, name: str) -> FloatArray:
    """Return one score (n,) of all networks; what is not finite is worse than all others."""
    values = np.array([row[name] for row in rows], dtype=np.float64)
    return np.where(np.isfinite(values), values, -np.inf)


def show(result: Result) -> None:
    """Print a table for each task."""
    console = wide_console()
    for task, comparison in result.figures["tasks"].items():
        networks = comparison["networks"]
        table = Table("score", title=f"Spearman [95 %], {task}, {networks} networks")
        for column in ("all", "interval", "Kendall", "better half"):
            table.add_column(column, justify="right")
        for name, row in comparison["spearman"].items():
            low, high = row["interval"]
            tau, top_half = f"{row['kendall']:.2f}", f"{row['top_half']:.2f}"
            table.add_row(name, f"{row['all']:.2f}", f"{low:.2f} to {high:.2f}", tau, top_half)
        console.print(table, "")
