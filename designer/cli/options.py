"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from designer.choices import InputKind, Scaling
from designer.data.limits import DATA_LIMIT, DEFAULT_GIB
from designer.errors import InvalidInputError


class Format(StrEnum):
    """How a report is shown."""

    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"
    SVG = "svg"
    PNG = "png"


def named_path(text: str) -> Path:
    """Return the path that an option names.

    Raises:
        typer.BadParameter: if the name is empty, which would mean the working folder.
    """
    if not str(text):
        raise typer.BadParameter("Expected a name, got an empty one.")
    return Path(text)


Workers = Annotated[
    int | None, typer.Option(help="Worker processes on this machine. [default: one per device]")
]
Devices = Annotated[
    str | None,
    typer.Option(help="Torch devices that the workers take in turn, such as cuda:0,cuda:1."),
]
Storage = Annotated[
    str | None,
    typer.Option(
        envvar="DESIGNER_STORAGE",
        show_envvar=True,
        help="Address of a database that several machines share: "
        "postgresql+psycopg://user@host/database or grpc://host:port. "
        "[default: SQLite in the run folder]",
    ),
]
SharedStorage = Annotated[
    str | None,
    typer.Option(
        envvar="DESIGNER_STORAGE",
        show_envvar=True,
        help="Address of the database that the machines share.",
    ),
]
WeightsFile = Annotated[
    Path | None,
    typer.Option(
        help="File with the model's weights: a state dict in safetensors or of torch.save."
    ),
]
InputScaling = Annotated[
    str | None,
    typer.Option(
        help="How to scale inputs: none (as they come; bytes become 0 to 1), standard (mean 0, "
        "standard deviation 1), MEAN/SD per channel, such as 0.5,0.5,0.5/0.2,0.2,0.2, or for pixel "
        "values 0..1, 0..255, imagenet, or mean=0.5,0.5,0.5,std=0.2,0.2,0.2 for values from 0 to "
        "1. [default: as the model was trained, where that is known, else none]"
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(help="Height and width to resize images to, in pixels."),
]
KindOfInput = Annotated[
    str | None,
    typer.Option(
        help=f"What the arrays of inputs hold: {', '.join(InputKind)}. [default: tabular for (n, "
        "features), else image, or series where there are no more than 3 rows]"
    ),
]
ContextLength = Annotated[
    int | None,
    typer.Option(
        help="Tokens in a block of text, for a file that ends in .txt. [default: 128, or fewer if "
        "the model takes fewer]"
    ),
]
HeldoutShare = Annotated[
    float | None,
    typer.Option(help="Share of the samples, those for testing aside, to hold out for validation."),
]
TrustedNames = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        help="package.module:name of code that the folder names and that may be imported, such as "
        "your own space; repeat the option for several. [default: only what comes with Designer "
        "or an installed package]",
    ),
]


ModelName = Annotated[
    str,
    typer.Argument(
        help="package.module:callable that returns a model; torchvision:NAME, timm:NAME or "
        "hf:FOLDER, a folder of save_pretrained; or a folder that search or prune wrote, such as "
        "runs/a/best/1."
    ),
]
ModelArguments = Annotated[
    list[str] | None,
    typer.Option(
        "--model-args",
        metavar="KEY=VALUE",
        help="Arguments that the model is made with, such as num_classes=10,pretrained=true. "
        "[default: none; torchvision and timm are told the number of classes of the data]",
    ),
]


def _raise_limit(gib: float | None) -> float | None:
    """Set the largest size of data for this process and those that it starts."""
    if gib is not None:
        os.environ[DATA_LIMIT] = str(gib)
    return gib


