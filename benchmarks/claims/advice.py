"""Does advice pay, end to end: beside the same edits of other blocks, and random ones.

    python -m benchmarks.run advice --data SOURCE [--networks N] [--edits N] [--runs FILE]

Architectures are drawn from four spaces as a search draws its first trials, with nothing chosen and
nothing planted.  Each is trained and diagnosed as ``designer search`` does it, and then its edits
are tried, with as many training runs in each arm: in the order that its report advises; the same
kinds of edits, but of other blocks than the report names; and all edits in random order.  Which
edit is kept is decided on validation data, by the same rule in all arms, so that also a random
edit that helps is kept, and one that harms is not.  A fourth arm leaves the network as it was.

The networks at the ends are trained for long with fresh seeds, and are compared on test data, which
nothing was chosen on.  A network is worth more than another if it is more accurate; and at the same
accuracy if it is smaller.  Both are shown, with intervals over the networks.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from rich.table import Table

import designer
from benchmarks.claim import Figures, Result
from benchmarks.claims.edits import is_better
from benchmarks.claims.one_candidate import OneCandidate, Order
from benchmarks.command import Parser, output_file, positive, wide_console
from benchmarks.kept_outcomes import KeptOutcomes
from benchmarks.statistics import mean_and_t_interval, rounded
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.errors import DesignerError
from designer.results.search import SearchResult, TriedEdit
from designer.search.candidates import size_of, train_spec
from designer.training.trainer import Schedule, accuracy
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

SPACES: dict[str, tuple[Space[Any], type[Spec]]] = {
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

ARMS = (Order.ADVISED, Order.ELSEWHERE, Order.ANY)


@dataclass(frozen=True)
class AdviceTask:
    """One architecture, by the place that it has among those that were drawn."""

    space: str
    source: str
    number: int
    runs: int


@dataclass(frozen=True)
class LongTask:
    """One architecture to train for long; its spec as pairs of field and value."""

    space: str
    source: str
    spec: tuple[tuple[str, Any], ...]


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument("--data", required=True, help="images, as for `designer search`")
    parser.add_argument(
        "--space", action="append", choices=tuple(SPACES), help="a space [default: all four]"
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
        for space in options.space or SPACES
    ]
    networks = kept.measure(paths_of, tasks, "networks")
    wanted = [
        LongTask(task.space, task.source, hashable(spec))
        for task, network in zip(tasks, networks, strict=True)
        for spec in (network["start"]["spec"], *(arm["spec"] for arm in network["arms"].values()))
    ]
    outcomes = kept.measure(long_accuracies, wanted, "architectures trained for long")
    truths = dict(zip(wanted, outcomes, strict=True))
    rows = [
        _with_truths(task, network, truths) for task, network in zip(tasks, networks, strict=True)
    ]
    seeds = [*range(options.networks), *TEST_SEEDS]
    return Result(options, summary_of(rows), seeds, earlier_seconds=kept.earlier_seconds)


# --- one network ---


def paths_of(task: AdviceTask) -> Figures:
    """Return what is found in one network, and what edits led to, by arm."""
    data, (space, _) = _data(task.source), SPACES[task.space]
    start = drawn(space, task.number, data)
    whole = _searched(task, OneCandidate(space, start), edits=0).recommendations[0]
    arms = {
        order: _end(_searched(task, OneCandidate(space, start, order, task.number), task.runs))
        for order in ARMS
    }
    return {
        "start": {"spec": whole.spec, "parameters": whole.parameters},
        "findings": [str(finding.kind) for finding in whole.diagnosis],
        "arms": arms,
    }


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


def drawn(space: Space[Any], number: int, data: Dataset) -> Spec:
    """Return an architecture of at most ``MAX_FLOPS``, as random search proposes it.

    Args:
        space: where from.
        number: seed of the draw.
        data: the data, which decide the size.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=RandomSampler(seed=number))
    while True:
        spec: Spec = space.suggest(study.ask())
        try:
            size = size_of(space, spec, data.input_shape, data.num_classes)
        except DesignerError:
            continue
        if size.flops is not None and size.flops <= MAX_FLOPS:
            return spec


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


