"""What a trial costs besides training, and what a report costs, in studies of many trials.

Every study is made, not trained (see ``long_studies``). A trial is proposed, claimed and ended in
it without training: as the designer does, with a sampler that learns from all trials, and with
Optuna alone, its TPE and its storage, on a file with the same trials.  Times are processor time of
this process, which other programs on the machine hardly lengthen; only those in the storage are
real time, which a database takes elsewhere.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import optuna
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from benchmarks.claim import Figures
from benchmarks.claims.long_studies import made_trials, write_trials
from benchmarks.command import say
from benchmarks.memory import highest_mib
from benchmarks.statistics import rounded
from designer.cli.output import write_views
from designer.data.loading import load_dataset
from designer.folders import HTML_FILE, REPORT_FILE, STORAGE_FILE, write_text
from designer.results.search import REPORT_SCHEMA, SearchResult
from designer.results.serialisation import read_result, report_to_json
from designer.search.job import Job
from designer.search.options import SearchOptions
from designer.search.progress import Phase
from designer.search.recommend import shortlist
from designer.search.storage.caching import CachingStorage
from designer.search.storage.database import DatabaseStorage
from designer.search.storage.location import StudyLocation
from designer.search.storage.opening import open_storage, quiet_optuna, serve_proxy
from designer.search.storage.retrying import RetryingStorage, RetryPolicy
from designer.search.storage.wrapper import Answer, Arguments, StorageWrapper
from designer.search.study import proposals, remembered
from designer.search.study.claims import Rejected, TrialClaims, study_of
from designer.search.study.history import History
from designer.search.study.keys import RECORD, WANTED
from designer.search.summary import agreements, study_summary, trial_rows
from designer.training.trainer import single_threaded
from search_spaces import MlpSpace

SIZES = (100, 1_000, 10_000, 100_000)
REPORTED = (5_000, 100_000)
TIMED = 20
TIMED_SLOW = 3
EPOCHS = 10
PORT = 13400


class Timed(RetryPolicy):
    """Count the questions to a storage and the seconds that they take."""

    calls, seconds_inside = 0, 0.0

    def call(
        self,
        method: Callable[Arguments, Answer],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Answer:
        """See ``RetryPolicy``."""
        started = time.perf_counter()
        try:
            return super().call(method, *arguments, **named)
        finally:
            self.calls += 1
            self.seconds_inside += time.perf_counter() - started


def job_at(location: StudyLocation, trials_wanted: int) -> Job:
    """Return a search of small perceptrons on the digits."""
    return Job(
        MlpSpace(),
        "mlp",
        load_dataset("digits"),
        SearchOptions(epochs=EPOCHS, trials=trials_wanted, prune=False),
        location,
    )


def growth(folder: Path, storage: str | None) -> Figures:
    """Measure trials and reports in studies of several sizes.

    Args:
        folder: where to make the studies.
        storage: address of a PostgreSQL to measure beside SQLite; None for none.
    """
    trials, reports = [], []
    for size in SIZES:
        for row in _trial_rows(folder, storage, size):
            trials.append(row)
            say(str(row))
    for size in REPORTED:
        location = StudyLocation(folder / f"sqlite-{size}")
        if size not in SIZES:
            fill(location, size)
        reports.append({"trials": size, **_in_process(report_cost, location, size)})
        say(str(reports[-1]))
    return {"trials": trials, "reports": reports}


def _trial_rows(folder: Path, storage: str | None, size: int) -> Iterator[Figures]:
    """Yield what a trial costs in a study of this many trials, by storage and way."""
    file = StudyLocation(folder / f"sqlite-{size}")
    fill(file, size)
    for way, cost in WAYS.items():
        costs = _in_process(cost, file, size)
        yield {"storage": "SQLite", "trials": size, "way": way, **costs}
    if storage is None:
        return
    name, proxy = f"growth-{size}-{os.getpid()}", f"grpc://127.0.0.1:{PORT}"
    database = StudyLocation(folder / name, storage, name)
    fill(database, size)
    costs = _in_process(designers_cost, database, size)
    yield {"storage": "PostgreSQL", "trials": size, "way": "designer", **costs}
    with serving(storage, PORT):
        costs = _in_process(designers_cost, replace(database, storage=proxy), size)
    yield {"storage": "gRPC proxy", "trials": size, "way": "designer", **costs}


@contextmanager
def serving(address: str, port: int) -> Iterator[None]:
    """Serve a proxy in front of a database until the block ends."""
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=serve_proxy, args=(address, "127.0.0.1", port))
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def fill(location: StudyLocation, size: int) -> None:
    """Make a study of this many trials."""
    location.folder.mkdir(exist_ok=True, parents=True)
    job = job_at(location, size)
    with open_storage(location) as storage:
        study = study_of(job, storage, Phase.SEARCH)
        study.set_user_attr(WANTED, size)
        study_id = storage.get_study_id_from_name(study.study_name)
        with _database_of(storage).engine.begin() as connection:
            write_trials(connection, study_id, made_trials(job, size))


def _database_of(storage: CachingStorage) -> DatabaseStorage:
    """Return the database behind what waits, watches and caches."""
    inner: BaseStorage = storage
    while isinstance(inner, StorageWrapper) and not isinstance(inner, DatabaseStorage):
        inner = inner.inner
    if not isinstance(inner, DatabaseStorage):
        raise TypeError(f"Expected a database, got {type(inner).__name__}.")
    return inner


def _in_process(function: Callable[[StudyLocation, int], Figures], *task: Any) -> Figures:
    """Return the figures of a function that is called in a new process, with its peak memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_with_memory, function, *task).result()


