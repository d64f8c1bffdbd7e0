"""Do not ask a storage twice for what it has just said, nor for what never changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from typing import Any, TypeVar

from optuna.trial import FrozenTrial, TrialState

from designer.search.storage.retrying import RetryingStorage
from designer.search.storage.wrapper import Answer, Arguments, StorageWrapper, selected

CACHE_SECONDS = 0.25
"""How long an answer about all trials, or about the study, may be used again."""

Cached = TypeVar("Cached")


class CachingStorage(StorageWrapper):
    """Wrap a storage: what all trials and a study say is cached for ``CACHE_SECONDS``.

    Optuna and our own rules look at all trials several times per trial, and each time every trial
    under way is read anew. An answer is used again for a moment unless this process writes
    meanwhile: whoever writes and then reads sees what it wrote. Whoever knows that other processes
    have written calls ``forget`` first.

    Ids of studies and trials never change and are kept for good.

    Args:
        inner: the storage to ask.
    """

    inner: RetryingStorage

    def __init__(self, inner: RetryingStorage) -> None:
        super().__init__(inner)
        self._recent: dict[tuple[str, int], tuple[float, Any]] = {}
        self._study_ids: dict[str, int] = {}
        self._trial_ids: dict[tuple[int, int], int] = {}
        self._studies_of_trials: dict[int, int] = {}

    @property
    def answering_since(self) -> float:
        """Monotonic seconds since which every call was answered; 0 before the first answer."""
        return self.inner.policy.answering_since or 0.0

    def forget(self) -> None:
        """Read everything that other processes may have changed anew when it is next asked for."""
        self._recent = {}

    def _read(
        self,
        method: Callable[Arguments, Answer],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Answer:
        return method(*arguments, **named)

    def _write(
        self,
        method: Callable[Arguments, Answer],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Answer:
        try:
            return method(*arguments, **named)
        finally:  # also after an error: it may have come after the write
            self.forget()

    def _recently(self, key: tuple[str, int], question: Callable[[], Cached]) -> Cached:
        """Return what was said a moment ago, or ask."""
        recent = self._recent  # a write while we ask replaces it: then the answer is not kept
        if key in recent:
            asked_at, answer = recent[key]
            if time.monotonic() - asked_at <= CACHE_SECONDS:
                return answer  # type: ignore[no-any-return]
        fresh = question()
        recent[key] = time.monotonic(), fresh
        return fresh

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return all trials of a study as they were at most ``CACHE_SECONDS`` ago."""
        trials = self._recently(
            ("trials", study_id), lambda: self.inner.get_all_trials(study_id, deepcopy=False)
        )
        return selected(trials, states, deepcopy=deepcopy)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the attributes of a study as they were at most ``CACHE_SECONDS`` ago."""
        attributes = self._recently(
            ("attributes", study_id), lambda: self.inner.get_study_user_attrs(study_id)
        )
        return dict(attributes)

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the id of a study, asked for once."""
        if study_name not in self._study_ids:
            self._study_ids[study_name] = self.inner.get_study_id_from_name(study_name)
        return self._study_ids[study_name]

    def delete_study(self, study_id: int) -> None:
        """Delete a study and forget all ids."""
        super().delete_study(study_id)
        self._study_ids, self._trial_ids = {}, {}

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Make a trial, and note its study for ``get_trial``."""
        trial_id = super().create_new_trial(study_id, template_trial)
        self._studies_of_trials[trial_id] = study_id
        return trial_id

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial; of one that this process made the number is noted with its id."""
        trial = super().get_trial(trial_id)
        if trial_id in self._studies_of_trials:
            self._trial_ids[self._studies_of_trials[trial_id], trial.number] = trial_id
        return trial

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """Return the id of a trial, asked for once."""
        key = study_id, trial_number
        if key not in self._trial_ids:
            self._trial_ids[key] = super().get_trial_id_from_study_id_trial_number(*key)
        return self._trial_ids[key]
