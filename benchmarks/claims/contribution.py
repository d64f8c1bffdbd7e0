"""Which criterion says what each block of a network is needed for, and which blocks can go.

    python -m benchmarks.run contribution --data NAME=SOURCE ...
    python -m benchmarks.run contribution --models FOLDER --data CIFAR-10=FILE
    python -m benchmarks.run contribution --removals ...

Without ``--removals``, every single block is left out, and the true effect on test data is compared
with what each criterion said.  With it, several blocks go in the order of each criterion, before
and after the same recovery.  With ``--models`` the networks are ResNets that others trained; their
recovery is short, and the images of ``cifar10_subset.npz`` were JPEGs.  Everything is chosen and
fitted on images from the training part of the files; test images are only reported on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.claim import Result
from benchmarks.claims.contribution_effects import (
    measure_effects,
    show_effects,
    summary_of_effects,
)
from benchmarks.claims.contribution_networks import PRETRAINED, SMALL, NetworkTask
from benchmarks.claims.contribution_orders import ORDERS
from benchmarks.claims.contribution_removals import (
    RANDOM_CHOICES,
    RECOVERY_SEEDS,
    measure_removals,
    show_removals,
    summary_of_removals,
)
from benchmarks.claims.pretrained_resnets import ALL, TRAIN
from benchmarks.command import Parser, output_file, positive, refuse
from benchmarks.kept_outcomes import KeptOutcomes
from benchmarks.processes import PROCESSES

NETWORKS = 3
"""Small networks of each family on each data set."""


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument(
        "--data", action="append", required=True, metavar="NAME=SOURCE", help="a data set"
    )
    parser.add_argument("--models", type=Path, help="folder of the pretrained ResNets")
    families = (*SMALL, *PRETRAINED)
    parser.add_argument("--family", action="append", choices=families, help="only these")
    parser.add_argument("--networks", type=positive, default=NETWORKS, help="small ones of a kind")
    parser.add_argument("--removals", action="store_true", help="remove several blocks")
    parser.add_argument(
        "--seeds", type=positive, default=RECOVERY_SEEDS, help="recoveries of a pretrained network"
    )
    parser.add_argument(
        "--choices", type=positive, default=RANDOM_CHOICES, help="random choices of blocks"
    )
    parser.add_argument(
        "--count", action="append", type=positive, help="only this many blocks removed"
    )
    parser.add_argument("--order", action="append", choices=ORDERS, help="only these, and ours")
    parser.add_argument(
        "--all-images", action="store_true", help="train a pretrained network on all images"
    )
    parser.add_argument("--device", default="cpu", help="of the pretrained networks")
    parser.add_argument("--processes", type=positive, default=PROCESSES, help="at the same time")
    parser.add_argument("--runs", type=output_file, help="file that keeps what is measured")
    parser.checks.append(_check)


def _check(parser: Parser, options: argparse.Namespace) -> None:
    """Refuse options without an effect, and choose the families."""
    if not options.removals:
        refuse(parser, options, ("seeds", "choices", "order", "count"), "--removals")
    options.family = options.family or list(PRETRAINED if options.models else SMALL)
    if not options.models and set(options.family) & set(PRETRAINED):
        parser.error("a pretrained network needs --models")


def tasks_of(options: argparse.Namespace) -> list[NetworkTask]:
    """Return all networks."""
    sources = [(name, source) for name, _, source in (text.partition("=") for text in options.data)]
    models, images = str(options.models or ""), ALL if options.all_images else TRAIN
    return [
        NetworkTask(name, source, family, 0, models, options.device, images)
        if family in PRETRAINED
        else NetworkTask(name, source, family, seed)
        for name, source in sources
        for family in options.family
        for seed in range(1 if family in PRETRAINED else options.networks)
    ]


def run(options: argparse.Namespace) -> Result:
    """Measure effects of single blocks, or removals of several."""
    tasks, kept = tasks_of(options), KeptOutcomes(options.runs, options.processes)
    if not options.removals:
        seeds = sorted({task.seed for task in tasks})
        figures = summary_of_effects(measure_effects(tasks, kept))
        return Result(options, figures, seeds, earlier_seconds=kept.earlier_seconds)
    rows = measure_removals(
        tasks, kept, options.seeds, options.choices, options.order, options.count
    )
    seeds = list(range(max(options.choices, options.seeds, options.networks)))
    figures = summary_of_removals(rows)
    return Result(options, figures, seeds, earlier_seconds=kept.earlier_seconds)


def show(result: Result) -> None:
    """Print the figures."""
    (show_removals if result.options.removals else show_effects)(result.figures)
