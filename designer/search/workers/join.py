"""A worker that joins a study which a leader elsewhere has made."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study

from designer.errors import InvalidInputError
from designer.search.job import Job
from designer.search.progress import Phase, ProgressCallback
from designer.search.settings import Effort
from designer.search.stopping import Stop, stop_on_signals
from designer.search.storage.opening import open_storage, quiet_optuna
from designer.search.storage.location import StudyLocation, checked_address
from designer.search.study.claims import study_of
from designer.search.workers.handshake import DONE, PLAN, STAGE, joined
from designer.search.workers.processes import crew_for, is_over
from designer.training.devices import usable_device

JOIN_SECONDS = 60.0
"""How long a study is waited for that nobody has made yet."""


IDLE_SECONDS = 600.0
"""How long a worker waits for a leader that gives it nothing to do."""


LOOK_SECONDS = 1.0


log = logging.getLogger("designer")


def work(
    storage: str,
    study: str,
    *,
    data: str | None = None,
    workers: int | None = None,
    devices: Sequence[str] = ("cpu",),
    wait: float = JOIN_SECONDS,
    idle: float = IDLE_SECONDS,
    progress: ProgressCallback | None = None,
) -> None:
    """Take part in a study until it is done, or until this process is asked to stop.

    Space, data, budget and seeds are read from the study.  Joining and leaving at any time is
    normal: SIGTERM or Ctrl-C hands the trial back after the epoch, and what a killed worker leaves
    is done again by others.

    Args:
        storage: address of the storage that the leader uses.
        study: name of the study there.
        data: where the data lie on this machine, if elsewhere than on the leader's.
        workers: processes on this machine; by default one per device.
        devices: torch devices, of the workers in turn.
        wait: seconds that a study is waited for that is not there yet.
        idle: seconds after which a worker leaves that finds nothing to do.
        progress: called after every trial.

    Raises:
        InvalidInputError: where this machine's version, data, space or files are not the study's.
        StorageError: where the storage does not answer.
    """
    checked_address(storage)
    for device in devices:
        usable_device(device)
    effort = Effort(workers=len(devices) if workers is None else workers, devices=tuple(devices))
    with (
        tempfile.TemporaryDirectory() as folder,
        quiet_optuna(),
        stop_on_signals() as stop,
    ):
        location = StudyLocation(Path(folder), storage, study)
        with open_storage(location, stop) as opened:
            found = _found(opened, location, wait, stop)
            if found is None:
                return
            job = joined(found, location, data, effort)
            _take_part(job, opened, stop, progress or (lambda _: None), idle)


def _found(storage: BaseStorage, location: StudyLocation, wait: float, stop: Stop) -> Study | None:
    """The study, once a leader has written its plan; None where it was asked to stop before."""
    deadline = time.monotonic() + wait
    told = False
    while not stop():
        study = _loaded(storage, location)
        if study is not None and PLAN in study.user_attrs:
            return study
        if time.monotonic() > deadline:
            raise InvalidInputError(
                f"Expected {location.title}, but there is none; start `designer search --storage ... "
                f"--study {location.study}` first, or check the name."
            )
        if not told:
            log.warning("Waiting for %s.", location.title)
            told = True
        time.sleep(LOOK_SECONDS)
    return None


def _loaded(storage: BaseStorage, location: StudyLocation) -> Study | None:
    try:
        return optuna.load_study(study_name=location.name_of(Phase.SEARCH), storage=storage)
    except KeyError:
        return None


def _take_part(
    job: Job, storage: BaseStorage, stop: Stop, progress: ProgressCallback, idle: float
) -> None:
    """Work on whatever phase the leader is in."""
    study = study_of(job, storage, Phase.SEARCH)
    busy = time.monotonic()
    with crew_for(job, storage) as crew:
        while not stop() and (stage := study.user_attrs.get(STAGE, Phase.SEARCH)) != DONE:
            phase = Phase(stage)
            if not is_over(phase, study_of(job, storage, phase)):
                crew.run(phase, stop, progress)
                busy = time.monotonic()
            elif time.monotonic() - busy > idle:
                log.warning("Nothing to do for %.0f s in %s: leaving.", idle, job.location.title)
                return
            else:
                time.sleep(LOOK_SECONDS)
