"""Does the diagnosis name what is wrong with a network, and is it silent on a healthy one?

    python -m benchmarks.run diagnosis --data NAME=SOURCE ... [--networks N] [--runs FILE]

Networks with one planted defect each are trained as a search confirms its candidates, one seed per
network, and diagnosed as its report diagnoses them.  Beside each stands its twin: the same network
without the defect, with the same seed.  The difference of their test accuracies says whether the
defect is one.  The thresholds of the diagnosis were chosen on Fashion-MNIST, so that other data
tell more.  That classes that are lost on the way and trainings of few epochs are named, and that
depth is not judged where D does not fall, was decided after a first run on these very data.

On healthy networks every finding and every advice to change a block is a false alarm.  An
under-trained network must be told so, and get no advice on single blocks.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.table import Table
from torch import nn

from benchmarks.claim import Figures, Result
from benchmarks.command import Parser, output_file, positive, wide_console
from benchmarks.kept_outcomes import KeptOutcomes
from benchmarks.statistics import mean_and_t_interval
from designer.analysis.advice import layer_reports
from designer.analysis.contribution import contributions
from designer.analysis.diagnosis import diagnose
from designer.analysis.profile import profile
from designer.analysis.training_runs import TrainingRuns
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.report.views.network import is_edit
from designer.results.diagnosis import FindingKind
from designer.results.measured import Verdict
from designer.search.candidates import train_spec
from designer.training.trainer import Schedule, accuracy
from search_spaces import CnnSpace, CnnSpec, MlpSpace, MlpSpec, Space

NETWORKS = 6
"""Networks of each kind for each data set."""

EPOCHS, FEW_EPOCHS = 50, 2
WIDTH = 100
RATE, SLOW_RATE = 3e-3, 3e-5

TRAIN_SIZE, IMAGE_SIZE = 1000, 10


PERCEPTRONS = MlpSpace()


@dataclass(frozen=True)
class Training:
    """One network, and how it is trained."""

    spec: MlpSpec | CnnSpec
    epochs: int = EPOCHS
    shuffled: bool = False
    """True if all labels are shuffled."""


@dataclass(frozen=True)
class Planted:
    """A kind of network, with the defect that is planted in it."""

    named_by: frozenset[FindingKind]
    """Findings that name the defect; none for a healthy network."""
    draw: Callable[[int], tuple[Training, Training | None]]
    """Returns the network of a seed, and its twin without the defect; None for a healthy one."""
    space: Space[Any] = PERCEPTRONS


def perceptron(seed: int) -> MlpSpec:
    """Return a healthy perceptron, of 3 to 6 blocks."""
    depth, width = 3 + seed % 4, (64, WIDTH, 150)[seed % 3]
    return MlpSpec((width,) * depth, "batch", "relu", RATE)


def _healthy(seed: int) -> tuple[Training, None]:
    return Training(perceptron(seed)), None


def _over_deep(seed: int) -> tuple[Training, Training]:
    six = perceptron(seed)
    deep = replace(six, widths=(WIDTH,) * 16)
    return Training(deep), Training(replace(six, widths=(WIDTH,) * 6))


def _not_normalised(seed: int) -> tuple[Training, Training]:
    widths = (WIDTH,) * (8 + seed % 3)
    normalised = replace(perceptron(seed), widths=widths, learning_rate=RATE / 3)
    return Training(replace(normalised, normalisation="none")), Training(normalised)


def _slow(seed: int) -> tuple[Training, Training]:
    spec = perceptron(seed)
    return Training(replace(spec, learning_rate=SLOW_RATE)), Training(spec)


def _short(seed: int) -> tuple[Training, Training]:
    slow = replace(perceptron(seed), learning_rate=RATE / 10)
    return Training(slow, epochs=FEW_EPOCHS), Training(slow)


def _narrow(seed: int) -> tuple[Training, Training]:
    spec = perceptron(seed)
    place = seed % spec.depth
    widths = (*spec.widths[:place], 4 + seed % 3, *spec.widths[place + 1 :])
    return Training(replace(spec, widths=widths)), Training(spec)


def _memorising(seed: int) -> tuple[Training, Training]:
    spec = perceptron(seed)
    return Training(spec, epochs=2 * EPOCHS, shuffled=True), Training(spec)


def convolutional(seed: int) -> CnnSpec:
    """Return a healthy convolutional network, of 3 to 5 blocks."""
    return CnnSpec((1 + seed % 2, 2 + seed % 2), (16, 16), "batch", RATE)


def _healthy_cnn(seed: int) -> tuple[Training, None]:
    return Training(convolutional(seed)), None


def _short_cnn(seed: int) -> tuple[Training, Training]:
    slow = replace(convolutional(seed), learning_rate=RATE / 10)
    return Training(slow, epochs=FEW_EPOCHS), Training(slow)


NOT_FAR = frozenset({FindingKind.NOT_SOUND, FindingKind.RATE_TOO_LOW})
"""Findings that say that a network was not trained far enough."""

PLANTED = {
    "healthy": Planted(frozenset(), _healthy),
    "healthy CNN": Planted(frozenset(), _healthy_cnn, CnnSpace()),
    "16 blocks": Planted(frozenset({FindingKind.OVER_DEEP}), _over_deep),
    "no normalisation": Planted(frozenset({FindingKind.NOT_SOUND}), _not_normalised),
    "rate a hundredth": Planted(NOT_FAR, _slow),
    "two epochs": Planted(NOT_FAR, _short),
    "two epochs, CNN": Planted(NOT_FAR, _short_cnn, CnnSpace()),
    "a block of 4 to 6 units": Planted(frozenset({FindingKind.TOO_NARROW}), _narrow),
    "shuffled labels": Planted(frozenset({FindingKind.MEMORISING}), _memorising),
}
"""What is planted, by its name in the result file."""

UNDER_TRAINED = ("rate a hundredth", "two epochs", "two epochs, CNN")


@dataclass(frozen=True)
class DiagnosisTask:
    """One network to train and to diagnose."""

    data: str
    source: str
    planted: str
    seed: int


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument(
        "--data", action="append", required=True, metavar="NAME=SOURCE", help="a data set"
    )
    parser.add_argument("--networks", type=positive, default=NETWORKS, help="of each kind and data")
    parser.add_argument("--runs", type=output_file, help="file that keeps what is measured")


def run(options: argparse.Namespace) -> Result:
    """Train and diagnose all networks."""
    tasks = [
        DiagnosisTask(name, source, planted, seed)
        for name, _, source in (text.partition("=") for text in options.data)
        for planted in PLANTED
        for seed in range(options.networks)
    ]
    kept = KeptOutcomes(options.runs)
    rows = kept.measure(diagnosed, tasks, "networks")
    return Result(
        options,
        {"groups": summary_of(rows), "networks": rows},
        seeds=list(range(options.networks)),
        earlier_seconds=kept.earlier_seconds,
    )


def diagnosed(task: DiagnosisTask) -> Figures:
    """Return what is said of one network, and what its defect costs."""
    planted = PLANTED[task.planted]
    training, twin = planted.draw(task.seed)
    data = _data(task, shuffled=training.shuffled)
    model, losses = _trained(planted, training, data, task.seed)
    mended = None
    if twin:
        healthy = _data(task)
        mended = accuracy(_trained(planted, twin, healthy, task.seed)[0], healthy.test)
    return {
        "data": task.data,
        "planted": task.planted,
        "seed": task.seed,
        **said_of(model, training.spec, data, losses),
        "test_accuracy": round(accuracy(model, data.test), 4),
        "test_accuracy_of_twin": None if mended is None else round(mended, 4),
    }


def _data(task: DiagnosisTask, *, shuffled: bool = False) -> Dataset:
    if task.source == "digits":
        return load_dataset(task.source, seed=task.seed, shuffle_labels=shuffled)
    return load_dataset(
        task.source,
        seed=task.seed,
        train_size=TRAIN_SIZE,
        image_size=IMAGE_SIZE,
        shuffle_labels=shuffled,
    )


def _trained(
    planted: Planted, training: Training, data: Dataset, seed: int
) -> tuple[nn.Module, Sequence[float]]:
    model, history = train_spec(
        planted.space,
        training.spec,
        data,
        seed=seed,
        epochs=training.epochs,
        schedule=Schedule.STEP,
    )
    return model, history.losses


def said_of(
    model: nn.Module, spec: MlpSpec | CnnSpec, data: Dataset, losses: Sequence[float]
) -> Figures:
    """Return the findings on a network, its number of blocks, and how many it should change."""
    measured = profile(model, data.train, data.validation)
    blocks = contributions(model, data.train, data.validation)
    findings = diagnose(
        [measured],
        blocks,
        normalised=spec.normalisation != "none",
        runs=TrainingRuns((tuple(losses),), (accuracy(model, data.validation),)),
    )
    layers = layer_reports([measured], blocks)
    return {
        "findings": [finding.kind.name for finding in findings],
        "blocks": len(layers),
        "changes": sum(is_edit(layer.advice) for layer in layers if layer.verdict != Verdict.IDLE),
        "idle": sum(layer.verdict is Verdict.IDLE for layer in layers),
    }


# --- over networks ---


def summary_of(rows: Sequence[Figures]) -> dict[str, dict[str, Figures]]:
    """Return, for each kind of network, the figures of each data set and of all."""
    return {
        planted: {
            name: _summary(planted, group)
            for name, group in _by_data([row for row in rows if row["planted"] == planted])
        }
        for planted in dict.fromkeys(row["planted"] for row in rows)
    }


def _by_data(rows: Sequence[Figures]) -> Iterator[tuple[str, Sequence[Figures]]]:
    for name in dict.fromkeys(row["data"] for row in rows):
        yield name, [row for row in rows if row["data"] == name]
    yield "all", rows


def _summary(planted: str, rows: Sequence[Figures]) -> Figures:
    kinds = {kind.name for kind in PLANTED[planted].named_by}
    gains = [
        row["test_accuracy_of_twin"] - row["test_accuracy"]
        for row in rows
        if row["test_accuracy_of_twin"] is not None
    ]
    return {
        "networks": len(rows),
        "named": sum(bool(kinds & set(row["findings"])) for row in rows),
        "other_findings": sum(bool(set(row["findings"]) - kinds) for row in rows),
        "blocks": sum(row["blocks"] for row in rows),
        "changes": sum(row["changes"] for row in rows),
        "idle": sum(row["idle"] for row in rows),
        "gain_of_twin": mean_and_t_interval(np.array(gains)) if gains else None,
    }


def show(result: Result) -> None:
    """Print the figures."""
    table = Table("planted", "data", "named", "another finding", "blocks to change", "idle", "twin")
    for planted, by_data in result.figures["groups"].items():
        for name, row in by_data.items():
            gain = row["gain_of_twin"]
            table.add_row(
                planted,
                name,
                f"{row['named']} of {row['networks']}" if PLANTED[planted].named_by else "",
                f"{row['other_findings']} of {row['networks']}",
                f"{row['changes']} of {row['blocks']}",
                str(row["idle"]),
                "" if gain is None else f"{100 * gain['mean']:+.1f}",
            )
    wide_console().print(table)
