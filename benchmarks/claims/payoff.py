"""Does the search pay: the true accuracy of what it finds, against the processor time it took.

    python -m benchmarks.run payoff --space mlp --data SOURCE --max-params 20000 [--seeds N]

``designer search`` runs as it comes, with each seed, and so says how much processor time the other
arms have: TPE with median pruning and with Hyperband, NSGA-II on accuracy and size, random search
with successive halving and without pruning, all on validation accuracy after full runs, as one
writes it with Optuna.  Two arms leave out of ours the edits, or the pruning of trials, and have so
many trials more or fewer that they take about as long, as has one that searches for accuracy and
size at once, which does not prune; one has half of the trials and of the edits, and so about half
of the time.

All arms train with the same trainer, respect the same limit of size, and train no network twice.
Time is that of a process on one thread, which other programs on the machine do not lengthen.

The incumbent is, for Optuna's arms, the best complete trial, without any the best pruned one; for
ours the trial with the highest design score, from the end of the confirmation on the most accurate
candidate, and in the end what is recommended.  Its true accuracy is that on test data after long
training with a learning rate that falls in steps, as a mean over two fresh seeds.  Regret is the
distance to the best known accuracy of all arms, in points.

A front is what an arm found to be smaller than everything that it found more accurate, by
validation accuracy.  Its volume is the true accuracy of the best network of at most a given size,
as a mean over the logarithm of the size, from the smallest network of any front to the largest; for
sizes without a network it is that of chance.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from rich.table import Column, Table

from benchmarks.claim import Figures, Result
from benchmarks.claims.payoff_searches import (
    ARMS,
    HALF,
    NO_EDITS,
    NO_PRUNING,
    NSGA2,
    OUR_OPTIONS,
    OURS,
    PARETO,
    REFERENCE,
    SPACES,
    TRUTH_SEEDS,
    SearchTask,
    Setting,
    search_outcome,
    true_accuracy,
    truth_task,
)
from benchmarks.command import Parser, output_file, positive, refuse, wide_console
from benchmarks.kept_outcomes import KeptOutcomes
from benchmarks.statistics import mean_and_t_interval, rounded
from designer.results.measured import FloatArray
from designer.search.options import SearchOptions

SEEDS = 10
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Points of a curve, as shares of the time that ours takes."""

OPTIONAL = tuple(arm for arm in ARMS if arm not in (OURS, REFERENCE, NSGA2))
"""Arms that can be left out: the conclusion compares the other three."""

NEAR = 0.5
"""Points of accuracy below the best known that are near enough."""

Truths = Mapping[str, Figures]
"""Accuracies and parameters, by spec."""


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument("--data", required=True, help="as for `designer search`")
    parser.add_argument("--space", choices=tuple(SPACES), default="mlp", help="what is searched")
    parser.add_argument("--seeds", type=positive, default=SEEDS, help="searches per arm")
    parser.add_argument("--train-size", type=positive, help="samples to train on [default: 1000]")
    parser.add_argument("--image-size", type=positive, help="resize images to [default: 10]")
    parser.add_argument("--max-params", type=positive, help="largest number of parameters")
    parser.add_argument("--max-flops", type=positive, help="largest number of operations")
    parser.add_argument(
        "--without", action="append", default=[], choices=OPTIONAL, help="leave out this arm"
    )
    parser.add_argument("--runs", type=output_file, help="file that keeps what is measured")
    parser.checks.append(_check)


def _check(parser: Parser, options: argparse.Namespace) -> None:
    if options.data == "digits":
        refuse(parser, options, ("train_size", "image_size"), "other data than the digits")
        return
    options.train_size = options.train_size or 1000
    options.image_size = options.image_size or 10


def run(options: argparse.Namespace) -> Result:
    """Search with every arm and seed, and measure what the incumbents and the fronts are worth."""
    setting = Setting(
        options.space,
        options.data,
        options.train_size,
        options.image_size,
        options.max_params,
        options.max_flops,
    )
    seeds = range(options.seeds)
    kept = KeptOutcomes(options.runs)
    ours = kept.measure(
        search_outcome, [SearchTask(setting, OURS, seed) for seed in seeds], "our searches"
    )
    arms = [arm for arm in ARMS if arm != OURS and arm not in options.without]
    tasks = [
        task_of(setting, arm, seed, whole)
        for seed, whole in zip(seeds, ours, strict=True)
        for arm in arms
    ]
    others = kept.measure(search_outcome, tasks, "searches")
    by_arm = {OURS: ours, **{arm: others[i :: len(arms)] for i, arm in enumerate(arms)}}
    truths = _truths(kept, setting, by_arm)
    return Result(
        options,
        figures_of(by_arm, truths, setting.load(0).chance),
        [*seeds, *TRUTH_SEEDS],
        earlier_seconds=kept.earlier_seconds,
    )


