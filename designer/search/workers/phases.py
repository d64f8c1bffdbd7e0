"""How far a phase of a study has come, and whether anything is left to do in it."""

from __future__ import annotations

from optuna.study import Study

from designer.search.progress import Phase, Progress
from designer.search.study.history import History, history_of
from designer.search.study.trials import wanted_trials

MAX_REJECTED = 300
"""Proposals in a row that are known or over a limit, after which the space counts as used up."""


def is_over(phase: Phase, study: Study) -> bool:
    """Return True if nothing is left to do in a phase, in this process or any other.

    A search also ends if more trials failed than are wanted, or if nothing new can be proposed.

    Args:
        phase: what the study is for.
        study: the study of that phase.
    """
    history = history_of(study)
    if phase is not Phase.SEARCH:
        return not (history.waiting or history.running)
    wanted = wanted_trials(study)
    return len(history.finished) >= wanted or history.failed > wanted or is_used_up(history)


def is_used_up(history: History) -> bool:
    """Return True if a space has nothing new left within the limits, as far as proposals show."""
    return history.rejected_in_a_row >= MAX_REJECTED


def progress_of(phase: Phase, study: Study) -> Progress:
    """Return how far a phase has come.

    Args:
        phase: what the study is for.
        study: the study of that phase.
    """
    history = history_of(study)
    done = len(history.finished)
    total = done + len(history.waiting) + len(history.running)
    if phase is not Phase.CONFIRMATION:
        total = wanted_trials(study)
    return Progress(phase, done, total, history.failed, history.highest)
