"""What makes a study the study it is, and what may change when it continues."""

from __future__ import annotations

from dataclasses import dataclass

from designer.choices import DEFAULT_BATCH_SIZE, Augmentation, Objective
from designer.errors import InvalidInputError


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


def check_positive(name: str, value: int) -> None:
    """Raise ``InvalidInputError`` unless ``value`` is at least 1."""
    if value < 1:
        raise InvalidInputError(f"Expected {name} of at least 1, got {value}.")
