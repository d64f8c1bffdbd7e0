"""Claim trials so that a study gets exactly as many as were asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
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
from designer.search.progress import Phase
from designer.search.settings import StudySettings
from designer.search.study.sampler import pruner_for
from designer.search.study.trials import (
    CONFIRMS,
    LOST,
    REASON,
    RECORD,
    REJECTED,
    RETRY_OF,
    SPEC,
    WORKER,
    Trials,
    count_under_way,
    is_rejected,
    running,
    trials_now,
    trials_of,
    waiting,
)


def open_study(
    storage: BaseStorage, phase: Phase, settings: StudySettings, name: str | None = None
) -> Study:
    """The study of a phase, made if it is not there; by default named after the phase.

    Its own sampler is never asked: proposals are drawn up apart from it.
    """
    search = phase is Phase.SEARCH
    return optuna.create_study(
        storage=storage,
        study_name=name or phase,
        directions=(settings if search else StudySettings()).objective.directions,
        sampler=RandomSampler(settings.seed),
        pruner=pruner_for(settings) if search else NopPruner(),
        load_if_exists=True,
    )


def study_of(job: Job, storage: BaseStorage, phase: Phase) -> Study:
    """The study of a phase of a job."""
    return open_study(storage, phase, job.settings, job.location.name_of(phase))


class Rejected(Exception):
    """A proposal is not worth training; says why."""


def claim(
    study: Study,
    wanted: int,
    worker: str,
    propose: Callable[[Trials], FrozenTrial],
    lock: AbstractContextManager[object] | None = None,
) -> Trial | None:
    """The next trial to run, or None where ``wanted`` are finished or under way.

    One that was handed back is taken first; else ``propose`` draws one up from what is there.
    Two workers may do so at the same moment; then the one with the later number gives way.

    Raises:
        Rejected: where what was proposed is not worth training; the next one may be.
    """
    trials = trials_of(study)
    if count_under_way(trials) >= wanted:
        return None
    trial = _taken(study, trials, worker, lock) or _begun(study, propose(trials))
    earlier = _before(study, trial, trials)
    if count_under_way(earlier) + len(waiting(earlier)) >= wanted:  # those that wait are repeated
        reject(study, trial, "enough trials are under way")
        return None
    try:
        check_new(earlier, trial.user_attrs.get(SPEC))
    except Rejected as reason:
        reject(study, trial, str(reason))
        raise
    return trial


def claim_waiting(
    study: Study,
    worker: str,
    lock: AbstractContextManager[object] | None = None,
    at_most: int = 1,
) -> list[Trial]:
    """The next trial of those that were enqueued, with others that confirm the same candidate, as
    many as ``at_most`` in all; none where none is left."""
    trials = trials_of(study)
    first = _taken(study, trials, worker, lock)
    if first is None:
        return []
    wanted = _confirmed_by(first.user_attrs)
    alike = [t for t in waiting(trials) if wanted and _confirmed_by(t.user_attrs) == wanted]
    others = (_taken(study, [t], worker, lock) for t in alike if t.number != first.number)
    return [first, *islice(filter(None, others), at_most - 1)]


def _confirmed_by(attributes: Mapping[str, Any]) -> list[Any]:
    """Candidate and epochs of a confirmation; empty for what is none."""
    return [attributes[key] for key in ("confirms", "epochs") if key in attributes]


def _taken(
    study: Study, trials: Trials, worker: str, lock: AbstractContextManager[object] | None
) -> Trial | None:
    """The first of these trials that waits and that no other worker takes meanwhile.

    Args:
        study, trials, worker: whose.
        lock: for a storage that would give the same one to two at once.
    """
    storage = study._storage  # the public API makes a trial where none is left
    for waits in waiting(trials):
        with lock or nullcontext(), suppress(UpdateFinishedTrialError):
            if storage.set_trial_state_values(waits._trial_id, TrialState.RUNNING):
                trial = Trial(study, waits._trial_id)
                trial.set_user_attr(WORKER, worker)
                return trial
    return None


def _begun(study: Study, proposed: FrozenTrial) -> Trial:
    """The trial that a proposal becomes, in one write.

    Raises:
        Rejected: where it has ended already.
    """
    storage = study._storage  # the public API adds trials without saying which
    trial_id = storage.create_new_trial(study._study_id, template_trial=proposed)
    if proposed.state.is_finished():
        attrs = proposed.user_attrs
        raise Rejected(attrs.get(REJECTED) or attrs.get(REASON))
    return Trial(study, trial_id)


def reject(study: Study, trial: Trial, why: str, *, lost: bool = False) -> None:
    """Hand a proposal back; it counts neither as finished nor as failed.

    Where it was ``lost``, to a stop and not to its own fault, it is proposed again.
    """
    trial.set_user_attr(REJECTED, why)
    if lost:
        trial.set_user_attr(LOST, True)  # noqa: FBT003
    end(study, trial, TrialState.FAIL)


def end(
    study: Study, trial: Trial, state: TrialState, values: Sequence[float] | None = None
) -> None:
    """What ``Study.tell`` does, without reading the trial twice to do so.

    Raises:
        UpdateFinishedTrialError: where somebody else has ended it.
    """
    study._storage.set_trial_state_values(trial._trial_id, state, values)


def hand_back(study: Study, trial: Trial) -> None:
    """Leave a trial to other workers, who are asked for the same again."""
    reject(study, trial, "its worker left")
    if trial.params:
        study.enqueue_trial(trial.params, user_attrs=_kept(trial.user_attrs, RETRY_OF))


def release_running(study: Study, why: str) -> None:
    """Hand back the trials of a run that is gone as a whole."""
    for trial in running(trials_now(study)):
        _end(study, trial, {REJECTED: why, LOST: True})


def release_unsigned(study: Study, seconds: float) -> None:
    """Hand back trials that have run for so long without naming a worker: it died at once."""
    now = time.time()
    for trial in running(trials_of(study)):
        started = trial.datetime_start.timestamp() if trial.datetime_start else now
        if WORKER not in trial.user_attrs and now - started > seconds:
            _end(study, trial, {REJECTED: "Its worker ended at once.", LOST: True})


def retry_once(study: Study, trial: FrozenTrial, why: str) -> None:
    """End a trial whose worker is gone, and ask for the same again; the second time it failed,
    for it may be what kills workers.  Of several that say so at once only one is heard."""
    attrs = trial.user_attrs
    params = trial.params or trial.system_attrs.get("fixed_params", {})
    if not params:
        _end(study, trial, {REJECTED: why, LOST: True})
    elif RETRY_OF in attrs:
        _end(study, trial, {REASON: f"{why} So it had before."})
    elif _end(study, trial, {REJECTED: why}):
        study.enqueue_trial(params, user_attrs={**_kept(attrs), RETRY_OF: trial.number})


def retry_of(study: Study, worker: str, why: str) -> int:
    """Ask again for what a worker was at that is gone; how many trials that were."""
    lost = [t for t in running(trials_now(study)) if t.user_attrs.get(WORKER) == worker]
    for trial in lost:
        retry_once(study, trial, why)
    return len(lost)


def _kept(attributes: Mapping[str, Any], *more: str) -> dict[str, Any]:
    """What a trial that is asked for again has in common with the first."""
    return {key: attributes[key] for key in (SPEC, RECORD, *CONFIRMS, *more) if key in attributes}


def drop_waiting(study: Study) -> None:
    """Hand back trials that were enqueued and never started."""
    for trial in waiting(trials_of(study)):
        _end(study, trial, {REJECTED: "no longer wanted"})


def _end(study: Study, trial: FrozenTrial, attributes: dict[str, Any]) -> bool:
    """Whether it was this call that ended it, as failed."""
    storage = study._storage  # the public API can neither annotate nor end another's trial
    try:
        for key, value in attributes.items():
            storage.set_trial_user_attr(trial._trial_id, key, value)
        return storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:
        return False


def check_new(trials: Trials, spec: Mapping[str, Any] | None) -> None:
    """Raise ``Rejected`` where a trial, finished, failed or under way, has the same spec."""
    same = (t for t in trials if t.user_attrs.get(SPEC) == spec and not is_rejected(t))
    twin = next(same, None) if spec is not None else None
    if twin is not None:
        raise Rejected(f"equal to trial {twin.number}")


def _before(study: Study, trial: Trial, trials: Trials) -> Trials:
    """All with lower numbers: these, and those that others began meanwhile."""
    storage = study._storage  # the public API reads all trials or none
    newcomers = (
        storage.get_trial(storage.get_trial_id_from_study_id_trial_number(study._study_id, number))
        for number in range(len(trials), trial.number)
    )
    return [*trials[: trial.number], *newcomers]
