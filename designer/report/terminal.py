"""The report in a terminal of at least 80 columns, with or without colour."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from designer.report.figures.figure import Sparkline, TableView
from designer.report.views.page import LayerView, NetworkView, ReportView, map_text
from designer.results.measured import Verdict


@dataclass(frozen=True)
class Layout:
    """Columns of a table of layers besides those that it always has.

    These are D, steps, shares, contributions where there are any, and verdicts.
    """

    bar: int
    """Width of the bar of log D, in cells."""
    null: bool
    """True if there is a column with the null."""
    advice: bool
    """True if there is a column with the first word of the advice, which also stands below."""
    heldout: bool = True
    """True if there is a column with D on held-out data."""
    interval: bool = False
    """True if there is a column with the interval of the contribution."""
    gap: int = 1
    """Cells between two columns."""


LAYOUTS = (
    Layout(bar=14, null=True, advice=True, interval=True, gap=2),
    Layout(bar=10, null=False, advice=True, interval=True, gap=2),
    Layout(bar=7, null=False, advice=True, interval=True),
    Layout(bar=7, null=False, advice=False, interval=True),
    Layout(bar=7, null=False, advice=True),
    Layout(bar=7, null=False, advice=False),
    Layout(bar=5, null=False, advice=False),
    Layout(bar=5, null=False, advice=False, heldout=False),
)
"""From the richest to the plainest."""


UNLIMITED = 10_000
"""More columns than any table needs."""


STYLES = {
    Verdict.OK: "green",
    Verdict.LOW: "yellow",
    Verdict.HIGH: "magenta",
    Verdict.NEGATIVE: "bold red",
    Verdict.DEGENERATE: "bold red",
    Verdict.UNCERTAIN: "cyan",
    Verdict.PREPARES: "bold blue",
    Verdict.IDLE: "bold yellow",
}
"""Colours of the verdicts, by rich's names."""


EIGHTHS = " ▏▎▍▌▋▊▉█"
"""The last cell of a bar, from 0 to 8 eighths full."""


RAMP = "▁▂▃▄▅▆▇█"
"""Characters of a sparkline, from the least to the largest log D."""


ASCII_RAMP = "_.-~=+*#"
"""Characters of a sparkline for consoles without Unicode, from the least to the largest log D."""


_GAP = (0, 2, 0, 0)
"""Padding of a table's cells: top, right, bottom, left."""


def print_report(view: ReportView, console: Console) -> None:
    """Print the whole report.

    Args:
        view: the report.
        console: where to print; its width decides how much a table shows, and with an ASCII
            encoding every other character is replaced.
    """
    if console.options.ascii_only:
        view = map_text(view, _ascii)
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
            sparklines = _sparklines(section.sparklines, console)
            console.print(_section(Group(*sparklines, _table(section, console))))
    console.print()
    if view.command:
        console.print(Text(f"To repeat this run: {view.command}", style="dim"))
    for note in view.notes:
        console.print(Text(note, style="dim"))


def _ascii(text: str) -> str:
    return text.replace("±", "+/-").encode("ascii", "backslashreplace").decode()


def _section(content: RenderableType) -> Padding:
    return Padding(content, (1, 0, 0, 0))


def _table(view: TableView, console: Console) -> Group:
    """Return a table below its title, which rich itself would wrap at the width of the table.

    Numbers stay on one line unless nothing would be left of the other columns then.
    """
    table = Table(box=None, padding=_GAP)
    whole_numbers = _least_width(view) <= console.width
    for column in view.columns:
        right = column in view.numeric
        table.add_column(
            Text(column, style="dim"),
            justify="right" if right else "left",
            no_wrap=right and whole_numbers,
            overflow="fold",
        )
    for row in view.rows:
        table.add_row(*map(Text, row))
    return Group(Text(view.title, style="bold"), table)


def _least_width(view: TableView) -> int:
    """Return the width of a table with its numbers on one line, and words of all other cells."""
    columns = zip(view.columns, zip(*view.rows, strict=True), strict=True)
    width = 0
    for title, cells in columns:
        texts = (title, *cells)
        parts = texts if title in view.numeric else [w for text in texts for w in text.split()]
        width += max(map(cell_len, parts), default=0) + sum(_GAP)
    return width


def _network(view: NetworkView, console: Console) -> Group:
    arrow = ">" if console.options.ascii_only else "→"
    parts: list[RenderableType] = [
        Text(view.heading, style="bold"),
        Text(view.reason),
        *_diagnosis(view),
        Text(view.law, style="dim"),
        *((Text(view.need),) if view.need else ()),
        *_sparklines(view.sparklines, console),
        _layers(view.layers, console),
        *((Text(view.advice_title),) if view.advice_title else ()),
        *(Text(f"{arrow} {line}") for line in view.advice),
    ]
    if view.stages.rows:
        parts.append(_table(view.stages, console))
    return Group(*parts)


def _diagnosis(view: NetworkView) -> Iterator[Text]:
    """Yield the section on the network as a whole; nothing where nothing is wrong."""
    if view.diagnosis:
        yield Text("Diagnosis", style="bold yellow")
    for line in view.diagnosis:
        yield Text.assemble(("! ", "bold yellow"), line)


def _sparklines(sparklines: tuple[Sparkline, ...], console: Console) -> Iterator[Text]:
    """Yield one line for each sparkline, leaving out those with too many layers for the console."""
    ramp = ASCII_RAMP if console.options.ascii_only else RAMP
    width = max((len(sparkline.label) for sparkline in sparklines), default=0)
    for sparkline in sparklines:
        cells = "".join(_cell(level, ramp) for level in sparkline.levels)
        line = f"log D {sparkline.label:<{width}}  {cells}  (D {sparkline.ends})"
        if len(line) <= console.width:
            yield Text(line)


def _cell(level: float | None, ramp: str) -> str:
    return "?" if level is None else ramp[round(level * (len(ramp) - 1))]


def _layers(layers: tuple[LayerView, ...], console: Console) -> Table:
    """Return the richest table that fits, else the plainest one, which folds long names."""
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
    needed = _contribution_titles(layers, layout)
    for title in ("D", *extra, "step", "share", "95 %", *needed):
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
            *(layer.contribution, layer.contribution_interval)[: len(needed)],
            Text(str(layer.verdict or ""), style=style),
            *((Text(layer.advice),) if layout.advice else ()),
        )
    return table


def _contribution_titles(layers: tuple[LayerView, ...], layout: Layout) -> tuple[str, ...]:
    """Return the titles of the columns about contributions; none where there are none."""
    if not any(layer.contribution for layer in layers):
        return ()
    return ("contrib.", "95 %") if layout.interval else ("contrib.",)


def _bar(share: float | None, width: int, *, ascii_only: bool) -> str:
    """Return a bar of at least one eighth of a cell, so that it differs from a missing D."""
    if share is None:
        return ""
    if ascii_only:
        return "#" * max(1, round(share * width))
    full, eighth = divmod(max(1, round(share * width * 8)), 8)
    return "█" * full + EIGHTHS[eighth].strip()
