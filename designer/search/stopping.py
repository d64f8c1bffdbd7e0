"""Stop a search on request: Ctrl-C, SIGTERM or a callback."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Stop = Callable[[], bool]
"""Returns True once the run is asked to stop."""


def never() -> bool:
    """Return False: nobody asks to stop."""
    return False


class StopRequest:
    """Remembers which signal asked the run to stop; calling it returns True once one has."""

    def __init__(self) -> None:
        self.signal: int | None = None
        """The first signal that came; None before."""

    @property
    def requested(self) -> bool:
        """True once a signal has come."""
        return self.signal is not None

    def __call__(self) -> bool:
        return self.requested


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into a request to stop after the current epoch.

    A second Ctrl-C stops at once. In another thread than the main one, where Python handles no
    signals, nothing is changed.

    Yields:
        The request.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if request.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.signal = request.signal or number

    previous = {n: signal.signal(n, on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
