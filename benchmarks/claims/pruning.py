"""Which criterion tells the blocks that a network can lose, and what that costs.

    python -m benchmarks.run pruning --data NAME=SOURCE ...
    python -m benchmarks.run pruning --best --data NAME=SOURCE ...
    python -m benchmarks.run pruning --max-drop 0.01 --data NAME=SOURCE ...

Networks of 10 blocks (the transformer of 6) are trained, and 2, 4 and 6 blocks are removed in the
order of each criterion, with the same recovery after each.  They are compared with the choice of
greedy ablation and with networks of the same size from scratch.  To see what an order is worth by
itself, removals are also measured with as little fitting as possible and one training, as other
tools do it.  Costs are
counted in passes of the training data through the network, where a training step counts as three.
Recovery, orders and bounds are the product's defaults, and none was chosen on these data.
``--best`` measures the better of two orders, found as the product finds the better of its three,
beside these two and random
ones; that there is a choice was decided after the transformers' table had been seen.  With
``--max-drop`` the product decides by itself how many blocks go; that it tries far removals before
near ones was decided after a first run on these very data.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.claim import Figures, Result
from benchmarks.claims.pruning_best import choose, chosen, show_chosen
from benchmarks.claims.pruning_drop import decide, decided, show_decided
from benchmarks.claims.pruning_networks import FAMILIES, IMAGE_SIZE, TRAIN_SIZE, Task
from benchmarks.claims.pruning_orders import compare, compared, show_compared
from benchmarks.command import Parser, positive
from benchmarks.processes import in_processes


@dataclass(frozen=True)
class Question:
    """One of the three questions of this claim."""

    measure: Callable[[Task], Figures]
    """Measures one network."""
    summary: Callable[[Sequence[Figures]], Figures]
    """Summarises what was measured of all networks."""
    show: Callable[[Figures], None]
    """Prints the summary."""
    seeds: int
    """Default number of networks of each kind."""


ORDERS = Question(compare, compared, show_compared, seeds=3)
BEST = Question(choose, chosen, show_chosen, seeds=3)
DROP = Question(decide, decided, show_decided, seeds=10)


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument(
        "--data", action="append", required=True, metavar="NAME=SOURCE", help="a data set"
    )
    parser.add_argument("--family", action="append", choices=list(FAMILIES), help="only these")
    parser.add_argument("--seeds", type=positive, help="networks of each kind")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--best", action="store_true", help="the better of two orders")
    mode.add_argument("--max-drop", type=float, help="let the product decide how many go")
    parser.add_argument("--train-size", type=positive, default=TRAIN_SIZE, help="samples in use")
    parser.add_argument("--image-size", type=positive, default=IMAGE_SIZE, help="in pixels")


def question_of(options: argparse.Namespace) -> Question:
    """Return the question that the options ask."""
    if options.max_drop is not None:
        return DROP
    return BEST if options.best else ORDERS


def run(options: argparse.Namespace) -> Result:
    """Train the networks and answer the question on each."""
    question = question_of(options)
    seeds = list(range(options.seeds or question.seeds))
    sources = (source.partition("=") for source in options.data)
    tasks = [
        Task(name, source, family, seed, options.max_drop, options.train_size, options.image_size)
        for name, _, source in sources
        for family in options.family or FAMILIES
        for seed in seeds
    ]
    rows = list(in_processes(question.measure, tasks, "networks"))
    return Result(options, question.summary(rows), seeds)


def show(result: Result) -> None:
    """Print the answer."""
    question_of(result.options).show(result.figures)
