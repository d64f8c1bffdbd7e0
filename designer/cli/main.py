"""The command line: arguments, wiring and exit codes. Only this room prints or exits.

Results go to stdout, progress and errors to stderr. The exit code is 0 if the command is done,
1 if the run failed, 2 on wrong use and 130 if it was stopped by Ctrl-C.

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
from designer.errors import DesignerError, InvalidInputError, first_line, memory_ran_out

COMMANDS = (
    "search", "worker", "storage-proxy", "analyze", "prune", "compare", "report", "spaces",
    "datasets", "dashboard",
)  # fmt: skip
"""The order in which ``--help`` lists the commands."""

app.registered_commands.sort(key=lambda command: COMMANDS.index(str(command.name)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the ``designer`` command and exit.

    Args:
        arguments: the words after ``designer``; by default those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    sys.exit(_run([word for word in words if word != "--debug"] or ["--help"], debug=debug))


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        code = app(arguments, standalone_mode=False, obj=shlex.join(["designer", *arguments]))
        sys.stdout.flush()
    except typer.TyperException as error:
        print_error(error.format_message())
        return WRONG_USE
    except DesignerError as error:
        if debug:
            raise
        print_error(str(error))
        return WRONG_USE if isinstance(error, InvalidInputError) else FAILED
    except (KeyboardInterrupt, typer.Abort) as stop:
        print_error(str(stop) or "Stopped.")
        return INTERRUPTED
    except BrokenPipeError:  # nobody reads stdout any more; Python must not complain at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if debug:
            raise
        if memory_ran_out(error):
            print_error(
                f"Memory ran out ({first_line(error)}); use fewer or smaller samples "
                f"(--train-size, --image-size), smaller batches, or a machine with more memory."
            )
            return FAILED
        print_error(f"{type(error).__name__}: {error} (run again with --debug for the traceback)")
        return FAILED
    return code if isinstance(code, int) else OK


if __name__ == "__main__":
    main()
