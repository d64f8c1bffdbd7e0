"""How signals stop a command: with one line, and an exit code that says which signal it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import typer

from designer.interrupts import (
    STOPPED,
    Stopped,
    StopRequest,
    ending,
    exit_code_of,
    handling,
    stop_on_signals,
)


class Interrupted(typer.Abort):
    """A signal stopped the command.

    Args:
        message: the line that the user reads.
        code: exit code of the command.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def interruptible(message: str = "Stopped. The same command continues.") -> Iterator[StopRequest]:
    """Stop a command by Ctrl-C and SIGTERM.

    Args:
        message: what the user then reads.

    Yields:
        What answers the signals; it can defer them.

    Raises:
        Interrupted: if a signal came.
    """
    with stop_on_signals(defer=False) as stop:
        try:
            yield stop
        except KeyboardInterrupt as error:
            number = error.number if isinstance(error, Stopped) else Stopped().number
            raise Interrupted(message, exit_code_of(number)) from error


def importing() -> AbstractContextManager[None]:
    """Return a context for imports that take long, in which a signal ends the process at once."""
    return handling(ending(STOPPED))
