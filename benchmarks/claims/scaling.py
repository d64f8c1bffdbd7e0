"""How a search scales over cores, workers and trials, and how it compares with a plain Optuna loop.

    python -m benchmarks.run scaling --part PART [--storage ADDRESS] [--json FILE]

cores     trials per hour of two workers, divided by those of one; they run in turns
workers   the share of the ideal rate that workers keep if each training is a sleep of 2 s: on
          SQLite, on ADDRESS, and through a proxy in front of ADDRESS, there also on Ray
growth    what a trial costs besides training in studies of 100 to 100,000 trials, with and
          without the bound on what the sampler learns from, and with Optuna alone; and what it
          takes to report 5,000 and 100,000 trials
plain     trials per hour, divided by those of a loop that trains the same networks with a
          ``DataLoader`` and Adam with its defaults, on one thread; and the share of a trial that
          measuring takes; for our own space, and for the networks of He & Su on MNIST
stacked   seconds of training networks of He & Su one by one, divided by those of training all in
          one step; on a GPU if there is one, else on one thread
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pickle
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.trial import FrozenTrial, TrialState
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.claim import Figures, Result
from benchmarks.claims.growth import growth, job_at
from benchmarks.command import Parser, positive, say, wide_console
from benchmarks.statistics import rounded
from designer.analysis.profile import profile
from designer.choices import Engine
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.search import objective
from designer.search.candidates import TrainedCandidate, train_and_measure
from designer.search.job import Job
from designer.search.progress import Phase
from designer.search.search import search
from designer.search.storage.caching import CachingStorage
from designer.search.storage.location import StudyLocation
from designer.search.storage.opening import open_storage, quiet_optuna, serve_proxy
from designer.search.study.claims import study_of
from designer.search.study.keys import SPEC, WANTED
from designer.search.study.records import spec_key
from designer.search.workers import ray_pool
from designer.search.workers.handshake import write_handshake
from designer.search.workers.processes import SingleWorker, phase_runner
from designer.search.workers.ray_pool import RayWorker
from designer.training.stacked import train_stacked
from designer.training.trainer import Schedule, accuracy, build_seeded, single_threaded, train
from search_spaces import MlpSpace, MlpSpec

SLEEP = 2.0
CROWDS = (8, 32)
ON_RAY = "gRPC proxy, on Ray"
PER_WORKER = 8
"""Trials of each worker, besides one at the beginning and one at the end that are not counted."""

PAIRS = 3
CORE_TRIALS = 30
PLAIN_TRIALS = 20
EPOCHS = 10
SEED = 0
STACKED, STACKED_DEPTHS = 16, (4, 8, 20)

CPU = torch.device("cpu")

CONTEXT = multiprocessing.get_context("forkserver")


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument("--part", required=True, choices=list(PARTS), help="what to measure")
    parser.add_argument("--storage", help="address of a PostgreSQL to measure beside SQLite")
    parser.add_argument("--mnist", type=Path, default=Path("mnist.npz"), help="MNIST as an .npz")
    parser.add_argument("--pairs", type=positive, default=PAIRS, help="runs of each in turns")


def run(options: argparse.Namespace) -> Result:
    """Measure one part."""
    with quiet_optuna(), tempfile.TemporaryDirectory() as folder:
        figures = PARTS[options.part](Path(folder), options)
    return Result(options, figures, seeds=[SEED])


def show(result: Result) -> None:
    """Print the figures as they are: rows were shown while they were measured."""
    wide_console().print_json(data=result.figures)


# --- cores ---


def cores(folder: Path, options: argparse.Namespace) -> Figures:
    """Compare the trials per hour of two workers with those of one; start-up is not counted."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for pair in range(options.pairs):
        for workers in (1, 2) if pair % 2 else (2, 1):
            out = folder / f"{workers}-{pair}"
            search(
                "mlp", "digits", trials=CORE_TRIALS, epochs=EPOCHS, workers=workers, confirm=1,
                confirm_epochs=1, confirm_seeds=1, seed=pair, prune=False, out=out,
            )  # fmt: skip
            with open_storage(StudyLocation(out)) as storage:
                trials = optuna.load_study(study_name=Phase.SEARCH, storage=storage).get_trials()
            rates[workers].append(3600 * _per_second(_complete(trials), workers))
            say(f"{workers} workers: {rates[workers][-1]:.0f} trials per hour")
    ratios = np.array(rates[2]) / np.array(rates[1])
    return {
        "trials": CORE_TRIALS,
        "per_hour": {str(n): [round(r) for r in some] for n, some in rates.items()},
        "ratio": rounded(np.median(ratios)),
        "ratios": [rounded(r) for r in ratios],
    }


