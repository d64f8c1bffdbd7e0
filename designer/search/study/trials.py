"""The trials of a study: their attributes, states and counts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from designer.search.storage.retrying import forget_looks

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


Trials = Sequence[FrozenTrial]
"""Of one study, by number."""


def wanted_trials(study: Study) -> int:
    """How many finished trials the study shall have."""
    return int(study.user_attrs[WANTED])


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


def count_under_way(trials: Trials) -> int:
    """Trials finished or under way."""
    return len(finished(trials)) + len(running(trials))
