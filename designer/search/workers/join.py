"""Join a study that a leader elsewhere has started."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study

from designer.errors import InvalidInputError
from designer.importing import Trust, Trusted
from designer.interrupts import Stop, StopRequest, stop_on_signals
from designer.search.job import Job
from designer.search.options import IDLE_SECONDS, JOIN_SECONDS, SearchOptions
from designer.search.progress import Phase, ProgressCallback
from designer.search.storage.caching import CachingStorage
from designer.search.storage.location import StudyLocation, parse_address
from designer.search.storage.opening import open_storage, quiet_optuna
from designer.search.study.claims import study_of
from designer.search.study.keys import HANDSHAKE, STAGE
from designer.search.workers.handshake import DONE, job_from_handshake
from designer.search.workers.phases import is_over
from designer.search.workers.processes import phase_runner
from designer.training.devices import usable_device

POLL_SECONDS = 1.0
"""Seconds between two looks at a study that has nothing to do yet."""

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
    trust: Trusted = (),
    progress: ProgressCallback | None = None,
    stop: StopRequest | None = None,
) -> None:
    """Take part in a study until it is done, or until this process is asked to stop.

    Space, data, budget and seeds are read from the study. Joining and leaving at any time is
    normal: SIGTERM or Ctrl-C hands the trial back after the epoch, and the trial of a worker that
    was killed is run again by others.

    Args:
        storage: address of the storage that the leader uses.
        study: name of the study there.
        data: where the data are on this machine, if elsewhere than on the leader's.
        workers: processes on this machine; None for one per device.
        devices: torch devices that the workers use in turn.
        wait: seconds to wait for a study that does not exist yet.
        idle: seconds after which this process leaves a study that has nothing to do.
        trust: names as ``package.module:name`` that the study may import, besides ``data``; True
            for whatever it names, which is to run the code of whoever can write to the storage.
        progress: called after every trial.
        stop: what answers signals, if anything does already; they are deferred until nothing is
            under way any more.

    Raises:
        InvalidInputError: if version, data, space or files here are not those of the study.
        TrustError: if the study names what may not be imported; nothing was imported.
        StorageError: if the storage does not answer.
    """
    trusted = Trust.of(trust)
    parse_address(storage)
    for device in devices:
        usable_device(device)
    options = SearchOptions(workers=workers, devices=tuple(devices))
    answering = stop_on_signals() if stop is None else nullcontext(stop)
    with tempfile.TemporaryDirectory() as folder, quiet_optuna(), answering as request:
        request.defer()
        location = StudyLocation(Path(folder), storage, study)
        with open_storage(location, request) as opened:
            stored = _wait_for_study(opened, location, wait, request)
            if stored is None:
                return
            with request.raising():  # nothing is under way, and data may take long to load
                job = job_from_handshake(stored, location, data, options, trusted)
            _take_part(job, opened, request, progress or (lambda _: None), idle)


def _wait_for_study(
    storage: BaseStorage, location: StudyLocation, wait: float, stop: Stop
) -> Study | None:
    """Return the study once a leader has written its handshake; None if asked to stop before."""
    deadline = time.monotonic() + wait
    announced = False
    while not stop():
        study = _load(storage, location)
        if study is not None and HANDSHAKE in study.user_attrs:
            return study
        if time.monotonic() > deadline:
            raise InvalidInputError(
                f"Expected {location.title}, but there is none; start `designer search --storage "
                f"... --study {location.study}` first, or check the name."
            )
        if not announced:
            log.warning("Waiting for %s.", location.title)
            announced = True
        time.sleep(POLL_SECONDS)
    return None


def _load(storage: BaseStorage, location: StudyLocation) -> Study | None:
    try:
        return optuna.load_study(study_name=location.name_of(Phase.SEARCH), storage=storage)
    except KeyError:
        return None


def _take_part(
    job: Job, storage: CachingStorage, stop: Stop, progress: ProgressCallback, idle: float
) -> None:
    """Work on whatever phase the leader is in, until it is done or nothing comes for too long."""
    studies = {phase: study_of(job, storage, phase) for phase in Phase}
    study = studies[Phase.SEARCH]
    last_busy = time.monotonic()
    with phase_runner(job, storage) as runner:
        while not stop() and (stage := study.user_attrs.get(STAGE, Phase.SEARCH)) != DONE:
            phase = Phase(stage)
            if not is_over(phase, studies[phase]):
                runner.run(phase, stop, progress)
                last_busy = time.monotonic()
            elif time.monotonic() - last_busy > idle:
                log.warning("Nothing to do for %.0f s in %s: leaving.", idle, job.location.title)
                return
            else:
                time.sleep(POLL_SECONDS)
