"""What makes a study the study it is, and what may change when it continues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

from designer.augmentation import Augmentation
from designer.datasets import Dataset, Scaling
from designer.errors import InvalidInputError, RunFolderError
from designer.search.storage import Place
from designer.trainer import DEFAULT_BATCH_SIZE
from search_spaces import Space

ADDED_LATER = {"augment": str(Augmentation.NONE), "data_scaling": str(Scaling.STANDARD)}
"""Settings that older studies did not store, and what they ran with."""

OUTSIDE_IDENTITY = {"source", "seed"}
"""Options of data that do not tell studies apart: where they lie, and the seed of the split, which
the fingerprint covers."""


class Objective(StrEnum):
    """What the search maximises."""

    DESIGN = "design"
    """The design score."""
    LAW = "law"
    """Adherence to equi-separation alone."""
    ACCURACY = "accuracy"
    """Validation accuracy."""
    PARETO = "pareto"
    """Design score, validation accuracy and fewness of parameters, none above the others."""

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        """Optuna's directions, one per value."""
        if self is Objective.PARETO:
            return ["maximize", "maximize", "minimize"]
        return ["maximize"]


@dataclass(frozen=True)
class StudySettings:
    """Identity of a study: a run folder continues only under equal settings."""

    objective: Objective = Objective.DESIGN
    epochs: int = 10
    seed: int = 0
    batch_size: int = DEFAULT_BATCH_SIZE
    max_params: int | None = None
    max_flops: int | None = None
    prune: bool = False
    augment: Augmentation = Augmentation.NONE

    def __post_init__(self) -> None:
        check_positive("epochs", self.epochs)
        check_positive("batch size", self.batch_size)
        for name, limit in (("max params", self.max_params), ("max flops", self.max_flops)):
            if limit is not None:
                check_positive(name, limit)
        if self.batch_size < 2:
            raise InvalidInputError("Expected a batch size of at least 2, got 1.")
        if not 0 <= self.seed < 2**31:
            raise InvalidInputError(f"Expected a seed from 0 to 2^31 - 1, got {self.seed}.")


@dataclass(frozen=True)
class Effort:
    """How much to do: may differ each time a study continues."""

    trials: int = 30
    workers: int = 1
    confirm: int = 5
    confirm_epochs: int = 30
    confirm_seeds: int = 3
    devices: tuple[str, ...] = ("cpu",)
    """Of the workers in turn."""
    heartbeat: int = 10
    """Seconds between two signs of life of a worker, where several machines share a study."""

    def __post_init__(self) -> None:
        if not self.devices:
            raise InvalidInputError("Expected at least one device, got none.")
        for name, value in vars(self).items():
            if name != "devices":
                check_positive(name.replace("_", " "), value)


@dataclass(frozen=True, eq=False)
class Job:
    """All that a worker needs."""

    space: Space[Any]
    space_source: str
    """What ``--space`` said, so that a stored model finds its space again."""
    data: Dataset
    settings: StudySettings
    effort: Effort
    place: Place

    def identity(self) -> dict[str, Any]:
        """Settings, space and data as stored with the study, as JSON values."""
        return {
            **asdict(self.settings),
            "objective": str(self.settings.objective),
            "augment": str(self.settings.augment),
            "space": self.space_source,
            "space_definition": definition(self.space),
            "data": self.data.name,
            **{f"data_{k}": v for k, v in self.data.options.items() if k not in OUTSIDE_IDENTITY},
            "data_fingerprint": self.data.fingerprint,
        }


def definition(space: Space[Any]) -> str:
    """Its repr where it has one of its own; the default one changes with every process."""
    kind = type(space)
    if kind.__repr__ is object.__repr__:
        return f"{kind.__module__}:{kind.__qualname__}"
    return repr(space)


def check_same_study(stored: Mapping[str, Any], wanted: Mapping[str, Any], place: Place) -> None:
    """Raise ``RunFolderError`` that names the first difference between two identities."""
    stored = {**ADDED_LATER, **stored}
    for name in ("data", "space", *wanted):
        if stored.get(name) != wanted[name]:
            raise RunFolderError(
                f"Expected {place.title} to hold this study, but its {name.replace('_', ' ')} is "
                f"{_shown(stored.get(name))}, not {_shown(wanted[name])}; "
                f"choose another {place.option} or repeat the command that made it."
            )


def check_positive(name: str, value: int) -> None:
    """Raise ``InvalidInputError`` unless ``value`` is at least 1."""
    if value < 1:
        raise InvalidInputError(f"Expected {name} of at least 1, got {value}.")


def _shown(value: Any) -> str:
    text = str(value)
    return f"'{text}'" if len(text) <= 60 else f"'{text[:57]}...'"
