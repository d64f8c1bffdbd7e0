"""All commands, how they run and with which exit code they end.

Results go to stdout, progress and errors to stderr. The exit code is 0 if the command is done,
1 if the run failed, 2 on wrong use, 130 if it was stopped by Ctrl-C and 143 by SIGTERM.

The modules that declare the commands import nothing heavy, so that ``--help``, ``--version`` and
wrong use answer at once; what a command needs to run is imported in its body.
"""

from __future__ import annotations

import errno
import os
import shlex
import sys
from collections.abc import Sequence
from typing import TextIO

import typer

import designer.cli.analyze
import designer.cli.prune
import designer.cli.report
import designer.cli.search  # noqa: F401 - each of these registers its commands
from designer.cli.app import FAILED, INTERRUPTED, OK, WRONG_USE, app
from designer.cli.progress import print_error
from designer.errors import (
    DesignerError,
    InvalidInputError,
    as_utf8,
    first_line,
    memory_ran_out,
)
from designer.folders import DISK_ERRORS
from designer.redaction import keep_secret

COMMANDS = (
    "search", "worker", "storage-proxy", "analyze", "prune", "compare", "report", "spaces",
    "datasets", "dashboard",
)  # fmt: skip
"""The order in which ``--help`` lists the commands."""

app.registered_commands.sort(key=lambda command: COMMANDS.index(str(command.name)))


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: the words after ``designer``.
    """
    debug = "--debug" in arguments
    words = [word for word in arguments if word != "--debug"] or ["--help"]
    for word in [*words, os.environ.get("DESIGNER_STORAGE", "")]:
        keep_secret(word)
    try:
        code = app(words, standalone_mode=False, obj=as_utf8(shlex.join(["designer", *words])))
        sys.stdout.flush()
    except typer.TyperException as error:
        print_error(error.format_message())
        return WRONG_USE
    except typer.Abort as stop:
        print_error(str(stop) or "Stopped.")
        return getattr(stop, "code", INTERRUPTED)
    except BaseException as error:  # a user's code may raise anything, also SystemExit
        if debug and not isinstance(error, SystemExit):
            raise
        return _failed(error)
    finally:
        _discard_if_broken(sys.stdout)
        _discard_if_broken(sys.stderr)
    return code if isinstance(code, int) else OK


def _failed(error: BaseException) -> int:
    """Say why a command failed, and return its exit code."""
    if isinstance(error, DesignerError):
        print_error(str(error))
        return WRONG_USE if isinstance(error, InvalidInputError) else FAILED
    if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
        return FAILED  # nobody reads stdout any more, and whoever left knows it
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        print_error(f"Expected a name that a file can have, got '{error.filename}'.")
        return WRONG_USE
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        print_error(f"Cannot write the output: {error.strerror}. {DISK_ERRORS[error.errno]}.")
        return FAILED
    if memory_ran_out(error):
        print_error(
            f"Memory ran out ({first_line(error)}); use fewer or smaller samples "
            f"(--train-size, --image-size), smaller batches, or a machine with more memory."
        )
        return FAILED
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    print_error(f"{text} (run again with --debug for the traceback)")
    return FAILED


def _discard_if_broken(stream: TextIO) -> None:
    """Let a stream lead nowhere if it takes no more, or Python would complain at its exit."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