def hashable(spec: Figures) -> tuple[tuple[str, Any], ...]:
    """Return pairs of field and value, without lists."""
    return tuple(
        (name, tuple(value) if isinstance(value, list) else value) for name, value in spec.items()
    )


def long_accuracies(task: LongTask) -> Figures:
    """Return accuracies on test data after long training with each of the fresh seeds."""
    data, (space, kind) = _data(task.source), SPACES[task.space]
    spec = cast("Any", kind)(**dict(task.spec))
    accuracies = []
    for seed in TEST_SEEDS:
        model, _ = train_spec(space, spec, data, seed=seed, epochs=EPOCHS, schedule=Schedule.STEP)
        accuracies.append(round(accuracy(model, data.test), 5))
    return {"accuracies": accuracies}


def _with_truths(task: AdviceTask, network: Figures, truths: dict[LongTask, Figures]) -> Figures:
    """Return the row of one network, with the accuracies of both ends of each arm."""

    def truth(spec: Figures) -> list[float]:
        accuracies: list[float] = truths[LongTask(task.space, task.source, hashable(spec))][
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
    arms = {order: [row["arms"][order] for row in rows] for order in ARMS}
    return {
        "networks": len(rows),
        "test_accuracy": rounded(np.mean([row["arms"][ARMS[0]]["test"][0] for row in rows])),
        "arms": {order: _arm_summary(own) for order, own in arms.items()},
        "leads": {
            order: {
                "points": _interval(_gains(arms[Order.ADVISED]) - _gains(arms[order])),
                "log_size": _interval(_log_sizes(arms[Order.ADVISED]) - _log_sizes(arms[order])),
            }
            for order in ARMS
            if order is not Order.ADVISED
        },
    }


def _arm_summary(arms: Sequence[Figures]) -> Figures:
    changed = [arm for arm in arms if arm["kept"]]
    return {
        "changed": len(changed),
        "better": sum(map(is_better, changed)),
        "kept": sum(arm["kept"] for arm in arms),
        "tried": sum(len(arm["tried"]) for arm in arms),
        "runs": rounded(np.mean([arm["runs"] for arm in arms]), 2),
        "size": rounded(math.exp(float(_log_sizes(arms).mean())), 3),
        "points": _interval(_gains(arms)),
        "log_size": _interval(_log_sizes(arms)),
    }


def _gains(arms: Sequence[Figures]) -> Any:
    """Return the change of test accuracy of each network, in points."""
    return 100 * np.array([np.mean(arm["test"][1]) - np.mean(arm["test"][0]) for arm in arms])


def _log_sizes(arms: Sequence[Figures]) -> Any:
    """Return the logarithm of the share of its parameters that each network ends with."""
    return np.array([math.log(arm["parameters"][1] / arm["parameters"][0]) for arm in arms])


def _interval(values: Any) -> Figures | None:
    return mean_and_t_interval(values) if len(values) > 1 else None


def show(result: Result) -> None:
    """Print the figures."""
    table = Table("space", "order", "changed", "better on test", "size", "points", "advised ahead")
    for name, group in result.figures["groups"].items():
        for order, arm in group["arms"].items():
            lead = group["leads"].get(order)
            table.add_row(
                name,
                order,
                f"{arm['changed']} of {group['networks']}",
                str(arm["better"]),
                f"{arm['size']:.2f}",
                _cell(arm["points"]),
                ""
                if lead is None
                else f"{_cell(lead['points'])}, log size {_cell(lead['log_size'])}",
            )
        table.add_section()
    wide_console().print(table)


def _cell(row: Figures | None) -> str:
    if row is None:
        return "-"
    low, high = row["interval"]
    return f"{row['mean']:+.2f} [{low:+.2f}, {high:+.2f}]"
