"""What the benchmarks' command lines share: argument types, exit codes and progress."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from designer.errors import DesignerError, InvalidInputError

OK, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

TABLE_WIDTH = 110


class Parser(argparse.ArgumentParser):
    """Answer wrong use with one line on stderr and exit code 2.

    ``checks`` are called in turn with the parser and the parsed options. They refuse options that
    contradict each other, and fill in defaults that depend on other options.
    """

    def __init__(self, prog: str, description: str | None = None) -> None:
        super().__init__(prog, description=description)
        self.checks: list[Callable[[Parser, argparse.Namespace], None]] = []

    def checked(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Return the options of these arguments, after all checks."""
        options = self.parse_args(arguments)
        for check in self.checks:
            check(self, options)
        return options

    def error(self, message: str) -> NoReturn:
        """Print the message and exit."""
        complain(f"{message} (see --help)")
        self.exit(WRONG_USE)


def positive(text: str) -> int:
    """Return a whole number from 1 on."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got '{text}'")
    return number


def output_file(text: str) -> Path:
    """Return the path of a file to write, checked before anything is measured."""
    path = Path(text)
    if not path.parent.is_dir() or path.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file in a folder that exists, got '{text}'")
    return path


def refuse(parser: Parser, options: argparse.Namespace, names: Iterable[str], without: str) -> None:
    """End with exit code 2 if one of the named options was set although it has no effect here."""
    for name in names:
        if getattr(options, name) != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')} needs {without}")


def run_and_exit(main: Callable[[Sequence[str]], None]) -> NoReturn:
    """Run a program on the command line's arguments; an error ends it with one line."""
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
    """Return a console on stdout that has room for a table, also where stdout is a file."""
    return Console(width=max(Console().width, TABLE_WIDTH))


def verdict(met: bool) -> str:
    """Return the word, in rich's markup, that tells if an acceptance is met."""
    return "[green]met[/]" if met else "[bold red]MISSED[/]"


def complain(message: str) -> None:
    """Print one line on stderr."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)


def say(message: str) -> None:
    """Print progress on stderr."""
    print(message, file=sys.stderr, flush=True)
