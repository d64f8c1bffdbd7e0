"""Load the data for a model that is to be analyzed or pruned, and check that they belong to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from designer.analysis.class_outputs import with_labels_of_outputs
from designer.analysis.scaling_check import SCALING_OPTION, Show, check_scaling, scaling_warning
from designer.choices import DataPart, InputKind, Scaling, choice
from designer.data.batches import LabelledData
from designer.data.dataset import BatchedData, Dataset
from designer.data.loading import load_recorded, load_source
from designer.data.options import DataOptions
from designer.data.sources import is_text
from designer.data.texts import text_data
from designer.errors import DataError, DesignerError, InvalidInputError, ModelError
from designer.importing import Trust, typed
from designer.models.loaded import LoadedModel
from designer.models.text_readers import text_reader
from designer.probing.calling import call_model
from designer.probing.probes import probing
from designer.probing.tracing import EMBEDDINGS
from designer.results.layers import ReportWarning

LAYERS_FOR: dict[InputKind, tuple[type[nn.Module], ...]] = {
    InputKind.TOKENS: EMBEDDINGS,
    InputKind.SERIES: (nn.Conv1d, nn.RNNBase),
}
"""Layers that a model has if it is made for inputs of a kind."""

SPLIT_HERE = {
    DataPart.TEST: (
        "The test data were split off here, and are held out only if the model was not trained on "
        "them; give test data of its own (x_test, y_test) to be sure."
    ),
    DataPart.VALIDATION: (
        "The validation data were split off the training data here. If the model was trained on "
        "all of these, it looks better on validation data than it is, and decisions on them are "
        "too bold; to be sure, give held-out data that it was not trained on, in Python as "
        "designer.prune(model, (train, heldout, test)) or designer.analyze(model, train, heldout)."
    ),
}
"""What is said where a part may not be held out, because it was split off here."""


@dataclass(frozen=True, eq=False)
class ModelData:
    """Training and held-out data for one model."""

    name: str
    """Name for reports."""
    train: LabelledData
    """Training data."""
    heldout: LabelledData | None
    """Held-out data, if there are any."""
    heldout_part: str
    """Which part of the data set is held out: ``validation`` or ``test``; ``held-out`` if a
    callable returned it."""
    fingerprint: str = ""
    """SHA-256 of the data set; empty for batches."""
    scaling: str = ""
    """How inputs were scaled, a value of ``Scaling``; empty for batches."""
    warnings: tuple[ReportWarning, ...] = ()
    """What may be wrong with the data for this model."""


def data_for_model(
    model: LoadedModel, source: str | None, part: str | None = None, **options: Any
) -> ModelData:
    """Load training and held-out data for a model.

    Args:
        model: the model; one that a search recommended records its data and how they were scaled.
        source: one of the forms in ``designer.data.sources.SOURCES``; by default the data that the
            model records.
        part: part of the data set that is held out, ``validation`` or ``test``. By default the
            test set, which no model was trained on; for a recommended model the validation set,
            so that the test set is not used for decisions.
        options: fields of ``DataOptions``; None stands for an option that nobody asked for. By
            default a model is fed as it records, and one that records nothing is fed the data as
            they come.

    Raises:
        InvalidInputError: if there are no data for the model, a part of batches is asked for, or
            the model is clearly right under another scaling than the default.
        DataError: if the data cannot be loaded, or are not those that the model was trained on.
    """
    loaded = all_data_for_model(model, source, **options)
    if isinstance(loaded, BatchedData):
        if part is not None:
            raise InvalidInputError(
                f"Expected arrays from '{source}' to choose the {part} part of, got batches, which "
                f"come with held-out batches of their own; leave it out."
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
    model: LoadedModel,
    source: str | None,
    show: Show = SCALING_OPTION,
    **options: Any,
) -> Dataset | BatchedData:
    """Load all parts of the data for a model, scaled as it records, else as they come.

    Labels are outputs of the model, also where the data lack some of its classes.

    Args:
        model: the model.
        source: one of the forms in ``designer.data.sources.SOURCES``; by default the data that the
            model records.
        show: returns how the user asks for a scaling.
        options: fields of ``DataOptions``; None stands for an option that nobody asked for.

    Raises:
        InvalidInputError: if there are no data for the model, or the model records no scaling, none
            is asked for, and the model is clearly right under another one.
        DataError: if the data cannot be loaded, or are not those that the model was trained on.
    """
    asked = {name: value for name, value in options.items() if value is not None}
    loaded = _load(model, source, asked)
    if isinstance(loaded, Dataset):
        loaded = with_labels_of_outputs(model.model, loaded)
        _check_classes(model, loaded)
        _check_kind(model, loaded)
        if model.scaling is None and "scaling" not in {**model.data_defaults, **asked}:
            check_scaling(model.model, loaded, show)
    return loaded


def _load(
    model: LoadedModel, source: str | None, asked: Mapping[str, Any]
) -> Dataset | BatchedData:
    named = model.data_options.get("source", "") if source is None else source
    if is_text(named):
        recorded = model.data_options if source in (None, model.data_options.get("source")) else {}
        return _load_text(model, named, {**recorded, **asked}, asked)
    if "context_length" in asked:
        raise InvalidInputError(
            f"Expected text, a file that ends in .txt, for --context-length, got '{named}'; leave "
            f"it out."
        )
    if source is None:
        return _load_recorded(model, model.trust, asked)
    if source == model.data_options.get("source"):
        return _load_recorded(model, typed(source), asked)
    renamed = None if asked else _load_renamed(model, source)
    return _load_named(model, source, asked) if renamed is None else renamed


def _load_text(
    model: LoadedModel, source: str, options: Mapping[str, Any], asked: Mapping[str, Any]
) -> BatchedData:
    """Load text in blocks of tokens, which a language model of Hugging Face reads by itself."""
    for name in ("scaling", "image_size", "input"):
        if name in asked:
            raise InvalidInputError(
                f"Expected no {name.replace('_', ' ')} for the text '{source}', got "
                f"{asked[name]}; leave it out."
            )
    kept = {k: v for k, v in options.items() if k not in ("source", "split_duplicates")}
    return text_data(source, text_reader(model), DataOptions(**kept))


def _load_named(model: LoadedModel, source: str, asked: Mapping[str, Any]) -> Dataset | BatchedData:
    """Load other data than the model records, scaled as the model was trained if that is known."""
    scaling = Scaling.NONE if model.scaling is None else model.scaling
    return load_source(source, {"scaling": scaling, **model.data_defaults}, **asked)


def _load_renamed(model: LoadedModel, source: str) -> Dataset | None:
    """Load a source as the model records its own; None unless it holds the same data."""
    if not model.data_fingerprint:
        return None
    try:
        loaded = load_recorded({**_recorded(model), "source": source}, typed(source))
    except DesignerError:
        return None
    if isinstance(loaded, Dataset) and loaded.fingerprint == model.data_fingerprint:
        return loaded
    return None


def _load_recorded(
    model: LoadedModel, trust: Trust, asked: Mapping[str, Any]
) -> Dataset | BatchedData:
    """Load the data that a model records, with the options that were asked for."""
    stored = _recorded(model)
    if "source" not in stored:
        raise InvalidInputError(
            f"Expected --data, the data to look at '{model.name}' with, got none; see "
            f"`designer datasets`."
        )
    loaded = load_recorded({**stored, **asked}, trust)
    if not asked and not _same_data(model, loaded):
        raise DataError(
            f"The data in '{model.data_options['source']}' have changed since '{model.name}' was "
            f"trained on them: name the data to use with --data."
        )
    return loaded


def _recorded(model: LoadedModel) -> dict[str, Any]:
    """Return the options of data that a model records.

    Models of earlier versions do not record how duplicates were split: like all other samples.
    """
    return {"split_duplicates": True, **model.data_options} if model.data_options else {}


def _same_data(model: LoadedModel, data: Dataset | BatchedData) -> bool:
    """True if a model was trained on these data and this split, or records no fingerprint."""
    known = model.data_fingerprint
    return not known or (isinstance(data, Dataset) and data.fingerprint == known)


def data_warnings(
    model: LoadedModel, data: Dataset, part: DataPart, *, scaling: object
) -> Iterator[ReportWarning]:
    """Yield what may be wrong with the data for a model: their split, or their scaling.

    Args:
        model: the model.
        data: the data that were loaded for it.
        part: the part that is held out.
        scaling: the scaling that the caller asks for; None if it does not.
    """
    scaling = scaling or model.data_defaults.get("scaling")
    split = data.split_here or part is DataPart.VALIDATION
    recorded = data.options.get("source") == model.data_options.get("source")
    if recorded and split and not _same_data(model, data):
        yield ReportWarning(
            "other_split",
            "The model was trained on another split of these data, so what is held out here may "
            "be what it was trained on; leave out --seed, --train-size, --image-size and "
            "--validation-fraction.",
        )
    elif split and not (model.data_fingerprint and _same_data(model, data)):
        yield ReportWarning("split_here", SPLIT_HERE[part])
    warning = None if scaling is None else scaling_warning(model.model, data)
    if warning is not None:
        yield warning


def _check_classes(model: LoadedModel, data: Dataset) -> None:
    """Raise ``DataError`` if the data have other classes than the model was trained on."""
    if model.class_names and data.class_names != model.class_names:
        raise DataError(
            f"Expected the {len(model.class_names)} classes that '{model.name}' was trained on "
            f"({_shortened(model.class_names)}), got {len(data.class_names)} "
            f"({_shortened(data.class_names)})."
        )


def _check_kind(model: LoadedModel, data: Dataset) -> None:
    """Raise ``ModelError`` if the model runs only if the inputs are something else.

    Whole numbers may be tokens, and images series; only the model can tell.
    """
    layers = LAYERS_FOR.get(data.other_kind or InputKind.TABULAR, ())
    if not any(isinstance(module, layers) for module in model.model.modules()):
        return
    few = data.train.at(slice(2)).inputs
    try:
        with probing(model.model) as probe:
            call_model(model.model, probe.prepared(few))
    except ModelError as error:
        raise ModelError(
            f"{str(error).removesuffix('.')}; if the inputs are {data.other_kind}, say so with "
            f"--input {data.other_kind} (in Python, input='{data.other_kind}')."
        ) from error


def _part(name: str | None, default: DataPart) -> DataPart:
    return default if name is None else choice(DataPart, name, "held-out data")


def _shortened(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