def task_of(setting: Setting, arm: str, seed: int, ours: Figures) -> SearchTask:
    """Return the search of another arm that takes as long as ours took.

    Args:
        setting: what is searched.
        arm: the arm.
        seed: the seed.
        ours: the outcome of our search with this seed.
    """
    if arm not in OUR_OPTIONS:
        return SearchTask(setting, arm, seed, seconds=ours["seconds"])
    phases = ours["phases"]
    factors = {
        HALF: 0.5,
        NO_EDITS: 1 + (ours["seconds"] - phases["CONFIRMATION"]) / phases["SEARCH"],
        NO_PRUNING: ours["epochs"] / SearchOptions.epochs,
        PARETO: ours["epochs"] / SearchOptions.epochs,
    }
    trials = round(SearchOptions.trials * factors[arm])
    return SearchTask(setting, arm, seed, trials=max(1, trials))


def _truths(
    kept: KeptOutcomes, setting: Setting, by_arm: Mapping[str, Sequence[Figures]]
) -> dict[str, Figures]:
    """Train every incumbent and every network of a front for long, once each."""
    specs = {
        str(task.spec): task
        for searches in by_arm.values()
        for search in searches
        for spec in (*(spec for _, spec in search["moments"]), *search["front"])
        for task in (truth_task(setting, spec),)
    }
    outcomes = kept.measure(true_accuracy, list(specs.values()), "networks trained for long")
    return dict(zip(specs, outcomes, strict=True))


# --- over searches ---


def figures_of(by_arm: Mapping[str, Sequence[Figures]], truths: Truths, chance: float) -> Figures:
    """Return all that is reported; accuracies and regrets in points.

    Args:
        by_arm: outcomes of ``search_outcome`` in the order of the seeds, by arm.
        truths: outcomes of ``true_accuracy`` of all their networks.
        chance: accuracy of chance, 0..1.
    """
    best = max(float(np.mean(truth["accuracies"])) for truth in truths.values())
    times = [search["seconds"] for search in by_arm[OURS]]
    volumes = {arm: _volumes(searches, truths, by_arm, chance) for arm, searches in by_arm.items()}
    regrets = {
        arm: np.array(
            [
                [best - _true_at(search, truths, _limit(share, t)) for share in SHARES]
                for search, t in zip(searches, times, strict=True)
            ]
        )
        for arm, searches in by_arm.items()
    }
    half = SHARES.index(0.5)
    return {
        "arms": {
            arm: {
                "curve": {str(share): _mean(regrets[arm][:, i]) for i, share in enumerate(SHARES)},
                "near": [rounded(s, 2) for s in _near(searches, truths, best)],
                "volume": _mean(volumes[arm]),
                "volume_lead_of_ours": _mean(volumes[OURS] - volumes[arm]),
                "regret_lead_of_ours": _mean(regrets[arm][:, -1] - regrets[OURS][:, -1]),
                "regret_lead_of_ours_at_half": _mean(regrets[arm][:, -1] - regrets[OURS][:, half]),
                "seconds": _mean(np.array([search["seconds"] for search in searches])),
                "trials": _mean(np.array([float(search["trials"]) for search in searches])),
            }
            for arm, searches in by_arm.items()
        },
        "best_known": rounded(best),
        "networks": len(truths),
        "seed_sd": _seed_sd(truths),
    }


def _limit(share: float, seconds: float) -> float:
    """Return the time at a share of it; in the end all that an arm has found counts."""
    return math.inf if share == 1 else share * seconds


def _mean(values: FloatArray) -> Figures:
    """Return mean and interval; None if a search has no value yet."""
    if not np.isfinite(values).all():
        return {"mean": None, "interval": [None, None]}
    return mean_and_t_interval(values)


