"""Does the search pay: the true accuracy of the best so far, against the compute it took.

    python -m benchmarks.run payoff --data SOURCE [--train-size N] [--image-size S]

Every arm searches the space ``mlp`` with the same trainer until it has trained a given number of
epochs: the designer's search on the design score after a short run, the same search on validation
accuracy, each also with median pruning after every epoch, and with half of the epochs spent on
confirming: as ``designer search`` does at its end, the best trials are trained longer, and
the validation accuracy after that decides.  The other arms are what Optuna offers for full runs:
TPE with median pruning and with Hyperband, random search with successive halving and without
pruning.

No arm trains a spec twice: a proposal that is known already is handed back and costs no epochs.
After every trial the incumbent is noted, with the epochs and the processor seconds spent so far:
the best confirmed trial, without any the best complete one, else the best pruned one.  Looking
inside costs seconds and no epochs; arms on accuracy do not look.

The true accuracy of an incumbent is its accuracy on test data after long training with a learning
rate that falls in steps, as a mean over two fresh seeds.  All incumbents share one split, while
each search has a split of its own.  Regret is the distance to the best known accuracy, that of the
best incumbent of all arms.  That one was picked for its measured accuracy, so all regrets are a
little too large.
``seed_sd`` says how much one long run differs from the next by its seed alone, in the better half
of the incumbents.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from rich.table import Column, Table

from benchmarks.claim import Figures, Result
from benchmarks.claims.payoff_searches import (
    ARMS,
    OURS,
    REFERENCE,
    TRUTH_SEEDS,
    FinishedSearch,
    SearchTask,
    Source,
    Truths,
    measure_truths,
    run_search,
)
from benchmarks.command import Parser, positive, refuse, wide_console
from benchmarks.processes import in_processes
from benchmarks.statistics import mean_and_interval, rounded
from designer.results.measured import FloatArray

Unit = Literal["epochs", "seconds"]

STRIDE = 50
"""Epochs between two points of a curve."""

TIMES = 12
"""Points of a curve over seconds; the last is where the quickest search ended."""

NEAR = 0.5
"""Points of accuracy below the best known that are near enough."""

COSTS = ("trials", "pruned", "known", "epochs", "seconds")
"""Attributes of a search that are reported."""


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument("--data", required=True, help="as for `designer search`")
    parser.add_argument("--seeds", type=positive, default=10, help="searches per arm")
    parser.add_argument("--epochs", type=positive, default=600, help="budget of each search")
    parser.add_argument("--train-size", type=positive, help="samples to train on [default: 1000]")
    parser.add_argument("--image-size", type=positive, help="resize images to [default: 10]")
    parser.checks.append(_check)


def _check(parser: Parser, options: argparse.Namespace) -> None:
    if options.data == "digits":
        refuse(parser, options, ("train_size", "image_size"), "other data than the digits")
        return
    options.train_size = options.train_size or 1000
    options.image_size = options.image_size or 10


def run(options: argparse.Namespace) -> Result:
    """Search with every arm and seed, and measure what the incumbents are worth."""
    source = Source(options.data, options.train_size, options.image_size)
    seeds = list(range(options.seeds))
    tasks = [SearchTask(arm, source, seed, options.epochs) for seed in seeds for arm in ARMS]
    searches = list(in_processes(run_search, tasks, "searches"))
    truths = measure_truths(source, searches)
    by_arm = {
        arm: [search for task, search in zip(tasks, searches, strict=True) if task.arm == arm]
        for arm in ARMS
    }
    changes = {arm: [_changes(search, truths) for search in mine] for arm, mine in by_arm.items()}
    figures = figures_of(by_arm, truths, options.epochs)
    return Result(options, figures, [*seeds, *TRUTH_SEEDS], about={"searches": changes})


def figures_of(
    by_arm: Mapping[str, Sequence[FinishedSearch]], truths: Truths, budget: int
) -> Figures:
    """Return all that is reported; accuracies and regrets in points."""
    best = max(float(accuracies.mean()) for accuracies in truths.values())
    near = {arm: _nearness(searches, truths, best) for arm, searches in by_arm.items()}
    budgets = sorted({*range(STRIDE, budget, STRIDE), budget})
    quickest = min(search.seconds for searches in by_arm.values() for search in searches)
    times = [float(seconds) for seconds in np.linspace(0, quickest, TIMES + 1)[1:]]
    return {
        "arms": {
            arm: {
                "curve": {str(e): _regret(searches, truths, best, "epochs", e) for e in budgets},
                "curve_seconds": {
                    f"{s:.3g}": _regret(searches, truths, best, "seconds", s) for s in times
                },
                "to_within_half_a_point": near[arm],
                **{
                    name: mean_and_interval(_array(getattr(s, name) for s in searches), 2)
                    for name in COSTS
                },
            }
            for arm, searches in by_arm.items()
        },
        f"{OURS}_to_{REFERENCE}": {
            unit: _ratio(near[OURS][f"median_{unit}"], near[REFERENCE][f"median_{unit}"])
            for unit in ("epochs", "seconds")
        },
        "best_known": rounded(best),
        "incumbents": len(truths),
        "seed_sd": _seed_sd(truths),
    }


def _regret(
    searches: Sequence[FinishedSearch], truths: Truths, best: float, unit: Unit, limit: float
) -> Figures:
    """Return the mean regret over the searches; None if one of them has no incumbent yet."""
    accuracies = _array(_true_at(search, truths, unit, limit) for search in searches)
    if np.isnan(accuracies).any():
        return {"mean": None, "interval": [None, None]}
    return mean_and_interval(best - accuracies)


def _true_at(search: FinishedSearch, truths: Truths, unit: Unit, limit: float) -> float:
    """Return the true accuracy of the incumbent at a limit; nan if there is none yet."""
    reached = [moment for moment in search.moments if getattr(moment, unit) <= limit]
    return float(truths[reached[-1].key].mean()) if reached else math.nan


def _nearness(searches: Sequence[FinishedSearch], truths: Truths, best: float) -> Figures:
    """Return what each search spent until an incumbent first came near the best known."""
    firsts = [
        next((m for m in search.moments if truths[m.key].mean() >= best - NEAR), None)
        for search in searches
    ]
    epochs = _array(math.inf if m is None else m.epochs for m in firsts)
    seconds = _array(math.inf if m is None else m.seconds for m in firsts)
    return {
        "reached": sum(m is not None for m in firsts),
        "epochs": [None if m is None else m.epochs for m in firsts],
        "seconds": [rounded(s, 2) for s in seconds],
        "median_epochs": rounded(np.median(epochs), 1),
        "median_seconds": rounded(np.median(seconds), 2),
    }


def _changes(search: FinishedSearch, truths: Truths) -> list[list[float | None]]:
    """Return epochs, seconds and true accuracy of every new incumbent."""
    pairs = zip((None, *search.moments), search.moments, strict=False)
    return [
        [new.epochs, rounded(new.seconds, 2), rounded(truths[new.key].mean(), 3)]
        for old, new in pairs
        if old is None or old.incumbent != new.incumbent
    ]


def _seed_sd(truths: Truths) -> float | None:
    """Return the standard deviation over seeds, in the better half: weak incumbents vary more."""
    better = sorted(truths.values(), key=np.mean)[len(truths) // 2 :]
    return rounded(np.sqrt(np.mean([accuracies.var(ddof=1) for accuracies in better])))


def _ratio(mine: float | None, other: float | None) -> float | None:
    """Return mine divided by other; None if one of them never came near."""
    return None if mine is None or not other else rounded(mine / other, 3)


def _array(values: Iterable[float]) -> FloatArray:
    return np.array(list(values), dtype=np.float64)


def show(result: Result) -> None:
    """Print regret and cost by arm, and what they mean."""
    figures = result.figures
    console = wide_console()
    console.print(_table(figures, result.options.seeds))
    ratio = figures[f"{OURS}_to_{REFERENCE}"]
    console.print(
        f"Best known: {figures['best_known']:.2f} %, of {figures['incumbents']} incumbents; two "
        f"long runs of one spec differ with a standard deviation of {figures['seed_sd']:.2f}. To "
        f"within {NEAR} points {OURS} takes {_or_never(ratio['epochs'], 2)} times the epochs of "
        f"{REFERENCE} and {_or_never(ratio['seconds'], 2)} times the seconds (medians).",
        highlight=False,
    )


def _table(figures: Figures, seeds: int) -> Table:
    title = f"Regret in points, {seeds} seeds [95 %]; - is never"
    table = Table(Column("arm", no_wrap=True), box=None, title=title)
    budgets = list(figures["arms"][OURS]["curve"])
    shown = sorted({(len(budgets) - 1) // 4, (len(budgets) - 1) // 2, len(budgets) - 1})
    for i in shown:
        table.add_column(f"{budgets[i]} epochs", justify="right", no_wrap=True)
    for column in (f"within {NEAR}", "epochs", "CPU s", "trials", "CPU s in all"):
        table.add_column(column, justify="right", no_wrap=True)
    for arm, row in figures["arms"].items():
        near = row["to_within_half_a_point"]
        table.add_row(
            arm,
            *(_cell(row["curve"][budgets[i]]) for i in shown),
            f"{near['reached']}/{seeds}",
            _or_never(near["median_epochs"], 0),
            _or_never(near["median_seconds"], 1),
            f"{row['trials']['mean']:.0f}",
            f"{row['seconds']['mean']:.1f}",
        )
    return table


def _cell(row: Figures) -> str:
    low, high = row["interval"]
    return "-" if row["mean"] is None else f"{row['mean']:.2f} [{low:.2f}, {high:.2f}]"


def _or_never(number: float | None, decimals: int) -> str:
    return "-" if number is None else f"{number:.{decimals}f}"
