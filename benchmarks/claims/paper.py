"""The figures of He & Su (PNAS 2023), reproduced: what the paper says, and what was measured.

    python -m benchmarks.run paper --figure all --mnist FILE --fashion FILE --runs FILE.jsonl
    python -m benchmarks.run paper --quick

Every network is one line of the runs' file, so that a run that was stopped continues where it was.
The setting is the paper's unless a figure says otherwise: 1,000 training images of 10x10 pixels,
Linear-BatchNorm-ReLU of width 100, batches of 128, weight decay 5e-4, a learning rate that falls to
a tenth at a third and at two thirds of the run. The rate itself is tuned for every kind of network,
by validation accuracy in a pilot run of a fifth of the epochs with a seed that no figure uses;
where halves are trained in turn, by the training loss. D is taken on the training images, on the
input and after every block.

``--quick`` is the same on the bundled digits with fewer epochs and seeds: it shows that everything
runs, and no figure of it is worth quoting.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.table import Table

from benchmarks.claim import Figures, Result
from benchmarks.claims.paper_figures import FIGURES, QUICK_SEEDS, Figure, Recipe, quick
from benchmarks.claims.paper_networks import Row, TrainedNetworks, tune
from benchmarks.command import Parser, output_file, say, wide_console
from benchmarks.statistics import mean_and_sd, rounded
from designer.errors import InvalidInputError
from designer.measures.law import HOLDS_FROM, fit_law
from designer.results.measured import FloatArray

SEEDS = (0, 1, 2, 3, 4)

SOURCES = {"MNIST": "mnist", "Fashion-MNIST": "fashion", "CIFAR-10": "cifar"}
"""The option that names the file of a data set."""


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument(
        "--figure", action="append", choices=["all", *FIGURES], help="a figure [default: all]"
    )
    parser.add_argument("--quick", action="store_true", help="small, on the bundled digits")
    parser.add_argument("--mnist", type=Path, help="MNIST as an .npz")
    parser.add_argument("--fashion", type=Path, help="Fashion-MNIST as an .npz")
    parser.add_argument("--cifar", type=Path, help="CIFAR-10 as an .npz")
    parser.add_argument("--runs", type=output_file, help="file that keeps trained networks")


def run(options: argparse.Namespace) -> Result:
    """Train what is missing, and compare every figure with what the paper says."""
    wanted = options.figure or ["all"]
    figures = {name: FIGURES[name] for name in (FIGURES if "all" in wanted else wanted)}
    seeds: Sequence[int] = SEEDS
    if options.quick:
        figures = {name: quick(figure) for name, figure in figures.items()}
        seeds = QUICK_SEEDS
    recipes = [recipe for figure in figures.values() for recipe in figure.recipes.values()]
    sources = {} if options.quick else _sources(options, {recipe.data for recipe in recipes})
    networks = TrainedNetworks(options.runs, sources)
    tuned = tune(list(dict.fromkeys(recipes)), networks)
    networks.train([replace(recipe, seed=seed) for recipe in tuned.values() for seed in seeds])
    summaries = {name: summary(figure, tuned, seeds, networks) for name, figure in figures.items()}
    return Result(
        options,
        {"figures": summaries},
        seeds,
        about={"network_seconds": networks.seconds},
        earlier_seconds=networks.earlier_seconds,
    )


def _sources(options: argparse.Namespace, wanted: Collection[str]) -> dict[str, Path]:
    """Return the files of the data sets that are wanted, by name."""
    named = {data: option for data, option in SOURCES.items() if data in wanted}
    for option in named.values():
        path = getattr(options, option)
        if path is None or not path.exists():
            raise InvalidInputError(
                f"Expected --{option} to name a file, got '{path}'; or give --quick."
            )
    return {data: getattr(options, option) for data, option in named.items()}


def summary(
    figure: Figure,
    tuned: Mapping[Recipe, Recipe],
    seeds: Sequence[int],
    networks: TrainedNetworks,
) -> Figures:
    """Return means over the seeds of each condition, and whether they agree with the paper."""
    groups = {
        name: _group([networks[replace(tuned[recipe], seed=seed)] for seed in seeds])
        for name, recipe in figure.recipes.items()
    }
    return {"says": figure.says, "agrees": figure.agrees(groups), "conditions": groups}


def _group(rows: Sequence[Row]) -> Figures:
    laws = [fit_law(_floats(row["values"])) for row in rows if row["values"]]
    group = {
        "learning_rate": rows[0]["run"]["learning_rate"],
        "layers": len(rows[0]["values"] or ()) - 1,
        "failed": sum(row["values"] is None for row in rows),
        **{
            name: mean_and_sd(getattr(law, name) for law in laws)
            for name in ("rho", "r", "uniformity", "total_reduction")
        },
        **{
            name: mean_and_sd(_floats([row[name]])[0] for row in rows)
            for name in ("train_accuracy", "test_accuracy")
        },
        "log_d": _mean_logs([row["values"] for row in rows]),
    }
    if any(row["run"]["until_loss"] or row["run"]["lowest_loss"] for row in rows):
        group["epochs"] = mean_and_sd(float(row["epochs"]) for row in rows)
        group["training_loss"] = mean_and_sd(row["training_loss"] for row in rows)
    inner = [fit_law(_floats(row["inner"])) for row in rows if row.get("inner")]
    if inner:
        group["inner_uniformity"] = mean_and_sd(law.uniformity for law in inner)
        group["inner_r"] = mean_and_sd(law.r for law in inner)
    looks = rows[0].get("emergence") or {}
    if looks:
        group["emergence"] = {
            epoch: _look([row["emergence"][epoch] for row in rows]) for epoch in looks
        }
    return group


def _look(curves: Sequence[Sequence[float | None]]) -> Figures:
    laws = [fit_law(_floats(curve)) for curve in curves]
    return {
        "r": rounded(np.nanmean([law.r for law in laws])),
        "uniformity": rounded(np.nanmean([law.uniformity for law in laws])),
        "log_d": _mean_logs(curves),
    }


def _floats(values: Sequence[float | None]) -> FloatArray:
    return np.array(values, dtype=np.float64)


def _mean_logs(curves: Iterable[Sequence[float | None] | None]) -> list[float | None]:
    """Return the mean of log D at each tap, over the networks that did not fail."""
    logs = np.log(np.array([_floats(curve) for curve in curves if curve]))
    return [rounded(value) for value in logs.mean(axis=0)] if len(logs) else []


def show(result: Result) -> None:
    """Print a row per condition, and a sentence per figure."""
    table = Table("figure", "network", "rate", "rho", "r", "uniformity", "reduction", "test %")
    summaries = result.figures["figures"]
    for name, figure in summaries.items():
        for condition, group in figure["conditions"].items():
            table.add_row(
                name,
                condition,
                f"{group['learning_rate']:g}",
                *(_cell(group[key]) for key in ("rho", "r", "uniformity", "total_reduction")),
                _cell(group["test_accuracy"], 100, 1),
            )
        table.add_section()
    console = wide_console()
    console.print(table)
    for name, figure in summaries.items():
        console.print(f"{name}: {figure['says']} {'Agrees' if figure['agrees'] else 'Does not'}.")
    say(f"uniformity from {HOLDS_FROM} on is called following the law by the designer")


def _cell(spread: Figures, scale: float = 1, digits: int = 2) -> str:
    if spread["mean"] is None:
        return "-"
    return f"{scale * spread['mean']:.{digits}f} ± {scale * spread['sd']:.{digits}f}"
