"""The Optuna study: its storage, its sampler, and who may start the next trial.

Every rule here uses the storage alone, so it holds for any number of workers: a trial counts
towards the wanted number while it runs and once it is finished, and a proposal that is not
worth training (known already, over a limit) is handed back as failed with the reason
``rejected``, which counts as nothing.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from optuna.artifacts import (
    FileSystemArtifactStore,
    download_artifact,
    get_all_artifact_meta,
    upload_artifact,
)
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from designer.errors import RunFolderError
from designer.search.settings import StudySettings

SEARCH, CONFIRMATION = "search", "confirmation"
"""Names of the two studies in a run's storage."""

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

SPEC, RECORD, REASON, REJECTED, WORKER = "spec", "record", "reason", "rejected", "worker"
"""Keys of a trial's user attributes."""

EMERGENCE = "emergence"
"""Key of what was seen inside a confirmation run between its epochs."""

LOST = "lost"
"""Key of a trial that was handed back because its run was stopped or killed."""

BUSY_SECONDS = 60.0
"""How long a worker waits while others write."""

TIRED_AFTER = 5
"""Proposals in a row that were handed back, after which proposals are random."""

STARTUP_TRIALS = 10
"""Trials proposed at random before the sampler learns and the pruner compares."""


@contextmanager
def opened_storage(path: Path) -> Iterator[BaseStorage]:
    """SQLite in the run folder, for several processes to write to; closed on leaving.

    Raises:
        RunFolderError: where the file cannot be opened as a study.
    """
    try:
        # the path goes to SQLite as it is, whatever characters a URL would give a meaning
        storage = RDBStorage(
            f"sqlite:///{path.name}", engine_kwargs={"creator": partial(_connect, path)}
        )
    except (sqlalchemy.exc.SQLAlchemyError, RuntimeError) as error:
        raise RunFolderError(
            f"Expected an Optuna study in '{path}', but opening it failed: "
            f"{str(error).splitlines()[0]}."
        ) from error
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Optuna logs every trial otherwise; what matters is in the report."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def open_study(storage: BaseStorage, name: str, settings: StudySettings) -> Study:
    """The study of that name, made if it is not there."""
    search = name == SEARCH
    return optuna.create_study(
        storage=storage,
        study_name=name,
        directions=(settings if search else StudySettings()).objective.directions,
        sampler=SeededSampler(settings.seed),
        pruner=pruner_for(settings) if search else NopPruner(),
        load_if_exists=True,
    )


def pruner_for(settings: StudySettings) -> BasePruner:
    """Median pruning for a single objective, where it is wanted."""
    if not settings.prune or len(settings.objective.directions) > 1:
        return NopPruner()
    return MedianPruner(n_startup_trials=STARTUP_TRIALS)


class SeededSampler(BaseSampler):
    """TPE whose every proposal depends only on the seed, the trial's number and the history.

    A search that was stopped and continued proposes what it would have proposed uninterrupted.
    Where TPE keeps proposing what is known already, proposals are random until one is new.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._inner: BaseSampler = RandomSampler(seed=seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        lost = sum(LOST in t.user_attrs for t in study.get_trials(deepcopy=False))
        number = trial.number - lost  # what was stopped or killed is proposed again
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        if rejected_in_a_row(study) >= TIRED_AFTER:
            self._inner = RandomSampler(seed=seed)
        else:
            self._inner = TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._inner.after_trial(study, trial, state, values)


def claim(study: Study, wanted: int, worker: int) -> Trial | None:
    """The next trial to run, or None where ``wanted`` are finished or under way.

    Two workers may ask at the same moment; then the one with the later number gives way.
    """
    if _counted(study) >= wanted:
        return None
    trial = study.ask()
    trial.set_user_attr(WORKER, worker)
    if _counted(study, before=trial.number) >= wanted:
        reject(study, trial, "enough trials are under way")
        return None
    return trial


def claim_waiting(study: Study, worker: int) -> Trial | None:
    """The next trial of those that were enqueued, or None where none is left."""
    if not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        return None
    trial = study.ask()
    trial.set_user_attr(WORKER, worker)
    if "confirms" not in trial.user_attrs:  # another worker took the last one meanwhile
        reject(study, trial, "nothing was left to confirm")
        return None
    return trial


def reject(study: Study, trial: Trial, why: str, *, lost: bool = False) -> None:
    """Hand a proposal back; it counts neither as finished nor as failed.

    Where it was ``lost``, to a stop and not to its own fault, it is proposed again.
    """
    trial.set_user_attr(REJECTED, why)
    if lost:
        trial.set_user_attr(LOST, True)  # noqa: FBT003
    study.tell(trial, state=TrialState.FAIL)


def release_running(
    study: Study,
    why: str,
    *,
    key: str = REJECTED,
    of_worker: Callable[[int | None], bool] = lambda _: True,
) -> int:
    """End the trials whose worker is gone; how many there were.

    Args:
        why: kept with the trial under ``key``: ``REJECTED`` hands it back, ``REASON`` counts
            it as failed.
        of_worker: which workers are gone, by process number; None for a trial that names none.
    """
    gone = [t for t in running(study) if of_worker(t.user_attrs.get(WORKER))]
    for trial in gone:
        _end(study, trial, key, why)
    return len(gone)


def release_unsigned(study: Study, seconds: float) -> None:
    """Hand back trials that have run for so long without naming a worker: it died at once."""
    now = time.time()
    for trial in running(study):
        started = trial.datetime_start.timestamp() if trial.datetime_start else now
        if WORKER not in trial.user_attrs and now - started > seconds:
            _end(study, trial, REJECTED, "Its worker ended at once.")


def drop_waiting(study: Study) -> None:
    """Hand back trials that were enqueued and never started."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        _end(study, trial, REJECTED, "no longer wanted")


