"""The history of a study as its sampler sees it: without a storage, and of bounded length."""

from __future__ import annotations

import heapq
from collections.abc import Container, Sequence

from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from designer.search.study.trials import FINISHED

REMEMBERED = 400
"""Finished trials that the sampler learns from, at the most."""

BEST = 50
"""Of these, how many are the best for each goal. TPE takes at most 25 for good."""


class KnownTrials(InMemoryStorage):
    """A storage that shows trials of another one, and keeps to itself what is added.

    Args:
        known: the trials of the other storage.
    """

    def __init__(self, known: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._known = known

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the known trials and those that were added; see ``BaseStorage``."""
        # Known trials are never changed here, and copying thousands would take longer than TPE.
        known = [t for t in self._known if states is None or t.state in states]
        return [*known, *super().get_all_trials(study_id, deepcopy, states)]

    def set_trial_system_attr(self, trial_id: int, key: str, value: object) -> None:
        """Keep nothing: samplers share by it what they draw, and no process reads this storage."""


def remembered(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]
) -> Sequence[FrozenTrial]:
    """Return the trials that a sampler learns from: all, or a well-chosen part of a long history.

    What TPE takes for good are its best few trials, however many there are, and what it takes for
    bad is a density, which a part shows as well. So of a long history the best trials for each goal
    are kept, those under way, and of all others so many, evenly spread over the study, that
    ``REMEMBERED`` finished trials come together. The same history always gives the same part.

    Args:
        trials: all trials of a study, by number.
        directions: the direction of each goal.
    """
    ended = [i for i, trial in enumerate(trials) if trial.state in FINISHED]
    if len(ended) <= REMEMBERED:
        return trials
    best = {i for goal, d in enumerate(directions) for i in _best(trials, ended, goal, d)}
    others = [i for i in ended if i not in best]
    wanted = REMEMBERED - len(best)
    spread = {others[k * len(others) // wanted] for k in range(wanted)}
    under_way = {i for i, trial in enumerate(trials) if trial.state is TrialState.RUNNING}
    return [trials[i] for i in sorted(best | spread | under_way)]


def _best(
    trials: Sequence[FrozenTrial], ended: Sequence[int], goal: int, direction: StudyDirection
) -> list[int]:
    """Return the places of the best complete trials for one goal; of equal ones the earlier."""
    sign = -1 if direction is StudyDirection.MAXIMIZE else 1
    complete = (i for i in ended if trials[i].state is TrialState.COMPLETE)
    return [
        i for _, i in heapq.nsmallest(BEST, ((sign * trials[i].values[goal], i) for i in complete))
    ]
