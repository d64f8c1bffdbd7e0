"""How well scores of untrained networks rank trained ones in a table that others published.

    python -m benchmarks.bench_published --table FILE [--json FILE]

The table is NASLib's: for networks of NAS-Bench-201 and three tasks, zero-cost scores and the
accuracy after training.  Spearman and Kendall's tau over all networks of a task and over the better
half of them, with 95 % bootstrap intervals over networks.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from scipy.stats import kendalltau

from benchmarks.command import Parser, output_file, run_and_exit, wide_console
from benchmarks.result_files import meta_of, write_result
from benchmarks.statistics import bootstrap, interval, rounded
from designer.errors import InvalidInputError
from designer.measures.ranks import spearman
from designer.results.measured import FloatArray

SPACE, MERIT = "nasbench201", "val_accuracy"

Figures = dict[str, Any]
Rows = Sequence[dict[str, float]]


def main(arguments: Sequence[str]) -> None:
    """Measure, print, and write the result file where asked to."""
    given = _arguments(arguments)
    started = time.perf_counter()
    figures: Figures = {
        "tasks": {task: _compared(rows) for task, rows in read_table(given.table).items()}
    }
    show(figures)
    if given.json:
        seconds = time.perf_counter() - started
        meta = meta_of("bench_published", arguments, seeds=[0], seconds=seconds)
        write_result(given.json, figures, meta)


def read_table(path: Path) -> dict[str, Rows]:
    """Scores and accuracy of each network, by task.

    Raises:
        InvalidInputError: where the file is missing or is no such table.
    """
    try:
        tasks = json.loads(path.read_text(encoding="utf-8"))[SPACE]
        found: dict[str, Rows] = {task: list(networks.values()) for task, networks in tasks.items()}
        assert all(MERIT in row for rows in found.values() for row in rows)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, AssertionError) as error:
        raise InvalidInputError(
            f"Expected NASLib's zero-cost scores of NAS-Bench-201 in '{path}', but reading it "
            f"failed: {type(error).__name__} {error}."
        ) from error
    return found


def _compared(rows: Rows) -> Figures:
    """Of one task."""
    merit = _column(rows, MERIT)
    names = sorted(set.intersection(*(set(row) for row in rows)) - {MERIT})
    return {
        "networks": len(rows),
        "spearman": {name: agreement(_column(rows, name), merit) for name in names},
    }


def agreement(score: FloatArray, merit: FloatArray) -> Figures:
    """Rank correlations of a score (n,) with the merit (n,)."""
    drawn = bootstrap(len(merit))
    half = merit >= np.median(merit)
    return {
        "all": rounded(spearman(score, merit)),
        "interval": interval(spearman(score[drawn], merit[drawn])),
        "kendall": rounded(kendalltau(score, merit).statistic),
        "top_half": rounded(spearman(score[half], merit[half])),
    }


def _column(rows: Rows, name: str) -> FloatArray:
    """(n,) of one name; what is not finite is worse than all others."""
    values = np.array([row[name] for row in rows], dtype=np.float64)
    return np.where(np.isfinite(values), values, -np.inf)


def show(figures: Figures) -> None:
    """A table for each task."""
    console = wide_console()
    for task, found in figures["tasks"].items():
        table = Table("score", title=f"Spearman [95 %], {task}, {found['networks']} networks")
        for column in ("all", "interval", "Kendall", "better half"):
            table.add_column(column, justify="right")
        for name, row in found["spearman"].items():
            low, high = row["interval"]
            cells = (row["all"], f"{low:.2f} to {high:.2f}", row["kendall"], row["top_half"])
            table.add_row(name, *(one if isinstance(one, str) else f"{one:.2f}" for one in cells))
        console.print(table, "")


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser("bench_published", description=__doc__.partition("\n")[0])
    parser.add_argument("--table", type=Path, required=True, help="NASLib's scores, a JSON file")
    parser.add_argument("--json", type=output_file, help="result file to write")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_and_exit(main)
