"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from designer.errors import InvalidInputError


class Format(StrEnum):
    """How a report is shown."""

    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"
    SVG = "svg"
    PNG = "png"


Workers = Annotated[
    int | None, typer.Option(help="Processes on this machine. [default: one per device]")
]


Devices = Annotated[
    str | None,
    typer.Option(help="Torch devices of the workers in turn, such as cuda:0,cuda:1."),
]


Storage = Annotated[
    str | None,
    typer.Option(
        envvar="DESIGNER_STORAGE",
        show_envvar=True,
        help="Address that several machines share: postgresql+psycopg://user@host/database or "
        "grpc://host:port. [default: SQLite in the run folder]",
    ),
]


WeightsFile = Annotated[
    Path | None, typer.Option(help="File with its state dict: safetensors or torch.save.")
]


InputScaling = Annotated[
    str | None,
    typer.Option(help="Of inputs: standard or none. [default: standard, or as it was trained]"),
]


ImageSize = Annotated[int | None, typer.Option(help="Resize images to this, in pixels.")]


HeldoutShare = Annotated[
    float | None, typer.Option(help="Share of the samples in use that is held out.")
]


ReportFormat = Annotated[Format, typer.Option("--format", help="How to show it.")]


Output = Annotated[
    Path | None,
    typer.Option(
        help="File to write it to, not stdout; for svg and png also a folder, for every chart on "
        "its own."
    ),
]


AsJson = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
"""Options that several commands take."""


def required_storage(storage: str | None) -> str:
    if storage is None:
        raise InvalidInputError(
            "Expected --storage or the environment variable DESIGNER_STORAGE, got neither."
        )
    return storage


def split_names(names: str | None) -> list[str] | None:
    """Names between commas."""
    return None if names is None else [one.strip() for one in names.split(",")]


def count_or_names(remove: str | None) -> int | list[str] | None:
    """What --remove says."""
    if remove is not None and re.fullmatch(r"-?\d+", remove.strip()):
        return int(remove)
    return split_names(remove)
