"""The `designer` application that commands register with, and its exit codes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from designer.cli.stopping import interruptible
from designer.errors import InvalidInputError
from designer.results.provenance import VERSION

OK, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


class _Commands(TyperGroup):
    """The commands, each of which Ctrl-C and SIGTERM stop with one line."""

    def invoke(self, ctx: Any) -> Any:
        with interruptible("Stopped."):
            _check_working_folder()
            return super().invoke(ctx)


def _check_working_folder() -> None:
    """Raise ``InvalidInputError`` if somebody removed the working folder."""
    try:
        Path.cwd()
    except OSError as error:
        raise InvalidInputError(
            "Expected a working folder that exists, but it was removed; change to another one."
        ) from error


app = typer.Typer(
    name="designer",
    cls=_Commands,
    help="Design neural architectures with the law of equi-separation.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # it shows more of a traceback than Python, also values
)


def _show_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"{VERSION}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    pass
