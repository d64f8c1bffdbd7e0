"""One leader at a time for a study that several machines share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from optuna.study import Study

from designer.errors import RunFolderError, StorageError
from designer.search.job import Job
from designer.search.stopping import Stop
from designer.search.workers.heartbeat import BEATS_MISSED, Watch, beating
from designer.search.workers.processes import own_name

LEADER = "leader"
"""Attribute of a study: who leads it, and a number that moves; empty without a leader."""


LOOK_SECONDS = 0.2


@contextmanager
def leading(job: Job, study: Study, stop: Stop) -> Iterator[None]:
    """Lead a study, and say so for as long as that takes; alone in a folder there is no need.

    Raises:
        RunFolderError: where another process leads it; the place of one that was killed is free
            once its pulse has been still for long enough.
        KeyboardInterrupt: where the run was asked to stop while it waited for that.
    """
    if not job.location.shared:
        yield
        return
    name = own_name()
    _wait_for_the_last(job, study, stop)
    study.set_user_attr(LEADER, [name, 0])
    try:
        with beating(
            lambda count: study.set_user_attr(LEADER, [name, count]), job.effort.heartbeat
        ):
            yield
    finally:
        with suppress(StorageError):  # then its pulse will be seen to stand still
            study.set_user_attr(LEADER, [])


def _wait_for_the_last(job: Job, study: Study, stop: Stop) -> None:
    """Until a leader that was killed has been still for long enough."""
    first = study.user_attrs.get(LEADER)
    watch = Watch(study._storage, job.effort.heartbeat)
    deadline = time.monotonic() + 2 * BEATS_MISSED * job.effort.heartbeat
    while (now := study.user_attrs.get(LEADER)) and not stop():
        if now != first or time.monotonic() > deadline:
            raise RunFolderError(
                f"Expected {job.location.title} to have no leader, but {now[0]} leads it; join it "
                f"with `designer worker`, or choose another --study."
            )
        if watch.still(study.study_name, -1, now):
            return
        time.sleep(LOOK_SECONDS)
    if now:  # asked to stop while another one leads: nothing of its study is touched
        raise KeyboardInterrupt
