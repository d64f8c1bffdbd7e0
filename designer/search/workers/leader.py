"""One leader at a time for a study that several machines share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from optuna.study import Study

from designer.errors import RunFolderError, StorageError
from designer.interrupts import StopRequest
from designer.search.job import Job
from designer.search.storage.caching import CachingStorage
from designer.search.study.keys import LEADER
from designer.search.workers.heartbeat import MISSED_HEARTBEATS, HeartbeatMonitor, send_heartbeats
from designer.search.workers.worker import own_name

POLL_SECONDS = 0.2
"""Seconds between two looks at the heartbeat of another leader."""


@contextmanager
def leadership(
    job: Job, study: Study, storage: CachingStorage, stop: StopRequest
) -> Iterator[None]:
    """Lead a study, and send heartbeats as its leader until the block ends.

    A study in a run folder needs no heartbeat: the lock of the folder keeps other leaders away.

    Args:
        job: whose study is led.
        study: the study of its search.
        storage: where the study is kept.
        stop: True once the run is asked to stop.

    Raises:
        RunFolderError: if another process leads it. A leader that was killed is replaced once its
            heartbeat has stood still for long enough.
        Stopped: if the run was asked to stop while it waited for that.
    """
    if not job.location.shared:
        yield
        return
    name, seconds = own_name(), job.options.heartbeat
    _wait_for_previous_leader(job, study, storage, stop)
    study.set_user_attr(LEADER, [name, 0])
    try:
        with send_heartbeats(lambda count: study.set_user_attr(LEADER, [name, count]), seconds):
            yield
    finally:
        # A storage that is gone cannot be told: its next leader waits for the heartbeat.
        with suppress(StorageError):
            study.set_user_attr(LEADER, [])


def _wait_for_previous_leader(
    job: Job, study: Study, storage: CachingStorage, stop: StopRequest
) -> None:
    """Return when nobody leads the study, or its leader counts as gone."""
    seconds = job.options.heartbeat
    monitor = HeartbeatMonitor(storage, seconds)
    deadline = time.monotonic() + 2 * MISSED_HEARTBEATS * seconds
    first = study.user_attrs.get(LEADER)
    while (leader := study.user_attrs.get(LEADER)) and not stop():
        if leader != first or time.monotonic() > deadline:  # it changes: somebody is alive
            raise RunFolderError(
                f"{leader[0]} leads {job.location.title}. Join it with `designer worker`, or "
                f"choose another --study."
            )
        if monitor.stands_still(LEADER, leader):
            return
        time.sleep(POLL_SECONDS)
    if leader:  # asked to stop while another process leads: nothing of its study is touched
        stop.check()
