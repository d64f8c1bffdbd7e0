"""The figures of He & Su (PNAS 2023), reproduced: what the paper says, and what was measured.

    python -m benchmarks.run paper --figure all --runs FILE.jsonl [--json FILE]
    python -m benchmarks.run paper --quick

Every network is one line of the runs' file, so that a run that was stopped continues where it
was.  The setting is the paper's unless a figure says otherwise: 1,000 training images of 10x10
pixels, Linear-BatchNorm-ReLU of width 100, batches of 128, weight decay 5e-4, a learning rate that
falls to a tenth at a third and at two thirds of the run.  The rate itself is tuned for every kind
of network, by validation accuracy in a pilot run of a fifth of the epochs with a seed that no
figure uses.  D is taken on the training images, on the input and after every block.

``--quick`` is the same on the bundled digits with fewer epochs and seeds: it shows that everything
runs, and no figure of it is worth quoting.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import nn

from benchmarks.claim import Figures
from benchmarks.command import Parser, say, wide_console
from benchmarks.processes import in_processes
from benchmarks.statistics import rounded
from designer.analysis.profile import profile
from designer.data.dataset import Dataset, LabelledTensors
from designer.data.loading import load_dataset
from designer.errors import InvalidInputError, TrialFailed
from designer.measures.law import HOLDS_FROM, fit_law
from designer.results.layers import MeanSd
from designer.results.measured import measured
from designer.training.trainer import (
    WEIGHT_DECAY,
    MakeOptimizer,
    Schedule,
    accuracy,
    adam,
    build_seeded,
    train,
)
from search_spaces import CnnSpace, CnnSpec, MlpSpace, MlpSpec, ResnetSpace, ResnetSpec

Row = Mapping[str, Any]

TRAIN_SIZE, IMAGE_SIZE = 1000, 10
WIDTH = 100
SEEDS, PILOT_SEED = (0, 1, 2, 3, 4), 100
PILOT_SHARE = 5
"""A pilot has the epochs of its run over this."""

EPOCHS, SHORTER = 600, 200
"""Of the paper, and where many networks are compared."""

QUICK_SHARE, QUICK_SEEDS, QUICK_EPOCHS = 10, (0, 1), 20
"""What ``--quick`` divides epochs by, its seeds, and the fewest epochs."""

QUICK_WIDEST = 200
"""Wider networks are as wide as this in ``--quick``."""

MINORITY = 5
"""How many times more images the larger half of the classes has in the imbalanced data."""

RATES = {
    "adam": (1e-2, 3e-3, 1e-3, 3e-4),
    "momentum": (1e-1, 3e-2, 1e-2, 3e-3),
    "sgd": (3e-1, 1e-1, 3e-2, 1e-2),
}

FOLLOWS = -0.95
"""Pearson's r of log D up to which a network is said to follow the law, as the paper judges."""

OPTIMIZERS: dict[str, MakeOptimizer] = {
    "adam": adam,
    "momentum": lambda parameters, rate: torch.optim.SGD(
        parameters, lr=rate, momentum=0.9, weight_decay=WEIGHT_DECAY
    ),
    "sgd": lambda parameters, rate: torch.optim.SGD(parameters, lr=rate, weight_decay=WEIGHT_DECAY),
}


@dataclass(frozen=True)
class Run:
    """One network to train."""

    kind: str = "mlp"
    widths: tuple[int, ...] = (WIDTH,) * 8
    data: str = "Fashion-MNIST"
    seed: int = 0
    epochs: int = EPOCHS
    optimizer: str = "adam"
    learning_rate: float = 0.0
    """0 to be tuned."""
    normalisation: str = "batch"
    frozen: str = ""
    """Which half of the blocks keeps its initial weights: ``first``, ``last`` or none."""
    shuffled: bool = False
    """Labels without meaning."""
    imbalanced: bool = False
    until_loss: float = 0.0
    """Training loss at which to stop; 0 for never."""
    looks: tuple[int, ...] = ()
    """Epochs after which to look inside, besides the last."""


@dataclass(frozen=True)
class Figure:
    """One claim of the paper."""

    says: str
    runs: Mapping[str, Run]
    """By condition."""
    agrees: Callable[[Mapping[str, Figures]], bool]
    """From the means of each condition, by its name."""


def follows(group: Figures) -> bool:
    """Whether networks follow the law, judged as the paper does."""
    return bool(group["r"]["mean"] is not None and group["r"]["mean"] <= FOLLOWS)


