"""Make the models that torchvision, timm and Hugging Face transformers offer by name.

A library is imported only when one of its models is asked for.
"""

from __future__ import annotations

import difflib
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from designer.errors import ModelError, first_line

Arguments = Mapping[str, Any]
"""Keyword arguments of the function that makes a model, as JSON values."""

PRETRAINED = ("pretrained", "weights")
"""Arguments that ask timm and torchvision for trained weights."""

CLASSES = "num_classes"
"""Argument by which timm and torchvision are told the number of classes."""

CONFIG_FILE = "config.json"

SIMILAR_NAMES = 3
"""How many names an error suggests."""


@dataclass(frozen=True)
class Library:
    """A library, and how it makes models."""

    package: str
    """Name of the package, to import and for pip."""
    make: Callable[[Any, str, dict[str, Any], bool], nn.Module]
    """Returns a model of the imported package by name, with arguments; False as the last one for
    initial weights in place of trained ones."""
    told_classes: bool
    """True if it is told the number of classes; False where the model itself says it."""


def library_of(source: str) -> Library | None:
    """Return the library that a model is named after, such as ``timm:resnet18``; else None."""
    prefix, colon, _ = source.partition(":")
    return LIBRARIES.get(prefix) if colon else None


def lacks_classes(source: str, arguments: Arguments) -> bool:
    """True if a library is to be told how many classes a model has, and nobody said it."""
    library = library_of(source)
    told = library is not None and library.told_classes
    return told and not any(arguments.get(name) for name in (CLASSES, *PRETRAINED))


def make_library_model(source: str, arguments: Arguments, *, trained: bool) -> nn.Module:
    """Make a model of a library.

    Args:
        source: ``torchvision:NAME``, ``timm:NAME``, or ``hf:FOLDER``, a folder that
            ``save_pretrained`` wrote.
        arguments: passed on to the library.
        trained: False for initial weights, also where the arguments or the folder offer trained
            ones.

    Raises:
        ModelError: if the library is not installed, has no such model, or raises.
    """
    library = library_of(source)
    if library is None:
        raise ModelError(f"Expected a model of {', '.join(LIBRARIES)}, got '{source}'.")
    name = source.partition(":")[2]
    chosen = {k: v for k, v in arguments.items() if trained or k not in PRETRAINED}
    package = _imported(library.package, source)
    try:
        return library.make(package, name, chosen, trained)
    except ModelError:
        raise
    except (Exception, SystemExit) as error:  # the arguments are the user's
        words = ", ".join(f"{key}={value}" for key, value in chosen.items())
        raise ModelError(
            f"Expected {library.package} to make '{name}'{f' with {words}' if words else ''}, but "
            f"it raised {type(error).__name__}: {first_line(error)}."
        ) from error


def data_options_of(source: str, arguments: Arguments) -> dict[str, Any]:
    """Return how timm feeds one of its models: options of ``load_dataset`` by name, else nothing.

    Args:
        source: name of a model, as for ``make_library_model``.
        arguments: the arguments that it is made with.

    Returns:
        ``scaling``, the mean and standard deviation of pixel values from 0 to 1, and
        ``image_size`` in pixels; empty for other libraries.

    Raises:
        ModelError: if timm is not installed, or has no such model.
    """
    if library_of(source) is not _TIMM:
        return {}
    timm = _imported(_TIMM.package, source)
    name = source.partition(":")[2]
    _check_name(name, known=timm.is_model(name), names=timm.list_models)
    stored = timm.get_pretrained_cfg(name)
    config = timm.data.resolve_data_config(pretrained_cfg=stored.to_dict() if stored else {})
    channels = arguments.get("in_chans", len(config["mean"]))
    return {
        "scaling": {key: _for_channels(config[key], channels) for key in ("mean", "std")},
        "image_size": arguments.get("img_size", config["input_size"][-1]),
    }


def _for_channels(values: Sequence[float], channels: int) -> list[float]:
    """Return one value per channel; their mean where there are more or fewer channels."""
    return list(values) if len(values) == channels else [sum(values) / len(values)] * channels


def _from_torchvision(
    torchvision: Any, name: str, arguments: dict[str, Any], _trained: bool
) -> nn.Module:
    models = torchvision.models
    _check_name(name, known=name in models.list_models(), names=models.list_models)
    model: nn.Module = models.get_model(name, **arguments)
    return model


def _from_timm(timm: Any, name: str, arguments: dict[str, Any], _trained: bool) -> nn.Module:
    _check_name(name, known=timm.is_model(name), names=timm.list_models)
    model: nn.Module = timm.create_model(name, **arguments)
    return model


def _from_transformers(
    transformers: Any, name: str, arguments: dict[str, Any], trained: bool
) -> nn.Module:
    """Return a model of a folder that ``save_pretrained`` wrote, with the head that it names.

    Code in the folder is never run. Without weights in the folder, the weights are initial ones.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()  # it would stand among ours
    folder = Path(name)
    kind = _class_of(transformers, folder)
    has_weights = any(path.suffix in {".safetensors", ".bin"} for path in folder.iterdir())
    if not (trained and has_weights):
        initial: nn.Module = kind(kind.config_class.from_pretrained(name, **arguments))
        return initial
    read: nn.Module = kind.from_pretrained(
        name,
        local_files_only=True,
        trust_remote_code=False,
        ignore_mismatched_sizes=bool(arguments),
        **arguments,
    )
    return read


def _class_of(transformers: Any, folder: Path) -> Any:
    """Return the class of transformers that a folder names."""
    try:
        content = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        name = content["architectures"][0]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ModelError(
            f"Expected a folder that save_pretrained wrote, with architectures in its "
            f"{CONFIG_FILE}, but '{folder}' has none."
        ) from error
    kind = getattr(transformers, name, None) if isinstance(name, str) else None
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        raise ModelError(
            f"Expected '{folder}' to hold a model of transformers, got '{name}', which is not in "
            f"it; name code of your own as package.module:callable."
        )
    return kind


def _imported(package: str, source: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        missing = error.name is not None and error.name.partition(".")[0] == package
        if missing:
            raise ModelError(
                f"'{source}' needs {package}, which is not installed: pip install {package}."
            ) from error
        raise _broken(package, source, error) from error
    except Exception as error:  # a library that does not fit torch may raise anything
        raise _broken(package, source, error) from error


def _broken(package: str, source: str, error: Exception) -> ModelError:
    return ModelError(
        f"'{source}' needs {package}, but importing it raised {type(error).__name__}: "
        f"{first_line(error)}."
    )


def _check_name(name: str, *, known: bool, names: Callable[[], list[str]]) -> None:
    if not known:
        similar = difflib.get_close_matches(name, names(), SIMILAR_NAMES, cutoff=0.5)
        hint = f"; there are {', '.join(similar)}" if similar else ""
        raise ModelError(f"Expected the name of a model that the library has, got '{name}'{hint}.")


_TIMM = Library("timm", _from_timm, told_classes=True)
_TRANSFORMERS = Library("transformers", _from_transformers, told_classes=False)

LIBRARIES = {
    "torchvision": Library("torchvision", _from_torchvision, told_classes=True),
    "timm": _TIMM,
    "hf": _TRANSFORMERS,
}
"""Libraries by the word before the colon."""
