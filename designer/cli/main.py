"""The command line: arguments, wiring, exit codes.  The only place that prints or exits.

Results go to stdout, progress and errors to stderr.  Exit codes: 0 done, 1 the run failed,
2 wrong use, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

import typer

from designer.cli.app import FAILED, INTERRUPTED, OK, WRONG_USE, app
from designer.cli.progress import print_error
from designer.errors import DesignerError, InvalidInputError


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the ``designer`` command; exits with one of the codes above."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    sys.exit(_run([a for a in given if a != "--debug"] or ["--help"], debug=debug))


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        code = app(arguments, standalone_mode=False, obj=shlex.join(["designer", *arguments]))
        sys.stdout.flush()
    except typer.TyperException as error:
        print_error(error.format_message())
        return WRONG_USE
    except InvalidInputError as error:
        if debug:
            raise
        print_error(str(error))
        return WRONG_USE
    except DesignerError as error:
        if debug:
            raise
        print_error(str(error))
        return FAILED
    except (KeyboardInterrupt, typer.Abort) as stop:
        print_error(str(stop) or "Stopped at once.")
        return INTERRUPTED
    except BrokenPipeError:  # nobody reads on; Python shall not complain of that at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if debug:
            raise
        print_error(f"{type(error).__name__}: {error} (run again with --debug for the traceback)")
        return FAILED
    return code if isinstance(code, int) else OK


if __name__ == "__main__":
    main()
