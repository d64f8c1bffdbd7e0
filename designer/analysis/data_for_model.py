"""Data for a model that is to be analyzed or pruned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from designer.choices import DataPart, choice
from designer.data.batches import LabelledData
from designer.data.dataset import BatchedData, Dataset
from designer.data.loading import load_source
from designer.errors import DataError, DesignerError, InvalidInputError
from designer.models.loaded import LoadedModel
from designer.probing.calling import call_model, first_tensor
from designer.probing.probes import probing
from designer.results.layers import ReportWarning

LOOKED_AT, CLEARLY_BETTER = 512, 0.1
"""Training samples on which scalings are compared, and a difference of accuracy that tells."""


@dataclass(frozen=True, eq=False)
class ModelData:
    """Training and held-out data for one model."""

    name: str
    train: LabelledData
    heldout: LabelledData | None
    heldout_part: str
    fingerprint: str = ""
    scaling: str = ""
    """Of the inputs, as in ``DataUsed``."""
    warnings: tuple[ReportWarning, ...] = ()


def data_for_model(
    model: LoadedModel, source: str | None, part: str | None = None, **options: Any
) -> ModelData:
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
    loaded = all_data_for_model(model, source, **options)
    if isinstance(loaded, BatchedData):
        if part is not None:
            raise InvalidInputError(
                f"Expected arrays from '{source}' to choose the {part} part of, got batches, which "
                f"say themselves what is held out; leave it out."
            )
        return ModelData(loaded.name, loaded.train, loaded.heldout, "held-out")
    chosen = _part(part, DataPart.TEST if model.scaling is None else DataPart.VALIDATION)
    heldout = loaded.test if chosen is DataPart.TEST else loaded.validation
    return ModelData(
        name=loaded.name,
        train=loaded.train,
        heldout=heldout,
        heldout_part=str(chosen),
        fingerprint=loaded.fingerprint,
        scaling=str(loaded.options.get("scaling", "")),
        warnings=(
            *loaded.warnings,
            *data_warnings(model, loaded, chosen, scaling=options.get("scaling")),
        ),
    )


def all_data_for_model(
    model: LoadedModel, source: str | None, **options: Any
) -> Dataset | BatchedData:
    """All parts of the data for a model, scaled as it was trained.

    Args:
        model, source, options: as for ``data_for_model``.

    Raises:
        InvalidInputError: where there are no data for the model, or others than it was made for.
    """
    asked = {name: value for name, value in options.items() if value is not None}
    if source is None or source == model.data_options.get("source"):
        loaded = _remembered(model, asked)
    else:
        loaded = (None if asked else _moved(model, source)) or _given(model, source, asked)
    if isinstance(loaded, Dataset):
        _check_classes(model, loaded)
    return loaded


def _given(model: LoadedModel, source: str, asked: Mapping[str, Any]) -> Dataset | BatchedData:
    known = {} if model.scaling is None else {"scaling": model.scaling}
    return load_source(source, **{**known, **asked})


def _moved(model: LoadedModel, source: str) -> Dataset | None:
    """The very data that a model was trained on, which have another name by now, if they are."""
    if not model.data_fingerprint:
        return None
    try:
        found = load_source(**{**model.data_options, "source": source})
    except DesignerError:
        return None
    if isinstance(found, Dataset) and found.fingerprint == model.data_fingerprint:
        return found
    return None


def _remembered(model: LoadedModel, asked: Mapping[str, Any]) -> Dataset | BatchedData:
    stored = dict(model.data_options)
    if "source" not in stored:
        raise InvalidInputError(
            f"Expected --data, the data to look at '{model.name}' with, got none; see "
            f"`designer datasets`."
        )
    loaded = load_source(stored.pop("source"), **{**stored, **asked})
    if not asked and not _same_data(model, loaded):
        raise DataError(
            f"Expected '{model.data_options['source']}' to hold the data that '{model.name}' was "
            f"trained on, but they have changed since; pass what it shall be looked at with as "
            f"--data."
        )
    return loaded


def _same_data(model: LoadedModel, data: Dataset | BatchedData) -> bool:
    """Whether these are the very data, split alike, that a model was trained on, where that is
    known."""
    known = model.data_fingerprint
    return not known or (isinstance(data, Dataset) and data.fingerprint == known)


def data_warnings(
    model: LoadedModel, data: Dataset, part: DataPart, *, scaling: object
) -> Iterator[ReportWarning]:
    """What may be wrong with the data for a model.

    Args:
        model, data: these.
        part: that is held out.
        scaling: that was asked for; None for none in particular.
    """
    split = data.split_here or part is DataPart.VALIDATION
    remembered = data.options.get("source") == model.data_options.get("source")
    if remembered and split and not _same_data(model, data):
        yield ReportWarning(
            "other_split",
            "The model was trained on another split of these data, so what is held out here may "
            "be what it was trained on; leave out --seed, --train-size, --image-size and "
            "--validation-fraction.",
        )
    elif split and not (model.data_fingerprint and _same_data(model, data)):
        yield ReportWarning(
            "split_here",
            f"The {part} data were split off here, and are held out only if the model was not "
            f"trained on them; give test data of its own (x_test, y_test) to be sure.",
        )
    if scaling is None and model.scaling is None:
        yield from _other_scaling(model, data)


def _other_scaling(model: LoadedModel, data: Dataset) -> Iterator[ReportWarning]:
    """Where the model is right more often on inputs that are not scaled."""
    few = data.train.inputs[:LOOKED_AT], data.train.labels[:LOOKED_AT]
    shape = (1, -1, *[1] * (few[0].ndim - 2))
    mean, scale = (torch.tensor(data.scaling[name]).view(shape) for name in ("mean", "scale"))
    scaled, plain = (_share_right(model, x, few[1]) for x in (few[0], few[0] * scale + mean))
    if plain > scaled + CLEARLY_BETTER:
        yield ReportWarning(
            "scaling",
            f"The model is right on {100 * plain:.0f} % of some training data as they come and on "
            f"{100 * scaled:.0f} % as they were scaled here: it was probably trained without "
            f"scaling (--scaling none).",
        )


@torch.no_grad()
def _share_right(model: LoadedModel, inputs: Tensor, labels: Tensor) -> float:
    """Nan where the model gives no logits, or cannot run."""
    try:
        with probing(model.model) as probe:
            logits = first_tensor(call_model(model.model, probe.prepared(inputs)))
    except DesignerError:
        return float("nan")
    if logits is None or logits.ndim != 2 or len(logits) != len(labels):
        return float("nan")
    return float((logits.argmax(1) == labels).float().mean())


def _check_classes(model: LoadedModel, data: Dataset) -> None:
    if model.class_names and data.class_names != model.class_names:
        raise DataError(
            f"Expected the {len(model.class_names)} classes that '{model.name}' was trained on "
            f"({_shortened(model.class_names)}), got {len(data.class_names)} "
            f"({_shortened(data.class_names)})."
        )


def _part(name: str | None, default: DataPart) -> DataPart:
    return default if name is None else choice(DataPart, name, "held-out data")


def _shortened(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
