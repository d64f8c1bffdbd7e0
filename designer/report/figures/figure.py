"""What all figures share: sparklines, tables and points of a layer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from designer.report.words import number
from designer.results.measured import Interval, Measured


@dataclass(frozen=True)
class Spark:
    """One row of log D, to be drawn in a line of text."""

    label: str
    levels: tuple[float | None, ...]
    """0 for the least and 1 for the largest beside it; None without D."""
    ends: str
    """D at the first and the last layer."""


@dataclass(frozen=True)
class TableView:
    """A table of strings; ``numeric`` columns are aligned to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[str] = frozenset()
    background: bool = False
    """Whether it is left out where room is short, as in a terminal."""
    figures: tuple[Figure, ...] = ()
    """Charts that show it, where charts can be drawn."""
    sparks: tuple[Spark, ...] = ()
    """Curves that go with it, where they can only be drawn in a line."""


@dataclass(frozen=True)
class Figure:
    """One chart, whatever draws it."""

    name: str
    """Unlike that of any other in the report, and fit for a file."""
    title: str
    caption: str
    """How to read it, and what it shows, for those who cannot see it, too."""
    table: TableView
    """The same figures as text."""


@dataclass(frozen=True)
class Tap:
    """D at the input (0) or after one block."""

    index: int
    layer: str
    training: Measured
    heldout: Measured
    null: Measured = None
    null_low: Measured = None
    null_high: Measured = None
    line: Measured = None
    """The fitted law."""
    residual: Measured = None
    """log D minus the logarithm of the line, in nats."""


@dataclass(frozen=True)
class Bar:
    """What one block does."""

    layer: str
    value: Measured
    low: Measured
    high: Measured
    kind: str
    """Its verdict or decision."""


def positive(value: Measured) -> Measured:
    """What a logarithmic axis can show."""
    return value if value is not None and 0 < value < math.inf else None


def finite(value: Measured) -> Measured:
    """What an axis can show."""
    return value if value is not None and math.isfinite(value) else None


def ends(interval: Interval | None) -> tuple[Measured, Measured]:
    """Both ends of an interval, or none."""
    if interval is None or not all(map(math.isfinite, interval)):
        return None, None
    return interval


def level(value: Measured, values: Sequence[Measured]) -> float | None:
    """log D, 0 for the least and 1 for the largest of the values; None without D."""
    if value is None or not math.isfinite(value):
        return None
    logs = [math.log(v) for v in values if v is not None and 0 < v < math.inf]
    if value <= 0:
        return 0.0
    low, high = min(logs), max(logs)
    return (math.log(value) - low) / (high - low) if high > low else 1.0


def sparks_of(rows: Mapping[str, Sequence[Measured]]) -> tuple[Spark, ...]:
    """Rows of D by label, on the same scale; those without any left out."""
    both = [value for values in rows.values() for value in values]
    return tuple(
        Spark(
            label=label,
            levels=tuple(level(value, both) for value in values),
            ends=f"{number(values[0])} to {number(values[-1])}",
        )
        for label, values in rows.items()
        if any(level(value, both) is not None for value in values)
    )


def unlike(names: Sequence[str]) -> list[str]:
    """The names, those that occur again with a number behind them."""
    seen: Counter[str] = Counter()
    told = []
    for name in names:
        seen[name] += 1
        told.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return told


def known_figures(*figures: Figure | None) -> tuple[Figure, ...]:
    """Those that are there."""
    return tuple(figure for figure in figures if figure is not None)
