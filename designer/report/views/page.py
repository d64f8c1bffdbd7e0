"""What every renderer receives: a report as sections, tables and sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from typing import Any

from designer.report.figures.figure import Figure, Spark, TableView
from designer.report.words import MISSING
from designer.results.layers import Proportion
from designer.results.measured import Measured, Verdict

UNITS = ((12, "T"), (9, "G"), (6, "M"))
"""Powers of ten."""


NOTHING = TableView("", (), ())
"""A table that is not drawn."""


@dataclass(frozen=True)
class LayerView:
    """One line of a recommendation's layers; the first is the input."""

    name: str
    width: str
    bar: float | None
    """log D, 0 for the least and 1 for the largest in this network; None without D."""
    separation: str
    heldout: str
    null: str
    step: str
    share: str
    interval: str
    verdict: Verdict | None
    advice: str
    """The first word of the advice."""


@dataclass(frozen=True)
class Tile:
    """A figure that stands out."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class NetworkView:
    """One network with its layers."""

    heading: str
    reason: str
    law: str
    layers: tuple[LayerView, ...]
    advice: tuple[str, ...]
    """A full sentence for every layer that is not simply to be kept."""
    stages: TableView
    """The law in each stage; without rows where there are no stages."""
    sparks: tuple[Spark, ...] = ()
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class ReportView:
    """The whole report in reading order; tables without rows are not drawn."""

    title: str
    headline: str
    facts: tuple[str, ...]
    warnings: tuple[str, ...]
    sections: tuple[TableView | NetworkView, ...]
    notes: tuple[str, ...]
    tiles: tuple[Tile, ...] = ()
    """The recommendation, or the model, in a few figures."""
    made: TableView = NOTHING
    """Seeds, versions, data."""
    command: str = ""
    """That makes it again; empty where that is not known."""


def figures_of(view: ReportView) -> Iterator[Figure]:
    """All charts of a view, in reading order."""
    for section in view.sections:
        yield from section.figures


def rewritten(view: Any, change: Callable[[str], str]) -> Any:
    """A copy of a view, or of a part of one, with ``change`` applied to every text in it."""
    if isinstance(view, str) and not isinstance(view, Enum):
        return change(view)
    if isinstance(view, tuple):
        return tuple(rewritten(part, change) for part in view)
    if is_dataclass(view) and not isinstance(view, type):
        parts = {field.name: getattr(view, field.name) for field in fields(view)}
        return replace(view, **{name: rewritten(part, change) for name, part in parts.items()})
    return view


def made_of(
    fingerprint: str, versions: Mapping[str, str], settings: Mapping[str, Any] | None = None
) -> TableView:
    """With what a report was made: settings, data, versions."""
    rows = {
        **{name.replace("_", " "): str(value) for name, value in (settings or {}).items()},
        **({"data fingerprint": fingerprint} if fingerprint else {}),
        **({"versions": ", ".join(f"{k} {v}" for k, v in versions.items())} if versions else {}),
    }
    return TableView("How it was made", ("what", "value"), tuple(rows.items()))


def short_count(value: int) -> str:
    """In full below a million, then in three digits, as 25.6M."""
    if value < 10**6:
        return f"{value:,}"
    power, unit = next((power, unit) for power, unit in UNITS if value >= 0.9995 * 10**power)
    digits = f"{value / 10**power:.3g}"
    return f"{digits}{unit}"


def accuracy_points(share: Measured, sign: str = "") -> str:
    """A difference of accuracy in points; empty where there is nothing to compare with."""
    return "" if share is None else f"{100 * share:{sign}.1f}"


def percent_with_margin(share: Proportion | None) -> str:
    if share is None:
        return MISSING
    half = (share.interval[1] - share.interval[0]) / 2
    return f"{100 * share.value:.1f} ± {100 * half:.1f}"
