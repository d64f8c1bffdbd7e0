"""What the benchmarks' command lines share: arguments, exit codes, progress, processes."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

from rich.console import Console

from designer.errors import DesignerError, InvalidInputError
from designer.training.trainer import single_threaded

OK, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

PROCESSES = 2
TABLE_WIDTH = 110

Task = TypeVar("Task")
Result = TypeVar("Result")


class Parser(argparse.ArgumentParser):
    """Answers wrong use with one line on stderr and exit code 2."""

    def error(self, message: str) -> NoReturn:
        complain(f"{message} (see --help)")
        self.exit(WRONG_USE)


def positive(text: str) -> int:
    """An argument that is a whole number from 1 on."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got '{text}'")
    return number


def output_file(text: str) -> Path:
    """An argument that is a file to write, checked before anything is measured."""
    path = Path(text)
    if not path.parent.is_dir() or path.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file in a folder that exists, got '{text}'")
    return path


def refuse(parser: Parser, given: argparse.Namespace, options: Iterable[str], without: str) -> None:
    """End with exit code 2 where an option was given that counts for nothing here."""
    for name in options:
        if getattr(given, name) != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')} needs {without}")


def run_and_exit(main: Callable[[Sequence[str]], None]) -> NoReturn:
    """Run a benchmark on the command line's arguments; errors end it in one line."""
    try:
        main(sys.argv[1:])
    except InvalidInputError as error:
        complain(str(error))
        sys.exit(WRONG_USE)
    except DesignerError as error:
        complain(str(error))
        sys.exit(FAILED)
    except KeyboardInterrupt:
        complain("stopped")
        sys.exit(INTERRUPTED)
    sys.exit(OK)


def wide_console() -> Console:
    """Stdout, with room for a table also where that is a file."""
    return Console(width=max(Console().width, TABLE_WIDTH))


def complain(message: str) -> None:
    """One line on stderr."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)


def in_processes(
    function: Callable[[Task], Result], tasks: Sequence[Task], what: str
) -> Iterator[Result]:
    """Results in the order of the tasks, from ``PROCESSES`` processes of one thread each."""
    started = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(PROCESSES, len(tasks)), mp_context=context) as pool:
        for done, result in enumerate(pool.map(partial(_on_one_thread, function), tasks), start=1):
            if 10 * done // len(tasks) != 10 * (done - 1) // len(tasks):
                say(f"{what}: {done}/{len(tasks)} after {time.perf_counter() - started:.0f} s")
            yield result


def say(message: str) -> None:
    """Progress goes to stderr."""
    print(message, file=sys.stderr, flush=True)


def _on_one_thread(function: Callable[[Task], Result], task: Task) -> Result:
    with single_threaded():
        return function(task)
