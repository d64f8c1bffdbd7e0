"""Load the model that a command line names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designer.cli.options import read_arguments
from designer.cli.progress import print_status

if TYPE_CHECKING:
    from designer.models.loaded import LoadedModel


def load_named_model(
    model: str,
    weights: Path | None,
    model_args: Sequence[str] | None,
    data: str | None,
    trust: Sequence[str] | None,
    data_options: Mapping[str, Any],
) -> LoadedModel:
    """Return the model that a command line names, and say how it is fed where its library says it.

    Args:
        model: name of the model, as for ``load_model``.
        weights: file with its weights.
        model_args: values of ``--model-args``.
        data: data that may decide the number of classes.
        trust: names that a folder may import.
        data_options: options of loading the data by name, None where the user named no value.

    Raises:
        InvalidInputError: if an argument has another form.
        ModelError: as ``load_model``, as for the other errors.
    """
    from designer.models.loading import load_model

    loaded = load_model(
        model,
        weights,
        seed=data_options["seed"] or 0,
        trust=trust or (),
        arguments=read_arguments(model_args),
        data=data,
    )
    feeding = None if data is None else _feeding(loaded, data_options)
    if feeding is not None:
        print_status(feeding)
    return loaded


def _feeding(loaded: LoadedModel, asked: Mapping[str, Any]) -> str | None:
    """Return how a model is fed where nobody asks for anything else; None if nothing is left."""
    left = {k: v for k, v in loaded.data_defaults.items() if asked.get(k) is None}
    parts = []
    if "image_size" in left:
        parts.append(f"images of {left['image_size']} pixels (--image-size)")
    if "scaling" in left:
        numbers = (f"{k} {', '.join(f'{x:g}' for x in v)}" for k, v in left["scaling"].items())
        parts.append(f"pixels scaled by {' and '.join(numbers)} (--scaling)")
    if not parts:
        return None
    return f"As its library says, '{loaded.name}' is fed with {' and '.join(parts)}."
