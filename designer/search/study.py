"""The Optuna study: its sampler, and who may start the next trial.

Every rule here uses the storage alone, so it holds for any number of workers: a trial counts
towards the wanted number while it runs and once it is finished, and a proposal that is not
worth training (known already, over a limit) is handed back as failed with the reason
``rejected``, which counts as nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import islice, takewhile
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from designer.search.patience import forget_looks
from designer.search.phases import Phase
from designer.search.settings import Job, StudySettings

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

SPEC, RECORD, REASON, REJECTED, WORKER = "spec", "record", "reason", "rejected", "worker"
"""Keys of a trial's user attributes."""

EMERGENCE = "emergence"
"""Key of what was seen inside a confirmation run between its epochs."""

SECONDS = "seconds"
"""Key of a record: how long the trial took."""

LOST = "lost"
"""Key of a trial that was handed back because its run was stopped or killed: it is proposed
again."""

RETRY_OF = "retry_of"
"""Key of a trial that repeats the one of that number, whose worker was gone."""

CONFIRMS = ("confirms", "seed", "epochs")
"""Keys that say which candidate a trial trains again, and how."""

WANTED = "trials_wanted"
"""Key of a study: how many finished trials it shall have; it may grow while workers work."""

TIRED_AFTER = 5
"""Proposals in a row that were handed back, after which proposals are random."""

STARTUP_TRIALS = 10
"""Trials proposed at random before the sampler learns and the pruner compares."""


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
    return open_study(storage, phase, job.settings, job.place.name_of(phase))


def pruner_for(settings: StudySettings) -> BasePruner:
    """Median pruning for a single objective, where it is wanted."""
    if not settings.prune or len(settings.objective.directions) > 1:
        return NopPruner()
    return MedianPruner(n_startup_trials=STARTUP_TRIALS)


Trials = Sequence[FrozenTrial]
"""Of one study, by number."""


class Rejected(Exception):
    """A proposal is not worth training; says why."""


class SeededSampler(BaseSampler):
    """TPE whose every proposal depends only on the seed, the number of trials and the history.

    A search that was stopped and continued proposes what it would have proposed uninterrupted.
    Where TPE keeps proposing what is known already, proposals are random until one is new.

    Args:
        seed: of the study.
        stream: another one gives other proposals from the same seed.
    """

    def __init__(self, seed: int, stream: int = 0) -> None:
        self._seed, self._stream = seed, stream
        self._inner: BaseSampler = RandomSampler(seed=seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        trials = trials_of(study)
        before = sum(LOST not in t.user_attrs for t in trials) - 1  # those are proposed again
        source = [self._seed, before, *([self._stream] if self._stream else [])]
        seed = int(np.random.SeedSequence(source).generate_state(1)[0])
        if rejected_in_a_row(trials) >= TIRED_AFTER:
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


def wanted_trials(study: Study) -> int:
    """How many finished trials the study shall have."""
    return int(study.user_attrs[WANTED])


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
    if _under_way(trials) >= wanted:
        return None
    trial = _taken(study, trials, worker, lock) or _begun(study, propose(trials))
    earlier = _before(study, trial, trials)
    if _under_way(earlier) + len(waiting(earlier)) >= wanted:  # those that wait are repeated
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


def trials_of(study: Study) -> Trials:
    """One look at the storage: all trials as they are now, by number."""
    return study.get_trials(deepcopy=False)


def trials_now(study: Study) -> Trials:
    """The same where others were at work whose last word must not be missed."""
    forget_looks(study._storage)
    return trials_of(study)


def finished(trials: Trials) -> list[FrozenTrial]:
    """Complete and pruned trials."""
    return [trial for trial in trials if trial.state in FINISHED]


def running(trials: Trials) -> list[FrozenTrial]:
    """Trials under way."""
    return [trial for trial in trials if trial.state is TrialState.RUNNING]


def waiting(trials: Trials) -> list[FrozenTrial]:
    """Trials that were enqueued and not begun."""
    return [trial for trial in trials if trial.state is TrialState.WAITING]


def failed(trials: Trials) -> list[FrozenTrial]:
    """Trials that failed in earnest."""
    return [t for t in trials if t.state is TrialState.FAIL and not is_rejected(t)]


def retried(trials: Trials) -> int:
    """How many trials that count were begun before, by a worker that is gone."""
    return sum(RETRY_OF in trial.user_attrs for trial in [*finished(trials), *failed(trials)])


def seconds_of(trial: FrozenTrial) -> float:
    """How long it took; 0 where it never said."""
    return float(trial.user_attrs.get(RECORD, {}).get(SECONDS, 0.0))


def is_rejected(trial: FrozenTrial) -> bool:
    """Whether it was handed back without training."""
    return REJECTED in trial.user_attrs


def rejected_in_a_row(trials: Trials) -> int:
    """How many of the latest proposals were handed back without training."""
    ended = (t for t in reversed(trials) if t.state.is_finished() and LOST not in t.user_attrs)
    return sum(1 for _ in takewhile(is_rejected, ended))


def last_rejection(trials: Trials) -> str:
    """Why the latest proposal that was handed back was so; empty without any."""
    reasons = (trial.user_attrs.get(REJECTED) for trial in reversed(trials))
    return next((reason for reason in reasons if reason), "")


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


def _under_way(trials: Trials) -> int:
    """Trials finished or under way."""
    return len(finished(trials)) + len(running(trials))
