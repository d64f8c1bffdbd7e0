"""The tables in which Optuna's ``RDBStorage`` keeps trials (its schema version 12).

Opening an ``RDBStorage`` makes them, and refuses a database of another schema.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

import sqlalchemy
from optuna.trial import TrialState
from sqlalchemy import Column, DateTime, Float, Integer, String, Table

METADATA = sqlalchemy.MetaData()

STUDIES = Table("studies", METADATA, Column("study_id", Integer, primary_key=True))
"""Studies; only what a lock on one needs."""

TRIALS = Table(
    "trials",
    METADATA,
    Column("trial_id", Integer, primary_key=True),
    Column("number", Integer),
    Column("study_id", Integer),
    Column("state", sqlalchemy.Enum(TrialState)),
    Column("datetime_start", DateTime),
    Column("datetime_complete", DateTime),
)
"""One row per trial; moments are UTC without a time zone."""

PARAMS = Table(
    "trial_params",
    METADATA,
    Column("param_id", Integer, primary_key=True),
    Column("trial_id", Integer),
    Column("param_name", String),
    Column("param_value", Float),
    Column("distribution_json", String),
)
"""Parameters in Optuna's internal representation."""

USER_ATTRIBUTES = Table(
    "trial_user_attributes",
    METADATA,
    Column("trial_user_attribute_id", Integer, primary_key=True),
    Column("trial_id", Integer),
    Column("key", String),
    Column("value_json", String),
)
"""Attributes that we store."""

SYSTEM_ATTRIBUTES = Table(
    "trial_system_attributes",
    METADATA,
    Column("trial_system_attribute_id", Integer, primary_key=True),
    Column("trial_id", Integer),
    Column("key", String),
    Column("value_json", String),
)
"""Attributes that Optuna stores."""

VALUES = Table(
    "trial_values",
    METADATA,
    Column("trial_value_id", Integer, primary_key=True),
    Column("trial_id", Integer),
    Column("objective", Integer),
    Column("value", Float),
    Column("value_type", String),
)
"""Values of the objective; ``value_type`` names those that are not finite."""

INTERMEDIATE_VALUES = Table(
    "trial_intermediate_values",
    METADATA,
    Column("trial_intermediate_value_id", Integer, primary_key=True),
    Column("trial_id", Integer),
    Column("step", Integer),
    Column("intermediate_value", Float),
    Column("intermediate_value_type", String),
)
"""Values reported during training."""

NOT_FINITE = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}
"""Types of values that databases cannot store as numbers."""


def number_of(stored: float | None, value_type: str) -> float:
    """Return the number that a value and its type stand for."""
    if stored is None:
        return NOT_FINITE[value_type]
    return stored


def to_utc(moment: datetime | None) -> datetime | None:
    """Return a local moment as the tables store it; None stays None."""
    return moment and moment.astimezone(UTC).replace(tzinfo=None)


def to_local(moment: datetime | None) -> datetime | None:
    """Return a stored moment in local time without a time zone, as Optuna does."""
    return moment and moment.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
