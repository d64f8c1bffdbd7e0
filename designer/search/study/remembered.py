"""What the sampler sees of a study: without a storage, and of bounded length."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Container, Sequence

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from designer.search.study.history import History

REMEMBERED = 400
"""Finished trials that the sampler learns from, at the most."""


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


def remembered(history: History) -> Sequence[FrozenTrial]:
    """Return the trials that a sampler learns from: all, or a well-chosen part of a long history.

    What TPE takes for good are its best few trials, however many there are, and what it takes for
    bad is a density, which a part shows as well. So of a long history the best trials for each goal
    and the Pareto front are kept (see ``Ranking``), those under way, and of all others so many,
    evenly spread over the study, that ``REMEMBERED`` finished trials come together. The same
    history always gives the same part.

    Args:
        history: all trials of a study.
    """
    finished = history.finished
    if len(finished) <= REMEMBERED:
        return history
    best = history.ranking.best()
    wanted, others = REMEMBERED - len(best), len(finished) - len(best)
    places = sorted(bisect_left(finished, number) for number in best)
    others_before = [place - i for i, place in enumerate(places)]
    spread = [k * others // wanted for k in range(wanted)]
    chosen = {finished[i + bisect_right(others_before, i)] for i in spread}
    under_way = [trial.number for trial in history.running]
    return [history[number] for number in sorted({*best, *chosen, *under_way})]
