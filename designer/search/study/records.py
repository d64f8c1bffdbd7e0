"""What a trial left behind, as one typed record that is validated in and out."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from optuna.trial import FrozenTrial, Trial
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from designer.errors import RunFolderError
from designer.results.layers import Curve, LawSummary
from designer.results.ranges import Measured
from designer.search.study import keys

ConfirmationKey = tuple[int | None, tuple[str, ...], str, int | None, int | None]
"""What identifies a confirmation run: trial, edits, edited architecture, seed and epochs."""


MAY_BE_UNMEASURED = frozenset({"score", "heldout_separation", "adherence"})
"""Values that a trained candidate stores as null where they could not be measured."""


@dataclass(frozen=True)
class Measurements:
    """What was measured in one trial, in the order in which it is stored; None before training.

    A search trial has its size before it is trained; a confirmation run has no size and no law.
    """

    parameters: int | None = None
    """Number of trainable parameters."""
    flops: int | None = None
    """Floating-point operations of one forward pass on one sample."""
    score: Measured = None
    """Design score."""
    heldout_separation: Measured = None
    """First part of the design score, see ``DesignScore``."""
    accuracy_above_chance: Measured = None
    """Second part of the design score, see ``DesignScore``."""
    adherence: Measured = None
    """Third part of the design score, see ``DesignScore``."""
    validation_accuracy: float | None = None
    """Accuracy on validation data, from 0 to 1."""
    train_accuracy: float | None = None
    """Accuracy on training data, from 0 to 1."""
    training_loss: float | None = None
    """Mean training loss summed over the epochs, in nats."""
    epochs: int | None = None
    """Epochs that the training took; fewer than asked for if the trial was pruned."""
    depth: int | None = None
    """Number of blocks."""
    curve: Curve | None = None
    """D through the trained network."""
    law: LawSummary | None = None
    """The law on training data."""
    looks: tuple[float, ...] | None = None
    """What was compared between epochs, see ``designer.search.looks``; None without any look."""
    seconds: float | None = None
    """Time that the trial took; None until it has ended."""

    @property
    def trained(self) -> bool:
        """True if the training came to its end."""
        return self.validation_accuracy is not None

    def stored(self) -> dict[str, Any]:
        """Return what is stored with the trial: a value of None has no key.

        Only a value that should exist and could not be measured is stored as null.
        """
        values: dict[str, Any] = _MEASUREMENTS.dump_python(self)
        null = MAY_BE_UNMEASURED if self.trained else frozenset()
        return {name: value for name, value in values.items() if value is not None or name in null}


@dataclass(frozen=True)
class TrialRecord:
    """All that a trial of the search or of the confirmation left behind.

    An attribute is None where the trial does not have it.
    """

    worker: str | None = None
    """Name of the process that ran it."""
    spec: dict[str, Any] | None = None
    """The architecture and its learning rate as JSON values."""
    record: Measurements | None = None
    """What was measured."""
    emergence: tuple[Curve, ...] | None = None
    """D on training data after some epochs of a confirmation run."""
    losses: tuple[float, ...] | None = None
    """Mean training loss of every epoch of a confirmation run, in nats."""
    rejected: str | None = None
    """Why it was handed back without training."""
    reason: str | None = None
    """Why it failed or was pruned."""
    lost: bool | None = None
    """True if it was handed back because its run was stopped or killed."""
    confirms: int | None = None
    """Number of the search trial that it trains again."""
    edits: tuple[str, ...] | None = None
    """Edits that led from that trial's architecture to this one, in order."""
    seed: int | None = None
    """Seed of a confirmation run."""
    epochs: int | None = None
    """Epochs asked of a confirmation run."""
    retry_of: int | None = None
    """Number of the trial that it repeats, because its worker was gone."""

    @property
    def measurements(self) -> Measurements:
        """What was measured; a record of None where nothing was."""
        return self.record or Measurements()

    @property
    def confirmation(self) -> ConfirmationKey:
        """What identifies a confirmation run.

        An edited architecture is part of it, because edits with the same title may give different
        ones.
        """
        edited = spec_key(self.architecture()) if self.edits else ""
        return self.confirms, self.edits or (), edited, self.seed, self.epochs

    def architecture(self) -> dict[str, Any]:
        """Return the spec; empty before it is known."""
        return self.spec or {}

    def attributes(self) -> dict[str, Any]:
        """Return the user attributes that store this record, without those that are None."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.record is not None:
            values[keys.RECORD] = self.record.stored()
        if self.emergence is not None:
            values[keys.EMERGENCE] = _CURVES.dump_python(self.emergence)
        return {key: value for key, value in values.items() if value is not None}

    @classmethod
    def read(cls, trial: Trial | FrozenTrial) -> TrialRecord:
        """Return the record that the user attributes of a trial store; other keys are ignored.

        Raises:
            RunFolderError: if an attribute is not what this program writes.
        """
        try:
            return _RECORD.validate_python(trial.user_attrs)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise RunFolderError(
                f"The attributes of trial {trial.number} are damaged ({where}: {first['msg']}); "
                f"restore the study, or choose another --out or --study."
            ) from error


_MEASUREMENTS = TypeAdapter(Measurements)

_CURVES = TypeAdapter(tuple[Curve, ...])

_RECORD = TypeAdapter(TrialRecord)


def spec_key(values: dict[str, Any]) -> str:
    """Return a text that is equal for equal specs."""
    return json.dumps(values, sort_keys=True)
