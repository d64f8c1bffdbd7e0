"""Which number from a short run agrees best with the accuracy after long training.

    python -m benchmarks.run criterion --pool FILE.jsonl
    python -m benchmarks.run criterion --data SOURCE --archs N --epochs E [...]

The first reads a pool of networks that were trained before; the second draws architectures at
random from a search space and trains them with the search's own trainer.  Criteria and final
test accuracies are averaged over the seeds of an architecture, then compared:

- Spearman correlation over all architectures and among the better half (final accuracy at
  least the median), with 95 % bootstrap intervals over the architectures;
- its lead over that of validation accuracy, with the paired interval;
- whether the criterion prefers deep or wide networks beyond their merit: its partial Spearman
  correlation with depth, or mean width, given the final accuracy (0 is no preference);
- Kendall's tau over all, and among the better half;
- regret: by how many points of accuracy the best of its top 1, 3 or 5 is behind the best of all;
- cost: median processor seconds per network, for training and looking inside together; not of
  networks that a GPU trained.

The higher a criterion the better; where it does not exist, it counts as worse than all others.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table
from scipy.stats import kendalltau

from benchmarks.claim import Figures, Result
from benchmarks.command import (
    Parser,
    output_file,
    positive,
    refuse,
    verdict,
    wide_console,
)
from benchmarks.kept_outcomes import KeptOutcomes
from benchmarks.pools.fresh_pool import Protocol, measure_pool
from benchmarks.pools.pool import (
    Network,
    ShortRun,
    network,
    read_pool,
    stored_pool,
    write_pool,
)
from benchmarks.processes import PROCESSES
from benchmarks.statistics import (
    Indices,
    bootstrap,
    interval,
    partial_spearman,
    regret,
    rounded,
)
from designer.errors import InvalidInputError
from designer.measures.law import fit_law
from designer.measures.ranks import spearman
from designer.measures.score import (
    LAST_EPOCHS,
    above_chance,
    adherence,
    combine,
    heldout_separation,
)
from designer.results.measured import FloatArray

REFERENCE = "validation_accuracy"
"""What every other criterion is measured against."""

MIN_ARCHITECTURES = 6

ACCEPTANCE = {5: (0.91, 0.70), 10: (0.93, 0.74), 20: (0.94, 0.74)}
"""Least Spearman correlation of the design score on ``ACCEPTANCE_POOL``, by epochs: over all
architectures, and among the better half."""
ACCEPTANCE_POOL = "fashion_mlp.jsonl"

FRESH_OPTIONS = (
    "archs",
    "epochs",
    "train_size",
    "image_size",
    "seeds",
    "final_epochs",
    "validation_fraction",
    "space",
    "seed",
    "min_flops",
    "max_flops",
    "device",
    "processes",
    "runs",
    "pool_out",
)


def short_design_score(net: Network, run: ShortRun) -> float:
    """Return the design score, from the parts that ``designer.design_score`` has."""
    accuracy = short_accuracy(net, run)
    return combine(short_separation(net, run), accuracy, short_adherence(net, run))


def short_separation(net: Network, run: ShortRun) -> float:
    """Return the held-out separation over the blocks, without the input."""
    return heldout_separation(run.accuracies[1:], net.chance)


def short_accuracy(net: Network, run: ShortRun) -> float:
    """Return the accuracy above chance over the last epochs; of a pool without it, of the last."""
    latest = run.curve[-LAST_EPOCHS:] if len(run.curve) else [run.validation_accuracy]
    return above_chance(float(np.mean(latest)), net.chance)


def short_adherence(_: Network, run: ShortRun) -> float:
    """Return the adherence to the law."""
    return adherence(run.values, run.nulls)


def mean_step(values: FloatArray) -> float:
    """Return the mean step of log D, for D (L + 1,)."""
    return fit_law(values).total_reduction / (len(values) - 1)


CRITERIA: dict[str, Callable[[Network, ShortRun], float]] = {
    "design_score": short_design_score,
    "heldout_separation": short_separation,
    "adherence": short_adherence,
    "uniformity": lambda _, run: fit_law(run.values).uniformity,
    "validation_accuracy": lambda _, run: run.validation_accuracy,
    "training_loss": lambda _, run: -run.summed_loss,
    "pearson_r": lambda _, run: -fit_law(run.values).r,
    "mean_step": lambda _, run: mean_step(run.values),
    "mean_step_over_null": lambda _, run: mean_step(run.values / run.nulls),
    "best_layer_accuracy": lambda _, run: float(run.accuracies.max()),
    "last_layer_accuracy": lambda _, run: float(run.accuracies[-1]),
    "mean_accuracy_with_input": lambda _, run: float(run.accuracies.mean()),
    "parameters": lambda net, _: float(net.parameters),
    "depth": lambda net, _: -float(len(net.widths)),
    "flops": lambda net, _: net.flops,
    "extrapolation": lambda _, run: extrapolate(run.curve, HORIZON),
    "naswot": lambda net, _: net.zero_cost["naswot"],
    "synflow": lambda net, _: net.zero_cost["synflow_log"],
    "gradient_norm": lambda net, _: net.zero_cost["gradient_norm"],
    "snip": lambda net, _: net.zero_cost["snip"],
    "jacobian_covariance": lambda net, _: net.zero_cost["jacobian_covariance"],
}
"""Criteria by their name in the result file.  Training loss, Pearson's r and depth enter with a
minus; the accuracies of layers are those of the nearest class mean, on held-out data, input
included."""

ZERO_COST_CRITERIA = {
    "naswot": "naswot",
    "synflow": "synflow_log",
    "gradient_norm": "gradient_norm",
    "snip": "snip",
    "jacobian_covariance": "jacobian_covariance",
}
"""Criteria that need no training, and what pools call them."""

FREE = {"parameters", "depth", "flops"}
"""Criteria for which nothing runs."""

OUTSIDE = {"validation_accuracy", "training_loss", "extrapolation"}
"""Criteria that do not look inside."""

HORIZON = 60
"""Epochs to which learning curves are extrapolated."""

POWERS = np.linspace(0.1, 3.0, 30)
"""Exponents that are tried for learning curves."""


def extrapolate(curve: FloatArray, horizon: int) -> float:
    """Extrapolate validation accuracy (E,) over epochs 1, 2, ... to a later epoch.

    The curve is a - b t^-c, fitted by least squares among those that rise and never pass 1.  The
    last value is returned if there are fewer than three values or no curve fits, nan without any.

    Reference: the family pow3 of Domhan et al., "Speeding up automatic hyperparameter optimization
    of deep neural networks by extrapolation of learning curves", IJCAI 2015.
    """
    fits = []
    epochs = np.arange(1.0, len(curve) + 1)
    for power in POWERS if len(curve) > 2 else ():
        basis = epochs**-power
        slope, level = np.polyfit(basis, curve, 1)
        error = float(np.square(level + slope * basis - curve).sum())
        if slope < 0 and level <= 1:
            fits.append((error, level + slope * horizon**-power))
    return float(min(fits)[1] if fits else curve[-1]) if len(curve) else float("nan")


@dataclass(frozen=True, eq=False)
class Merits:
    """What criteria are compared with, for each architecture."""

    final: FloatArray
    """(A,) test accuracy after the long run."""
    depth: FloatArray
    """(A,) number of hidden blocks."""
    width: FloatArray
    """(A,) mean width of the hidden blocks."""


def better_half(final: FloatArray) -> Indices:
    """Return the indices of the architectures whose final accuracy (A,) is at least the median."""
    return np.flatnonzero(final >= np.median(final))


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--pool",
        type=stored_pool,
        help="file of trained networks, one JSON line each, or the name of a stored one",
    )
    source.add_argument("--data", help="train on this instead; as for `designer search`")
    parser.add_argument("--chance", type=float, default=0.1, help="of a pool that does not say")
    parser.add_argument("--archs", type=positive, default=40, help="architectures to train")
    parser.add_argument("--epochs", type=positive, default=20, help="of the short run")
    parser.add_argument("--train-size", type=positive, help="samples to train on")
    parser.add_argument("--image-size", type=positive, help="resize images to this, in pixels")
    parser.add_argument("--seeds", type=positive, default=2, help="networks per architecture")
    parser.add_argument("--final-epochs", type=positive, default=60, help="of the long run")
    parser.add_argument("--validation-fraction", type=float, default=0.25, help="held out")
    parser.add_argument("--space", default="mlp", help="where architectures are drawn from")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the draw, the split and the first run"
    )
    parser.add_argument("--min-flops", type=float, default=0.0, help="of an architecture")
    parser.add_argument("--max-flops", type=float, default=math.inf, help="of an architecture")
    parser.add_argument("--device", default="cpu", help="where to train")
    parser.add_argument("--processes", type=positive, default=PROCESSES, help="at the same time")
    parser.add_argument("--runs", type=output_file, help="file that keeps what is measured")
    parser.add_argument("--pool-out", type=output_file, help="write the trained pool here")
    parser.checks.append(_check)


def _check(parser: Parser, options: argparse.Namespace) -> None:
    if options.pool:
        refuse(parser, options, FRESH_OPTIONS, "--data")
    elif options.chance != parser.get_default("chance"):
        parser.error("--chance needs --pool")
    if not 0 <= options.chance < 1:
        parser.error(f"expected a chance from 0 to below 1, got {options.chance:g}")
    if options.archs < MIN_ARCHITECTURES:
        parser.error(f"expected at least {MIN_ARCHITECTURES} --archs to rank, got {options.archs}")


def run(options: argparse.Namespace) -> Result:
    """Read or train a pool, and compare all criteria."""
    networks = _trained(options) if options.data else read_pool(options.pool, options.chance)
    seeds = sorted({net.seed for net in networks})
    about = {
        "architectures": len({net.architecture for net in networks}),
        "ceiling": ceiling(networks),
    }
    return Result(options, compare(networks), seeds, about)


def compare(networks: Sequence[Network]) -> Figures:
    """Return {criterion: {epochs: agreement}} for the criteria that the pool has figures for.

    Raises:
        InvalidInputError: if there are too few architectures, or no checkpoint that all share.
    """
    architectures = {net.architecture for net in networks}
    if len(architectures) < MIN_ARCHITECTURES:
        raise InvalidInputError(
            f"Expected at least {MIN_ARCHITECTURES} architectures to rank, got "
            f"{len(architectures)}."
        )
    epochs = sorted(set.intersection(*(set(net.short) for net in networks)))
    if not epochs:
        raise InvalidInputError("Expected a short run that all networks have, found none.")
    merits = Merits(
        final=averaged(networks, lambda net: net.final_accuracy),
        depth=averaged(networks, lambda net: len(net.widths)),
        width=averaged(networks, lambda net: float(np.mean(net.widths))),
    )
    return {
        name: {
            str(e): {
                **agreement(valued(networks, name, e), valued(networks, REFERENCE, e), merits),
                "seconds": rounded(np.median([seconds(name, net, e) for net in networks])),
            }
            for e in epochs
        }
        for name in CRITERIA
        if all(_is_known(name, net) for net in networks)
    }


def _is_known(name: str, net: Network) -> bool:
    """True if a network of a pool has what a criterion needs."""
    if name in ZERO_COST_CRITERIA:
        return ZERO_COST_CRITERIA[name] in net.zero_cost
    if name == "flops":
        return bool(np.isfinite(net.flops))
    return name != "extrapolation" or all(len(run.curve) for run in net.short.values())


def seconds(name: str, net: Network, epochs: int) -> float:
    """Return the processor time of a criterion, training included; nan if the pool lacks it.

    It is nan on a GPU as well, whose time the processor's does not tell.
    """
    if name in FREE:
        return 0.0
    if net.device != "cpu":
        return float("nan")
    if name in ZERO_COST_CRITERIA:
        return net.zero_cost_seconds.get(ZERO_COST_CRITERIA[name], float("nan"))
    spent = net.short[epochs].seconds
    parts = ("training",) if name in OUTSIDE else ("training", "looking")
    return sum(spent.get(part, float("nan")) for part in parts)


def valued(networks: Sequence[Network], name: str, epochs: int) -> FloatArray:
    """Return the value (A,) of a criterion after ``epochs`` epochs, for each architecture."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return averaged(networks, lambda net: CRITERIA[name](net, net.short[epochs]))


