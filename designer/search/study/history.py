"""The history of a study: all of its trials, and what they add up to.

A study may come to a hundred thousand trials, and several rules look at all of them before every
trial and after every epoch. Trials that have ended never change, so a history takes each in once,
and a question costs about the same however long the study is.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload
from weakref import WeakKeyDictionary

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from designer.search.study.keys import LOST, RECORD, SPEC
from designer.search.study.looks_table import LooksTable
from designer.search.study.ranking import Ranking
from designer.search.study.trials import FINISHED, is_rejected, running, trials_of, waiting


class History(Sequence[FrozenTrial]):
    """All trials of a study by number, as they were when ``update`` was last called.

    Args:
        directions: the direction of each goal.
        trials: all trials of the study, by number.

    Attributes:
        finished: numbers of the complete and pruned trials, in rising order.
        failed: how many trials failed by their own fault.
        highest: the highest value of the first goal; None without a complete trial.
        ranking: which complete trials are the best.
        looks: what was seen of the complete trials between epochs.
    """

    def __init__(
        self, directions: Sequence[StudyDirection], trials: Sequence[FrozenTrial] = ()
    ) -> None:
        self.finished: list[int] = []
        self.failed = 0
        self.highest: float | None = None
        self.ranking = Ranking(directions)
        self.looks = LooksTable()
        self._trials: Sequence[FrozenTrial] = ()
        self._unfinished: dict[int, FrozenTrial] = {}
        self._lost = 0
        self._rejected: list[int] = []
        self._last_not_rejected = -1
        self._numbers_by_spec: dict[int, list[int]] = defaultdict(list)
        self.update(trials)

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """Take in all trials as they are now; only what may have changed is looked at."""
        changed = [*self._unfinished, *range(len(self._trials), len(trials))]
        self._trials = trials
        for number in changed:
            trial = trials[number]
            if trial.state.is_finished():
                self._unfinished.pop(number, None)
                self._take_in(number, trial)
            else:
                self._unfinished[number] = trial

    @overload
    def __getitem__(self, place: int) -> FrozenTrial: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[FrozenTrial]: ...

    def __getitem__(self, place: int | slice) -> FrozenTrial | Sequence[FrozenTrial]:
        return self._trials[place]

    def __len__(self) -> int:
        return len(self._trials)

    def __iter__(self) -> Iterator[FrozenTrial]:
        return iter(self._trials)

    @property
    def running(self) -> list[FrozenTrial]:
        """Trials under way, by number."""
        return running(self._by_number())

    @property
    def waiting(self) -> list[FrozenTrial]:
        """Trials that were enqueued and not begun, by number."""
        return waiting(self._by_number())

    @property
    def under_way(self) -> int:
        """How many trials are finished or under way."""
        return len(self.finished) + len(self.running)

    @property
    def lasting(self) -> int:
        """How many trials are not lost: those are proposed again."""
        lost = sum(LOST in trial.user_attrs for trial in self._unfinished.values())
        return len(self._trials) - self._lost - lost

    @property
    def rejected_in_a_row(self) -> int:
        """How many of the latest proposals were handed back without training."""
        return len(self._rejected) - bisect_right(self._rejected, self._last_not_rejected)

    def places_before(self, number: int) -> int:
        """Return how many trials with lower numbers are finished, under way or enqueued."""
        later = sum(
            trial.state in FINISHED or not trial.state.is_finished()
            for trial in self._trials[number:]
        )
        return len(self.finished) + len(self._unfinished) - later

    def twin_of(
        self, spec: Mapping[str, Any] | None, before: int | None = None
    ) -> FrozenTrial | None:
        """Return the first trial, finished, failed or under way, that has the same spec.

        Args:
            spec: the spec; None has no twin.
            before: only trials with lower numbers are looked at; None for all.
        """
        if spec is None:
            return None
        alike = [
            number for number, trial in self._unfinished.items() if not is_rejected(trial)
        ] + self._numbers_by_spec.get(_hash(spec), [])
        for number in sorted(alike):
            if before is not None and number >= before:
                return None
            if self._trials[number].user_attrs.get(SPEC) == spec:
                return self._trials[number]
        return None

    def _by_number(self) -> list[FrozenTrial]:
        return [trial for _, trial in sorted(self._unfinished.items())]

    def _take_in(self, number: int, trial: FrozenTrial) -> None:
        """Count a trial that has ended."""
        rejected, lost = is_rejected(trial), LOST in trial.user_attrs
        self._lost += lost
        if rejected and not lost:
            insort(self._rejected, number)
        elif not lost:
            self._last_not_rejected = max(self._last_not_rejected, number)
        if not rejected and (spec := trial.user_attrs.get(SPEC)) is not None:
            self._numbers_by_spec[_hash(spec)].append(number)
        if trial.state in FINISHED:
            insort(self.finished, number)
        elif not rejected:
            self.failed += 1
        if trial.state is TrialState.COMPLETE and trial.values:
            first = trial.values[0]
            self.highest = first if self.highest is None else max(first, self.highest)
            self.ranking.add(number, trial.values)
            self.looks.add(trial.user_attrs.get(RECORD, {}).get("looks", ()))


_HISTORIES: WeakKeyDictionary[Study, History] = WeakKeyDictionary()


def history_of(study: Study) -> History:
    """Return the history of a study, as the storage or its cache of a moment ago holds it.

    It is the same object for one ``study`` each time, so that only what has changed is looked at.
    """
    if study not in _HISTORIES:
        _HISTORIES[study] = History(study.directions)
    history = _HISTORIES[study]
    history.update(trials_of(study))
    return history


def _hash(spec: Mapping[str, Any]) -> int:
    """Return a number that is equal for equal specs."""
    return hash(_frozen(spec))


def _frozen(value: Any) -> Any:
    """Return a value of JSON with lists and objects that can be hashed."""
    if isinstance(value, Mapping):
        return frozenset((name, _frozen(part)) for name, part in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    return value
