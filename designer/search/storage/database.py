"""Optuna's storage in a database, which takes a whole trial in a few questions, and reads rows.

Optuna asks about forty to store a trial that has parameters and attributes already, and holds a
lock on the study meanwhile, so that workers queue up for it.  And it makes an object of every
parameter and attribute of all trials under way whenever somebody looks, which with many workers is
most of what a look costs.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Container, Iterable
from functools import lru_cache
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

Stored = tuple[Any, ...]
"""A row of what belongs to a trial, after the trial's id."""


class Database(RDBStorage):
    """An ``RDBStorage`` in the same tables; see the module."""

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Session
    ) -> models.TrialModel:
        """The trial, in the current transaction, as Optuna makes it."""
        given = template_trial
        if given is None or given.values is not None or given.intermediate_values:
            return super()._get_prepared_new_trial(study_id, given, session)
        before = select(func.count()).where(models.TrialModel.study_id == study_id)
        trial = models.TrialModel(
            study_id=study_id,
            number=before.scalar_subquery(),  # the study is locked: all others are there
            state=given.state,
            datetime_start=given.datetime_start,
            datetime_complete=given.datetime_complete,
        )
        session.add(trial)
        session.flush()
        trial_id = trial.trial_id
        session.add_all(
            models.TrialParamModel(
                trial_id=trial_id,
                param_name=name,
                param_value=given.distributions[name].to_internal_repr(value),
                distribution_json=distribution_to_json(given.distributions[name]),
            )
            for name, value in given.params.items()
        )
        for model, attributes in (
            (models.TrialUserAttributeModel, given.user_attrs),
            (models.TrialSystemAttributeModel, given.system_attrs),
        ):
            session.add_all(
                model(trial_id=trial_id, key=key, value_json=json.dumps(value))
                for key, value in attributes.items()
            )
        return trial

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """Trials of a study by id: those included, and all later ones."""
        trial = models.TrialModel
        asked: list[ColumnElement[bool]] = [trial.study_id == study_id]
        if trial_id_greater_than > -1:
            earlier = [i for i in included_trial_ids if i <= trial_id_greater_than]
            later = trial.trial_id > trial_id_greater_than
            asked.append(or_(trial.trial_id.in_(earlier), later) if earlier else later)
        if states is not None:
            asked.append(trial.state.in_([state for state in TrialState if state in states]))
        with _create_scoped_session(self.scoped_session) as session:
            models.StudyModel.find_or_raise_by_id(study_id, session)
            found = session.scalars(select(trial).where(*asked).order_by(trial.trial_id)).all()
            parts = _Parts(session, asked) if found else None  # after the states: none is newer
            return [parts.trial(model) for model in found] if parts else []


class _Parts:
    """Parameters, attributes and values of the trials that a condition chooses, by trial."""

    def __init__(self, session: Session, asked: Iterable[ColumnElement[bool]]) -> None:
        chosen = select(models.TrialModel.trial_id).where(*asked)

        def rows(model: Any, key: Any, *columns: Any) -> dict[int, list[Stored]]:
            found: dict[int, list[Stored]] = defaultdict(list)
            query = select(model.trial_id, *columns).where(model.trial_id.in_(chosen))
            for row in session.execute(query.order_by(key)):
                found[row[0]].append(tuple(row))
            return found

        param, value = models.TrialParamModel, models.TrialValueModel
        user, system = models.TrialUserAttributeModel, models.TrialSystemAttributeModel
        step = models.TrialIntermediateValueModel
        self._params = rows(
            param, param.param_id, param.param_name, param.param_value, param.distribution_json
        )
        self._values = rows(value, value.objective, value.value, value.value_type)
        self._user = rows(user, user.trial_user_attribute_id, user.key, user.value_json)
        self._system = rows(system, system.trial_system_attribute_id, system.key, system.value_json)
        self._steps = rows(
            step, step.step, step.step, step.intermediate_value, step.intermediate_value_type
        )

    def trial(self, model: Any) -> FrozenTrial:
        """What Optuna makes of its row."""
        own: int = model.trial_id
        params = [(name, value, _distribution(text)) for _, name, value, text in self._params[own]]
        to_value = models.TrialValueModel.stored_repr_to_value
        to_step = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value
        values = [to_value(value, kind) for _, value, kind in self._values[own]]
        return FrozenTrial(
            number=model.number,
            state=model.state,
            value=None,
            values=values or None,
            datetime_start=model.datetime_start,
            datetime_complete=model.datetime_complete,
            params={name: kind.to_external_repr(value) for name, value, kind in params},
            distributions={name: kind for name, _, kind in params},
            user_attrs={key: json.loads(text) for _, key, text in self._user[own]},
            system_attrs={key: json.loads(text) for _, key, text in self._system[own]},
            intermediate_values={
                step: to_step(value, kind) for _, step, value, kind in self._steps[own]
            },
            trial_id=own,
        )


@lru_cache(maxsize=4096)
def _distribution(text: str) -> BaseDistribution:
    """Trials of a study have few, and nobody changes them."""
    return json_to_distribution(text)