def uniformity(group: Figures) -> float:
    """Mean over the seeds; -1 where it does not exist."""
    value = group["uniformity"]["mean"]
    return -1.0 if value is None else float(value)


def all_follow(groups: Mapping[str, Figures]) -> bool:
    """Whether every condition follows the law."""
    return all(follows(group) for group in groups.values())


def none_follows(groups: Mapping[str, Figures]) -> bool:
    """Whether no condition does."""
    return not any(follows(group) for group in groups.values())


def depth_matters(groups: Mapping[str, Figures]) -> bool:
    """Whether on every data set the steps are most equal at some depth between the extremes."""
    by_data: dict[str, list[float]] = {}
    for name, group in groups.items():
        by_data.setdefault(name.partition(", ")[0], []).append(uniformity(group))
    return all(0 < int(np.argmax(values)) < len(values) - 1 for values in by_data.values())


def narrow_breaks(groups: Mapping[str, Figures]) -> bool:
    """Whether the narrowest follows least, and the widest gains little over the middle."""
    narrow, middle, wide = (uniformity(group) for group in groups.values())
    return narrow < middle and wide - middle < middle - narrow


def frozen_is_worse(groups: Mapping[str, Figures]) -> bool:
    """Whether frozen networks follow less and are less often right at the same loss."""
    standard, *frozen = groups.values()
    return all(
        uniformity(one) < uniformity(standard)
        and one["test_accuracy"]["mean"] < standard["test_accuracy"]["mean"]
        for one in frozen
    )


def blocks_not_layers(groups: Mapping[str, Figures]) -> bool:
    """Whether the blocks follow the law better than all layers do."""
    return all(
        follows(one) and uniformity(one) > one["inner_uniformity"]["mean"]
        for one in groups.values()
    )


def emerges(groups: Mapping[str, Figures]) -> bool:
    """Whether at first the law is not there, and in the end it is."""
    return all(
        follows(one) and next(iter(one["emergence"].values()))["r"] > FOLLOWS
        for one in groups.values()
    )


DATA = ("digits", "MNIST", "Fashion-MNIST")
DEPTHS = (2, 4, 6, 8, 12, 16, 20)
LOOKS = (1, 3, 10, 30, 100, 300)
TAPERED = (200, 150, 120, 90, 70, 50, 40, 30)


def deep(depth: int, width: int = WIDTH, **other: Any) -> Run:
    """A perceptron of constant width."""
    return Run(widths=(width,) * depth, **other)


