"""Markdown tables and how numbers are written in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.claim import Figures

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"

AHEAD, LEVEL, BEHIND = "ahead", "level", "behind"


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int = 1
) -> Iterator[str]:
    """Yield the lines of a table after an empty line.

    Args:
        columns: titles.
        rows: cells.
        text_columns: how many columns hold text; all others are aligned to the right.
    """
    numbers = len(columns) - text_columns
    yield from ("", _row(columns), f"|{'---|' * text_columns}{'---:|' * numbers}")
    yield from map(_row, rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def replace_between_marks(path: Path, lines: Iterable[str]) -> None:
    """Replace what stands between the two marks in a file."""
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    block = "\n".join([BEGIN, *lines, END])
    path.write_text(f"{before}{block}{after}", encoding="utf-8")


def percent(share: float) -> str:
    """Return a share as a percentage with one decimal."""
    return f"{100 * share:.1f} %"


def spread(mean_and_sd: Figures, scale: float = 1, digits: int = 2) -> str:
    """Return mean ± standard deviation; a dash if there is no mean."""
    if mean_and_sd["mean"] is None:
        return "-"
    mean, sd = scale * mean_and_sd["mean"], scale * mean_and_sd["sd"]
    return f"{mean:.{digits}f} ± {sd:.{digits}f}"


def with_interval(mean_and_interval: Figures, digits: int = 2) -> str:
    """Return a mean and its interval; a dash if there is no mean."""
    if mean_and_interval["mean"] is None:
        return "-"
    low, high = mean_and_interval["interval"]
    return f"{mean_and_interval['mean']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def difference(mean_and_interval: Figures, scale: float = 1, digits: int = 2) -> str:
    """Return a difference with its sign and its interval."""
    mean = scale * mean_and_interval["mean"]
    low, high = (scale * bound for bound in mean_and_interval["interval"])
    return f"{mean:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def listed(words: Sequence[str]) -> str:
    """Return words as in a sentence: "a", "a and b", "a, b and c"."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def reached(is_reached: bool) -> str:
    """Return in words whether a goal was reached."""
    return "reached" if is_reached else "not reached"


def verdict(mean_and_interval: Figures) -> str:
    """Return "ahead" or "behind" if the interval of a lead leaves zero out, else "level"."""
    low, high = mean_and_interval["interval"]
    if low <= 0 <= high:
        return LEVEL
    return AHEAD if low > 0 else BEHIND
