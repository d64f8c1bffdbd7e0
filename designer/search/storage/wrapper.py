"""A storage around another storage: the base of everything that waits, caches or writes in bulk."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Sequence
from typing import Any, ParamSpec, TypeVar

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def selected(
    trials: list[FrozenTrial], states: Container[TrialState] | None, *, deepcopy: bool
) -> list[FrozenTrial]:
    """Return trials as ``BaseStorage.get_all_trials`` gives them.

    Args:
        trials: all trials of a study.
        states: states of the trials that are wanted; None for all.
        deepcopy: True for copies.
    """
    # A list is copied in no time; to look at each of a hundred thousand trials takes long.
    wanted = trials.copy() if states is None else [t for t in trials if t.state in states]
    return copy.deepcopy(wanted) if deepcopy else wanted


class StorageWrapper(BaseStorage, ABC):
    """Forward every public method of Optuna's ``BaseStorage`` to the storage inside.

    Every call goes through ``_read`` or ``_write``, so that a subclass states once what is special
    about its calls, and defines a method only where the answer itself differs.

    Args:
        inner: the storage that answers.
    """

    def __init__(self, inner: BaseStorage) -> None:
        self.inner = inner

    @abstractmethod
    def _read(
        self,
        method: Callable[Arguments, Answer],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Answer:
        """Call a method of ``inner`` that changes nothing."""

    @abstractmethod
    def _write(
        self,
        method: Callable[Arguments, Answer],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Answer:
        """Call a method of ``inner`` that changes what is stored."""

    # --- studies ---

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        return self._write(self.inner.create_new_study, directions, study_name)

    def delete_study(self, study_id: int) -> None:
        self._write(self.inner.delete_study, study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._write(self.inner.set_study_user_attr, study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._write(self.inner.set_study_system_attr, study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._read(self.inner.get_study_id_from_name, study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._read(self.inner.get_study_name_from_id, study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._read(self.inner.get_study_directions, study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._read(self.inner.get_study_user_attrs, study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._read(self.inner.get_study_system_attrs, study_id)

    def get_all_studies(self) -> list[Any]:
        return self._read(self.inner.get_all_studies)

    # --- writing trials ---

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        return self._write(self.inner.create_new_trial, study_id, template_trial)

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        self._write(
            self.inner.set_trial_param, trial_id, param_name, param_value_internal, distribution
        )

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        return self._write(self.inner.set_trial_state_values, trial_id, state, values)

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        self._write(self.inner.set_trial_intermediate_value, trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._write(self.inner.set_trial_user_attr, trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._write(self.inner.set_trial_system_attr, trial_id, key, value)

    # --- reading trials ---

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._read(self.inner.get_trial, trial_id)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        return self._read(self.inner.get_all_trials, study_id, deepcopy, states)

    def get_n_trials(
        self, study_id: int, state: tuple[TrialState, ...] | TrialState | None = None
    ) -> int:
        return self._read(self.inner.get_n_trials, study_id, state)

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        return self._read(self.inner.get_best_trial, study_id)

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        method = self.inner.get_trial_id_from_study_id_trial_number
        return self._read(method, study_id, trial_number)

    def get_trial_number_from_id(self, trial_id: int) -> int:
        return self._read(self.inner.get_trial_number_from_id, trial_id)

    def get_trial_param(self, trial_id: int, param_name: str) -> float:
        return self._read(self.inner.get_trial_param, trial_id, param_name)

    def get_trial_params(self, trial_id: int) -> dict[str, Any]:
        return self._read(self.inner.get_trial_params, trial_id)

    def get_trial_user_attrs(self, trial_id: int) -> dict[str, Any]:
        return self._read(self.inner.get_trial_user_attrs, trial_id)

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        return self._read(self.inner.get_trial_system_attrs, trial_id)

    def remove_session(self) -> None:
        self.inner.remove_session()