MaxDataGib = Annotated[
    float | None,
    typer.Option(
        envvar=DATA_LIMIT,
        show_envvar=True,
        callback=_raise_limit,
        help=f"Most memory in GiB that the arrays of the data may take. [default: {DEFAULT_GIB:g}]",
    ),
]
ReportFormat = Annotated[Format, typer.Option("--format", help="Format of the report.")]
Output = Annotated[
    Path | None,
    typer.Option(
        parser=named_path,
        metavar="PATH",
        help="File to write the report to instead of stdout. For svg and png it may be a folder, "
        "which then gets one file per chart.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
JsonList = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
TrainSize = Annotated[int | None, typer.Option(help="Number of training samples to use.")]
Device = Annotated[str, typer.Option(help="Torch device to run on.")]


LONGEST_NAME = 80
"""Most letters of a folder's name that is made from a model's."""


DATA_OPTIONS = (
    "scaling",
    "train_size",
    "image_size",
    "validation_fraction",
    "seed",
    "input",
    "context_length",
)
"""Names of the options that decide how a model's data are loaded."""


def chosen(context: typer.Context, names: Iterable[str]) -> dict[str, Any]:
    """Return the values of a command's options by name."""
    return {name: context.params[name] for name in names}


def chosen_data_options(context: typer.Context) -> dict[str, Any]:
    """Return the options that decide how a model's data are loaded, with the scaling read.

    Raises:
        InvalidInputError: if the scaling has none of its forms.
    """
    options = chosen(context, DATA_OPTIONS)
    return {**options, "scaling": read_scaling(options["scaling"])}


def read_scaling(text: str | None) -> str | dict[str, list[float]] | None:
    """Return the scaling that an option names: a name, or numbers as ``load_dataset`` takes them.

    Args:
        text: a value of ``Scaling``; MEAN/SD with one number per channel on either side; or
            mean=NUMBERS,std=NUMBERS; None stays None.

    Raises:
        InvalidInputError: if there are no numbers where a name is not known.
    """
    names = [str(name) for name in Scaling if name is not Scaling.GIVEN]
    if text is None or text in names:
        return text
    of_pixels = re.fullmatch(r"mean=(.+),std=(.+)", text.replace(" ", ""))
    keys, parts = ("mean", "scale"), tuple(text.split("/"))
    if of_pixels:
        keys, parts = ("mean", "std"), of_pixels.groups()
    try:
        numbers = [[float(number) for number in part.split(",")] for part in parts]
        return dict(zip(keys, numbers, strict=True))
    except ValueError:
        raise InvalidInputError(
            f"Expected a scaling among {', '.join(names)}, or MEAN/SD with one number per channel "
            f"such as 0.5,0.5,0.5/0.2,0.2,0.2, or mean=NUMBERS,std=NUMBERS, got '{text}'."
        ) from None


def read_arguments(texts: Sequence[str] | None) -> dict[str, Any]:
    """Return the arguments that ``--model-args`` names.

    Args:
        texts: each KEY=VALUE, or several with a comma between them. A value is JSON, such as a
            number, true or [2,2], and else text.

    Raises:
        InvalidInputError: if there is no KEY=VALUE.
    """
    arguments: dict[str, Any] = {}
    for pair in (pair for text in texts or () for pair in re.split(r",(?=\s*\w+=)", text)):
        key, equals, value = pair.strip().partition("=")
        if not (equals and key.isidentifier()):
            raise InvalidInputError(
                f"Expected --model-args as KEY=VALUE, such as num_classes=10, got '{pair}'."
            )
        try:
            arguments[key] = json.loads(value)
        except ValueError:
            arguments[key] = value
    return arguments


def required_storage(storage: str | None) -> str:
    """Return the address of a storage.

    Raises:
        InvalidInputError: if there is none.
    """
    if storage is None:
        raise InvalidInputError(
            "Expected --storage or the environment variable DESIGNER_STORAGE, got neither."
        )
    return storage


def split_names(names: str | None) -> list[str] | None:
    """Split names at commas; None stays None."""
    return None if names is None else [name.strip() for name in names.split(",")]


def count_or_names(remove: str | None) -> int | tuple[str, ...] | None:
    """Read the value of ``--remove``: a number of blocks, or their names."""
    if remove is not None and re.fullmatch(r"-?\d+", remove.strip()):
        return int(remove)
    names = split_names(remove)
    return None if names is None else tuple(names)


def folder_name_for(source: str) -> str:
    """Return a folder name made of the letters, digits and dots of a model's source."""
    return re.sub(r"[^\w.]+", "-", source).strip("-.")[-LONGEST_NAME:] or "model"
