"""Does advice pay, end to end: beside the same edits of other blocks, and random ones.

    python -m benchmarks.run advice --data SOURCE [--networks N] [--edits N] [--runs FILE]

Architectures of at most a million operations are drawn from four spaces as a search draws its first
trials, and nothing is planted; one that does not learn, so that nothing can be said of it, is drawn
again.  Each is trained and diagnosed as ``designer search`` does it, and then its edits are tried,
in each arm with at most as many training runs: in the order that its report advises; the same,
except that what the report says of one block is tried with another; and all edits in random order.
The second arm has only the networks where advice on a block was tried, and where the same edit of
another block gives another network: no edit of a vision transformer is of a single block.  The same
rule decides in all arms on validation data which edit is kept, so that a random edit that helps is
kept, too.  A fourth arm leaves the network as it was.

The networks at the ends are trained for long with fresh seeds, and are compared on test data, which
nothing was chosen on.  A network is worth more than another if it is more accurate; and at the same
accuracy if it is smaller.  Both are shown, with intervals over the networks.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from rich.table import Table

import designer
from benchmarks.claim import Figures, Result
from benchmarks.claims.edits import is_better
from benchmarks.claims.moved_advice import MovedAdvice
from benchmarks.claims.one_candidate import OneCandidate, Order, long_accuracies, spec_of
from benchmarks.command import Parser, output_file, positive, wide_console
from benchmarks.kept_outcomes import KeptOutcomes
from benchmarks.statistics import mean_and_t_interval, rounded
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.errors import DesignerError
from designer.results.search import SearchResult, TriedEdit
from designer.search.candidates import size_of
from designer.search.storage.opening import quiet_optuna
from designer.search.study.records import spec_key
from search_spaces import (
    CnnSpace,
    CnnSpec,
    MlpSpace,
    MlpSpec,
    ResnetSpace,
    ResnetSpec,
    Space,
    Spec,
    VitSpace,
    VitSpec,
)

FAMILIES: dict[str, tuple[Space[Any], type[Spec]]] = {
    MlpSpace.name: (MlpSpace(), MlpSpec),
    CnnSpace.name: (CnnSpace(), CnnSpec),
    ResnetSpace.name: (ResnetSpace(), ResnetSpec),
    VitSpace.name: (VitSpace(), VitSpec),
}
"""Spaces and the classes of their specs, by name."""

NETWORKS, RUNS = 15, 12
"""Networks of each space, and training runs of each arm."""

EPOCHS, TEST_SEEDS = 60, (101, 102, 103, 104)
"""Epochs of the long training, and its seeds."""

TRAIN_SIZE, IMAGE_SIZE, MAX_FLOPS = 1000, 12, 1_000_000


class Arm(StrEnum):
    """Which edits are tried."""

    ADVISED = "advised"
    """What the report advises."""
    ELSEWHERE = "elsewhere"
    """The same, but of other blocks than the report names."""
    ANY = "any"
    """All edits, in random order."""


@dataclass(frozen=True)
class AdviceTask:
    """One architecture, by the place that it has among those that were drawn."""

    space: str
    source: str
    number: int
    runs: int


@dataclass(frozen=True)
class LongTask:
    """One architecture to train for long; its spec as JSON."""

    space: str
    source: str
    spec: str


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument("--data", required=True, help="images, as for `designer search`")
    parser.add_argument(
        "--space", action="append", choices=tuple(FAMILIES), help="a space [default: all four]"
    )
    parser.add_argument("--networks", type=positive, default=NETWORKS, help="of each space")
    parser.add_argument("--edits", type=positive, default=RUNS, help="training runs of each arm")
    parser.add_argument("--runs", type=output_file, help="file that keeps what is measured")


def run(options: argparse.Namespace) -> Result:
    """Try edits of every network in each arm, and train the ends for long."""
    kept = KeptOutcomes(options.runs)
    tasks = [
        AdviceTask(space, options.data, number, options.edits)
        for number in range(options.networks)
        for space in options.space or FAMILIES
    ]
    networks = kept.measure(paths_of, tasks, "networks")
    wanted = [
        LongTask(task.space, task.source, spec_key(spec))
        for task, network in zip(tasks, networks, strict=True)
        for spec in (network["start"]["spec"], *(arm["spec"] for arm in network["arms"].values()))
    ]
    outcomes = kept.measure(accuracies_of, wanted, "architectures trained for long")
    truths = dict(zip(wanted, outcomes, strict=True))
    rows = [
        _with_truths(task, network, truths) for task, network in zip(tasks, networks, strict=True)
    ]
    seeds = [*range(options.networks), *TEST_SEEDS]
    figures = {"edits": options.edits, **summary_of(rows)}
    return Result(options, figures, seeds, earlier_seconds=kept.earlier_seconds)


# --- one network ---


def paths_of(task: AdviceTask) -> Figures:
    """Return what is found in one network, and what edits led to, by arm."""
    space, _ = FAMILIES[task.space]
    redrawn, start, first = next(
        (redrawn, start, recommended[0])
        for redrawn, start in enumerate(draws(space, task.number, _data(task.source)))
        if (recommended := _searched(task, OneCandidate(space, start), edits=0).recommendations)
        and recommended[0].roles  # else the network is at chance
    )
    return {
        "redrawn": redrawn,
        "start": {"spec": first.spec, "parameters": first.parameters},
        "findings": [str(finding.kind) for finding in first.diagnosis],
        "arms": {arm: _end(result) for arm, result in _edited(task, space, start)},
    }


def _edited(task: AdviceTask, space: Space[Any], start: Spec) -> Iterator[tuple[Arm, SearchResult]]:
    """Yield the arms of one network, without the second one where no advice could be moved."""
    own = OneCandidate(space, start)
    in_place = MovedAdvice(own, task.number, moved=False)
    with in_place.in_use():
        advised = _searched(task, own, task.runs)
    yield Arm.ADVISED, advised
    if in_place.could_be_moved(advised.tried):
        with MovedAdvice(own, task.number).in_use():
            elsewhere = _searched(task, own, task.runs)
        yield Arm.ELSEWHERE, elsewhere
    yield Arm.ANY, _searched(task, OneCandidate(space, start, Order.ANY, task.number), task.runs)


def _searched(task: AdviceTask, candidate: OneCandidate, edits: int) -> SearchResult:
    """Confirm the candidate, and try edits of it."""
    with tempfile.TemporaryDirectory() as folder:
        return designer.search(
            candidate,
            _data(task.source),
            trials=1,
            confirm=1,
            seed=task.number,
            edits=edits,
            out=folder,
        )


@lru_cache(maxsize=1)
def _data(source: str) -> Dataset:
    if source == "digits":
        return load_dataset(source)
    return load_dataset(source, train_size=TRAIN_SIZE, image_size=IMAGE_SIZE)


def draws(space: Space[Any], number: int, data: Dataset) -> Iterator[Spec]:
    """Yield architectures of at most ``MAX_FLOPS``, as random search proposes them.

    Args:
        space: where from.
        number: seed of the draw.
        data: the data, which decide the size.
    """
    with quiet_optuna():
        study = optuna.create_study(sampler=RandomSampler(seed=number))
    while True:
        spec: Spec = space.suggest(study.ask())
        try:
            size = size_of(space, spec, data.input_shape, data.num_classes)
        except DesignerError:
            continue
        if size.flops is not None and size.flops <= MAX_FLOPS:
            yield spec


def _end(result: SearchResult) -> Figures:
    """Return where an arm ended, and what it tried on the way."""
    whole, *kept = result.confirmed
    last = kept[-1] if kept else whole
    return {
        "spec": last.spec,
        "parameters": last.parameters,
        "kept": len(kept),
        "runs": sum(edit.runs for edit in result.tried),
        "tried": [_tried(edit) for edit in result.tried if edit.runs],
    }


def _tried(edit: TriedEdit) -> Figures:
    return {"kind": edit.kind, "block": edit.block, "runs": edit.runs, "kept": edit.kept}


def accuracies_of(task: LongTask) -> Figures:
    """Return accuracies on test data after long training with each of the fresh seeds."""
    space, kind = FAMILIES[task.space]
    spec = spec_of(json.loads(task.spec), kind)
    return {"accuracies": long_accuracies(space, spec, _data(task.source), EPOCHS, TEST_SEEDS)}


def _with_truths(task: AdviceTask, network: Figures, truths: dict[LongTask, Figures]) -> Figures:
    """Return the row of one network, with the accuracies of both ends of each arm."""

    def truth(spec: Figures) -> list[float]:
        accuracies: list[float] = truths[LongTask(task.space, task.source, spec_key(spec))][
            "accuracies"
        ]
        return accuracies

    start = network["start"]
    before = truth(start["spec"])
    return {
        "space": task.space,
        **network,
        "arms": {
            name: {
                **arm,
                "parameters": [start["parameters"], arm["parameters"]],
                "test": [before, truth(arm["spec"])],
            }
            for name, arm in network["arms"].items()
        },
    }


# --- over networks ---


def summary_of(rows: Sequence[Figures]) -> Figures:
    """Return shares and means over networks, for each space and for all."""
    spaces = dict.fromkeys(row["space"] for row in rows)
    groups = {name: [row for row in rows if row["space"] == name] for name in spaces}
    return {
        "groups": {name: _summary(group) for name, group in {**groups, "all": list(rows)}.items()},
        "networks": list(rows),
    }


def _summary(rows: Sequence[Figures]) -> Figures:
    arms = {arm: [row["arms"][arm] for row in rows if arm in row["arms"]] for arm in Arm}
    return {
        "networks": len(rows),
        "test_accuracy": rounded(np.mean([arm["test"][0] for arm in arms[Arm.ADVISED]])),
        "arms": {arm: _arm_summary(own) for arm, own in arms.items() if len(own) > 1},
        "leads": {
            arm: _lead([row["arms"] for row in rows if arm in row["arms"]], arm)
            for arm, own in arms.items()
            if len(own) > 1 and arm is not Arm.ADVISED
        },
    }


def _lead(networks: Sequence[Figures], rival: Arm) -> Figures:
    """Return by how much advice is ahead, over the networks where the rival was tried."""
    advised, other = ([arms[arm] for arms in networks] for arm in (Arm.ADVISED, rival))
    return {
        "points": mean_and_t_interval(_gains(advised) - _gains(other)),
        "log_size": mean_and_t_interval(_log_sizes(advised) - _log_sizes(other)),
    }


def _arm_summary(arms: Sequence[Figures]) -> Figures:
    changed = [arm for arm in arms if arm["kept"]]
    return {
        "networks": len(arms),
        "changed": len(changed),
        "better": sum(map(is_better, changed)),
        "kept": sum(arm["kept"] for arm in arms),
        "tried": sum(len(arm["tried"]) for arm in arms),
        "runs": rounded(np.mean([arm["runs"] for arm in arms]), 2),
        "size": rounded(math.exp(float(_log_sizes(arms).mean())), 3),
        "points": mean_and_t_interval(_gains(arms)),
        "log_size": mean_and_t_interval(_log_sizes(arms)),
    }


def _gains(arms: Sequence[Figures]) -> Any:
    """Return the change of test accuracy of each network, in points."""
    return 100 * np.array([np.mean(arm["test"][1]) - np.mean(arm["test"][0]) for arm in arms])


def _log_sizes(arms: Sequence[Figures]) -> Any:
    """Return the logarithm of the share of its parameters that each network ends with."""
    return np.array([math.log(arm["parameters"][1] / arm["parameters"][0]) for arm in arms])


def show(result: Result) -> None:
    """Print the figures."""
    table = Table("space", "arm", "changed", "better on test", "size", "points", "advised ahead")
    for name, group in result.figures["groups"].items():
        for arm, row in group["arms"].items():
            lead = group["leads"].get(arm)
            table.add_row(
                name,
                arm,
                f"{row['changed']} of {row['networks']}",
                str(row["better"]),
                f"{row['size']:.2f}",
                _cell(row["points"]),
                f"{_cell(lead['points'])}, log size {_cell(lead['log_size'])}" if lead else "",
            )
        table.add_section()
    wide_console().print(table)


def _cell(row: Figures) -> str:
    low, high = row["interval"]
    return f"{row['mean']:+.2f} [{low:+.2f}, {high:+.2f}]"
