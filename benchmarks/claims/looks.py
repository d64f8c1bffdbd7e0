"""What a look between two epochs of training costs, as a share of an epoch.

    python -m benchmarks.run looks --mnist FILE --cifar FILE [--quick] [--json FILE]

Networks are drawn at random from a search space, as a search draws its first trials, and train as
in a search.  After every epoch follows one look, so that each epoch is paired with the look behind
it, with the caches as the epoch left them.  The ratio of a network is the median over its pairs
without the first, in which the blocks are found; ``first`` is that of the first pair.  Beside it
stands ``profile``, the ratio of a whole profile with one permutation, which is what a look was
before; it is measured after some of the epochs, in place of the look.  Times are processor time on
one thread, which other programs on the machine do not lengthen, apart from what they take of the
caches.

The perceptrons train on 1,000 images of 10x10 (MNIST), the convolutional networks on 5,000 of
32x32 (CIFAR-10).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from rich.table import Table
from torch import nn

from benchmarks.claim import Figures, Result
from benchmarks.command import Parser, say, verdict, wide_console
from designer.analysis.look import Look, LookSamples
from designer.analysis.profile import profile
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.search.candidates import train_spec
from designer.training.trainer import single_threaded
from search_spaces import CnnSpace, MlpSpace, Space, Spec

SEED = 0


@dataclass(frozen=True)
class Setting:
    """A search space with its data, and what a look may cost there."""

    space: Space[Any]
    train_size: int
    image_size: int | None
    networks: int
    epochs: int
    profiles: int
    """Number of epochs that a whole profile follows instead of a look."""
    acceptance: float
    """Acceptance: the largest ratio of a look to an epoch, median over the networks."""


SETTINGS = {
    "mlp": Setting(MlpSpace(), 1000, 10, networks=16, epochs=40, profiles=8, acceptance=0.1),
    "cnn": Setting(CnnSpace(), 5000, None, networks=5, epochs=4, profiles=1, acceptance=0.05),
}


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument("--mnist", type=Path, required=True, help="MNIST as an .npz")
    parser.add_argument("--cifar", type=Path, required=True, help="CIFAR-10 as an .npz")
    parser.add_argument("--quick", action="store_true", help="two networks of each space")


def run(options: argparse.Namespace) -> Result:
    """Measure looks at networks of both spaces."""
    sources = {"mlp": options.mnist, "cnn": options.cifar}
    with single_threaded():
        figures = {
            name: measure(name, str(source), 2 if options.quick else SETTINGS[name].networks)
            for name, source in sources.items()
        }
    return Result(options, figures, seeds=[SEED], about={"threads": 1})


def measure(name: str, source: str, networks: int) -> Figures:
    """Return the ratios of looks and of profiles to epochs, for networks of one space."""
    setting = SETTINGS[name]
    data = load_dataset(
        source, train_size=setting.train_size, image_size=setting.image_size, seed=SEED
    )
    samples = LookSamples.of(data, SEED)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=RandomSampler(seed=SEED))
    rows = []
    for i in range(networks):
        spec = setting.space.suggest(study.ask())
        rows.append(ratios(setting, spec, data, samples))
        say(f"{name} {i + 1} of {networks}: {rows[-1]['look']:.3f} of an epoch")
    looks = [row["look"] for row in rows]
    return {
        "train": len(data.train),
        "looked_at": [len(samples.train), len(samples.heldout)],
        "epoch_ms": round(median(row["epoch_ms"] for row in rows), 2),
        "look": round(median(looks), 4),
        "look_quartiles": [round(float(q), 4) for q in np.percentile(looks, [25, 75])],
        "look_of_all_time": round(
            sum(row["look"] * row["epoch_ms"] for row in rows)
            / sum(row["epoch_ms"] for row in rows),
            4,
        ),
        "first": round(median(row["first"] for row in rows), 4),
        "profile": round(median(row["profile"] for row in rows), 4),
        "networks": rows,
        "acceptance": setting.acceptance,
        "met": median(looks) <= setting.acceptance,
    }


def ratios(setting: Setting, spec: Spec, data: Dataset, samples: LookSamples) -> Figures:
    """Train one network with a look after every epoch; return the costs over those of an epoch."""
    epochs: list[float] = []
    looks: list[float] = []
    look: Look | None = None
    resumed = time.process_time()

    def on_epoch(epoch: int, model: nn.Module) -> None:
        nonlocal look, resumed
        epochs.append(time.process_time() - resumed)
        look = look or Look(model, samples)
        inspect: Callable[[], object] = look.heldout_accuracies
        if epoch > setting.epochs:
            inspect = lambda: profile(  # noqa: E731
                model, data.train, data.validation, permutations=1, resamples=0
            )
        started = time.process_time()
        inspect()
        resumed = time.process_time()
        looks.append(resumed - started)

    total = setting.epochs + setting.profiles
    train_spec(setting.space, spec, data, seed=SEED, epochs=total, on_epoch=on_epoch)
    pairs = [took / epoch for took, epoch in zip(looks, epochs, strict=True)]
    return {
        "spec": str(spec),
        "epoch_ms": round(1000 * median(epochs[1:]), 3),
        "look": round(median(pairs[1 : setting.epochs]), 4),
        "first": round(pairs[0], 4),
        "profile": round(median(pairs[setting.epochs :]), 4),
    }


def show(result: Result) -> None:
    """Print the ratios, and whether the acceptances are met."""
    table = Table("space", "images", "epoch", "look", "first look", "whole profile", "acceptance")
    table.title = "Cost over that of an epoch, median over networks"
    for name, row in result.figures.items():
        low, high = row["look_quartiles"]
        table.add_row(
            name,
            f"{row['train']:,}",
            f"{row['epoch_ms']:,.1f} ms",
            f"{row['look']:.1%} (quartiles {low:.1%} to {high:.1%})",
            f"{row['first']:.0%}",
            f"{row['profile']:.0%}",
            f"at most {row['acceptance']:.0%}: {verdict(row['met'])}",
        )
    wide_console().print(table)