def _complete(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [t for t in trials if t.state is TrialState.COMPLETE]


def _per_second(done: Sequence[FrozenTrial], first: int, last: int = 0) -> float:
    """Return trials per second, without those that ended ``first`` and ``last``."""
    ends = sorted(t.datetime_complete.timestamp() for t in done if t.datetime_complete)
    ends = ends[first - 1 : len(ends) - last]
    return (len(ends) - 1) / (ends[-1] - ends[0])


# --- workers ---


def workers(folder: Path, options: argparse.Namespace) -> Figures:
    """Measure the share of the ideal rate that many workers on one storage keep."""
    rows, address = [], options.storage
    for count in CROWDS:
        with ExitStack() as stack:
            locations = {"SQLite": StudyLocation(folder / f"sqlite-{count}")}
            if address is not None:
                port = 13000 + count
                locations["PostgreSQL"] = _shared(folder, address, count, "direct")
                proxy = CONTEXT.Process(target=serve_proxy, args=(address, "127.0.0.1", port))
                proxy.start()
                stack.callback(proxy.kill)
                behind = f"grpc://127.0.0.1:{port}"
                locations["gRPC proxy"] = _shared(folder, behind, count, "proxy")
                locations[ON_RAY] = _shared(folder, behind, count, "ray")
            for name, location in locations.items():
                crowd = _on_ray if name == ON_RAY else _in_processes
                figures = _crowd(location, count, crowd)
                rows.append({"storage": name, "workers": count, **figures})
                say(str(rows[-1]))
    return {"sleep": SLEEP, "rows": rows}


def _shared(folder: Path, address: str, count: int, kind: str) -> StudyLocation:
    study = f"bench-{kind}-{count}-{os.getpid()}"
    return StudyLocation(folder / study, address, study)


def _crowd(
    location: StudyLocation, count: int, crowd: Callable[[Job, CachingStorage], None]
) -> Figures:
    location.folder.mkdir(exist_ok=True)
    job = job_at(location, (1 + PER_WORKER + 1) * count)
    job = replace(job, options=replace(job.options, workers=count))
    with open_storage(location) as storage:
        study = study_of(job, storage, Phase.SEARCH)
        write_handshake(job, study)
        crowd(job, storage)
        done = _complete(study.get_trials())
    rate = _per_second(done, count, count)
    return {
        "finished": len(done),
        "twice": len(done) - len({spec_key(t.user_attrs[SPEC]) for t in done}),
        "per_second": rounded(rate),
        "of_ideal": rounded(rate * SLEEP / count),
    }


def _in_processes(job: Job, _: CachingStorage) -> None:
    count = job.options.worker_count
    ready = CONTEXT.Barrier(count)
    crew = [CONTEXT.Process(target=sleeper, args=(job, i, ready)) for i in range(count)]
    for process in crew:
        process.start()
    for process in crew:
        process.join()


def _on_ray(job: Job, storage: CachingStorage) -> None:
    job = replace(job, options=replace(job.options, engine=Engine.RAY))
    vars(ray_pool)["RayWorker"] = RaySleeper
    with phase_runner(job, storage) as runner:
        runner.run(Phase.SEARCH, lambda: False, lambda _: None)


def sleeper(job: Job, number: int, ready: Barrier) -> None:
    """Work as one worker that sleeps in place of training.

    All begin together when all are ``ready``, so that their start-up is not measured.
    """
    _sleep_in_place_of_training(job, number)
    ready.wait()
    with quiet_optuna(), open_storage(job.location) as storage:
        SingleWorker(job, storage).run(Phase.SEARCH, lambda: False, lambda _: None)


class RaySleeper(RayWorker):
    """A worker on Ray that sleeps in place of training; all begin together."""

    def work(self, pickled_job: bytes, phase: Phase) -> None:
        """See ``RayWorker``."""
        job: Job = pickle.loads(pickled_job)
        number = int(self._name.rpartition("/")[2])
        _sleep_in_place_of_training(job, number)
        ready = job.location.folder / "ready"
        ready.mkdir(exist_ok=True)
        (ready / str(number)).touch()
        while len(list(ready.iterdir())) < job.options.worker_count:
            time.sleep(0.1)
        super().work(pickled_job, phase)


def _sleep_in_place_of_training(job: Job, number: int) -> None:
    """Replace training in this process by a sleep that returns the outcome of a real one."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(number)
    spec = MlpSpace().suggest(optuna.trial.FixedTrial(_some_parameters()))
    real = train_and_measure(job, spec, seed=0, epochs=1, schedule=Schedule.CONSTANT, resamples=0)

    def slept(*_: Any, **__: Any) -> TrainedCandidate:
        time.sleep(SLEEP)
        return replace(real, score=replace(real.score, value=float(generator.random())))

    vars(objective)["train_and_measure"] = slept


def _some_parameters() -> dict[str, Any]:
    study = optuna.create_study()
    trial = study.ask()
    MlpSpace().suggest(trial)
    return trial.params


# --- growth ---


def growing(folder: Path, options: argparse.Namespace) -> Figures:
    """Measure what a trial costs besides training, and a report, in studies of several sizes."""
    return growth(folder, options.storage)


# --- plain ---


def plain(folder: Path, options: argparse.Namespace) -> Figures:
    """Time our search and a plain Optuna loop on the same networks."""
    rows = []
    with single_threaded():
        for name, job in _plain_jobs(options.mnist).items():
            rows.append({"networks": name, **_against_plain(folder / name, job, options.pairs)})
            say(str(rows[-1]))
    return {"trials": PLAIN_TRIALS, "epochs": EPOCHS, "rows": rows}


def _plain_jobs(mnist: Path) -> dict[str, Job]:
    """Return searches of our own space and of the networks of He & Su, PNAS 2023."""
    nowhere = StudyLocation(Path())
    paper = MlpSpace(
        min_depth=4, max_depth=20, min_width=100, max_width=100, width_step=1,
        normalisations=("batch",), activations=("relu",),
    )  # fmt: skip
    small = load_dataset(str(mnist), train_size=1000, image_size=10)
    ours = job_at(nowhere, PLAIN_TRIALS)
    return {
        "default space, digits": ours,
        "width 100, MNIST 10x10": replace(ours, space=paper, data=small),
    }


def _against_plain(folder: Path, job: Job, pairs: int) -> Figures:
    folder.mkdir()
    ours, theirs, measuring = [], [], []
    for pair in range(-1, pairs):  # the first only warms up: imports, tables, caches
        location = StudyLocation(folder / f"ours-{pair}")
        location.folder.mkdir()
        trials = PLAIN_TRIALS if pair >= 0 else 2
        own = replace(job.options, seed=max(pair, 0), trials=trials)
        done, seconds = by_us(replace(job, options=own, location=location))
        by_hand = plain_loop(job, done, folder / f"theirs-{pair}.db")
        if pair >= 0:
            ours.append(seconds)
            theirs.append(by_hand)
            measuring.append(_measuring(job, done) / seconds)
    ratios = np.array(theirs) / np.array(ours)
    return {
        "seconds": {
            "designer": [rounded(s) for s in ours],
            "by_hand": [rounded(s) for s in theirs],
        },
        "ratio": rounded(np.median(ratios)),
        "ratios": [rounded(r) for r in ratios],
        "measuring_share": rounded(np.median(measuring)),
    }


def by_us(job: Job) -> tuple[list[FrozenTrial], float]:
    """Run the search of a job; return its complete trials and the seconds that it took."""
    with open_storage(job.location) as storage:
        study = study_of(job, storage, Phase.SEARCH)
        study.set_user_attr(WANTED, job.options.trials)
        started = time.perf_counter()
        SingleWorker(job, storage).run(Phase.SEARCH, lambda: False, lambda _: None)
        seconds = time.perf_counter() - started
        return _complete(study.get_trials()), seconds


def plain_loop(
    job: Job, done: Sequence[FrozenTrial], path: Path, device: torch.device = CPU
) -> float:
    """Return the seconds of an Optuna loop with a ``DataLoader`` that tries the same networks.

    Args:
        job: space, epochs and data, which are on the CPU.
        done: trials of the same networks.
        path: file for the study.
        device: where the networks are trained.
    """
    data, validation = job.data, job.data.validation.to(device)

    def objective(trial: optuna.Trial) -> float:
        spec = job.space.suggest(trial)
        torch.manual_seed(0)
        model = job.space.build(spec, data.input_shape, data.num_classes).to(device)
        loader = DataLoader(
            TensorDataset(data.train.inputs, data.train.labels), batch_size=128, shuffle=True
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=spec.learning_rate)
        for _ in range(job.options.epochs):
            model.train()
            for inputs, labels in loader:
                optimizer.zero_grad()
                logits = model(inputs.to(device))
                loss = nn.functional.cross_entropy(logits, labels.to(device))
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return accuracy(model, validation)

    study = optuna.create_study(storage=f"sqlite:///{path}", direction="maximize")
    for trial in done:
        study.enqueue_trial(trial.params)
    started = time.perf_counter()
    study.optimize(objective, n_trials=len(done))
    return time.perf_counter() - started


def _measuring(job: Job, done: Sequence[FrozenTrial]) -> float:
    """Return the seconds that it takes to look inside these networks, trained briefly."""
    data, seconds = job.data, 0.0
    for trial in done:
        spec = job.space.suggest(optuna.trial.FixedTrial(trial.params))
        build = partial(job.space.build, spec, data.input_shape, data.num_classes)
        model = build_seeded(build, 0, torch.device("cpu"))
        train(model, data.train, epochs=1, learning_rate=spec.learning_rate, seed=0)
        started = time.perf_counter()
        profile(model, data.train, data.validation, resamples=0)
        seconds += time.perf_counter() - started
    return seconds


# --- stacked ---


def stacked(_folder: Path, options: argparse.Namespace) -> Figures:
    """Return the time of training one by one divided by that of one step for all, by depth."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = load_dataset(str(options.mnist), train_size=1000, image_size=10).to(device)
    rows = []
    with single_threaded():
        for depth in STACKED_DEPTHS:
            spec = MlpSpec((100,) * depth, "batch", "relu", 1e-3)
            ratios = [_alone(data, spec) / _together(data, spec) for _ in range(-1, options.pairs)][
                1:
            ]
            rows.append({"depth": depth, "ratio": rounded(np.median(ratios)),
                         "ratios": [rounded(r) for r in ratios]})  # fmt: skip
            say(str(rows[-1]))
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    return {"networks": STACKED, "epochs": EPOCHS, "device": name, "rows": rows}


def _alone(data: Dataset, spec: MlpSpec) -> float:
    models = _fresh(data, spec)
    started = time.perf_counter()
    for seed, model in enumerate(models):
        train(model, data.train, epochs=EPOCHS, learning_rate=spec.learning_rate, seed=seed)
    return time.perf_counter() - started


def _together(data: Dataset, spec: MlpSpec) -> float:
    models = _fresh(data, spec)
    started = time.perf_counter()
    rates = [spec.learning_rate] * STACKED
    train_stacked(models, data.train, epochs=EPOCHS, learning_rates=rates, seeds=range(STACKED))
    return time.perf_counter() - started


def _fresh(data: Dataset, spec: MlpSpec) -> list[nn.Module]:
    build = partial(MlpSpace().build, spec, data.input_shape, data.num_classes)
    return [build_seeded(build, seed, data.train.inputs.device) for seed in range(STACKED)]


PARTS: dict[str, Callable[[Path, argparse.Namespace], Figures]] = {
    "cores": cores,
    "workers": workers,
    "growth": growing,
    "plain": plain,
    "stacked": stacked,
}
