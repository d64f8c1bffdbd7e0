"""Long studies that nobody had to train: records of real trainings under other numbers.

Of every depth of the space one perceptron is trained; every trial is a random architecture with
the record of the one of its depth, whose score, accuracies and loss are drawn anew.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from sqlalchemy import Connection, insert, text

from designer.choices import Objective
from designer.results.layers import LawSummary
from designer.search.candidates import size_of, spec_values, train_and_measure
from designer.search.job import Job
from designer.search.storage.tables import PARAMS, TRIALS, USER_ATTRIBUTES, VALUES
from designer.search.study.keys import RECORD, SPEC, WORKER
from designer.search.study.records import Measurements, spec_key
from designer.training.trainer import Schedule

SIZES_COUNTED = 1000
"""Number of trials whose size is counted; the others take turns with these."""

ROWS_AT_ONCE = 1000
"""Trials that are written in one go."""


@dataclass(frozen=True)
class MadeTrial:
    """A complete trial that was never trained."""

    params: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    attributes: Mapping[str, Any]
    values: Sequence[float]


def made_trials(job: Job, count: int) -> Iterator[MadeTrial]:
    """Yield complete trials of a job, all with different specs."""
    records = _records_by_depth(job)
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    generator = np.random.default_rng(0)
    sizes: list[Measurements] = []
    known: set[str] = set()
    while len(known) < count:
        draft = study.ask()
        spec = job.space.suggest(draft)
        values = spec_values(spec)
        if spec_key(values) in known:
            continue
        known.add(spec_key(values))
        if len(sizes) < SIZES_COUNTED:
            size = size_of(job.space, spec, job.data.input_shape, job.data.num_classes)
            sizes.append(Measurements(parameters=size.parameters, flops=size.flops))
        size_here = sizes[len(known) % len(sizes)]
        record = _redrawn(records[draft.params["depth"]], size_here, generator)
        yield MadeTrial(
            draft.params,
            draft.distributions,
            {WORKER: "made", SPEC: values, RECORD: record.stored()},
            _values(job, record),
        )


def write_trials(
    connection: Connection, study_id: int, trials: Iterator[MadeTrial], first: int = 0
) -> None:
    """Write complete trials into the tables of a study, many at once.

    Args:
        connection: to the database.
        study_id: the study.
        trials: what to write.
        first: number of the first; the study must have as many trials.
    """
    number, moment = first, datetime.now(UTC).replace(tzinfo=None)
    while chunk := list(islice(trials, ROWS_AT_ONCE)):
        rows = [
            {
                "number": number + i,
                "study_id": study_id,
                "state": TrialState.COMPLETE,
                "datetime_start": moment,
                "datetime_complete": moment,
            }
            for i in range(len(chunk))
        ]
        ids = connection.scalars(
            insert(TRIALS).returning(TRIALS.c.trial_id, sort_by_parameter_order=True), rows
        ).all()
        by_id = dict(zip(ids, chunk, strict=True))
        connection.execute(insert(PARAMS), [*_param_rows(by_id)])
        connection.execute(insert(USER_ATTRIBUTES), [*_attribute_rows(by_id)])
        finite = insert(VALUES).values(value_type=text("'FINITE'"))  # of a type of PostgreSQL's own
        connection.execute(finite, [*_value_rows(by_id)])
        number += len(chunk)


def _param_rows(trials: Mapping[int, MadeTrial]) -> Iterator[dict[str, Any]]:
    for trial_id, trial in trials.items():
        for name, value in trial.params.items():
            kind = trial.distributions[name]
            yield {
                "trial_id": trial_id,
                "param_name": name,
                "param_value": kind.to_internal_repr(value),
                "distribution_json": distribution_to_json(kind),
            }


def _attribute_rows(trials: Mapping[int, MadeTrial]) -> Iterator[dict[str, Any]]:
    for trial_id, trial in trials.items():
        for key, value in trial.attributes.items():
            yield {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}


def _value_rows(trials: Mapping[int, MadeTrial]) -> Iterator[dict[str, Any]]:
    for trial_id, trial in trials.items():
        for goal, value in enumerate(trial.values):
            yield {"trial_id": trial_id, "objective": goal, "value": value}


def _records_by_depth(job: Job) -> dict[int, Measurements]:
    """Return what real trainings of one epoch measured, by depth."""
    space: Any = job.space
    records = {}
    for depth in range(space.min_depth, space.max_depth + 1):
        fixed = {
            "depth": depth, "shape": "constant", "width": 16, "normalisation": "batch",
            "activation": "relu", "learning_rate": 1e-3,
        }  # fmt: skip
        spec = job.space.suggest(optuna.trial.FixedTrial(fixed))
        trained = train_and_measure(
            job, spec, seed=0, epochs=1, schedule=Schedule.CONSTANT, resamples=0
        )
        records[depth] = replace(
            trained.measurements(),
            law=LawSummary.of(trained.profile.law),
            epochs=job.options.epochs,
            seconds=1.234,
        )
    return records


def _redrawn(
    record: Measurements, size: Measurements, generator: np.random.Generator
) -> Measurements:
    """Return a record with numbers of its own and the size of another network."""
    score, accuracy, train, loss = (float(value) for value in generator.random(4))
    looks = tuple(np.sort(generator.random((record.epochs or 1) - 1)).tolist())
    return replace(
        copy.copy(record),
        parameters=size.parameters,
        flops=size.flops,
        score=score,
        validation_accuracy=accuracy,
        train_accuracy=train,
        training_loss=10 * loss,
        looks=looks or None,
    )


def _values(job: Job, record: Measurements) -> list[float]:
    """Return the values of the objective."""
    score, accuracy = record.score or 0.0, record.validation_accuracy or 0.0
    if job.options.objective is Objective.PARETO:
        return [score, accuracy, float(record.parameters or 0)]
    return [accuracy if job.options.objective is Objective.ACCURACY else score]
