"""Figures that compare several networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from designer.report.figures.figure import (
    Figure,
    LayerPoint,
    TableView,
    finite,
)
from designer.report.figures.network import curve_points
from designer.report.words import number
from designer.results.pruning import NetworkFigures


@dataclass(frozen=True)
class NetworkCurve:
    """D of every layer of one of several networks."""

    network: str
    """Name of the network."""
    points: tuple[LayerPoint, ...]
    """Its layers in running order."""


@dataclass(frozen=True)
class OverlayFigure(Figure):
    """Curves of several networks in one chart."""

    curves: tuple[NetworkCurve, ...]
    """One for each network."""


@dataclass(frozen=True)
class SizeBar:
    """Size of one network in one aspect, as a share of the first network's."""

    network: str
    """Name of the network."""
    what: str
    """The aspect: ``parameters``, ``operations`` or ``time``."""
    share: float
    """Percentage of the first network's size."""
    text: str
    """``share`` as text."""


@dataclass(frozen=True)
class SizesFigure(Figure):
    """Sizes of several networks as shares of the first network's."""

    sizes: tuple[SizeBar, ...]
    """All aspects of the first network, then all of the next."""


@dataclass(frozen=True)
class DifferencesFigure(Figure):
    """Difference of log D from the first network, layer by layer."""

    first: str
    """Name of the network that the others are compared with."""
    curves: tuple[NetworkCurve, ...]
    """One for each network but the first; the differences, in nats, stand in place of D."""


def overlay_figure(
    curves: Sequence[NetworkCurve], title: str, caption: str
) -> OverlayFigure | None:
    """Return the curves of several networks in one chart.

    Args:
        curves: one for each network; those without any D are left out.
        title: heading of the chart.
        caption: how to read it.

    Returns:
        The figure, or None where no network has any D.
    """
    drawn = tuple(
        curve for curve in curves if any(point.training is not None for point in curve.points)
    )
    if not drawn:
        return None
    columns = ("network", "layer", "name", "training", "held-out")
    rows = tuple(
        (
            curve.network,
            str(point.index),
            point.layer,
            number(point.training),
            number(point.heldout),
        )
        for curve in drawn
        for point in curve.points
    )
    table = TableView("D at every layer", columns, rows, frozenset({"layer", *columns[3:]}))
    return OverlayFigure("curves", title, caption, table, drawn)


def before_after(networks: Sequence[NetworkFigures]) -> OverlayFigure | None:
    """Return the curves of all networks of a pruning in one chart; None without any D."""
    return overlay_figure(
        [
            NetworkCurve(network.name, curve_points(network.curve))
            for network in networks
            if network.curve is not None
        ],
        "The law before and after",
        "The chart shows D at every remaining layer on a logarithmic scale. Lines are solid for "
        "training data and dashed for held-out data.",
    )


def sizes_figure(networks: Sequence[NetworkFigures], table: TableView) -> SizesFigure | None:
    """Return sizes as shares of the first network's; None with fewer than two networks."""
    if len(networks) < 2:
        return None
    first = networks[0]
    sizes = tuple(
        SizeBar(network.name, what, 100 * share, f"{100 * share:.0f} %")
        for network in networks
        for what, share in (
            ("parameters", network.parameters / max(first.parameters, 1)),
            ("operations", network.flops / max(first.flops, 1)),
            ("time", 1.0 if network is first else finite(network.latency)),
        )
        if share is not None
    )
    return SizesFigure(
        name="sizes",
        title="Size and time compared with the original",
        caption=(
            "The bars show the parameters, the operations and the time of a forward pass in "
            "percent of the original's."
        ),
        table=table,
        sizes=sizes,
    )
