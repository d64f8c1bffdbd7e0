"""The view of a comparison: several networks side by side, and layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from designer.report.figures.comparison import DifferencesFigure, NetworkCurve, overlay_figure
from designer.report.figures.figure import LayerPoint, TableView, figure_section, sparklines_of
from designer.report.figures.network import layer_points
from designer.report.views.network import law_in_a_word
from designer.report.views.page import ReportView, provenance_table, readable
from designer.report.words import MISSING, number, spec_label
from designer.results.comparison import ComparedNetwork, ComparisonReport, LayerDifference
from designer.results.layers import Proportion
from designer.results.ranges import Measured

FORMATS = {"parameters": ",.0f", "operations": ",.0f", "held-out accuracy": ".1%"}
"""How values are written, by what they measure; all others get two decimal places."""


def comparison_view(report: ComparisonReport) -> ReportView:
    """Return what every renderer shows of a comparison, with all text on one line."""
    view = ReportView(
        title=f"Comparison: {' and '.join(network.name for network in report.networks)}",
        headline=report.conclusion,
        facts=tuple(_facts(report)),
        warnings=tuple(warning.message for warning in report.warnings),
        sections=(
            _side_by_side(report.networks),
            _advantages(report),
            *_curves(report.networks),
            *([_differences(report)] if report.differences else []),
        ),
        notes=(
            "Smaller D is better separated. Where the difference of log D is below zero, a network "
            "separates better than the first one. Even a better network may be behind in early "
            "layers.",
        ),
        provenance=provenance_table("", report.versions),
        command=report.command,
    )
    return readable(view)


def _facts(report: ComparisonReport) -> Iterator[str]:
    for network in report.networks:
        yield f"{network.name}: {_described(network)}, on {network.data}."
    yield f"Layers were matched by {report.aligned_by}."


def _described(network: ComparedNetwork) -> str:
    if network.spec:
        return spec_label(network.spec)
    return f"{network.kind} with {len(network.layers)} blocks"


def _side_by_side(networks: Sequence[ComparedNetwork]) -> TableView:
    rows = (
        ("blocks", *(str(len(network.layers)) for network in networks)),
        ("parameters", *(f"{network.parameters:,}" for network in networks)),
        ("of them in blocks %", *(_percent(network.coverage) for network in networks)),
        ("operations", *(_operations(network.flops) for network in networks)),
        ("accuracy %", *(_accuracy(network.accuracy) for network in networks)),
        ("measured on", *(network.accuracy_part for network in networks)),
        ("the law", *(law_in_a_word(network.law) for network in networks)),
        ("rho", *(number(network.law.rho) for network in networks)),
        ("uniformity", *(number(network.law.uniformity) for network in networks)),
        ("reduction (nats)", *(number(network.law.total_reduction) for network in networks)),
    )
    columns = ("", *(network.name for network in networks))
    curves = {network.name: _separations(network) for network in networks}
    return TableView(
        "Side by side", columns, rows, frozenset(columns[1:]), sparklines=sparklines_of(curves)
    )


def _separations(network: ComparedNetwork) -> list[Measured]:
    first = [network.input.separation] if network.input is not None else []
    return [*first, *(layer.separation for layer in network.layers)]


def _percent(share: Measured) -> str:
    return MISSING if share is None else f"{100 * share:.0f}"


def _operations(flops: int | None) -> str:
    return MISSING if flops is None else f"{flops:,}"


def _accuracy(share: Proportion | None) -> str:
    if share is None:
        return MISSING
    low, high = share.interval
    return f"{100 * share.value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _advantages(report: ComparisonReport) -> TableView:
    rows = tuple(
        (
            advantage.what,
            *(_value(advantage.what, value) for value in advantage.values),
            advantage.best or "not clear",
        )
        for advantage in report.advantages
    )
    names = tuple(network.name for network in report.networks)
    columns = ("aspect", *names, "better")
    return TableView("Which network is better in which aspect", columns, rows, frozenset(names))


def _value(what: str, value: Measured) -> str:
    if value is None or what not in FORMATS:
        return number(value)
    return f"{value:{FORMATS[what]}}"


def _curves(networks: Sequence[ComparedNetwork]) -> tuple[TableView, ...]:
    figure = overlay_figure(
        [
            NetworkCurve(network.name, layer_points(network.input, network.layers, network.law))
            for network in networks
        ],
        "All curves in one chart",
        "The chart shows D at every layer on a logarithmic scale. Lines are solid for training "
        "data and dashed for held-out data.",
    )
    return figure_section(figure)


def _differences(report: ComparisonReport) -> TableView:
    table = _differences_table(report)
    curves = _difference_curves(report)
    if not any(point.training is not None for curve in curves for point in curve.points):
        return table
    figure = DifferencesFigure(
        name="differences",
        title=f"Difference from {report.networks[0].name}, layer by layer",
        caption=(
            "The chart shows log D of each network minus log D of the first one, in nats. Below "
            "zero, the network separates better than the first one. Lines are solid for training "
            "data and dashed for held-out data."
        ),
        table=table,
        first=report.networks[0].name,
        curves=curves,
    )
    return replace(table, figures=(figure,))


def _differences_table(report: ComparisonReport) -> TableView:
    first, *others = (network.name for network in report.networks)
    columns = ("layer", "name", *(f"{name}{end}" for name in others for end in ("", " held-out")))
    rows = tuple(
        (
            str(place.index),
            _layer_name(place),
            *(
                number(values[i])
                for i in range(1, len(report.networks))
                for values in (place.separation, place.separation_heldout)
            ),
        )
        for place in report.differences
    )
    return TableView(
        f"log D minus log D of {first}, in nats",
        columns,
        rows,
        frozenset(columns) - frozenset({"name"}),
    )


def _difference_curves(report: ComparisonReport) -> tuple[NetworkCurve, ...]:
    """Return a curve for each network but the first, with differences of log D in place of D."""
    return tuple(
        NetworkCurve(
            network.name,
            tuple(
                LayerPoint(
                    place.index,
                    _layer_name(place),
                    place.separation[i],
                    place.separation_heldout[i],
                )
                for place in report.differences
            ),
        )
        for i, network in enumerate(report.networks[1:], 1)
    )


def _layer_name(place: LayerDifference) -> str:
    """Return the layer's name in the first network that has a layer at this place."""
    return next((name for name in place.layers if name is not None), MISSING)