def _end(study: Study, trial: FrozenTrial, key: str, why: str) -> None:
    storage = study._storage  # the public API can neither annotate nor end another's trial
    storage.set_trial_user_attr(trial._trial_id, key, why)
    if key == REJECTED:
        storage.set_trial_user_attr(trial._trial_id, LOST, True)  # noqa: FBT003
    storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def finished(study: Study) -> list[FrozenTrial]:
    """Complete and pruned trials, by number."""
    return study.get_trials(deepcopy=False, states=FINISHED)


def running(study: Study) -> list[FrozenTrial]:
    """Trials under way."""
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def failed(study: Study) -> list[FrozenTrial]:
    """Trials that failed in earnest."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    return [trial for trial in trials if not is_rejected(trial)]


def is_rejected(trial: FrozenTrial) -> bool:
    """Whether it was handed back without training."""
    return REJECTED in trial.user_attrs


def rejected_in_a_row(study: Study) -> int:
    """How many of the latest proposals were handed back without training."""
    trials = study.get_trials(deepcopy=False)
    ended = [t for t in trials if t.state.is_finished() and LOST not in t.user_attrs]
    trained = (i for i, trial in enumerate(reversed(ended)) if not is_rejected(trial))
    return next(trained, len(ended))


def last_rejection(study: Study) -> str:
    """Why the latest proposal that was handed back was so; empty without any."""
    reasons = (t.user_attrs.get(REJECTED) for t in reversed(study.get_trials(deepcopy=False)))
    return next((reason for reason in reasons if reason), "")


def twin_of(study: Study, trial: Trial, key: str, key_of: Callable[[Any], str]) -> int | None:
    """Number of another trial, finished, failed or under way, that has the same spec."""
    for other in study.get_trials(deepcopy=False):
        spec = other.user_attrs.get(SPEC)
        if other.number == trial.number or spec is None or is_rejected(other):
            continue
        if key_of(spec) == key:
            return other.number
    return None


class Artifacts:
    """Files that belong to trials, in Optuna's artifact store in the run folder."""

    def __init__(self, folder: Path, storage: BaseStorage) -> None:
        self._folder = folder
        self._storage = storage

    def keep(self, trial: Trial, name: str, content: bytes) -> None:
        """Store ``content`` under ``name`` with the trial."""
        self._folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / name
            path.write_bytes(content)
            upload_artifact(
                artifact_store=FileSystemArtifactStore(self._folder),
                file_path=str(path),
                study_or_trial=trial,
            )

    def read(self, trial: FrozenTrial, name: str) -> bytes:
        """The content stored under ``name`` with the trial.

        Raises:
            RunFolderError: where it is missing.
        """
        for meta in get_all_artifact_meta(trial, storage=self._storage):
            if meta.filename == name:
                return self._download(meta.artifact_id, name)
        raise RunFolderError(f"Expected '{name}' of trial {trial.number} in '{self._folder}'.")

    def _download(self, artifact_id: str, name: str) -> bytes:
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / name
            try:
                download_artifact(
                    artifact_store=FileSystemArtifactStore(self._folder),
                    file_path=str(path),
                    artifact_id=artifact_id,
                )
            except optuna.artifacts.exceptions.ArtifactNotFound as error:
                raise RunFolderError(
                    f"Expected '{name}' in '{self._folder}', but it is gone; "
                    f"choose another --out to start anew."
                ) from error
            return path.read_bytes()


def _counted(study: Study, before: int | None = None) -> int:
    trials = study.get_trials(deepcopy=False, states=(*FINISHED, TrialState.RUNNING))
    return sum(before is None or trial.number < before for trial in trials)


def _connect(path: Path) -> sqlite3.Connection:
    """With a write-ahead log: readers never wait, and a killed process loses nothing committed."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection
