"""Claim trials so that a study gets exactly as many as were asked for, with any number of workers.

There is no lock over all workers. A worker writes its trial first and looks afterwards: trials are
numbered in the order in which the storage took them, so of several workers that wrote at the same
moment all agree whose trial came first, and the later ones give way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import islice
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from designer.search.job import Job
from designer.search.options import SearchOptions
from designer.search.progress import Phase
from designer.search.storage.caching import CachingStorage
from designer.search.study.history import History, history_of
from designer.search.study.keys import (
    CONFIRMATION_KEYS,
    CONFIRMS,
    EDITS,
    ENQUEUED_PARAMETERS,
    EPOCHS,
    LOST,
    REASON,
    RECORD,
    REJECTED,
    RETRY_OF,
    SPEC,
    WORKER,
)
from designer.search.study.trials import (
    count_under_way,
    fresh_trials,
    is_rejected,
    running,
    waiting,
)

Lock = AbstractContextManager[object]


def open_study(
    storage: BaseStorage, phase: Phase, options: SearchOptions, name: str | None = None
) -> Study:
    """Return the study of a phase, created if it does not exist.

    Its own sampler and pruner are never asked: proposals are drawn up outside the storage, and
    ``designer.search.looks`` compares trials.

    Args:
        storage: where the study is kept.
        phase: what the study is for.
        options: objective and seed.
        name: name of the study; by default that of the phase.
    """
    search = phase is Phase.SEARCH
    return optuna.create_study(
        storage=storage,
        study_name=name or phase,
        directions=(options if search else SearchOptions()).objective.directions,
        sampler=RandomSampler(options.seed),
        pruner=NopPruner(),
        load_if_exists=True,
    )


def study_of(job: Job, storage: BaseStorage, phase: Phase) -> Study:
    """Return the study of a phase of a job, created if it does not exist."""
    return open_study(storage, phase, job.options, job.location.name_of(phase))


class Rejected(Exception):
    """A proposal that is not worth training; the message says why."""


class TrialClaims:
    """What workers do to the trials of a study: begin them, end them, hand them back.

    Optuna's ``Study`` can do none of it without either creating a trial where none waits or reading
    all trials again, so that the storage is written to directly.

    Args:
        study: study that the trials belong to.
        storage: where the study is kept.
    """

    def __init__(self, study: Study, storage: CachingStorage) -> None:
        self.study, self.storage = study, storage
        self._study_id = storage.get_study_id_from_name(study.study_name)

    def claim(
        self,
        wanted: int,
        worker: str,
        propose: Callable[[History], FrozenTrial],
        lock: Lock | None = None,
    ) -> Trial | None:
        """Return the next trial to run, or None if ``wanted`` are finished or under way.

        Args:
            wanted: number of trials that the study has in the end.
            worker: name of the caller.
            propose: called with all trials if none waits; returns a new one.
            lock: for a storage that would give the same trial to two workers.

        Raises:
            Rejected: if the proposal is not worth training; the next one may be.
        """
        history = history_of(self.study)
        if history.under_way >= wanted:
            return None
        trial = self._take(history.waiting, worker, lock) or self._begin(propose(history))
        # Others may have begun trials since the history was read. Only those with a lower number
        # count: every worker decides by the same order, so exactly the surplus gives way.
        newcomers = self._newcomers(history, trial)
        # Those that wait count, too: they repeat trials that already had a place in the budget.
        places = history.places_before(trial.number)
        if places + count_under_way(newcomers) + len(waiting(newcomers)) >= wanted:
            self.reject(trial, "enough trials are under way")
            return None
        try:
            check_new(history, trial.user_attrs.get(SPEC), trial.number, newcomers)
        except Rejected as reason:
            self.reject(trial, str(reason))
            raise
        return trial

    def claim_waiting(self, worker: str, lock: Lock | None = None, at_most: int = 1) -> list[Trial]:
        """Return enqueued trials that confirm one candidate; empty if none is left.

        Args:
            worker: name of the caller.
            lock: for a storage that would give the same trial to two workers.
            at_most: number of trials; several seeds of a candidate can be trained in one step.
        """
        enqueued = history_of(self.study).waiting
        first = self._take(enqueued, worker, lock)
        if first is None:
            return []
        candidate = _candidate_of(first.user_attrs)
        alike = [
            trial
            for trial in enqueued
            if candidate and _candidate_of(trial.user_attrs) == candidate
        ]
        others = (self._take([t], worker, lock) for t in alike if t.number != first.number)
        return [first, *islice(filter(None, others), at_most - 1)]

    def reject(self, trial: Trial, why: str, *, lost: bool = False) -> None:
        """Hand a proposal back; it counts neither as finished nor as failed.

        Args:
            trial: a trial that the caller has claimed.
            why: the reason, which is shown if nothing else can be proposed.
            lost: True if it ended because the run was stopped; it will be proposed again.
        """
        trial.set_user_attr(REJECTED, why)
        if lost:
            trial.set_user_attr(LOST, True)  # noqa: FBT003
        self.end(trial, TrialState.FAIL)

    def end(self, trial: Trial, state: TrialState, values: Sequence[float] | None = None) -> None:
        """End a trial as ``Study.tell`` does, which would read the trial twice to do so.

        Raises:
            UpdateFinishedTrialError: if somebody else has ended it.
        """
        self.storage.set_trial_state_values(self._id_of(trial.number), state, values)

    def hand_back(self, trial: Trial) -> None:
        """Leave a trial to other workers: end it, and enqueue a copy."""
        self.reject(trial, "its worker left")
        if trial.params:
            self.study.enqueue_trial(trial.params, user_attrs=_kept(trial.user_attrs, RETRY_OF))

    def release_running(self, why: str) -> None:
        """Hand back all running trials, because the run that started them is gone as a whole."""
        for trial in running(fresh_trials(self.study, self.storage)):
            self._end_as_failed(trial, {REJECTED: why, LOST: True})

    def release_unsigned(self, seconds: float) -> None:
        """Hand back trials that name no worker after this many seconds: it died at once."""
        now = time.time()
        for trial in history_of(self.study).running:
            started = trial.datetime_start.timestamp() if trial.datetime_start else now
            if WORKER not in trial.user_attrs and now - started > seconds:
                self._end_as_failed(trial, {REJECTED: "Its worker ended at once.", LOST: True})

    def retry_once(self, trial: FrozenTrial, why: str) -> None:
        """End a trial whose worker is gone, and enqueue a copy.

        A copy whose worker is gone, too, counts as failed, because the trial may be what kills
        workers. If several workers retry one trial at the same time, only the one that ends it
        enqueues a copy.
        """
        attributes = trial.user_attrs
        parameters = trial.params or trial.system_attrs.get(ENQUEUED_PARAMETERS, {})
        if not parameters:
            self._end_as_failed(trial, {REJECTED: why, LOST: True})
        elif RETRY_OF in attributes:
            self._end_as_failed(
                trial, {REASON: f"{why} The same happened to the trial that it repeats."}
            )
        elif self._end_as_failed(trial, {REJECTED: why}):
            kept = {**_kept(attributes), RETRY_OF: trial.number}
            self.study.enqueue_trial(parameters, user_attrs=kept)

    def retry_of(self, worker: str, why: str) -> int:
        """Retry the running trials of a worker that is gone; return how many there were."""
        # Read past the cache: the worker may have begun a trial just before it ended.
        now = running(fresh_trials(self.study, self.storage))
        lost = [trial for trial in now if trial.user_attrs.get(WORKER) == worker]
        for trial in lost:
            self.retry_once(trial, why)
        return len(lost)

    def retry_strangers(self, workers: Collection[str], why: str) -> None:
        """Retry the running trials of all workers but these, because no others can be at work."""
        for trial in history_of(self.study).running:
            worker = trial.user_attrs.get(WORKER)
            if worker is not None and worker not in workers:
                self.retry_once(trial, why)

    def drop_waiting(self) -> None:
        """Hand back trials that were enqueued and never started."""
        for trial in history_of(self.study).waiting:
            self._end_as_failed(trial, {REJECTED: "no longer wanted"})

    def _take(
        self, enqueued: Sequence[FrozenTrial], worker: str, lock: Lock | None
    ) -> Trial | None:
        """Begin the first of these trials that no other worker takes meanwhile."""
        for candidate in enqueued:
            trial_id = self._id_of(candidate.number)
            # Only one worker can set a trial to running; the others get an error or False. SQLite
            # does not guarantee this, so there a lock is needed.
            with lock or nullcontext(), suppress(UpdateFinishedTrialError):
                if self.storage.set_trial_state_values(trial_id, TrialState.RUNNING):
                    trial = Trial(self.study, trial_id)
                    trial.set_user_attr(WORKER, worker)
                    return trial
        return None

    def _begin(self, proposal: FrozenTrial) -> Trial:
        """Store a proposal in one write and return its trial.

        Raises:
            Rejected: if it has ended already.
        """
        # ``Study.add_trial`` does not say which number the trial got.
        trial_id = self.storage.create_new_trial(self._study_id, template_trial=proposal)
        if proposal.state.is_finished():
            attributes = proposal.user_attrs
            raise Rejected(attributes.get(REJECTED) or attributes.get(REASON))
        return Trial(self.study, trial_id)

    def _end_as_failed(self, trial: FrozenTrial, attributes: dict[str, Any]) -> bool:
        """End the trial of any worker; return True if it was this call that ended it."""
        trial_id = self._id_of(trial.number)
        try:
            for key, value in attributes.items():
                self.storage.set_trial_user_attr(trial_id, key, value)
            return self.storage.set_trial_state_values(trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            return False

    def _newcomers(self, history: History, trial: Trial) -> list[FrozenTrial]:
        """Return the trials with lower numbers that others have begun since a history was read."""
        return [
            self.storage.get_trial(self._id_of(number))
            for number in range(len(history), trial.number)
        ]

    def _id_of(self, number: int) -> int:
        """Return the id that the storage knows a trial by."""
        return self.storage.get_trial_id_from_study_id_trial_number(self._study_id, number)


def check_new(
    history: History,
    spec: Mapping[str, Any] | None,
    before: int | None = None,
    newcomers: Sequence[FrozenTrial] = (),
) -> None:
    """Raise ``Rejected`` if a trial, finished, failed or under way, has the same spec.

    Args:
        history: trials of the study.
        spec: the spec; None is always new.
        before: only trials with lower numbers are looked at; None for all.
        newcomers: further trials.
    """
    others = (t for t in newcomers if t.user_attrs.get(SPEC) == spec and not is_rejected(t))
    twin = history.twin_of(spec, before) or next(others, None)
    if spec is not None and twin is not None:
        raise Rejected(f"equal to trial {twin.number}")


def _candidate_of(attributes: Mapping[str, Any]) -> list[Any]:
    """Return candidate and epochs of a confirmation run; empty for any other trial."""
    return [attributes[key] for key in (CONFIRMS, EDITS, EPOCHS) if key in attributes]


def _kept(attributes: Mapping[str, Any], *more: str) -> dict[str, Any]:
    """Return the attributes that a trial shares with the one that repeats it."""
    wanted = (SPEC, RECORD, *CONFIRMATION_KEYS, *more)
    return {key: attributes[key] for key in wanted if key in attributes}
