"""The trials of a study: read, sorted by state and counted."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from designer.search.storage.caching import CachingStorage
from designer.search.study.keys import REJECTED, RETRY_OF, WANTED

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
"""States of trials that count towards the budget."""


def wanted_trials(study: Study) -> int:
    """Return how many finished trials the study has in the end."""
    return int(study.user_attrs[WANTED])


def trials_of(study: Study) -> Sequence[FrozenTrial]:
    """Return all trials by number, as the storage or its cache of a moment ago holds them."""
    return study.get_trials(deepcopy=False)


def fresh_trials(study: Study, storage: CachingStorage) -> Sequence[FrozenTrial]:
    """Return all trials, read past the cache, so that other workers' latest writes are seen."""
    storage.forget()
    return trials_of(study)


def finished(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return complete and pruned trials."""
    return [trial for trial in trials if trial.state in FINISHED]


def running(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return trials under way."""
    return [trial for trial in trials if trial.state is TrialState.RUNNING]


def waiting(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return trials that were enqueued and not begun."""
    return [trial for trial in trials if trial.state is TrialState.WAITING]


def failed(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return trials that failed by their own fault; those handed back are left out."""
    return [t for t in trials if t.state is TrialState.FAIL and not is_rejected(t)]


def retried(trials: Sequence[FrozenTrial]) -> int:
    """Return how many finished or failed trials repeat one whose worker was gone."""
    return sum(RETRY_OF in trial.user_attrs for trial in [*finished(trials), *failed(trials)])


def is_rejected(trial: FrozenTrial) -> bool:
    """Return True if the trial was handed back without training."""
    return REJECTED in trial.user_attrs


def last_rejection(trials: Sequence[FrozenTrial]) -> str:
    """Return why the latest rejected proposal was handed back; empty without any."""
    reasons = (trial.user_attrs.get(REJECTED) for trial in reversed(trials))
    return next((reason for reason in reasons if reason), "")


def count_under_way(trials: Sequence[FrozenTrial]) -> int:
    """Return how many trials are finished or under way."""
    return len(finished(trials)) + len(running(trials))
