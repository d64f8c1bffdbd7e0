"""Does WeightWatcher's alpha predict the accuracy after long training?

    python -m benchmarks.run alpha --data NAME=SOURCE ... [--archs N] [--runs FILE]

Martin, Peng & Mahoney, "Predicting trends in the quality of state-of-the-art neural networks
without access to training or testing data" (Nature Communications, 2021), fit a power law to the
spectrum of every weight matrix and take the mean exponent, alpha: the smaller, the better.  The
pools keep no weights, so random architectures are trained here, each for a short run and for a long
one, and the alpha of either is compared with the design score and the validation accuracy of the
short run.  Many layers are smaller than the 50 eigenvalues that the authors ask for, which
WeightWatcher 0.7.7 fits all the same: ``pip install --no-deps weightwatcher powerlaw mpmath``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table
from torch import nn

from benchmarks.claim import Figures, Result
from benchmarks.command import Parser, output_file, positive, wide_console
from benchmarks.kept_outcomes import KeptOutcomes
from benchmarks.pools.fresh_pool import distinct_specs
from benchmarks.statistics import bootstrap, interval, rounded
from designer import design_score, profile
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.errors import ModelError, TrialFailed
from designer.measures.ranks import spearman
from designer.search.candidates import train_spec
from designer.training.trainer import Schedule, accuracy
from search_spaces import CnnSpace, MlpSpace, Space

ARCHITECTURES = 24
SHORT, LONG = 10, 60
"""Epochs of the two runs."""

TRAIN_SIZE, IMAGE_SIZE = 1000, 10

SPACES: dict[str, Space[Any]] = {"perceptrons": MlpSpace(), "CNNs": CnnSpace()}

CRITERIA = ("alpha, short run", "alpha, long run", "design score", "validation accuracy")
"""All oriented so that more is better: alpha counts with a minus."""


@dataclass(frozen=True)
class AlphaTask:
    """One architecture to train twice."""

    data: str
    source: str
    space: str
    architectures: int
    """How many are drawn; the same number draws the same ones."""
    place: int
    """Which of those drawn."""


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument(
        "--data", action="append", required=True, metavar="NAME=SOURCE", help="a data set"
    )
    parser.add_argument("--archs", type=positive, default=ARCHITECTURES, help="of each space")
    parser.add_argument("--space", action="append", choices=SPACES, help="only these")
    parser.add_argument("--runs", type=output_file, help="file that keeps what is measured")


def run(options: argparse.Namespace) -> Result:
    """Train all architectures."""
    tasks = [
        AlphaTask(name, source, space, options.archs, place)
        for name, _, source in (text.partition("=") for text in options.data)
        for space in options.space or SPACES
        for place in range(options.archs)
    ]
    kept = KeptOutcomes(options.runs)
    rows = kept.measure(criteria_of, tasks, "networks")
    figures = {"groups": summary_of(rows), "networks": rows}
    return Result(options, figures, seeds=[0], earlier_seconds=kept.earlier_seconds)


def criteria_of(task: AlphaTask) -> Figures:
    """Return all criteria of an architecture, and its test accuracy after the long run."""
    space = SPACES[task.space]
    spec = distinct_specs(space, task.architectures, seed=0)[task.place]
    data = load_dataset(task.source, seed=0, train_size=TRAIN_SIZE, image_size=IMAGE_SIZE)
    names = {"data": task.data, "space": task.space, "place": task.place}
    try:
        short, _ = train_spec(space, spec, data, seed=0, epochs=SHORT)
        final, _ = train_spec(space, spec, data, seed=0, epochs=LONG, schedule=Schedule.STEP)
    except TrialFailed as reason:
        return {**names, "failed": str(reason)}
    return {
        **names,
        "alpha, short run": _negative_alpha(short),
        "alpha, long run": _negative_alpha(final),
        **_short_run(short, data),
        "test_accuracy": round(accuracy(final, data.test), 4),
    }


def _short_run(model: nn.Module, data: Dataset) -> Figures:
    measured = profile(model, data.train, data.validation, resamples=0)
    return {
        "design score": rounded(design_score(measured).value),
        "validation accuracy": round(accuracy(model, data.validation), 4),
    }


def _negative_alpha(model: nn.Module) -> float | None:
    """Return minus the mean alpha over all layers that WeightWatcher fits.

    Raises:
        ModelError: if it is not installed.
    """
    logging.getLogger("weightwatcher").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            from weightwatcher import WeightWatcher
        except ImportError as error:
            raise ModelError("Expected weightwatcher to be installed, see the claim.") from error
        watcher = WeightWatcher(model=model)
        summary = watcher.get_summary(watcher.analyze())
    return rounded(-float(summary.get("alpha", np.nan)))


def summary_of(rows: Sequence[Figures]) -> list[Figures]:
    """Return Spearman's correlation of every criterion, for each space and data set."""
    trained = [row for row in rows if "failed" not in row]
    kinds = dict.fromkeys((row["data"], row["space"]) for row in trained)
    return [
        {
            "data": data,
            "space": space,
            "networks": len(members),
            "spearman": {name: _agreement(members, name) for name in CRITERIA},
        }
        for data, space in kinds
        for members in [[r for r in trained if (r["data"], r["space"]) == (data, space)]]
    ]


def _agreement(rows: Sequence[Figures], name: str) -> Figures:
    """Return Spearman's correlation with its 95 % bootstrap interval; no value counts as worst."""
    x = np.array([-np.inf if row[name] is None else row[name] for row in rows])
    y = np.array([row["test_accuracy"] for row in rows])
    draws = bootstrap(len(x))
    drawn = spearman(x[draws], y[draws])
    return {
        "mean": rounded(float(spearman(x, y))),
        "interval": interval(drawn[np.isfinite(drawn)]),
    }


def show(result: Result) -> None:
    """Print the correlations."""
    table = Table("networks", "data", *CRITERIA)
    for group in result.figures["groups"]:
        cells = [group["spearman"][name] for name in CRITERIA]
        table.add_row(
            f"{group['networks']} {group['space']}",
            group["data"],
            *("-" if cell["mean"] is None else f"{cell['mean']:.2f}" for cell in cells),
        )
    wide_console().print(table)