FIGURES: dict[str, Figure] = {
    "optimisers": Figure(
        "The law holds for SGD, momentum and Adam, at 4, 8 and 20 layers.",
        {
            f"{optimizer}, {depth} layers": deep(depth, optimizer=optimizer)
            for optimizer in RATES
            for depth in (4, 8, 20)
        },
        all_follow,
    ),
    "emergence": Figure(
        "At first D does not fall from layer to layer; the law emerges during training.",
        {f"{depth} layers": deep(depth, looks=LOOKS) for depth in (4, 8, 20)},
        emerges,
    ),
    "depth": Figure(
        "Too shallow or too deep a network follows the law less; harder data want more depth.",
        {
            f"{data}, {depth} layers": deep(depth, data=data, epochs=SHORTER)
            for data in DATA
            for depth in DEPTHS
        },
        depth_matters,
    ),
    "width": Figure(
        "Very narrow networks break the law; very wide ones gain little.",
        {f"width {w}": deep(8, w, epochs=SHORTER // 2) for w in (20, 100, 1000)},
        narrow_breaks,
    ),
    "shapes": Figure(
        "The law holds for widths that grow, shrink or alternate.",
        {
            "narrow to wide": Run(widths=TAPERED[::-1], epochs=SHORTER),
            "wide to narrow": Run(widths=TAPERED, epochs=SHORTER),
            "mixed": Run(widths=(150, 50) * 4, epochs=SHORTER),
        },
        all_follow,
    ),
    "frozen": Figure(
        "At equal training loss networks with a frozen half follow the law less and generalise "
        "less.",
        {
            name: Run(frozen=half, until_loss=0.05, epochs=SHORTER)
            for name, half in (("standard", ""), ("first half", "first"), ("last half", "last"))
        },
        frozen_is_worse,
    ),
    "imbalance": Figure(
        "The law holds where half of the classes have a fifth of the images.",
        {"500 and 100 per class": Run(data="MNIST", imbalanced=True, epochs=SHORTER)},
        all_follow,
    ),
    "residual": Figure(
        "In residual networks the law holds from block to block, not from layer to layer.",
        {"ResNet of 8 blocks": Run("resnet", (8, 16), data="MNIST", epochs=40)},
        blocks_not_layers,
    ),
    "convolutions": Figure(
        "The law holds in plain convolutional networks.",
        {"VGG-like, 6 layers": Run("vgg", (16, 32), data="MNIST", epochs=60)},
        all_follow,
    ),
    "no normalisation": Figure(
        "Without normalisation deep networks do not follow the law.",
        {f"{d} layers": deep(d, normalisation="none", epochs=SHORTER) for d in (8, 20)},
        none_follows,
    ),
    "linear": Figure(
        "Networks without activation functions do not follow the law.",
        {"8 linear layers": Run("linear", epochs=SHORTER)},
        none_follows,
    ),
    "shuffled": Figure(
        "(A later re-implementation:) the law also holds for labels without meaning.",
        {"8 layers": Run(shuffled=True)},
        all_follow,
    ),
}


def main(arguments: Sequence[str]) -> None:
    """Train what is missing, print, and write the result file where asked to."""
    given = _arguments(arguments)
    started = time.perf_counter()
    names = list(FIGURES) if "all" in given.figure else given.figure
    figures = {name: FIGURES[name] for name in names}
    seeds: Sequence[int] = SEEDS
    if given.quick:
        figures = {name: quick(figure) for name, figure in figures.items()}
        seeds = QUICK_SEEDS
    runs = Runs(given.runs, {"MNIST": given.mnist, "Fashion-MNIST": given.fashion})
    wanted = [one for figure in figures.values() for one in figure.runs.values()]
    tuned = tune(list(dict.fromkeys(wanted)), runs)
    runs.train([replace(tuned[one], seed=seed) for one in tuned for seed in seeds])
    found = {name: summary(figure, tuned, seeds, runs) for name, figure in figures.items()}
    show(found)
    if given.json:
        seconds = time.perf_counter() - started
        meta = meta_of("paper", arguments, seeds=seeds, seconds=seconds)
        write_result(given.json, {"figures": found}, {**meta, "network_seconds": runs.seconds})


def quick(figure: Figure) -> Figure:
    """The same on the bundled digits, with fewer epochs and no very wide networks."""

    def smaller(run: Run) -> Run:
        epochs = max(run.epochs // QUICK_SHARE, QUICK_EPOCHS)
        looks = tuple(look for look in run.looks if look < epochs)
        widths = tuple(min(width, QUICK_WIDEST) for width in run.widths)
        return replace(run, data="digits", epochs=epochs, looks=looks, widths=widths)

    def called(name: str, run: Run) -> str:
        return f"width {QUICK_WIDEST}" if max(run.widths) > QUICK_WIDEST else name

    runs = {called(name, run): smaller(run) for name, run in figure.runs.items()}
    return replace(figure, runs=runs)


class Runs:
    """Networks that are trained already, in a file of JSON lines, and what trains the others."""

    def __init__(self, path: Path | None, sources: Mapping[str, Path]) -> None:
        self._path = path
        self._sources = {name: str(source) for name, source in sources.items()}
        lines = path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []
        self._rows = {key_of(row["run"]): row for row in map(json.loads, lines)}

    def train(self, runs: Iterable[Run]) -> None:
        """All of them that are missing."""
        missing = [run for run in dict.fromkeys(runs) if key_of(asdict(run)) not in self._rows]
        if not missing:
            return
        missing.sort(key=_cost, reverse=True)  # so that the last ones are short
        for row in in_processes(partial(trained, self._sources), missing, "networks"):
            self._rows[key_of(row["run"])] = row
            if self._path:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(f"{json.dumps(row)}\n")

    def __getitem__(self, run: Run) -> Row:
        row: Row = self._rows[key_of(asdict(run))]
        return row

    @property
    def seconds(self) -> float:
        """Of all trainings together, one thread each."""
        return round(float(sum(row["seconds"] for row in self._rows.values())), 1)


def key_of(run: Mapping[str, Any]) -> str:
    """The same for equal runs, also when read from a file."""
    return json.dumps(run, sort_keys=True)


def _cost(run: Run) -> float:
    kinds = {"resnet": 1e6, "vgg": 5e5}
    return run.epochs * (kinds.get(run.kind, 0) + sum(3e3 + w**2 for w in run.widths))


def tune(runs: Sequence[Run], trained_runs: Runs) -> dict[Run, Run]:
    """Each run with the learning rate that served best in its pilots."""
    pilots = {run: [pilot(run, rate) for rate in RATES[run.optimizer]] for run in runs}
    trained_runs.train(one for some in pilots.values() for one in some)

    def merit(one: Run) -> float:
        row = trained_runs[one]
        value = row["train_accuracy" if one.shuffled else "validation_accuracy"]
        return -1.0 if value is None else float(value)

    return {
        run: replace(run, learning_rate=max(some, key=merit).learning_rate)
        for run, some in pilots.items()
    }


def pilot(run: Run, rate: float) -> Run:
    """A shorter run with a seed of its own; what only ends a run or looks inside is left out."""
    epochs = max(run.epochs // PILOT_SHARE, 10)
    return replace(
        run, epochs=epochs, learning_rate=rate, seed=PILOT_SEED, looks=(), until_loss=0.0
    )


# --- one network ---


class _Reached(Exception):
    """The loss is as low as it shall be."""


def trained(sources: Mapping[str, str], run: Run) -> Row:
    """Train one network and look inside."""
    started = time.perf_counter()
    data = data_of(sources.get(run.data, run.data), run)
    model = build_seeded(lambda: build(run, data), run.seed, torch.device("cpu"))
    emergence: dict[str, list[float | None]] = {}
    ended = run.epochs

    def on_epoch(epoch: int, seen: nn.Module) -> None:
        nonlocal ended
        if epoch in run.looks:
            emergence[str(epoch)] = values_of(seen, data.train)
        if run.until_loss and loss_of(seen, data.train) <= run.until_loss:
            ended = epoch
            raise _Reached

    row: Figures = {"run": asdict(run), "values": None, "inner": None}
    try:
        train(
            model,
            data.train,
            epochs=run.epochs,
            learning_rate=run.learning_rate,
            seed=run.seed,
            schedule=Schedule.STEP,
            optimizer=OPTIMIZERS[run.optimizer],
            on_epoch=on_epoch,
        )
    except _Reached:
        pass
    except TrialFailed:
        failed = {f"{part}_accuracy": None for part in ("train", "validation", "test")}
        return {**row, **failed, "seconds": round(time.perf_counter() - started, 2)}
    inner = ["stem", "stages.*.*.residual.2", "stages.*.*"] if run.kind == "resnet" else None
    return {
        **row,
        "values": values_of(model, data.train),
        "inner": values_of(model, data.train, inner) if inner else None,
        "emergence": emergence,
        "epochs": ended,
        "training_loss": round(loss_of(model, data.train), 5),
        **{
            f"{name}_accuracy": round(accuracy(model, part), 4)
            for name, part in (
                ("train", data.train),
                ("validation", data.validation),
                ("test", data.test),
            )
        },
        "seconds": round(time.perf_counter() - started, 2),
    }


@lru_cache(maxsize=4)
def _loaded(source: str, size: int | None, seed: int, *, shuffled: bool) -> Dataset:
    bundled = source == "digits"
    return load_dataset(
        source,
        train_size=None if bundled else size,
        image_size=None if bundled else IMAGE_SIZE,
        seed=seed,
        shuffle_labels=shuffled,
    )


def data_of(source: str, run: Run) -> Dataset:
    """The images of a run; each seed draws its own."""
    if not run.imbalanced:
        return _loaded(source, TRAIN_SIZE, run.seed, shuffled=run.shuffled)
    whole = _loaded(source, MINORITY * TRAIN_SIZE, run.seed, shuffled=False)
    labels = whole.train.labels
    kept = torch.ones(len(labels), dtype=torch.bool)
    for small in range(whole.num_classes // 2, whole.num_classes):
        places = (labels == small).nonzero().flatten()
        kept[places[len(places) // MINORITY :]] = False
    return replace(whole, train=LabelledTensors(whole.train.inputs[kept], labels[kept]))


def build(run: Run, data: Dataset) -> nn.Module:
    """The untrained network."""
    shape, classes, rate = data.input_shape, data.num_classes, run.learning_rate
    if run.kind == "resnet":
        return ResnetSpace().build(ResnetSpec("basic", (4, 4), run.widths, rate), shape, classes)
    if run.kind == "vgg":
        return CnnSpace().build(CnnSpec((3, 3), run.widths, "batch", rate), shape, classes)
    model = MlpSpace().build(MlpSpec(run.widths, run.normalisation, "relu", rate), shape, classes)
    blocks = list(model.blocks)
    if run.kind == "linear":
        for block in blocks:
            block.activation = nn.Identity()
    half = len(blocks) // 2
    for block in {"first": blocks[:half], "last": blocks[half:], "": []}[run.frozen]:
        block.requires_grad_(requires_grad=False)
    return model


def values_of(
    model: nn.Module, data: LabelledTensors, blocks: Sequence[str] | None = None
) -> list[float | None]:
    """D on the input and after every block, None where it does not exist."""
    seen = profile(model, data, blocks=blocks, permutations=0, resamples=0)
    return [measured(float(f"{value:.6g}")) for value in seen.values]


@torch.no_grad()
def loss_of(model: nn.Module, data: LabelledTensors) -> float:
    """Cross-entropy in nats, in eval mode."""
    training = model.training
    model.eval()
    loss = float(nn.functional.cross_entropy(model(data.inputs), data.labels))
    model.train(training)
    return loss


# --- what it says ---


def summary(figure: Figure, tuned: Mapping[Run, Run], seeds: Sequence[int], runs: Runs) -> Figures:
    """Means over the seeds of each condition, and whether they agree with the paper."""
    groups = {
        name: _group([runs[replace(tuned[run], seed=seed)] for seed in seeds])
        for name, run in figure.runs.items()
    }
    return {"says": figure.says, "agrees": figure.agrees(groups), "conditions": groups}


def _group(rows: Sequence[Row]) -> Figures:
    laws = [fit_law(_floats(row["values"])) for row in rows if row["values"]]
    group = {
        "learning_rate": rows[0]["run"]["learning_rate"],
        "layers": len(rows[0]["values"] or ()) - 1,
        "failed": sum(row["values"] is None for row in rows),
        **{
            name: _mean_sd(getattr(law, name) for law in laws)
            for name in ("rho", "r", "uniformity", "total_reduction")
        },
        **{
            name: _mean_sd(_floats([row[name]])[0] for row in rows)
            for name in ("train_accuracy", "test_accuracy")
        },
        "log_d": _mean_logs([row["values"] for row in rows]),
    }
    if any(row["run"]["until_loss"] for row in rows):
        group["epochs"] = _mean_sd(float(row["epochs"]) for row in rows)
        group["training_loss"] = _mean_sd(row["training_loss"] for row in rows)
    inner = [fit_law(_floats(row["inner"])) for row in rows if row.get("inner")]
    if inner:
        group["inner_uniformity"] = _mean_sd(law.uniformity for law in inner)
        group["inner_r"] = _mean_sd(law.r for law in inner)
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


def _floats(values: Sequence[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(values, dtype=np.float64)


def _mean_logs(curves: Iterable[Sequence[float | None] | None]) -> list[float | None]:
    """Of log D at each tap, over the networks where it exists."""
    some = np.log(np.array([_floats(curve) for curve in curves if curve]))
    return [rounded(value) for value in some.mean(axis=0)] if len(some) else []


def _mean_sd(values: Iterator[float]) -> Figures:
    """Over the seeds; None where it does not exist."""
    finite = [float(value) for value in values if np.isfinite(value)]
    if not finite:
        return {"mean": None, "sd": None, "n": 0}
    spread = MeanSd.of(finite)
    return {"mean": rounded(spread.mean), "sd": rounded(spread.sd or 0.0), "n": spread.seeds}


def show(found: Mapping[str, Figures]) -> None:
    """A row per condition."""
    table = Table("figure", "network", "rate", "rho", "r", "uniformity", "reduction", "test %")
    for name, figure in found.items():
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
    for name, figure in found.items():
        console.print(f"{name}: {figure['says']} {'Agrees' if figure['agrees'] else 'Does not'}.")
    say(f"uniformity from {HOLDS_FROM} on is called following the law by the designer")


def _cell(one: Figures, scale: float = 1, digits: int = 2) -> str:
    if one["mean"] is None:
        return "-"
    return f"{scale * one['mean']:.{digits}f} ± {scale * one['sd']:.{digits}f}"


def _arguments(arguments: Sequence[str]) -> Any:
    parser = Parser("paper", description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", action="append", choices=["all", *FIGURES])
    parser.add_argument("--quick", action="store_true", help="small, on the bundled digits")
    parser.add_argument("--mnist", type=Path, help="MNIST as an .npz")
    parser.add_argument("--fashion", type=Path, help="Fashion-MNIST as an .npz")
    parser.add_argument("--runs", type=output_file, help="file that keeps trained networks")
    parser.add_argument("--json", type=output_file, help="result file to write")
    given = parser.parse_args(arguments)
    given.figure = given.figure or ["all"]
    if not given.quick:
        for name in ("mnist", "fashion"):
            path = getattr(given, name)
            if path is None or not path.exists():
                raise InvalidInputError(
                    f"Expected --{name} to name a file, got '{path}'; or give --quick."
                )
    return given