def averaged(networks: Sequence[Network], value: Callable[[Network], float]) -> FloatArray:
    """Return means (A,) over the seeds of each architecture; -inf where the value is nan."""
    values: dict[int, list[float]] = {}
    for net in networks:
        values.setdefault(net.architecture, []).append(value(net))
    means = np.array([np.mean(values[architecture]) for architecture in sorted(values)])
    return np.where(np.isnan(means), -np.inf, means)


def agreement(criterion: FloatArray, reference: FloatArray, merits: Merits) -> Figures:
    """Compare one criterion (A,) with the final accuracy, beside the reference criterion (A,)."""
    half = better_half(merits.final)
    rank = _correlations(criterion, reference, merits.final)
    rank_half = _correlations(criterion[half], reference[half], merits.final[half])
    return {
        "all": rank["spearman"],
        "interval": rank["interval"],
        "lead": rank["lead"],
        "lead_interval": rank["lead_interval"],
        "top_half": rank_half["spearman"],
        "top_half_interval": rank_half["interval"],
        "top_half_lead": rank_half["lead"],
        "top_half_lead_interval": rank_half["lead_interval"],
        "kendall": rounded(kendalltau(criterion, merits.final).statistic),
        "top_half_kendall": rounded(kendalltau(criterion[half], merits.final[half]).statistic),
        "depth_preference": rounded(partial_spearman(criterion, merits.depth, merits.final)),
        "width_preference": rounded(partial_spearman(criterion, merits.width, merits.final)),
        "regret_top1": rounded(100 * regret(criterion, merits.final, 1)),
        "regret_top3": rounded(100 * regret(criterion, merits.final, 3)),
        "regret_top5": rounded(100 * regret(criterion, merits.final, 5)),
    }


