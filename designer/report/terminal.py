"""The report in a terminal, from 80 columns on, with or without colour."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from designer.report.figures.figure import Spark, TableView
from designer.report.views.page import LayerView, NetworkView, ReportView, rewritten
from designer.results.measured import Verdict


@dataclass(frozen=True)
class Layout:
    """What a table of layers shows beside D, its steps and verdicts."""

    bar: int
    """Cells of it."""
    null: bool
    advice: bool
    """Its first word, which the sentences below the table begin with, too."""
    heldout: bool = True
    gap: int = 1
    """Between columns."""


LAYOUTS = (
    Layout(bar=14, null=True, advice=True, gap=2),
    Layout(bar=10, null=False, advice=True, gap=2),
    Layout(bar=7, null=False, advice=True),
    Layout(bar=7, null=False, advice=False),
    Layout(bar=5, null=False, advice=False),
    Layout(bar=5, null=False, advice=False, heldout=False),
)
"""From rich to plain."""


UNLIMITED = 10_000
"""Columns."""


STYLES = {
    Verdict.OK: "green",
    Verdict.LOW: "yellow",
    Verdict.HIGH: "magenta",
    Verdict.NEGATIVE: "bold red",
    Verdict.DEGENERATE: "bold red",
    Verdict.UNCERTAIN: "cyan",
}


EIGHTHS = " ▏▎▍▌▋▊▉█"


RAMP = "▁▂▃▄▅▆▇█"


ASCII_RAMP = "_.-~=+*#"
"""From the least to the largest log D."""


def print_report(view: ReportView, console: Console) -> None:
    """Print the whole view."""
    if console.options.ascii_only:
        view = rewritten(view, _ascii)
    console.print(Text(view.title, style="bold"))
    console.print(Text(view.headline))
    for fact in view.facts:
        console.print(Text(fact, style="dim"))
    for warning in view.warnings:
        console.print(Text.assemble(("Warning: ", "bold yellow"), warning))
    for section in view.sections:
        if isinstance(section, NetworkView):
            console.print(_section(_network(section, console)))
        elif section.rows and not section.background:
            sparks = _sparks(section.sparks, console)
            console.print(_section(Group(*sparks, _table(section))))
    console.print()
    if view.command:
        console.print(Text(f"Made with: {view.command}", style="dim"))
    for note in view.notes:
        console.print(Text(note, style="dim"))


def _ascii(text: str) -> str:
    return text.replace("±", "+/-").encode("ascii", "backslashreplace").decode()


def _section(content: RenderableType) -> Padding:
    return Padding(content, (1, 0, 0, 0))


def _table(view: TableView) -> Table:
    table = Table(
        title=Text(view.title, style="bold"), title_justify="left", box=None, padding=_GAP
    )
    for column in view.columns:
        right = column in view.numeric
        table.add_column(
            Text(column, style="dim"),
            justify="right" if right else "left",
            no_wrap=right,
            overflow="fold",
        )
    for row in view.rows:
        table.add_row(*map(Text, row))
    return table


def _network(view: NetworkView, console: Console) -> Group:
    arrow = ">" if console.options.ascii_only else "→"
    parts: list[RenderableType] = [
        Text(view.heading, style="bold"),
        Text(view.reason),
        Text(view.law, style="dim"),
        *_sparks(view.sparks, console),
        _layers(view.layers, console),
        *(Text(f"{arrow} {line}") for line in view.advice),
    ]
    if view.stages.rows:
        parts.append(_table(view.stages))
    return Group(*parts)


def _sparks(sparks: tuple[Spark, ...], console: Console) -> Iterator[Text]:
    """log D from layer to layer, a cell each; left out where the layers do not fit on a line."""
    ramp = ASCII_RAMP if console.options.ascii_only else RAMP
    label = max((len(spark.label) for spark in sparks), default=0)
    for spark in sparks:
        cells = "".join(_spark(level, ramp) for level in spark.levels)
        line = f"log D {spark.label:<{label}}  {cells}  {spark.ends}"
        if len(line) <= console.width:
            yield Text(line)


def _spark(level: float | None, ramp: str) -> str:
    return "?" if level is None else ramp[round(level * (len(ramp) - 1))]


def _layers(layers: tuple[LayerView, ...], console: Console) -> Table:
    """The richest table that fits, else the plainest, where long names go over several lines."""
    unlimited = console.options.update(max_width=UNLIMITED)
    for layout in LAYOUTS:
        table = _layer_table(layers, layout, ascii_only=console.options.ascii_only)
        if console.measure(table, options=unlimited).maximum <= console.width:
            break
    return table


def _layer_table(layers: tuple[LayerView, ...], layout: Layout, *, ascii_only: bool) -> Table:
    table = Table(box=None, padding=(0, layout.gap, 0, 0), pad_edge=False)
    table.add_column(Text("block", style="dim"), overflow="fold")
    table.add_column(Text("width", style="dim"), justify="right", no_wrap=True)
    table.add_column(Text("log D", style="dim"), width=layout.bar, no_wrap=True)
    extra = (*(("held-out",) if layout.heldout else ()), *(("null",) if layout.null else ()))
    for title in ("D", *extra, "step", "share", "95 %"):
        table.add_column(Text(title, style="dim"), justify="right", no_wrap=True)
    table.add_column(Text("verdict", style="dim"), no_wrap=True)
    if layout.advice:
        table.add_column(Text("advice", style="dim"), no_wrap=True)
    for layer in layers:
        style = STYLES[layer.verdict] if layer.verdict else "dim"
        bar = Text(_bar(layer.bar, layout.bar, ascii_only=ascii_only), style=style)
        table.add_row(
            Text(layer.name),
            layer.width,
            bar,
            layer.separation,
            *((layer.heldout,) if layout.heldout else ()),
            *((layer.null,) if layout.null else ()),
            layer.step,
            layer.share,
            layer.interval,
            Text(str(layer.verdict or ""), style=style),
            *((Text(layer.advice),) if layout.advice else ()),
        )
    return table


def _bar(share: float | None, width: int, *, ascii_only: bool) -> str:
    """Of at least an eighth of a cell, so that no layer that has D looks as if it had none."""
    if share is None:
        return ""
    if ascii_only:
        return "#" * max(1, round(share * width))
    full, eighth = divmod(max(1, round(share * width * 8)), 8)
    return "█" * full + EIGHTHS[eighth].strip()


_GAP = (0, 2, 0, 0)
