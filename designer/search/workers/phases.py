"""How far a phase of a study has come, and whether anything is left to do in it."""

from __future__ import annotations

from optuna.study import Study
from optuna.trial import TrialState

from designer.search.progress import Phase, Progress
from designer.search.study.trials import (
    failed,
    finished,
    rejected_in_a_row,
    running,
    trials_of,
    waiting,
    wanted_trials,
)

MAX_REJECTED = 300
"""Proposals in a row that are known or over a limit, after which the space counts as used up."""


def is_over(phase: Phase, study: Study) -> bool:
    """Return True if nothing is left to do in a phase, in this process or any other.

    A search also ends if more trials failed than are wanted, or if nothing new can be proposed.

    Args:
        phase: what the study is for.
        study: the study of that phase.
    """
    trials = trials_of(study)
    if phase is not Phase.SEARCH:
        return not (waiting(trials) or running(trials))
    wanted = wanted_trials(study)
    return (
        len(finished(trials)) >= wanted
        or len(failed(trials)) > wanted
        or rejected_in_a_row(trials) >= MAX_REJECTED
    )


def progress_of(phase: Phase, study: Study) -> Progress:
    """Return how far a phase has come.

    Args:
        phase: what the study is for.
        study: the study of that phase.
    """
    trials = trials_of(study)
    done = finished(trials)
    values = [t.values[0] for t in done if t.state is TrialState.COMPLETE and t.values]
    total = len(done) + len(waiting(trials)) + len(running(trials))
    if phase is not Phase.CONFIRMATION:
        total = wanted_trials(study)
    return Progress(phase, len(done), total, len(failed(trials)), max(values, default=None))
