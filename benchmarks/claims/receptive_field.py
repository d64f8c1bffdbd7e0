"""Are convolutions surplus if what they receive sees the whole image already?

    python -m benchmarks.run receptive_field --data NAME=SOURCE ... [--runs FILE]

Plain CNNs, whose blocks all have one width, are trained as they are, without the blocks that a
rule flags, and without as many blocks from the front.  All are trained from scratch with the same
seeds, so the differences of their test accuracies are paired.  One rule flags what sees nothing new
at the centre of the image, as ``rfa_toolbox`` does, the other what sees nothing new anywhere.  The
bounds were fixed in advance: a rule is right if the networks lose at most ``FREE`` on average
without what it flags, with the whole interval above ``LEAST``.  Reports would give a hint by a rule
that is right; there is none so far.

The largest receptive fields of ResNet-20 and ResNet-56 are compared with those of ``rfa_toolbox``,
if that is installed (see ``peer_tools``).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rich.table import Table

from benchmarks.claim import Figures, Result
from benchmarks.claims.convolution_fields import ConvolutionField, convolution_fields
from benchmarks.claims.peer_tools import NotApplicable, graph_by_rfa
from benchmarks.claims.pretrained_resnets import BLOCKS_PER_STAGE, CifarResnet
from benchmarks.command import Parser, output_file, positive, wide_console
from benchmarks.kept_outcomes import KeptOutcomes
from benchmarks.statistics import mean_and_t_interval
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.search.candidates import train_spec
from designer.training.trainer import Schedule, accuracy
from search_spaces import CnnSpace, CnnSpec

SEEDS = 3

DEPTHS = ((3, 4), (4, 6), (2, 2, 4), (3, 3, 3))
"""Blocks per stage of the networks that are trained."""

WIDTH, RATE, EPOCHS, TRAIN_SIZE = 16, 3e-3, 25, 1000

IMAGE_SIZES = (10, 16)

FREE, LEAST = 0.005, -0.01
"""Most accuracy that may be lost without the flagged blocks, and the least lower bound."""

CENTRE, ANYWHERE = "at the centre", "anywhere"
"""The rules, by where a convolution sees nothing new."""

WHOLE, UNFLAGGED, SHORTENED = "whole", "without flagged", "without as many in front"
"""The networks that are compared."""


@dataclass(frozen=True)
class FieldTask:
    """One architecture to train in all forms."""

    data: str
    source: str
    image_size: int
    depths: tuple[int, ...]
    seed: int
    epochs: int


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument(
        "--data", action="append", required=True, metavar="NAME=SOURCE", help="a data set"
    )
    parser.add_argument("--seeds", type=positive, default=SEEDS, help="networks of each kind")
    parser.add_argument("--epochs", type=positive, default=EPOCHS, help="of every training")
    parser.add_argument("--runs", type=output_file, help="file that keeps what is measured")


def run(options: argparse.Namespace) -> Result:
    """Train all networks in all forms."""
    tasks = [
        FieldTask(name, source, size, depths, seed, options.epochs)
        for seed in range(options.seeds)
        for name, _, source in (text.partition("=") for text in options.data)
        for size in IMAGE_SIZES
        for depths in DEPTHS
    ]
    kept = KeptOutcomes(options.runs)
    rows = kept.measure(trained_forms, tasks, "networks")
    figures = {
        "groups": summary_of(rows),
        "peers": {name: agreement_with_rfa(name) for name in BLOCKS_PER_STAGE},
        "networks": rows,
    }
    return Result(
        options, figures, list(range(options.seeds)), earlier_seconds=kept.earlier_seconds
    )


def trained_forms(task: FieldTask) -> Figures:
    """Return the test accuracies of one architecture, whole and without some of its blocks."""
    data = load_dataset(
        task.source, seed=task.seed, train_size=TRAIN_SIZE, image_size=task.image_size
    )
    fields = fields_of(task.depths, data)
    flagged = {
        CENTRE: [block for block, field in fields.items() if field.nothing_new_at_centre],
        ANYWHERE: [block for block, field in fields.items() if field.nothing_new_anywhere],
    }
    forms = {
        rule: {
            WHOLE: task.depths,
            UNFLAGGED: without(task.depths, blocks),
            SHORTENED: without_front(task.depths, len(blocks)),
        }
        for rule, blocks in flagged.items()
    }
    different = dict.fromkeys(depths for by_name in forms.values() for depths in by_name.values())
    accuracies = {depths: round(_accuracy(depths, data, task), 4) for depths in different}
    return {
        "data": task.data,
        "image_size": task.image_size,
        "depths": list(task.depths),
        "seed": task.seed,
        "flagged": {rule: len(blocks) for rule, blocks in flagged.items()},
        "test_accuracy": {
            rule: {name: accuracies[depths] for name, depths in by_name.items()}
            for rule, by_name in forms.items()
        },
    }


def fields_of(depths: tuple[int, ...], data: Dataset) -> dict[tuple[int, int], ConvolutionField]:
    """Return what each convolution receives, by the stage and the place of its block."""
    model = CnnSpace().build(_spec(depths), data.input_shape, data.num_classes)
    fields = convolution_fields(model, data.train.inputs[:1])
    names = [field.name.split(".") for field in fields]
    places = [(int(stage), int(block)) for _, stage, block, _ in names]
    return dict(zip(places, fields, strict=True))


def without(depths: Sequence[int], blocks: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Return the depths without some blocks; a stage that is left without any goes, too."""
    left = [
        depth - sum(stage == place for stage, _ in blocks) for place, depth in enumerate(depths)
    ]
    return tuple(depth for depth in left if depth)


