"""The report as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from designer.report.figures.figure import TableView
from designer.report.views.page import LayerView, NetworkView, ReportView

NEED_COLUMNS = ("contribution", "95 % of it", "points")
"""Titles of the columns on what the network loses without a block."""

BAR_WIDTH = 12
"""Most characters of a bar of log D."""


def markdown_report(view: ReportView) -> str:
    """Return the whole report as one Markdown text; every text in it is escaped."""
    return "\n".join(_lines(view)).rstrip() + "\n"


def _lines(view: ReportView) -> Iterator[str]:
    yield from (f"# {_text(view.title)}", "", f"**{_text(view.headline)}**", "")
    for fact in view.facts:
        yield f"- {_text(fact)}"
    yield ""
    for warning in view.warnings:
        yield f"> **Warning:** {_text(warning)}"
        yield ">"
    for section in view.sections:
        if isinstance(section, NetworkView):
            yield from _network(section)
        elif section.rows:
            yield from _table(section)
    command = (("command", view.command),) if view.command else ()
    if view.provenance.rows:
        yield from _table(replace(view.provenance, rows=(*command, *view.provenance.rows)))
    for note in view.notes:
        yield from (_line(note), "")


def _network(view: NetworkView) -> Iterator[str]:
    yield from ("", f"### {_text(view.heading)}", "", _line(view.reason), "")
    if view.diagnosis:
        yield from ("#### Diagnosis", "", *(f"- {_line(line)}" for line in view.diagnosis), "")
    yield from (_line(view.law), "")
    if view.need:
        yield from (_line(view.need), "")
    tried = any(layer.contribution for layer in view.layers)
    numbers = ("D", "held-out", "null", "step", "share", "95 %", *(NEED_COLUMNS if tried else ()))
    header = ("block", "width", "log D", *numbers, "verdict", "advice")
    rows = [_cells(layer, tried=tried) for layer in view.layers]
    yield from _rows(header, rows, frozenset({"width", *numbers}))
    yield ""
    if view.advice_title:
        yield from (_line(view.advice_title), "")
    for line in view.advice:
        yield f"- {_line(line)}"
    if view.stages.rows:
        yield from _table(view.stages, level=4)


def _cells(layer: LayerView, *, tried: bool) -> tuple[str, ...]:
    bar = "" if layer.bar is None else "█" * max(1, round(layer.bar * BAR_WIDTH))
    values = (layer.separation, layer.heldout, layer.null, layer.step, layer.share, layer.interval)
    need = (layer.contribution, layer.contribution_interval, layer.accuracy_change) if tried else ()
    return (layer.name, layer.width, bar, *values, *need, str(layer.verdict or ""), layer.advice)


def _table(view: TableView, level: int = 2) -> Iterator[str]:
    yield from ("", f"{'#' * level} {_text(view.title)}", "")
    yield from _rows(view.columns, view.rows, view.numeric)
    yield ""


def _rows(
    columns: Sequence[str],
    rows: Iterator[tuple[str, ...]] | Sequence[tuple[str, ...]],
    right: frozenset[str],
) -> Iterator[str]:
    yield f"| {' | '.join(map(_text, columns))} |"
    yield f"| {' | '.join('---:' if c in right else '---' for c in columns)} |"
    for row in rows:
        yield f"| {' | '.join(map(_text, row))} |"


def _line(text: str) -> str:
    """Escape a text that begins a line, where Markdown could also read a heading or a list."""
    return re.sub(r"^(\d*)(#+|[-+.)])(?= )", r"\1\\\2", _text(text))


def _text(text: str) -> str:
    """Escape a text, so that Markdown and HTML show it as it is, on one line."""
    escaped = re.sub(r"([\\`*_~$\[\]|])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
