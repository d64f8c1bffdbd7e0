"""The view that every renderer receives: a report as sections, tables and sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from typing import Any

from designer.errors import one_line
from designer.report.figures.figure import Figure, Sparkline, TableView
from designer.report.figures.thinning import thinned
from designer.report.words import MISSING
from designer.results.layers import Proportion
from designer.results.measured import Verdict
from designer.results.ranges import Measured

UNITS = ((12, "T"), (9, "G"), (6, "M"))
"""Powers of ten with their abbreviations, largest first."""


EMPTY_TABLE = TableView("", (), ())
"""A table that is not drawn."""


@dataclass(frozen=True)
class LayerView:
    """One row in the table of a network's layers; the first row is the input."""

    name: str
    """Name of the block, or ``input``."""
    width: str
    """Features per sample."""
    bar: float | None
    """log D, scaled from 0 (least) to 1 (largest in this network); None where D is missing."""
    separation: str
    """D on training data."""
    heldout: str
    """Cross-fitted D on held-out data."""
    null: str
    """Mean D with permuted labels."""
    step: str
    """Step of the block in nats; empty for the input."""
    share: str
    """Share of the block; empty for the input."""
    interval: str
    """95 % interval of the share; empty for the input."""
    contribution: str
    """What the network loses without the block, in nats; empty for the input, and for all blocks
    where none was measured."""
    contribution_interval: str
    """95 % interval of ``contribution``; empty where that is."""
    accuracy_change: str
    """Change of accuracy without the block, in points; empty where ``contribution`` is."""
    verdict: Verdict | None
    """Verdict on the block; None for the input."""
    advice: str
    """What the advice says to do, such as ``narrow``."""


@dataclass(frozen=True)
class Tile:
    """One important number at the top of the page."""

    label: str
    """What the number is."""
    value: str
    """The number with its unit."""
    note: str = ""
    """A remark in small print."""


@dataclass(frozen=True)
class NetworkView:
    """The section about one network and its layers."""

    heading: str
    """Title of the section."""
    reason: str
    """Why the network is shown, or what it is."""
    law: str
    """Whether the law holds, with its numbers, in sentences."""
    need: str
    """Which blocks the network needs, or why that is not known, in sentences; empty in reports of
    earlier versions."""
    layers: tuple[LayerView, ...]
    """The input, where it was measured, and all blocks in running order."""
    advice: tuple[str, ...]
    """One line for each advice other than to keep the block."""
    stages: TableView
    """The law in each stage; without rows where there are no stages."""
    sparklines: tuple[Sparkline, ...] = ()
    """log D on training and on held-out data."""
    figures: tuple[Figure, ...] = ()
    """Charts of the network."""
    diagnosis: tuple[str, ...] = ()
    """One line for each thing that is wrong with the network as a whole."""
    advice_title: str = ""
    """What stands above ``advice``; empty where no edit is advised."""


@dataclass(frozen=True)
class ReportView:
    """The whole report in reading order."""

    title: str
    """What kind of report it is, and about what."""
    headline: str
    """The result in one or two sentences."""
    facts: tuple[str, ...]
    """Sentences on what was done and with what data."""
    warnings: tuple[str, ...]
    """What the reader should know before trusting the numbers."""
    sections: tuple[TableView | NetworkView, ...]
    """The body; tables without rows and figures are not drawn."""
    notes: tuple[str, ...]
    """Explanations at the end."""
    tiles: tuple[Tile, ...] = ()
    """The most important numbers."""
    provenance: TableView = EMPTY_TABLE
    """Seeds, versions and data that the report was made with."""
    command: str = ""
    """The command that repeats the run; empty where it is unknown."""


def figures_of(view: ReportView) -> Iterator[Figure]:
    """Yield all figures of a report in reading order."""
    for section in view.sections:
        yield from section.figures


def readable(view: ReportView) -> ReportView:
    """Return a view with all text on one line, and with no more in its charts than can be drawn."""
    sections = (
        replace(section, figures=tuple(map(thinned, section.figures))) for section in view.sections
    )
    # The text of what is not drawn is never looked at: there may be a hundred thousand trials.
    plain: ReportView = map_text(replace(view, sections=tuple(sections)), one_line)
    return plain


def map_text(view: Any, change: Callable[[str], str]) -> Any:
    """Return a copy of a view with every text in it changed.

    Args:
        view: a view or a part of one: a record, a tuple or a text.
        change: what is applied to every text; members of enumerations stay as they are.
    """
    if isinstance(view, str) and not isinstance(view, Enum):
        return change(view)
    if isinstance(view, tuple):
        return tuple(map_text(part, change) for part in view)
    if is_dataclass(view) and not isinstance(view, type):
        parts = {field.name: getattr(view, field.name) for field in fields(view)}
        return replace(view, **{name: map_text(part, change) for name, part in parts.items()})
    return view


def provenance_table(
    fingerprint: str, versions: Mapping[str, str], settings: Mapping[str, Any] | None = None
) -> TableView:
    """Return the table of what a report was made with.

    Args:
        fingerprint: hash of the data; empty where it is unknown.
        versions: versions of Python and of the libraries by name.
        settings: further rows by name, with underscores for spaces.
    """
    rows = {
        **{name.replace("_", " "): str(value) for name, value in (settings or {}).items()},
        **({"data fingerprint": fingerprint} if fingerprint else {}),
        **({"versions": ", ".join(f"{k} {v}" for k, v in versions.items())} if versions else {}),
    }
    return TableView("How this report was made", ("what", "value"), tuple(rows.items()))


def short_count(value: int) -> str:
    """Return a count in full below a million, else with three digits and a unit, like 25.6M."""
    if value < 10**6:
        return f"{value:,}"
    power, unit = next((power, unit) for power, unit in UNITS if value >= 0.9995 * 10**power)
    digits = f"{value / 10**power:.3g}"
    return f"{digits}{unit}"


def accuracy_points(share: Measured, sign: str = "") -> str:
    """Return a difference of accuracies in percentage points.

    Args:
        share: the difference as a share of 1; None becomes an empty text.
        sign: ``+`` to write the sign of positive numbers, too.
    """
    return "" if share is None else f"{100 * share:{sign}.1f}"


def percent_with_margin(share: Proportion | None) -> str:
    """Return a share in percent ± half of its 95 % interval; ``MISSING`` for None."""
    if share is None:
        return MISSING
    half = (share.interval[1] - share.interval[0]) / 2
    return f"{100 * share.value:.1f} ± {100 * half:.1f}"