def without_front(depths: Sequence[int], count: int) -> tuple[int, ...]:
    """Return the depths without the first blocks of the first stages, one at least left in each.

    Where that is not enough, the first stages go.
    """
    left = list(depths)
    for place in range(len(left)):
        gone = min(count, left[place] - 1)
        left[place] -= gone
        count -= gone
    return tuple(left[count:])


def _spec(depths: tuple[int, ...]) -> CnnSpec:
    return CnnSpec(depths, (WIDTH,) * len(depths), "batch", RATE)


def _accuracy(depths: tuple[int, ...], data: Dataset, task: FieldTask) -> float:
    model, _ = train_spec(
        CnnSpace(), _spec(depths), data, seed=task.seed, epochs=task.epochs, schedule=Schedule.STEP
    )
    return accuracy(model, data.test)


def agreement_with_rfa(name: str) -> Figures:
    """Return how many largest receptive fields of a ResNet are those of ``rfa_toolbox``."""
    model = CifarResnet(BLOCKS_PER_STAGE[name]).eval()
    shape = (3, 32, 32)
    ours = [field.gives.largest[0] for field in convolution_fields(model, torch.zeros(1, *shape))]
    try:
        graph = graph_by_rfa(model, shape)
    except NotApplicable as reason:
        return {"reason": str(reason)}
    theirs = [
        float(np.max(node.receptive_field_max))
        for node in graph.all_layers
        if node.layer_info.name.startswith("Conv")
    ]
    pairs = zip(sorted(ours), sorted(theirs), strict=False)
    return {
        "convolutions": [len(ours), len(theirs)],
        "equal": sum(mine == other for mine, other in pairs),
    }


# --- over networks ---


def summary_of(rows: Sequence[Figures]) -> list[Figures]:
    """Return the changes by each rule, for each data set and size of images and for all."""
    kinds = dict.fromkeys((row["data"], row["image_size"]) for row in rows)
    groups = [
        {"data": data, "image_size": size, "rule": rule, **_summary(members, rule)}
        for data, size in kinds
        for members in [[r for r in rows if (r["data"], r["image_size"]) == (data, size)]]
        for rule in (CENTRE, ANYWHERE)
    ]
    everything = [
        {"data": "all", "image_size": None, "rule": rule, **_summary(rows, rule)}
        for rule in (CENTRE, ANYWHERE)
    ]
    return [*groups, *everything]


def _summary(rows: Sequence[Figures], rule: str) -> Figures:
    flagged = [row for row in rows if row["flagged"][rule]]
    if not flagged:
        return {"networks": len(rows), "flagged": 0}
    columns = {
        name: np.array([row["test_accuracy"][rule][name] for row in flagged])
        for name in (WHOLE, UNFLAGGED, SHORTENED)
    }
    return {
        "networks": len(rows),
        "flagged": len(flagged),
        "blocks": sum(sum(row["depths"]) for row in flagged),
        "flagged_blocks": sum(row["flagged"][rule] for row in flagged),
        "whole": round(float(columns[WHOLE].mean()), 4),
        "change": {
            name: mean_and_t_interval(columns[name] - columns[WHOLE])
            for name in (UNFLAGGED, SHORTENED)
        },
    }


def is_right(change: Figures) -> bool:
    """Return True if a change of accuracy is within the bounds."""
    low = change["interval"][0]
    return bool(change["mean"] >= -FREE and low is not None and low > LEAST)


def show(result: Result) -> None:
    """Print the changes."""
    table = Table("data", "pixels", "nothing new", "networks", "blocks flagged", "whole")
    for name in (UNFLAGGED, SHORTENED):
        table.add_column(name)
    for group in result.figures["groups"]:
        if group["flagged"]:
            table.add_row(
                group["data"],
                str(group["image_size"] or ""),
                group["rule"],
                f"{group['flagged']} of {group['networks']}",
                f"{group['flagged_blocks']} of {group['blocks']}",
                f"{100 * group['whole']:.1f}",
                *(f"{100 * group['change'][n]['mean']:+.1f}" for n in (UNFLAGGED, SHORTENED)),
            )
    wide_console().print(table)
    wide_console().print(result.figures["peers"])
