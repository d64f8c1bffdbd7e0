"""The data to look at a loaded model with: what it was trained on, and what it was not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from designer.batches import Data
from designer.datasets import Dataset, Streams, load_source
from designer.errors import DataError, InvalidInputError
from designer.models import LoadedModel
from designer.results import ReportWarning


class Part(StrEnum):
    """Which part of a data set is held out."""

    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, eq=False)
class Material:
    """Training and held-out data for one model."""

    name: str
    train: Data
    heldout: Data | None
    heldout_part: str
    fingerprint: str = ""
    warnings: tuple[ReportWarning, ...] = ()


def material_for(
    model: LoadedModel, source: str | None, part: str | None = None, **options: Any
) -> Material:
    """Data for a model.

    Args:
        model: one that a search recommended remembers its data and how they were scaled.
        source: one of ``designer.datasets.SOURCES``; by default the data that the model remembers.
        part: held out, ``validation`` or ``test``; by default the test set, which nobody trained
            on, but for a recommended model the validation set, since decisions follow.
        options: those of ``load_dataset`` that were asked for; None stands for not asked for.

    Raises:
        InvalidInputError: where there are no data for the model, or others than it was made for.
    """
    loaded = data_for(model, source, **options)
    if isinstance(loaded, Streams):
        return Material(loaded.name, loaded.train, loaded.heldout, "held-out")
    chosen = _part(part, Part.TEST if model.scaling is None else Part.VALIDATION)
    heldout = loaded.test if chosen is Part.TEST else loaded.validation
    return Material(
        loaded.name, loaded.train, heldout, str(chosen), loaded.fingerprint, loaded.warnings
    )


def data_for(model: LoadedModel, source: str | None, **options: Any) -> Dataset | Streams:
    """All parts of the data for a model, scaled as it was trained.

    Args:
        model, source, options: as for ``material_for``.

    Raises:
        InvalidInputError: where there are no data for the model, or others than it was made for.
    """
    asked = {name: value for name, value in options.items() if value is not None}
    if source is None:
        loaded = _remembered(model, asked)
    else:
        known = {} if model.scaling is None else {"scaling": model.scaling}
        loaded = load_source(source, **{**known, **asked})
    if isinstance(loaded, Dataset):
        _check_classes(model, loaded)
    return loaded


def _remembered(model: LoadedModel, asked: Mapping[str, Any]) -> Dataset | Streams:
    stored = dict(model.data_options)
    if "source" not in stored:
        raise InvalidInputError(
            f"Expected --data, the data to look at '{model.name}' with, got none; see "
            f"`designer datasets`."
        )
    loaded = load_source(stored.pop("source"), **{**stored, **asked})
    same = isinstance(loaded, Dataset) and loaded.fingerprint == model.data_fingerprint
    if model.data_fingerprint and not asked and not same:
        raise DataError(
            f"Expected '{model.data_options['source']}' to hold the data that '{model.name}' was "
            f"trained on, but they have changed since; pass what it shall be looked at with as "
            f"--data."
        )
    return loaded


def _check_classes(model: LoadedModel, data: Dataset) -> None:
    if model.class_names and data.class_names != model.class_names:
        raise DataError(
            f"Expected the {len(model.class_names)} classes that '{model.name}' was trained on "
            f"({_shortened(model.class_names)}), got {len(data.class_names)} "
            f"({_shortened(data.class_names)})."
        )


def _part(name: str | None, default: Part) -> Part:
    try:
        return default if name is None else Part(name)
    except ValueError as error:
        raise InvalidInputError(
            f"Expected held-out data among {', '.join(Part)}, got '{name}'."
        ) from error


def _shortened(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
