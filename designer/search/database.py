"""Optuna's storage in a database, which takes a whole trial in a few questions.

Optuna asks about forty to store a trial that has parameters and attributes already, and holds a
lock on the study meanwhile, so that workers queue up for it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models  # it has no public form
from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class Database(RDBStorage):
    """An ``RDBStorage`` in the same tables; see the module."""

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Session
    ) -> models.TrialModel:
        """The trial, in the current transaction, as Optuna makes it."""
        given = template_trial
        if given is None or given.values is not None or given.intermediate_values:
            return super()._get_prepared_new_trial(study_id, given, session)
        trial = models.TrialModel(
            study_id=study_id,
            number=None,
            state=TrialState.RUNNING,
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
        trial.state = given.state
        trial.number = trial.count_past_trials(session)
        return trial
