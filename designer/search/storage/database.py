"""Optuna's storage in a database, which takes a whole trial in one go and reads rows.

Optuna asks about forty questions to store a trial that has parameters and attributes already, and
holds a lock on the study meanwhile, so that workers queue up for it. And it makes an object of
every parameter and attribute of all trials under way whenever somebody looks, which with many
workers is most of what a look costs. Both are done here in plain SQL on the same tables.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Column, ColumnElement, Connection, Row, Table, func, insert, or_, select

from designer.search.storage.tables import (
    INTERMEDIATE_VALUES,
    PARAMS,
    STUDIES,
    SYSTEM_ATTRIBUTES,
    TRIALS,
    USER_ATTRIBUTES,
    VALUES,
    number_of,
    to_local,
    to_utc,
)
from designer.search.storage.wrapper import Answer, Arguments, StorageWrapper, selected

Rows = Mapping[int, Sequence[Row[Any]]]
"""Rows of one table by the id of the trial that they belong to."""


class DatabaseStorage(StorageWrapper):
    """Wrap an ``RDBStorage``: whole trials are written and read in few questions.

    Trials that have ended never change: each is read once and kept.

    Args:
        inner: Optuna's storage, whose engine and tables are used.
    """

    def __init__(self, inner: RDBStorage) -> None:
        super().__init__(inner)
        self.engine = inner.engine
        self._known: dict[int, _KnownTrials] = defaultdict(_KnownTrials)
        self._lock = threading.Lock()

    def _read(
        self,
        method: Callable[Arguments, Answer],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Answer:
        return method(*arguments, **named)

    _write = _read

    def close(self) -> None:
        """Close all connections."""
        self.inner.remove_session()
        self.engine.dispose()

    def delete_study(self, study_id: int) -> None:
        """Delete a study and forget its trials."""
        super().delete_study(study_id)
        with self._lock:
            self._known.pop(study_id, None)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Make a trial, with its parameters and attributes in one transaction."""
        template = template_trial
        if template is None or template.values is not None or template.intermediate_values:
            return super().create_new_trial(study_id, template)
        with self.engine.begin() as connection:
            _lock_study(connection, study_id)
            return _insert_trial(connection, study_id, template)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return all trials of a study by number; only what may have changed is read."""
        with self._lock:
            known = self._known[study_id]
            with self.engine.connect() as connection:
                if not known.trials:  # else it exists, and a question less is asked
                    _check_study(connection, study_id)
                known.update(_read_trials(connection, known.may_have_changed(study_id)))
            return selected(known.trials, states, deepcopy=deepcopy)

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """Return the id of a trial, looked for from the latest one on."""
        own = (TRIALS.c.study_id == study_id) & (TRIALS.c.number == trial_number)
        query = select(TRIALS.c.trial_id).where(own).order_by(TRIALS.c.trial_id.desc()).limit(1)
        with self.engine.connect() as connection:
            trial_id = connection.scalar(query)
        if trial_id is None:
            raise KeyError(f"No trial with number {trial_number} in study {study_id}.")
        return int(trial_id)


@dataclass
class _KnownTrials:
    """Trials of a study that were read before."""

    trials: list[FrozenTrial] = field(default_factory=list)
    """The latest state read of each trial, by number."""
    unfinished: set[int] = field(default_factory=set)
    """Ids of trials that may still change."""
    last_finished: int = -1
    """Largest id of a trial that has ended."""

    def may_have_changed(self, study_id: int) -> ColumnElement[bool]:
        """Return the condition for trials that are new, or had not ended when last read."""
        of_study = TRIALS.c.study_id == study_id
        if self.last_finished < 0:
            return of_study
        # All with larger ids are asked for anyway, so that the list of ids stays short.
        listed = [trial_id for trial_id in self.unfinished if trial_id <= self.last_finished]
        later = TRIALS.c.trial_id > self.last_finished
        if not listed:
            return of_study & later
        # Without the bound, databases would go through all trials of the study for an "or".
        return (
            of_study
            & (TRIALS.c.trial_id >= min(listed))
            & or_(TRIALS.c.trial_id.in_(listed), later)
        )

    def update(self, trials: Mapping[int, FrozenTrial]) -> None:
        """Take in trials by id as they are now."""
        for trial_id, trial in trials.items():
            place = bisect_left(self.trials, trial.number, key=lambda known: known.number)
            self.trials[place : place + 1] = [trial]  # numbers have no gaps
            if trial.state.is_finished():
                self.unfinished.discard(trial_id)
                self.last_finished = max(self.last_finished, trial_id)
            else:
                self.unfinished.add(trial_id)


# --- writing ---


def _check_study(connection: Connection, study_id: int, *, lock: bool = False) -> None:
    """Raise ``KeyError`` if there is no such study."""
    query = select(STUDIES.c.study_id).where(STUDIES.c.study_id == study_id)
    if connection.scalar(query.with_for_update() if lock else query) is None:
        raise KeyError(f"No study with study-id {study_id} found.")


def _lock_study(connection: Connection, study_id: int) -> None:
    """Keep others from adding trials until the transaction ends, so that numbers are unique."""
    _check_study(connection, study_id, lock=True)


def _insert_trial(connection: Connection, study_id: int, template: FrozenTrial) -> int:
    """Store a trial with parameters and attributes; return its id."""
    # Numbers have no gaps and rise with the ids; counting trials would take ever longer.
    last = select(TRIALS.c.number).where(TRIALS.c.study_id == study_id)
    last = last.order_by(TRIALS.c.trial_id.desc()).limit(1)
    trial = insert(TRIALS).values(
        study_id=study_id,
        number=func.coalesce(last.scalar_subquery() + 1, 0),
        state=template.state,
        datetime_start=to_utc(template.datetime_start),
        datetime_complete=to_utc(template.datetime_complete),
    )
    key: Sequence[Any] = connection.execute(trial).inserted_primary_key or ()
    trial_id = int(key[0])
    belongings = {
        PARAMS: [
            _param_row(name, value, template.distributions[name])
            for name, value in template.params.items()
        ],
        USER_ATTRIBUTES: _attribute_rows(template.user_attrs),
        SYSTEM_ATTRIBUTES: _attribute_rows(template.system_attrs),
    }
    for table, rows in belongings.items():
        if rows:
            connection.execute(insert(table), [{"trial_id": trial_id, **row} for row in rows])
    return trial_id


def _param_row(name: str, value: Any, distribution: BaseDistribution) -> dict[str, Any]:
    return {
        "param_name": name,
        "param_value": distribution.to_internal_repr(value),
        "distribution_json": distribution_to_json(distribution),
    }


def _attribute_rows(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]


# --- reading ---


def _read_trials(connection: Connection, condition: ColumnElement[bool]) -> dict[int, FrozenTrial]:
    """Return the trials that a condition on ``TRIALS`` chooses, by id in rising order."""
    query = select(TRIALS).where(condition).order_by(TRIALS.c.trial_id)
    # The states come first: what belongs to a trial that has ended by then is complete.
    rows = connection.execute(query).all()
    if not rows:
        return {}
    belongings = _Belongings.read(connection, condition)
    return {row.trial_id: belongings.trial(row) for row in rows}


@dataclass(frozen=True)
class _Belongings:
    """Everything that belongs to some trials, by table."""

    params: Rows
    values: Rows
    user_attributes: Rows
    system_attributes: Rows
    intermediate_values: Rows

    @classmethod
    def read(cls, connection: Connection, condition: ColumnElement[bool]) -> _Belongings:
        """Ask one question per table."""
        chosen = select(TRIALS.c.trial_id).where(condition)

        def rows(table: Table, order: Column[Any]) -> Rows:
            by_trial: dict[int, list[Row[Any]]] = defaultdict(list)
            query = select(table).where(table.c.trial_id.in_(chosen)).order_by(order)
            for row in connection.execute(query):
                by_trial[row.trial_id].append(row)
            return by_trial

        return cls(
            params=rows(PARAMS, PARAMS.c.param_id),
            values=rows(VALUES, VALUES.c.objective),
            user_attributes=rows(USER_ATTRIBUTES, USER_ATTRIBUTES.c.trial_user_attribute_id),
            system_attributes=rows(
                SYSTEM_ATTRIBUTES, SYSTEM_ATTRIBUTES.c.trial_system_attribute_id
            ),
            intermediate_values=rows(INTERMEDIATE_VALUES, INTERMEDIATE_VALUES.c.step),
        )

    def trial(self, row: Row[Any]) -> FrozenTrial:
        """Return the trial of a row of ``TRIALS``, as Optuna makes it."""
        own: int = row.trial_id
        params = [
            (param.param_name, param.param_value, _distribution(param.distribution_json))
            for param in self.params[own]
        ]
        values = [number_of(value.value, value.value_type) for value in self.values[own]]
        return FrozenTrial(
            number=row.number,
            state=row.state,
            value=None,
            values=values or None,
            datetime_start=to_local(row.datetime_start),
            datetime_complete=to_local(row.datetime_complete),
            params={name: kind.to_external_repr(value) for name, value, kind in params},
            distributions={name: kind for name, _, kind in params},
            user_attrs=_attributes(self.user_attributes[own]),
            system_attrs=_attributes(self.system_attributes[own]),
            intermediate_values={
                step.step: number_of(step.intermediate_value, step.intermediate_value_type)
                for step in self.intermediate_values[own]
            },
            trial_id=own,
        )


def _attributes(rows: Sequence[Row[Any]]) -> dict[str, Any]:
    return {row.key: json.loads(row.value_json) for row in rows}


@lru_cache(maxsize=4096)
def _distribution(text: str) -> BaseDistribution:
    """Return a distribution; trials of a study share few, and nobody changes them."""
    return json_to_distribution(text)
