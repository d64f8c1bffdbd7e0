"""All commands, how they run and with which exit code they end.

Results go to stdout, progress and errors to stderr. The exit code is 0 if the command is done,
1 if the run failed, 2 on wrong use, 130 if it was stopped by Ctrl-C and 143 by SIGTERM.

The modules that declare the commands import nothing heavy, so that ``--help``, ``--version`` and
wrong use answer at once; what a command needs to run is imported in its body.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

import typer

import designer.cli.analyze
import designer.cli.prune
import designer.cli.report
import designer.cli.search  # noqa: F401 - each of these registers its commands
from designer.cli.app import FAILED, INTERRUPTED, OK, WRONG_USE, app
from designer.cli.progress import print_error
from designer.errors import DesignerError, InvalidInputError
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
        code = app(words, standalone_mode=False, obj=shlex.join(["designer", *words]))
        sys.stdout.flush()
    except typer.TyperException as error:
        print_error(error.format_message())
        return WRONG_USE
    except DesignerError as error:
        if debug:
            raise
        print_error(str(error))
        return WRONG_USE if isinstance(error, InvalidInputError) else FAILED
    except typer.Abort as stop:
        print_error(str(stop) or "Stopped.")
        return getattr(stop, "code", INTERRUPTED)
    except BrokenPipeError:  # nobody reads stdout any more; Python must not complain at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if debug:
            raise
        print_error(f"{type(error).__name__}: {error} (run again with --debug for the traceback)")
        return FAILED
    return code if isinstance(code, int) else OK