def _with_memory(function: Callable[..., Figures], *task: Any) -> Figures:
    with single_threaded(), quiet_optuna():
        figures = function(*task)
    return {**figures, "mib": round(highest_mib())}


# --- trials ---


def designers_cost(location: StudyLocation, size: int, timed_trials: int = TIMED) -> Figures:
    """Return what a trial costs in a study of this many trials."""
    job = job_at(location, 2 * size + 10 * TIMED)
    with open_storage(location) as opened:
        timed = Timed(location.shown)
        storage = CachingStorage(RetryingStorage(opened.inner.inner, timed))
        claims = TrialClaims(study_of(job, storage, Phase.SEARCH), storage)
        started = time.process_time()
        untrained_trial(job, claims)  # reads them all
        first = time.process_time() - started
        timed.calls, timed.seconds_inside = 0, 0.0
        started = time.process_time()
        for _ in range(timed_trials):
            untrained_trial(job, claims)
        seconds = time.process_time() - started
    return {
        "seconds_to_open": rounded(first),
        "ms_in_storage": rounded(1000 * timed.seconds_inside / timed_trials),
        "ms_in_all": rounded(1000 * seconds / timed_trials),
        "questions": round(timed.calls / timed_trials),
    }


def unbounded_cost(location: StudyLocation, size: int) -> Figures:
    """Return what a trial would cost if the sampler learned from all trials."""
    with patch.object(remembered, "REMEMBERED", UNBOUNDED):
        return designers_cost(location, size, TIMED_SLOW)


def plain_cost(location: StudyLocation, size: int) -> Figures:
    """Return what a trial costs in the same file with Optuna's own storage and TPE."""
    job = job_at(location, size)
    storage = RDBStorage(f"sqlite:///{location.folder / STORAGE_FILE}")
    study = optuna.load_study(study_name=Phase.SEARCH, storage=storage, sampler=TPESampler(seed=0))

    def untrained() -> None:
        trial = study.ask()
        job.space.suggest(trial)
        study.tell(trial, float(np.random.default_rng(trial.number).random()))

    started = time.process_time()
    untrained()
    first = time.process_time() - started
    started = time.process_time()
    for _ in range(TIMED_SLOW):
        untrained()
    seconds = time.process_time() - started
    return {"seconds_to_open": rounded(first), "ms_in_all": rounded(1000 * seconds / TIMED_SLOW)}


def untrained_trial(job: Job, claims: TrialClaims) -> None:
    """Propose, claim and end a trial without training."""

    def propose(history: History) -> FrozenTrial:
        return proposals.propose(job, history, "bench")

    while True:
        with suppress(Rejected):
            trial = claims.claim(job.options.trials + 1, "bench", propose)
            break
    if trial is None:
        raise RuntimeError("no trial was left")
    trial.set_user_attr(RECORD, {})
    goals = len(job.options.objective.directions)
    values = np.random.default_rng(trial.number).random(goals).tolist()
    claims.end(trial, TrialState.COMPLETE, values)


UNBOUNDED = 10**9
"""Trials that the sampler learns from without a bound."""

WAYS = {"designer": designers_cost, "unbounded": unbounded_cost, "plain Optuna": plain_cost}
"""What is timed, by name."""


# --- reports ---


def report_cost(location: StudyLocation, size: int) -> Figures:
    """Return the time from a finished study to its report, and from there to its views."""
    job, folder = job_at(location, size), location.folder
    started = time.process_time()
    with open_storage(location) as storage:
        study = study_of(job, storage, Phase.SEARCH)
        shortlist(job, study)
        rows = trial_rows(study)
        result = SearchResult(
            schema=REPORT_SCHEMA,
            study=study_summary(job, study, rows, ()),
            recommendations=(),
            criterion=agreements(rows),
            trials=rows,
            warnings=(),
        )
    write_text(folder / REPORT_FILE, report_to_json(result))
    written = time.process_time()
    del result, rows
    write_views(folder, read_result(folder))
    shown = time.process_time()
    page = (folder / HTML_FILE).stat().st_size
    return {
        "seconds_to_write": rounded(written - started),
        "seconds_to_show": rounded(shown - written),
        "report_mib": rounded((folder / REPORT_FILE).stat().st_size / (1 << 20)),
        "page_mib": rounded(page / (1 << 20)),
    }
