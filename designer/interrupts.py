"""Signals that ask a process to stop: Ctrl-C (SIGINT) and SIGTERM.

While modules are imported, a signal ends the process at once, because an exception that is raised
inside an import may come out as another one. While a command prepares or measures, a signal raises
``Stopped``. While it trains or writes reports, a signal is noted, and the command stops by itself.

This module loads nothing but the standard library, so that signals are answered from the start.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""The signals that ask a process to stop."""

STOPPED = "error: Stopped.\n"
"""What is printed when a signal comes before a command has begun."""

Handler = Callable[[int, FrameType | None], None]
"""Called with the number of a signal, and with the frame that it interrupts."""

Stop = Callable[[], bool]
"""Returns True once the run is asked to stop."""


class Stopped(KeyboardInterrupt):
    """A signal asked the process to stop.

    Args:
        number: number of the signal.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.number = number


def never() -> bool:
    """Return False: nobody asks to stop."""
    return False


def exit_code_of(number: int) -> int:
    """Return the exit code of a process that a signal stopped: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + number


class StopRequest:
    """Answers signals, and remembers the first; calling it returns True once one has come."""

    def __init__(self) -> None:
        self.signal: int | None = None
        """The first signal that came; None before."""
        self._deferring = False

    @property
    def requested(self) -> bool:
        """True once a signal has come."""
        return self.signal is not None

    def __call__(self) -> bool:
        return self.requested

    def defer(self) -> None:
        """Only note signals from now on; a second Ctrl-C still raises ``Stopped``."""
        self._deferring = True

    def resume(self) -> None:
        """Raise ``Stopped`` from now on whenever a signal comes."""
        self._deferring = False

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let the block come to its end before a signal that comes meanwhile stops the process.

        Raises:
            Stopped: at the end of the block, if a signal has come.
        """
        self.defer()
        try:
            yield
        finally:
            self.resume()
        self.check()

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Let signals raise ``Stopped`` as long as the block lasts, and defer them afterwards."""
        self.resume()
        try:
            yield
        finally:
            self.defer()

    def check(self) -> None:
        """Raise ``Stopped`` if a signal has come."""
        if self.signal is not None:
            raise Stopped(self.signal)

    def answer(self, number: int, _frame: FrameType | None) -> None:
        """Note a signal, or raise ``Stopped``."""
        first = self.signal is None
        self.signal = self.signal or number
        if not self._deferring or (number == signal.SIGINT and not first):
            raise Stopped(number)


@contextmanager
def stop_on_signals(*, defer: bool = True) -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into a request to stop, as long as the context lasts.

    In another thread than the main one, where Python handles no signals, nothing is changed.

    Args:
        defer: True to note signals, so that the run stops after the current epoch, where a second
            Ctrl-C stops it at once; False to raise ``Stopped``.

    Yields:
        The request.
    """
    request = StopRequest()
    if defer:
        request.defer()
    with handling(request.answer):
        yield request


@contextmanager
def handling(handler: Handler) -> Iterator[None]:
    """Answer the signals by a handler as long as the context lasts."""
    with restoring_handlers():
        if threading.current_thread() is threading.main_thread():
            set_handler(handler)
        yield


@contextmanager
def restoring_handlers() -> Iterator[None]:
    """Answer the signals after the block as before it, whoever set other handlers meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, before in previous.items():
            if before is not None:  # else a program around this one handles it, outside Python
                signal.signal(number, before)


def set_handler(handler: Handler | signal.Handlers) -> None:
    """Answer the signals by a handler from now on, or ignore them; only for the main thread."""
    for number in SIGNALS:
        signal.signal(number, handler)


def ending(message: str = "", code: int | None = None) -> Handler:
    """Return a handler that ends the process at once, without cleaning up.

    Args:
        message: written to stderr, as it is.
        code: exit code; None for that of the signal.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        with suppress(OSError):
            os.write(2, message.encode())
        os._exit(exit_code_of(number) if code is None else code)

    return end


@contextmanager
def inherited_by_children_as_blocked() -> Iterator[None]:
    """Block the signals as long as the context lasts; processes started meanwhile keep them so.

    Signals that come meanwhile reach this process when the context ends.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_signals() -> None:
    """Ignore the signals in this process for good, and stop blocking them."""
    set_handler(signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
