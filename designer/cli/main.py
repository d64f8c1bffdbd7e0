"""The entry of the command line: it answers signals before anything else is loaded."""

from __future__ import annotations

import atexit
import signal
import sys
from collections.abc import Sequence

from designer.interrupts import STOPPED, ending, set_handler


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the ``designer`` command and exit.

    Args:
        arguments: the words after ``designer``; by default those of the process, which then ends
            at once on Ctrl-C and SIGTERM before the command has begun and after it is done.
    """
    if arguments is None:
        set_handler(ending(STOPPED))
        atexit.register(set_handler, signal.SIG_IGN)  # called last: Python then drops our handlers
    from designer.cli.commands import run

    code = run(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:  # everything is written: shutting Python down may only be cut short
        set_handler(ending(code=code))
    sys.exit(code)


if __name__ == "__main__":
    main()