def _key(spec: Figures) -> str:
    return str(truth_task(Setting("", ""), spec).spec)


def _accuracy(truths: Truths, spec: Figures) -> float:
    return float(np.mean(truths[_key(spec)]["accuracies"]))


def _true_at(search: Figures, truths: Truths, seconds: float) -> float:
    """Return the true accuracy of the incumbent after a time; nan if there is none yet."""
    reached = [spec for at, spec in search["moments"] if at <= seconds]
    return _accuracy(truths, reached[-1]) if reached else math.nan


def _near(searches: Sequence[Figures], truths: Truths, best: float) -> Iterable[float]:
    """Yield after how many seconds each search came near the best known; infinite for never."""
    for search in searches:
        near = (at for at, spec in search["moments"] if _accuracy(truths, spec) >= best - NEAR)
        yield next(near, math.inf)


def _volumes(
    searches: Sequence[Figures],
    truths: Truths,
    by_arm: Mapping[str, Sequence[Figures]],
    chance: float,
) -> FloatArray:
    """Return the volume of the front of each search, in points of accuracy."""
    every = [
        truths[_key(spec)]["parameters"]
        for others in by_arm.values()
        for search in others
        for spec in search["front"]
    ]
    fronts = [
        [(truths[_key(s)]["parameters"], _accuracy(truths, s)) for s in search["front"]]
        for search in searches
    ]
    return np.array([volume(front, min(every), max(every), 100 * chance) for front in fronts])


def volume(front: Sequence[tuple[int, float]], smallest: int, largest: int, chance: float) -> float:
    """Return the best accuracy at most of a size, as a mean over the logarithm of the size.

    Args:
        front: (parameters, accuracy) of networks, in any order.
        smallest: size from which the mean begins.
        largest: size at which it ends, more than ``smallest``.
        chance: accuracy where there is no network so small.
    """
    area, best, since = 0.0, chance, math.log(smallest)
    for parameters, reached in sorted(front):
        if reached > best:
            at = math.log(parameters)
            area += (at - since) * best
            best, since = reached, at
    area += (math.log(largest) - since) * best
    return area / (math.log(largest) - math.log(smallest))


def _seed_sd(truths: Truths) -> float | None:
    """Return the standard deviation over seeds, in the better half: weak networks vary more."""
    accuracies = sorted((truth["accuracies"] for truth in truths.values()), key=np.mean)
    better = np.array(accuracies[len(accuracies) // 2 :])
    return rounded(np.sqrt(np.mean(better.var(axis=1, ddof=1))))


def show(result: Result) -> None:
    """Print regret, volume and cost by arm, and what they mean."""
    figures = result.figures
    table = Table(Column("arm", no_wrap=True), box=None)
    table.title = f"Regret in points, {result.options.seeds} seeds [95 %]"
    for column in ("half the time", "the end", f"within {NEAR}", "volume", "CPU s", "trials"):
        table.add_column(column, justify="right", no_wrap=True)
    for arm, row in figures["arms"].items():
        near = [seconds for seconds in row["near"] if seconds is not None]
        table.add_row(
            arm,
            *(_cell(row["curve"][share]) for share in ("0.5", "1.0")),
            f"{len(near)}/{len(row['near'])}",
            _cell(row["volume"]),
            f"{row['seconds']['mean']:.1f}",
            f"{row['trials']['mean']:.0f}",
        )
    console = wide_console()
    console.print(table)
    reference, nsga2 = (figures["arms"][arm] for arm in (REFERENCE, NSGA2))
    console.print(
        f"Best known: {figures['best_known']:.2f} %, of {figures['networks']} networks; two long "
        f"runs of one network differ with a standard deviation of {figures['seed_sd']:.2f}. At "
        f"half of the time ours is ahead of the end of {REFERENCE} by "
        f"{_cell(reference['regret_lead_of_ours_at_half'])} points; its front is ahead of that of "
        f"{NSGA2} by {_cell(nsga2['volume_lead_of_ours'])}.",
        highlight=False,
    )


def _cell(row: Figures) -> str:
    if row["mean"] is None:
        return "-"
    low, high = row["interval"]
    return f"{row['mean']:.2f}" + ("" if low is None else f" [{low:.2f}, {high:.2f}]")
