"""Which tool names the block that does nothing: ours, ``delve`` or ``rfa_toolbox``?

    python -m benchmarks.run peers --data NAME=SOURCE ... [--seeds N] [--runs FILE]

Networks of four families with one planted defect each, and healthy ones, are trained and shown to
every tool.  ``planted_networks`` says what is planted and ``peer_tools`` how the output of each
tool is read.  Recall is the share of the planted blocks that are flagged, for whatever reason; the
advice is right if it is one of ``RIGHT``.  Surplus depth is found if a tool says so of the network,
or flags at least half of the surplus blocks.  Every other flagged block is a false alarm; it is a
costly one unless the network as it is keeps its accuracy on test data, up to ``FREE``, when a
stand-in takes the place of that block.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rich.table import Table
from torch import nn

from benchmarks.claim import Figures, Result
from benchmarks.claims.peer_tools import (
    FEWER,
    NARROW,
    REMOVE,
    TOOLS,
    WIDEN,
    Flags,
    NotApplicable,
    timed,
)
from benchmarks.claims.planted_networks import Defect, Family, PlantedNetwork, PlantedSpec
from benchmarks.command import Parser, output_file, positive, wide_console
from benchmarks.kept_outcomes import KeptOutcomes
from benchmarks.statistics import rounded
from designer import contributions
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.training.trainer import Schedule, accuracy, build_seeded, train

SEEDS = 6
"""Networks of each family with each defect, for each data set."""

EPOCHS = {False: 50, True: 25}
"""Epochs of training, by whether the network takes images."""

RATE = 3e-3

TRAIN_SIZE, IMAGE_SIZE = 1000, 10

FREE = 0.01
"""An alarm is costly if the accuracy on test data falls by more than this without the block."""

RIGHT: dict[Defect, frozenset[str]] = {
    Defect.IDENTITY: frozenset({REMOVE}),
    Defect.BOTTLENECK: frozenset({WIDEN, REMOVE}),
    Defect.DEAD: frozenset({REMOVE, NARROW}),
    Defect.WIDE: frozenset({NARROW}),
    Defect.FROZEN: frozenset({REMOVE}),
    Defect.DEEP: frozenset({REMOVE, FEWER}),
}
"""The advice that helps against each defect."""


@dataclass(frozen=True)
class PeersTask:
    """One network to train and to show to all tools."""

    data: str
    source: str
    family: str
    defect: str
    seed: int


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument(
        "--data", action="append", required=True, metavar="NAME=SOURCE", help="a data set"
    )
    parser.add_argument("--seeds", type=positive, default=SEEDS, help="networks of each kind")
    parser.add_argument(
        "--family", action="append", choices=[str(f) for f in Family], help="only these"
    )
    parser.add_argument("--runs", type=output_file, help="file that keeps what is measured")


def run(options: argparse.Namespace) -> Result:
    """Train all networks and ask all tools."""
    tasks = [
        PeersTask(name, source, str(family), str(defect), seed)
        for seed in range(options.seeds)
        for name, _, source in (text.partition("=") for text in options.data)
        for family in options.family or Family
        for defect in Defect
    ]
    kept = KeptOutcomes(options.runs)
    rows = kept.measure(asked, tasks, "networks")
    return Result(
        options,
        {"groups": summary_of(rows), "healthy": healthy_of(rows), "networks": rows},
        seeds=list(range(options.seeds)),
        earlier_seconds=kept.earlier_seconds,
    )


def asked(task: PeersTask) -> Figures:
    """Return what every tool says of one network."""
    spec = PlantedSpec(Family(task.family), Defect(task.defect), task.seed)
    data = _data(task)
    model = _trained(spec, data)
    names = [f"blocks.{i}" for i in spec.planted]
    costs = _costs(model, data)
    tools: Figures = {}
    for tool in TOOLS:
        try:
            flags, seconds = timed(tool, model, data)
        except NotApplicable as reason:
            tools[tool] = {"reason": str(reason)}
            continue
        tools[tool] = {**judged(flags, names, spec.defect, costs), "seconds": round(seconds, 2)}
    return {
        "data": task.data,
        "family": task.family,
        "defect": task.defect,
        "seed": task.seed,
        "blocks": spec.depth + 1,
        "planted": names,
        "test_accuracy": round(accuracy(model, data.test), 4),
        "tools": tools,
    }


def _data(task: PeersTask) -> Dataset:
    if task.source == "digits":
        return load_dataset(task.source, seed=task.seed)
    return load_dataset(task.source, seed=task.seed, train_size=TRAIN_SIZE, image_size=IMAGE_SIZE)


def _trained(spec: PlantedSpec, data: Dataset) -> nn.Module:
    model = build_seeded(
        lambda: PlantedNetwork(spec, data.input_shape, data.num_classes),
        spec.seed,
        torch.device("cpu"),
    )
    train(
        model,
        data.train,
        epochs=EPOCHS[spec.family.of_images],
        learning_rate=RATE,
        seed=spec.seed,
        schedule=Schedule.STEP,
    )
    return model


def _costs(model: nn.Module, data: Dataset) -> dict[str, float]:
    """Return what each block is worth: the accuracy on test data that is lost without it.

    A block that nothing can take the place of is worth all.
    """
    return {
        block.name: -block.contribution.accuracy.value
        if block.contribution and block.contribution.accuracy
        else 1.0
        for block in contributions(model, data.train, data.test)
    }


def judged(
    flags: Flags, planted: Sequence[str], defect: Defect, costs: Mapping[str, float]
) -> Figures:
    """Return whether a tool named the planted blocks and advised well, and its false alarms.

    Args:
        flags: what the tool says.
        planted: the blocks with the defect.
        defect: what was planted.
        costs: the accuracy that is lost without each block.
    """
    alarms = set(flags.blocks) - set(planted)
    hits = [flags.blocks[name] for name in planted if name in flags.blocks]
    right = RIGHT.get(defect, frozenset())
    if defect is Defect.DEEP:
        enough = 2 * len(hits) >= len(planted)
        named = enough or FEWER in flags.whole
        advised = FEWER in flags.whole or (enough and any(hit & right for hit in hits))
    else:
        named, advised = bool(hits), any(hit & right for hit in hits)
    return {
        "named": named,
        "right": advised,
        "false_alarms": len(alarms),
        "costly_alarms": sum(costs[name] > FREE for name in alarms),
        "too_deep": FEWER in flags.whole,
        "findings": list(flags.findings),
        "flagged": {name: sorted(advice) for name, advice in flags.blocks.items()},
    }


# --- over networks ---


def summary_of(rows: Sequence[Figures]) -> list[Figures]:
    """Return recall, right advice and false alarms, for each defect in each family and in all."""
    planted = [row for row in rows if row["defect"] != Defect.NONE]
    return [
        {"defect": defect, "family": family, "networks": len(group), "tools": _by_tool(group)}
        for defect in dict.fromkeys(row["defect"] for row in planted)
        for family, group in _by_family([row for row in planted if row["defect"] == defect])
    ]


def healthy_of(rows: Sequence[Figures]) -> list[Figures]:
    """Return the false alarms on healthy networks, for each family and for all."""
    healthy = [row for row in rows if row["defect"] == Defect.NONE]
    return [
        {"family": family, "networks": len(group), "tools": _by_tool(group)}
        for family, group in _by_family(healthy)
    ]


def _by_family(rows: Sequence[Figures]) -> Iterator[tuple[str, Sequence[Figures]]]:
    for family in dict.fromkeys(row["family"] for row in rows):
        yield family, [row for row in rows if row["family"] == family]
    yield "all", rows


def _by_tool(rows: Sequence[Figures]) -> Figures:
    return {tool: _summary(tool, rows) for tool in TOOLS}


def _summary(tool: str, rows: Sequence[Figures]) -> Figures:
    """Return the figures of a tool; networks that it says nothing of count as not named."""
    judgements = [(row, row["tools"][tool]) for row in rows if "reason" not in row["tools"][tool]]

    def total(of: Callable[[Figures, Figures], int]) -> int:
        return sum(of(row, judgement) for row, judgement in judgements)

    return {
        "asked": len(judgements),
        "named": total(lambda _, judgement: judgement["named"]),
        "right": total(lambda _, judgement: judgement["right"]),
        "false_alarms": total(lambda _, judgement: judgement["false_alarms"]),
        "costly_alarms": total(lambda _, judgement: judgement["costly_alarms"]),
        "other_blocks": total(lambda row, _: row["blocks"] - len(row["planted"])),
        "too_deep": total(lambda _, judgement: judgement["too_deep"]),
        "seconds": rounded(np.mean([judgement["seconds"] for _, judgement in judgements]), 2)
        if judgements
        else None,
    }


def show(result: Result) -> None:
    """Print the figures over all families."""
    table = Table("defect", *TOOLS)
    table.title = (
        "named (right advice) of all networks; false alarms (costly ones) of all other blocks"
    )
    for row in result.figures["groups"]:
        if row["family"] == "all":
            by_tool = [row["tools"][tool] for tool in TOOLS]
            table.add_row(row["defect"], *(_cell(tool, row["networks"]) for tool in by_tool))
    for row in result.figures["healthy"]:
        if row["family"] == "all":
            by_tool = [row["tools"][tool] for tool in TOOLS]
            alarms = (
                f"{tool['false_alarms']} ({tool['costly_alarms']}) of {tool['other_blocks']}"
                for tool in by_tool
            )
            table.add_row(Defect.NONE, *alarms)
    wide_console().print(table)


def _cell(figures: Figures, networks: int) -> str:
    return (
        f"{figures['named']} ({figures['right']}) of {networks}; "
        f"{figures['false_alarms']} ({figures['costly_alarms']}) of {figures['other_blocks']}"
    )
