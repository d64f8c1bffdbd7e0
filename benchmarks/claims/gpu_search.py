"""Part of the claim ``gpu``: trials per hour of two spaces, in several ways.

by_hand   a plain Optuna loop with a ``DataLoader`` and Adam with its defaults
search    the search itself, with a profile of every network and without pruning
alone     training alone, one network after the other
graphs    the same, with steps that are replayed from CUDA graphs
stacked   training alone, several seeds of each of two networks in one step

All train the networks that the search proposed.  A stack of m networks counts as m trials.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import optuna
import torch
from optuna.trial import FrozenTrial
from torch import nn

from benchmarks.claim import Figures
from benchmarks.claims.scaling import by_us, plain_loop
from benchmarks.command import say
from benchmarks.gpu_timing import SEED, Setting, note_profile, or_error, seconds
from designer.data.dataset import Dataset, LabelledTensors
from designer.data.loading import load_dataset
from designer.search.job import Job
from designer.search.options import SearchOptions
from designer.search.storage.location import StudyLocation
from designer.search.storage.opening import quiet_optuna
from designer.training.stacked import train_stacked
from designer.training.trainer import Schedule, accuracy, build_seeded, train
from search_spaces import CnnSpace, MlpSpace, Space, Spec

TRIALS, EPOCHS, STACKED, STACKS = 6, 10, 16, 2
QUICK_TRIALS, QUICK_EPOCHS, QUICK_STACKED = 2, 1, 2
ROUNDS = 2
IMAGES, SHAPE, CLASSES = 5_000, (3, 32, 32), 10
QUICK_IMAGES = 96
MEAN = 0.2
"""Size of the means of the classes of images, where the noise has size 1."""


def measure(setting: Setting) -> Figures:
    """Measure both spaces, and how exactly a graph repeats a run."""
    spaces: dict[str, tuple[Space[Any], Dataset]] = {
        "mlp": (MlpSpace(), load_dataset("digits")),
        "cnn": (CnnSpace(), images(QUICK_IMAGES if setting.quick else IMAGES)),
    }
    rows = {}
    with quiet_optuna(), tempfile.TemporaryDirectory() as folder:
        for name, (space, data) in spaces.items():
            row = _Row(setting, Path(folder) / name, name, space, data)
            rows[name] = or_error(row.figures)
            say(f"{name}: {rows[name]}")
    return {
        "trials": QUICK_TRIALS if setting.quick else TRIALS,
        "epochs": QUICK_EPOCHS if setting.quick else EPOCHS,
        "stacked": QUICK_STACKED if setting.quick else STACKED,
        "rows": rows,
    }


def images(n: int) -> Dataset:
    """Return images of noise around one smooth mean per class, n for training."""
    generator = torch.Generator().manual_seed(SEED)
    coarse = torch.empty(CLASSES, 3, 4, 4).normal_(0, MEAN, generator=generator)
    means = nn.functional.interpolate(coarse, SHAPE[1:], mode="bilinear")

    def part(count: int) -> LabelledTensors:
        labels = torch.arange(count) % CLASSES
        noise = torch.empty(count, *SHAPE).normal_(generator=generator)
        return LabelledTensors(means[labels] + noise, labels)

    held = max(n // 5, CLASSES)
    scaling = {"mean": [0.0] * 3, "scale": [1.0] * 3}
    names = tuple(map(str, range(CLASSES)))
    return Dataset("noise", part(n), part(held), part(held), names, scaling, "noise")


class _Row:
    """One space on one data set, trained in every way."""

    def __init__(
        self, setting: Setting, folder: Path, name: str, space: Space[Any], data: Dataset
    ) -> None:
        folder.mkdir()
        quick = setting.quick
        self._setting, self._folder = setting, folder
        self._rounds = 1 if quick else ROUNDS
        self._stacked = QUICK_STACKED if quick else STACKED
        options = SearchOptions(
            epochs=QUICK_EPOCHS if quick else EPOCHS,
            trials=QUICK_TRIALS if quick else TRIALS,
            prune=False,
            device=str(setting.device),
        )
        self._there = data.to(setting.device)
        self._job = Job(space, name, data, options, StudyLocation(folder))

    def figures(self) -> Figures:
        """Return the trials per hour of every way, and how each compares with the loop by hand."""
        if not self._setting.quick:
            self._searched("warm-up", replace(self._job.options, trials=1))
        rates: dict[str, list[float]] = {}
        errors: Figures = {}
        for number in range(self._rounds):
            options = replace(self._job.options, seed=number)
            done, taken = self._searched(str(number), options)
            rates.setdefault("search", []).append(3600 * len(done) / taken)
            for way, rate in self._ways(done, number).items():
                if way in errors:
                    continue
                outcome = or_error(rate)
                if "error" in outcome:
                    errors[way] = outcome
                else:
                    rates.setdefault(way, []).append(outcome["per_hour"])
        per_hour = {way: round(median(some)) for way, some in rates.items()}
        plain = per_hour.get("by_hand", float("nan"))
        return {
            "per_hour": {**per_hour, **errors},
            "rounds": {way: [round(rate) for rate in some] for way, some in rates.items()},
            "times_by_hand": {way: round(rate / plain, 2) for way, rate in per_hour.items()},
            "graphs_against_steps": or_error(partial(self._graph_differences, done)),
        }

    def _ways(self, done: Sequence[FrozenTrial], number: int) -> dict[str, Callable[[], Figures]]:
        """Return what gives the trials per hour of each other way, graphs last."""
        ways: dict[str, Callable[[], Figures]] = {
            "by_hand": partial(self._by_hand, done, number),
            "alone": partial(self._one_by_one, done, cuda_graphs=False),
            "stacked": partial(self._all_in_one, done),
        }
        if self._setting.device.type == "cuda":
            ways["graphs"] = partial(self._one_by_one, done, cuda_graphs=True)
        return ways

    def _searched(self, name: str, options: SearchOptions) -> tuple[list[FrozenTrial], float]:
        location = StudyLocation(self._folder / name)
        location.folder.mkdir()
        job = replace(self._job, data=self._there, options=options, location=location)
        return by_us(job)

    def _by_hand(self, done: Sequence[FrozenTrial], number: int) -> Figures:
        path = self._folder / f"by-hand-{number}.db"
        taken = plain_loop(self._job, done, path, self._setting.device)
        return {"per_hour": 3600 * len(done) / taken}

    def _one_by_one(self, done: Sequence[FrozenTrial], *, cuda_graphs: bool) -> Figures:
        def train_all() -> None:
            for spec in self._specs(done):
                model = self._built(spec, SEED)
                self._trained(model, spec, self._job.options.epochs, cuda_graphs=cuda_graphs)
                accuracy(model, self._there.validation)

        figures = {"per_hour": 3600 * len(done) / seconds(train_all, self._setting.device)}
        spec = self._specs(done)[0]
        training = partial(self._trained, self._built(spec, SEED), spec, 2, cuda_graphs=cuda_graphs)
        note_profile(training, self._setting, f"{self._job.space.name}, graphs: {cuda_graphs}")
        return figures

    def _trained(
        self, model: nn.Module, spec: Spec, epochs: int, *, cuda_graphs: bool,
        schedule: Schedule = Schedule.CONSTANT,
    ) -> tuple[float, ...]:  # fmt: skip
        """Train a model in place and return its losses."""
        history = train(
            model,
            self._there.train,
            epochs=epochs,
            learning_rate=spec.learning_rate,
            seed=SEED,
            schedule=schedule,
            cuda_graphs=cuda_graphs,
        )
        return history.losses

    def _all_in_one(self, done: Sequence[FrozenTrial]) -> Figures:
        specs = self._specs(done)[:STACKS]

        def train_all() -> None:
            for spec in specs:
                models = [self._built(spec, seed) for seed in range(self._stacked)]
                train_stacked(
                    models,
                    self._there.train,
                    epochs=self._job.options.epochs,
                    learning_rates=[spec.learning_rate] * self._stacked,
                    seeds=range(self._stacked),
                )
                for model in models:
                    accuracy(model, self._there.validation)

        taken = seconds(train_all, self._setting.device)
        return {"per_hour": 3600 * len(specs) * self._stacked / taken}

    def _graph_differences(self, done: Sequence[FrozenTrial]) -> Figures:
        """Return how far losses and weights from graphs are from those of single steps.

        The rate falls during the run, as in a confirmation.
        """
        if self._setting.device.type != "cuda":
            return {}
        differences = []
        for spec in self._specs(done):
            losses, states = [], []
            for cuda_graphs in (False, True, False):
                model = self._built(spec, SEED)
                losses.append(
                    self._trained(model, spec, 3, cuda_graphs=cuda_graphs, schedule=Schedule.STEP)
                )
                states.append(
                    torch.cat([t.double().flatten() for t in model.state_dict().values()])
                )
            plain, graphs, again = np.array(losses)
            size = torch.linalg.vector_norm(states[0])
            differences.append(
                [
                    float(np.max(np.abs(graphs / plain - 1))),
                    float(np.max(np.abs(again / plain - 1))),
                    float(torch.linalg.vector_norm(states[1] - states[0]) / size),
                    float(torch.linalg.vector_norm(states[2] - states[0]) / size),
                ]
            )
        names = ("losses", "losses_of_a_second_run", "weights", "weights_of_a_second_run")
        return dict(zip(names, np.max(differences, axis=0).tolist(), strict=True))

    def _specs(self, done: Sequence[FrozenTrial]) -> list[Spec]:
        return [self._job.space.suggest(optuna.trial.FixedTrial(trial.params)) for trial in done]

    def _built(self, spec: Spec, seed: int) -> nn.Module:
        data = self._there
        build = partial(self._job.space.build, spec, data.input_shape, data.num_classes)
        return build_seeded(build, seed, self._setting.device)
