"""Messages and progress bars of a command, all on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from designer.errors import one_line
from designer.redaction import redact

if TYPE_CHECKING:  # what only a running command needs is loaded when it runs
    from rich.progress import Progress, ProgressColumn, TaskID

    from designer.analysis.passes import PassProgress
    from designer.search.progress import Phase
    from designer.search.progress import Progress as SearchProgress


def print_error(message: str) -> None:
    """Print one red line that begins with ``error:``."""
    _print_line(Text(f"error: {one_line(redact(message))}", style="bold red"))


def print_status(message: str) -> None:
    """Print one plain line."""
    _print_line(Text(one_line(redact(message))))


def _print_line(text: Text) -> None:
    """Print a line to stderr, if that takes it: no command fails because its log is full."""
    with suppress(OSError):
        make_console(stderr=True).print(text, soft_wrap=True)


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that uses colours on a terminal only, and never under NO_COLOR."""
    plain = bool(os.environ.get("NO_COLOR"))
    return Console(stderr=stderr, color_system=None if plain else "auto")


@contextmanager
def prints_to_stderr() -> Iterator[None]:
    """Send what a user's model or data print to stderr, so that stdout holds the result alone."""
    with redirect_stdout(sys.stderr):
        yield


class SearchDisplay:
    """Progress of a search: bars on a terminal, a line for every tenth of a phase elsewhere."""

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars
        self._tasks: dict[Phase, TaskID] = {}
        self._first: dict[Phase, SearchProgress] = {}
        self._last: dict[Phase, SearchProgress] = {}

    def update(self, progress: SearchProgress) -> None:
        """Show that a trial has finished."""
        before = self._last.get(progress.phase)
        self._first.setdefault(progress.phase, progress)
        self._last[progress.phase] = progress
        if self._bars is not None:
            self._draw(self._bars, progress)
        elif before is None or _tenth(progress) != _tenth(before):
            counts = f"{progress.finished}/{progress.total}"
            print_status(f"{progress.phase}: {counts}{_best_and_failures(progress)}")

    def conclusion(self) -> str:
        """Say in one sentence how many trials were new."""
        from designer.search.progress import Phase

        if Phase.SEARCH not in self._last:
            return "Nothing was run."
        first, last = self._first[Phase.SEARCH], self._last[Phase.SEARCH]
        new = last.finished - first.finished
        if not last.finished:
            return "No trial was finished."
        if not new:
            return f"No new trial: all {last.finished} were there already."
        return f"{new} new {'trial' if new == 1 else 'trials'}, {last.finished} in all."

    def _draw(self, bars: Progress, progress: SearchProgress) -> None:
        if progress.phase not in self._tasks:
            self._tasks[progress.phase] = bars.add_task(
                str(progress.phase), total=progress.total, best=""
            )
        bars.update(
            self._tasks[progress.phase],
            completed=progress.finished,
            total=progress.total,
            best=_best_and_failures(progress),
        )


@contextmanager
def search_progress() -> Iterator[SearchDisplay]:
    """Show the progress of a search for as long as the context lasts."""
    from rich.progress import TextColumn

    console = make_console(stderr=True)
    if not console.is_terminal:
        yield SearchDisplay(None)
        return
    with _bars(console, TextColumn("{task.fields[best]}")) as bars:
        yield SearchDisplay(bars)


@contextmanager
def pass_progress(*, lines: bool = False) -> Iterator[PassProgress]:
    """Show a bar for each thing that takes long.

    Args:
        lines: where stderr is no terminal, print a line when something begins; otherwise nothing
            is printed there.
    """
    console = make_console(stderr=True)
    if not console.is_terminal:
        yield _announcer() if lines else lambda *_: None
        return
    with _bars(console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def update(title: str, done: int, total: int) -> None:
            if title not in tasks:
                tasks[title] = bars.add_task(title, total=total)
            bars.update(tasks[title], completed=done)

        yield update


def _bars(console: Console, *more: ProgressColumn, transient: bool = False) -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    title = TextColumn("{task.description:>12}")
    return Progress(
        title,
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        *more,
        console=console,
        transient=transient,
    )


def _announcer() -> PassProgress:
    """Return a callback that prints a line whenever something new begins."""
    last = ""

    def update(title: str, _done: int, _total: int) -> None:
        nonlocal last
        if title != last:
            print_status(f"{title} ...")
        last = title

    return update


def _tenth(progress: SearchProgress) -> int:
    return 10 * progress.finished // max(progress.total, 1)


def _best_and_failures(progress: SearchProgress) -> str:
    failures = f", {progress.failed} failed" if progress.failed else ""
    return (f"  best {progress.best:.3f}" if progress.best is not None else "") + failures
