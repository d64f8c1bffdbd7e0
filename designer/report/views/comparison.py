"""What a comparison says, in words and rows: the same view as of any other report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from designer.errors import one_line
from designer.report.figures.figure import TableView, Tap, known_figures, sparks_of
from designer.report.figures.network import taps_of
from designer.report.figures.networks import DifferencesFigure, Line, overlay_figure
from designer.report.views.network import law_in_a_word
from designer.report.views.page import ReportView, made_of, rewritten
from designer.report.words import MISSING, number, spec_label
from designer.results.comparison import ComparedNetwork, ComparisonReport, LayerDifference
from designer.results.layers import Proportion
from designer.results.measured import Measured

FORMS = {"parameters": ",.0f", "operations": ",.0f", "held-out accuracy": ".1%"}
"""How values are written, by what they are of; others with two digits."""


def comparison_view(report: ComparisonReport) -> ReportView:
    """The view of several networks side by side; all its text is ``one_line``."""
    view = ReportView(
        title=f"Comparison: {' and '.join(one.name for one in report.networks)}",
        headline=report.conclusion,
        facts=tuple(_facts(report)),
        warnings=tuple(warning.message for warning in report.warnings),
        sections=(
            _side_by_side(report.networks),
            _advantages(report),
            _curves(report.networks),
            _differences(report),
        ),
        notes=(
            "Smaller D is better separated. A difference of log D below zero says that a network "
            "separates better there than the first; early layers need not.",
        ),
        made=made_of("", report.versions),
        command=report.command,
    )
    plain: ReportView = rewritten(view, one_line)
    return plain


def _facts(report: ComparisonReport) -> Iterator[str]:
    for one in report.networks:
        yield f"{one.name}: {_described(one)}, on {one.data}."
    yield f"Layers were brought together by {report.aligned_by}."


def _described(one: ComparedNetwork) -> str:
    return spec_label(one.spec) if one.spec else f"{one.kind} with {len(one.layers)} blocks"


def _side_by_side(networks: Sequence[ComparedNetwork]) -> TableView:
    rows = (
        ("blocks", *(str(len(one.layers)) for one in networks)),
        ("parameters", *(f"{one.parameters:,}" for one in networks)),
        ("operations", *(MISSING if one.flops is None else f"{one.flops:,}" for one in networks)),
        ("accuracy %", *(_accuracy(one.accuracy) for one in networks)),
        ("measured on", *(one.accuracy_part for one in networks)),
        ("the law", *(law_in_a_word(one.law) for one in networks)),
        ("rho", *(number(one.law.rho) for one in networks)),
        ("uniformity", *(number(one.law.uniformity) for one in networks)),
        ("reduction (nats)", *(number(one.law.total_reduction) for one in networks)),
    )
    columns = ("", *(one.name for one in networks))
    curves = {one.name: _separations(one) for one in networks}
    return TableView(
        "Side by side", columns, rows, frozenset(columns[1:]), sparks=sparks_of(curves)
    )


def _separations(one: ComparedNetwork) -> list[Measured]:
    first = [one.input.separation] if one.input is not None else []
    return [*first, *(layer.separation for layer in one.layers)]


def _accuracy(share: Proportion | None) -> str:
    if share is None:
        return MISSING
    low, high = share.interval
    return f"{100 * share.value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _advantages(report: ComparisonReport) -> TableView:
    rows = tuple(
        (
            one.what,
            *(_value(one.what, value) for value in one.values),
            one.best or "none surely",
        )
        for one in report.advantages
    )
    names = tuple(one.name for one in report.networks)
    columns = ("in", *names, "better")
    return TableView("Which is better at what", columns, rows, frozenset(names))


def _value(what: str, value: Measured) -> str:
    if value is None or what not in FORMS:
        return number(value)
    return f"{value:{FORMS[what]}}"


def _curves(networks: Sequence[ComparedNetwork]) -> TableView:
    figure = overlay_figure(
        [Line(one.name, taps_of(one.input, one.layers, one.law)) for one in networks],
        "The curves, one over the other",
        "D at every layer on a logarithmic axis: solid on training data, dashed on held-out data.",
    )
    empty = TableView("The curves", (), ())
    return empty if figure is None else replace(figure.table, rows=(), figures=(figure,))


def _name(here: LayerDifference) -> str:
    """Of the first network that has a layer there."""
    return next((name for name in here.layers if name is not None), MISSING)


def _differences(report: ComparisonReport) -> TableView:
    others = report.networks[1:]
    first = report.networks[0].name
    columns = (
        "layer",
        "name",
        *(f"{one.name}{end}" for one in others for end in ("", " held-out")),
    )
    rows = tuple(
        (
            str(here.index),
            _name(here),
            *(
                number(values[i])
                for i in range(1, len(report.networks))
                for values in (here.separation, here.separation_heldout)
            ),
        )
        for here in report.differences
    )
    table = TableView(
        f"log D minus that of {first}, in nats",
        columns,
        rows,
        frozenset(columns) - frozenset({"name"}),
    )
    lines = tuple(
        Line(
            one.name,
            tuple(
                Tap(
                    here.index,
                    _name(here),
                    here.separation[i],
                    here.separation_heldout[i],
                )
                for here in report.differences
            ),
        )
        for i, one in enumerate(others, 1)
    )
    measured = any(tap.training is not None for line in lines for tap in line.taps)
    figure = DifferencesFigure(
        name="differences",
        title=f"Layer by layer, beside {first}",
        caption=(
            "log D of each minus that of the first, in nats: below zero it separates better there; "
            "solid on training data, dashed on held-out data."
        ),
        table=table,
        lines=lines,
    )
    return replace(table, figures=known_figures(figure if measured else None))
