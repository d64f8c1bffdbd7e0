"""Messages and progress bars on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from designer.report.words import one_line
from designer.search.progress import Phase
from designer.search.progress import Progress as SearchProgress


def print_error(message: str) -> None:
    text = Text(f"error: {one_line(message)}", style="bold red")
    make_console(stderr=True).print(text, soft_wrap=True)


def print_status(message: str) -> None:
    make_console(stderr=True).print(Text(one_line(message)), soft_wrap=True)


def make_console(*, stderr: bool = False) -> Console:
    """Styled on a terminal only, and nowhere under NO_COLOR."""
    plain = bool(os.environ.get("NO_COLOR"))
    return Console(stderr=stderr, color_system=None if plain else "auto")


class _Display:
    """Progress of a run: bars on a terminal, now and then a line elsewhere."""

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars
        self._tasks: dict[Phase, TaskID] = {}
        self._first: dict[Phase, SearchProgress] = {}
        self._last: dict[Phase, SearchProgress] = {}

    def update(self, progress: SearchProgress) -> None:
        """Take note of a finished trial."""
        before = self._last.get(progress.phase)
        self._first.setdefault(progress.phase, progress)
        self._last[progress.phase] = progress
        if self._bars is not None:
            self._draw(self._bars, progress)
        elif before is None or _tenth(progress) != _tenth(before):
            print_status(f"{progress.phase}: {progress.finished}/{progress.total}{_best(progress)}")

    def conclusion(self) -> str:
        """How many trials were new."""
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
            best=_best(progress),
        )


@contextmanager
def interruptible(said: str = "Stopped at once; the same command continues.") -> Iterator[None]:
    """Ctrl-C as ``typer.Abort``, for typer would make a silent exit of it."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise typer.Abort(said) from stop


@contextmanager
def prints_to_stderr() -> Iterator[None]:
    """What a user's model or data print, which would spoil what is written to stdout."""
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def search_progress() -> Iterator[_Display]:
    console = make_console(stderr=True)
    if not console.is_terminal:
        yield _Display(None)
        return
    columns = (
        TextColumn("{task.description:>12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[best]}"),
    )
    with Progress(*columns, console=console) as bars:
        yield _Display(bars)


@contextmanager
def pass_progress(*, lines: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each thing that takes long, on a terminal; elsewhere a line where it begins, or
    none for what is over too soon."""
    console = make_console(stderr=True)
    if not console.is_terminal:
        yield _begun() if lines else lambda *_: None
        return
    columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def update(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        yield update


def _begun() -> Callable[[str, int, int], None]:
    """Says what is being done whenever that is something else than before."""
    last = ""

    def update(what: str, _done: int, _total: int) -> None:
        nonlocal last
        if what != last:
            print_status(f"{what} ...")
        last = what

    return update


def _tenth(progress: SearchProgress) -> int:
    return 10 * progress.finished // max(progress.total, 1)


def _best(progress: SearchProgress) -> str:
    failures = f", {progress.failed} failed" if progress.failed else ""
    return (f"  best {progress.best:.3f}" if progress.best is not None else "") + failures
