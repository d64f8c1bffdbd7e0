"""What a search can be asked for, with every default; loads neither torch nor Optuna."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from designer.choices import DEFAULT_BATCH_SIZE, Augmentation, Engine, Objective, choice
from designer.data.options import LARGEST_SEED, DataOptions
from designer.errors import InvalidInputError

DEFAULT_SPACE = "mlp"
"""Search space if none is named."""

DEFAULT_DATA = "digits"
"""Data set if none is named."""

CONFIRMATION_FACTOR = 3
"""A confirmation run takes this many times the epochs of a trial unless ``confirm_epochs`` says
otherwise."""

JOIN_SECONDS = 60.0
"""How long a worker waits for a study that nobody has started yet."""

IDLE_SECONDS = 600.0
"""How long a worker stays in a study that gives it nothing to do."""

IDENTITY_OPTIONS = (
    "objective",
    "epochs",
    "seed",
    "batch_size",
    "max_params",
    "max_flops",
    "prune",
    "augment",
)
"""Options that must be equal to continue a study, in the order in which a study stores them."""

COUNTS = ("epochs", "batch_size", "max_params", "max_flops", "trials", "workers", "confirm",
          "confirm_epochs", "confirm_seeds", "heartbeat")  # fmt: skip
"""Options that are at least 1 where they are not None."""


@dataclass(frozen=True)
class SearchOptions:
    """Every option of a search but space and data; validates itself.

    ``IDENTITY_OPTIONS`` and the options of data belong to the identity of a study. All others may
    change whenever the study continues.

    Raises:
        InvalidInputError: if a value is out of its range.
    """

    trials: int = 30
    """Finished trials (complete or pruned) that the study has in the end."""
    epochs: int = 10
    """Epochs of each short training run."""
    objective: Objective = Objective.DESIGN
    """What the search maximises."""
    seed: int = 0
    """Seed of splits, weights, batches and proposals, from 0 to 2^31 - 1."""
    workers: int | None = None
    """Processes on this machine, or in the Ray cluster; None for one per device."""
    confirm: int = 5
    """Candidates to train again, longer and with fresh seeds."""
    confirm_epochs: int | None = None
    """Epochs of each confirmation run; None for ``CONFIRMATION_FACTOR`` times ``epochs``."""
    confirm_seeds: int = 3
    """Fresh seeds for each confirmed candidate."""
    edits: int = 18
    """Training runs spent on edits of the recommended networks; 0 for none."""
    max_params: int | None = None
    """Largest number of parameters of a candidate; None for no limit."""
    max_flops: int | None = None
    """Largest number of floating-point operations per sample; None for no limit."""
    train_size: int | None = DataOptions.train_size
    """See ``DataOptions``; this goes for the next five, too."""
    image_size: int | None = DataOptions.image_size
    validation_fraction: float = DataOptions.validation_fraction
    shuffle_labels: bool = DataOptions.shuffle_labels
    split_duplicates: bool = DataOptions.split_duplicates
    input: str | None = DataOptions.input
    batch_size: int = DEFAULT_BATCH_SIZE
    """Samples per training step, at least 2."""
    prune: bool = True
    """True to stop candidates between epochs if they fall behind the median."""
    augment: Augmentation = Augmentation.NONE
    """How training images are varied."""
    device: str = "cpu"
    """Torch device to train on, unless ``devices`` names several."""
    devices: tuple[str, ...] | None = None
    """Torch devices that the workers use in turn."""
    engine: Engine = Engine.PROCESSES
    """What starts the workers."""
    address: str | None = None
    """Address of a Ray cluster; None for one on this machine that lives as long as the search."""
    gpus_per_worker: float = 0.0
    """GPUs, or the fraction of one, that Ray gives each worker; 0 to train on the processor."""
    storage: str | None = None
    """Address of a storage that several machines share; None for SQLite in the run folder."""
    study: str | None = None
    """Name of the study in ``storage``; None for the name of the run folder."""
    artifacts: str | None = None
    """Folder or ``s3://BUCKET[/PREFIX]`` of profiles and weights; None for the run folder."""
    heartbeat: int = 10
    """Seconds between two heartbeats of a worker on a shared storage."""
    out: Path | None = None
    """Run folder; None for ``runs/DATA-SPACE``."""

    def __post_init__(self) -> None:
        for name in COUNTS:
            value = getattr(self, name)
            if value is not None and value < 1:
                shown = name.replace("_", " ")
                raise InvalidInputError(f"Expected {shown} of at least 1, got {value}.")
        for name in ("storage", "study", "artifacts", "address"):
            if getattr(self, name) == "":
                raise InvalidInputError(f"Expected a name for {name}, got an empty one.")
        if self.edits < 0:
            raise InvalidInputError(f"Expected edits of at least 0, got {self.edits}.")
        if self.batch_size < 2:
            raise InvalidInputError("Expected a batch size of at least 2, got 1.")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InvalidInputError(f"Expected a seed from 0 to 2^31 - 1, got {self.seed}.")
        if not self.worker_devices:
            raise InvalidInputError("Expected at least one device, got none.")
        if self.study is not None and self.storage is None:
            raise InvalidInputError(
                "Expected --storage beside --study: in a run folder there is one study only."
            )

        self._check_engine()

    def _check_engine(self) -> None:
        """Raise ``InvalidInputError`` if an option does not go with the engine."""
        gpus = self.gpus_per_worker
        if not (0 <= gpus <= 1 or gpus == int(gpus) > 1):
            raise InvalidInputError(
                f"Expected gpus per worker from 0 to 1, or a whole number, got {gpus:g}."
            )
        if self.engine is Engine.RAY and any(d != "cpu" for d in self.worker_devices):
            raise InvalidInputError(
                "Expected --gpus-per-worker in place of a device: with --engine ray, Ray says "
                "which GPU a worker gets."
            )
        if self.engine is not Engine.RAY and (self.address is not None or gpus):
            name = "--gpus-per-worker" if self.address is None else "--address"
            raise InvalidInputError(f"Expected --engine ray beside {name}.")

    @classmethod
    def of(cls, **values: Any) -> SearchOptions:
        """Return options from plain values: names as text, devices as any sequence.

        Args:
            values: fields of this class; those that are left out keep their defaults.

        Raises:
            InvalidInputError: if a value is out of its range.
        """
        devices, out = values.get("devices"), values.get("out")
        if out == "":
            raise InvalidInputError("Expected a run folder, got an empty name.")
        typed = {
            "objective": choice(Objective, values.get("objective", cls.objective), "an objective"),
            "augment": choice(Augmentation, values.get("augment", cls.augment), "an augmentation"),
            "engine": choice(Engine, values.get("engine", cls.engine), "an engine"),
            "devices": None if devices is None else tuple(devices),
            "out": None if out is None else Path(out),
        }
        return cls(**(values | typed))

    @property
    def worker_devices(self) -> tuple[str, ...]:
        """Torch devices that the workers use in turn, at least one."""
        return (self.device,) if self.devices is None else self.devices

    @property
    def worker_count(self) -> int:
        """Number of processes on this machine, or in the Ray cluster."""
        return len(self.worker_devices) if self.workers is None else self.workers

    @property
    def confirmation_epochs(self) -> int:
        """Epochs of each confirmation run."""
        if self.confirm_epochs is None:
            return CONFIRMATION_FACTOR * self.epochs
        return self.confirm_epochs

    @property
    def data_options(self) -> DataOptions:
        """The options of the data set.

        Raises:
            DataError: if one is out of its range.
        """
        return DataOptions(
            train_size=self.train_size,
            image_size=self.image_size,
            validation_fraction=self.validation_fraction,
            seed=self.seed,
            shuffle_labels=self.shuffle_labels,
            split_duplicates=self.split_duplicates,
            input=self.input,
        )

    def identity(self) -> dict[str, Any]:
        """Return ``IDENTITY_OPTIONS`` as the JSON values that a study stores."""
        values = {name: getattr(self, name) for name in IDENTITY_OPTIONS}
        return values | {"objective": str(self.objective), "augment": str(self.augment)}

    def with_identity(self, identity: Mapping[str, Any]) -> SearchOptions:
        """Return these options with those that a study stored.

        Args:
            identity: what ``identity`` returned; other keys are ignored.
        """
        values = {name: identity[name] for name in IDENTITY_OPTIONS}
        values["objective"] = Objective(values["objective"])
        values["augment"] = Augmentation(values["augment"])
        return replace(self, **values)
