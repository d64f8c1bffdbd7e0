"""Parts that all figures share: tables, sparklines, points of layers and bars of blocks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from designer.report.words import number
from designer.results.ranges import LARGEST, Interval, Measured


@dataclass(frozen=True)
class Sparkline:
    """A curve of log D that fits in one line of text, with one character for each layer."""

    label: str
    """Which curve it is, such as ``held-out``."""
    levels: tuple[float | None, ...]
    """log D of each layer, scaled from 0 (least) to 1 (largest); None where D is missing."""
    ends: str
    """D at the first and at the last layer, as text."""


@dataclass(frozen=True)
class TableView:
    """A table of strings; one without rows is not drawn."""

    title: str
    """Heading of the table."""
    columns: tuple[str, ...]
    """Titles of the columns."""
    rows: tuple[tuple[str, ...], ...]
    """Cells, with one string for each column."""
    numeric: frozenset[str] = frozenset()
    """Titles of the columns that are aligned to the right."""
    background: bool = False
    """True if the table is left out where room is short, as in a terminal."""
    figures: tuple[Figure, ...] = ()
    """Charts that show the same content, for media with charts."""
    sparklines: tuple[Sparkline, ...] = ()
    """Curves that go with the table, for media without charts."""


@dataclass(frozen=True)
class Figure:
    """Data and text of one chart, independent of the library that draws it."""

    name: str
    """Unique within the report, and usable as a file name."""
    title: str
    """Heading of the chart."""
    caption: str
    """How to read the chart and what it shows, also for readers who cannot see it."""
    table: TableView
    """The same numbers as text."""


@dataclass(frozen=True)
class LayerPoint:
    """D at the input or after one block."""

    index: int
    """0 for the input, l for the output of block l."""
    layer: str
    """Name of the block, unique within the network."""
    training: Measured
    """D on training data."""
    heldout: Measured
    """Cross-fitted D on held-out data."""
    null: Measured = None
    """Mean D with permuted labels."""
    null_low: Measured = None
    """Least D with permuted labels."""
    null_high: Measured = None
    """Largest D with permuted labels."""
    line: Measured = None
    """D according to the fitted law."""
    residual: Measured = None
    """log D minus the logarithm of ``line``, in nats."""


@dataclass(frozen=True)
class Bar:
    """Contribution of one block, or any other number with an interval."""

    layer: str
    """Name at the axis: a block or a criterion."""
    value: Measured
    """Length of the bar."""
    low: Measured
    """Lower end of the 95 % interval."""
    high: Measured
    """Upper end of the 95 % interval."""
    kind: str
    """Verdict or decision that gives the bar its colour and sign."""


def positive(value: Measured) -> Measured:
    """Return the value if a logarithmic axis can show it, else None."""
    return value if value is not None and 1 / LARGEST <= value <= LARGEST else None


def finite(value: Measured) -> Measured:
    """Return the value if an axis can show it, else None."""
    return value if value is not None and math.isfinite(value) else None


def interval_ends(interval: Interval | None) -> tuple[Measured, Measured]:
    """Return both ends of an interval, or twice None unless both are finite."""
    if interval is None or not all(map(math.isfinite, interval)):
        return None, None
    return interval


def log_level(value: Measured, values: Sequence[Measured]) -> float | None:
    """Return where log D lies between the least (0) and the largest (1) of several.

    Args:
        value: D of one layer.
        values: D of all layers that share the scale, ``value`` among them.

    Returns:
        A number from 0 to 1: 0 for D = 0, 1 where all values are equal; None where D is missing.
    """
    if value is None or not math.isfinite(value):
        return None
    if value <= 0:
        return 0.0
    known = [v for v in values if v is not None and 0 < v < math.inf]
    low, high = math.log(min(known)), math.log(max(known))
    return (math.log(value) - low) / (high - low) if high > low else 1.0


def sparklines_of(rows: Mapping[str, Sequence[Measured]]) -> tuple[Sparkline, ...]:
    """Return one sparkline for each row of D, all on the same scale.

    Args:
        rows: D of all layers by label.  A row without any measured D is left out.
    """
    all_values = [value for values in rows.values() for value in values]
    return tuple(
        Sparkline(
            label=label,
            levels=tuple(log_level(value, all_values) for value in values),
            ends=f"{number(values[0])} to {number(values[-1])}",
        )
        for label, values in rows.items()
        if any(log_level(value, all_values) is not None for value in values)
    )


def unique_names(names: Sequence[str]) -> list[str]:
    """Return the names in order, each repetition with its count: ``a``, ``b``, ``a (2)``."""
    counts: Counter[str] = Counter()
    unique = []
    for name in names:
        counts[name] += 1
        unique.append(name if counts[name] == 1 else f"{name} ({counts[name]})")
    return unique


def known_figures(*figures: Figure | None) -> tuple[Figure, ...]:
    """Return the figures without the None among them."""
    return tuple(figure for figure in figures if figure is not None)


def figure_section(figure: Figure | None) -> tuple[TableView, ...]:
    """Return a section of its own for a figure, for media with charts; nothing without one."""
    if figure is None:
        return ()
    table = figure.table
    return (TableView(figure.title, table.columns, (), table.numeric, figures=(figure,)),)