def _correlations(criterion: FloatArray, reference: FloatArray, final: FloatArray) -> Figures:
    draws = bootstrap(len(final))
    value, reference_value = spearman(criterion, final), spearman(reference, final)
    drawn = spearman(criterion[draws], final[draws])
    reference_drawn = spearman(reference[draws], final[draws])
    return {
        "spearman": rounded(value),
        "interval": interval(drawn),
        "lead": rounded(value - reference_value),
        "lead_interval": interval(drawn - reference_drawn),
    }


def show(result: Result) -> None:
    """Print a table for each number of epochs, what it means, and if the acceptance is met."""
    for epochs in result.figures["design_score"]:
        show_table(result.figures, epochs)
    show_meaning(result.figures)
    pool = result.options.pool
    if pool and pool.name == ACCEPTANCE_POOL:
        show_acceptance(result.figures)


def show_table(figures: Figures, epochs: str) -> None:
    """Print a row for every criterion after ``epochs`` epochs."""
    table = Table("criterion", box=None)
    table.title = f"Spearman [95 %] with the final accuracy, after {epochs} epochs"
    for column in ("all", "better half", "deep", "wide", "top 1", "top 5", "seconds"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, by_epochs in figures.items():
        table.add_row(name.replace("_", " "), *_cells(by_epochs[epochs]))
    wide_console().print(table, "")


def show_meaning(figures: Figures) -> None:
    """Explain the columns, and compare the design score with validation accuracy."""
    console = wide_console()
    console.print(
        "deep, wide: partial correlation with depth and width given the final accuracy; 0 is no "
        "preference.  top 1, top 5: regret in points of accuracy.  seconds: processor time per "
        "network, median.",
        highlight=False,
    )
    for epochs, score in figures["design_score"].items():
        reference = figures[REFERENCE][epochs]
        console.print(
            f"After {epochs} epochs the design score agrees with the final accuracy to "
            f"{_figure(score['all'])} ({_figure(score['top_half'])} among the better half), "
            f"validation accuracy to {_figure(reference['all'])} "
            f"({_figure(reference['top_half'])}); lead {_figure(score['lead'])} "
            f"{_range(score['lead_interval'])}, among the better half "
            f"{_figure(score['top_half_lead'])} {_range(score['top_half_lead_interval'])}.",
            highlight=False,
        )


def show_acceptance(figures: Figures) -> None:
    """Print whether the design score meets its acceptance."""
    for epochs, (bar, half_bar) in ACCEPTANCE.items():
        row = figures["design_score"][str(epochs)]
        met = row["all"] >= bar and row["top_half"] >= half_bar
        wide_console().print(
            f"Acceptance at {epochs} epochs: at least {bar} and {half_bar}: {verdict(met)}"
        )


def _cells(row: Figures) -> list[str]:
    return [
        f"{_figure(row['all'])} {_range(row['interval'])}",
        f"{_figure(row['top_half'])} {_range(row['top_half_interval'])}",
        _figure(row["depth_preference"]),
        _figure(row["width_preference"]),
        _figure(row["regret_top1"]),
        _figure(row["regret_top5"]),
        _figure(row["seconds"]),
    ]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _range(interval: Sequence[float | None]) -> str:
    low, high = interval
    return f"[{_figure(low)}, {_figure(high)}]"


def ceiling(networks: Sequence[Network]) -> Figures | None:
    """Return how well the final accuracies of two seeds agree; None with one seed."""
    seeds = sorted({net.seed for net in networks})
    if len(seeds) < 2:
        return None
    first, second = (
        averaged([net for net in networks if net.seed == seed], lambda net: net.final_accuracy)
        for seed in seeds[:2]
    )
    half = better_half(first + second)
    return {
        "all": rounded(spearman(first, second)),
        "top_half": rounded(spearman(first[half], second[half])),
    }


def _trained(options: argparse.Namespace) -> list[Network]:
    protocol = Protocol(
        space=options.space,
        source=options.data,
        train_size=options.train_size,
        image_size=options.image_size,
        validation_fraction=options.validation_fraction,
        seed=options.seed,
        epochs=options.epochs,
        final_epochs=options.final_epochs,
        flops=(options.min_flops, options.max_flops),
        device=options.device,
    )
    seeds = [options.seed + i for i in range(options.seeds)]
    kept = KeptOutcomes(options.runs, options.processes)
    rows = measure_pool(protocol, options.archs, seeds, kept)
    if options.pool_out:
        write_pool(options.pool_out, rows)
    return [network(row) for row in rows]
