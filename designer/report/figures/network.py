"""Figures of the layers of one network."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from designer.report.figures.figure import (
    Bar,
    Figure,
    LayerPoint,
    TableView,
    finite,
    interval_ends,
    known_figures,
    positive,
    unique_names,
)
from designer.report.figures.need import need_figure
from designer.report.words import interval_text, number
from designer.results.layers import Curve, InputReport, LawSummary, LayerReport
from designer.results.measured import HIGH_SHARE, LOW_SHARE, Verdict
from designer.results.ranges import LARGEST, Interval, Measured


@dataclass(frozen=True)
class CurveFigure(Figure):
    """D of every layer, with the null and the fitted law."""

    points: tuple[LayerPoint, ...]
    """The input, where it was measured, and all blocks in running order."""


@dataclass(frozen=True)
class ResidualsFigure(Figure):
    """Distance of log D from the fitted law at every layer."""

    points: tuple[LayerPoint, ...]
    """The input, where it was measured, and all blocks in running order."""


@dataclass(frozen=True)
class SharesFigure(Figure):
    """Share of each block in the separation, with the bounds of too little and too much."""

    bars: tuple[Bar, ...]
    """One for each block."""
    bounds: tuple[float, float] = (LOW_SHARE, HIGH_SHARE)
    """Shares outside of these are too little or too much."""


@dataclass(frozen=True)
class Slab:
    """One layer, drawn as high as it is wide."""

    index: int
    """0 for the input, l for block l."""
    layer: str
    """Name of the block, unique within the network."""
    width: int
    """Features per sample."""
    kind: str
    """Verdict of the block; ``input`` for the input."""


@dataclass(frozen=True)
class ArchitectureFigure(Figure):
    """The network drawn to scale."""

    slabs: tuple[Slab, ...]
    """The input, where it was measured, and all blocks in running order."""


@dataclass(frozen=True)
class EpochPoint:
    """D at the input or after one block, at the end of one training epoch."""

    epoch: int
    """Number of epochs trained so far."""
    index: int
    """0 for the input, l for the output of block l."""
    layer: str
    """Name of the block, unique within the network."""
    training: Measured
    """D on training data."""


@dataclass(frozen=True)
class EmergenceFigure(Figure):
    """D of every layer after several epochs of one training run."""

    points: tuple[EpochPoint, ...]
    """All layers of the first epoch, then all of the next."""


def network_figures(
    key: str,
    first: InputReport | None,
    layers: Sequence[LayerReport],
    law: LawSummary,
    emergence: Sequence[Curve] = (),
) -> tuple[Figure, ...]:
    """Return the charts of one network.

    Args:
        key: end of the figures' names, unique within the report.
        first: the input of the first block; None where it was not measured.
        layers: the blocks in running order.
        law: the law that was fitted to them.
        emergence: curves after some epochs of training, in order; empty for none.

    Returns:
        The figures that have anything to show; none without layers.
    """
    if not layers:
        return ()
    points = layer_points(first, layers, law)
    measured = any(point.training is not None for point in points)
    emerged = any(positive(value) is not None for curve in emergence for value in curve.separation)
    return known_figures(
        _curve(f"curve{key}", points) if measured else None,
        need_figure(f"need{key}", layers),
        _residuals(f"residuals{key}", points) if points[0].residual is not None else None,
        _shares(f"shares{key}", layers),
        _architecture(f"architecture{key}", first, layers),
        _emergence(f"emergence{key}", emergence) if emerged else None,
    )


def layer_points(
    first: InputReport | None, layers: Sequence[LayerReport], law: LawSummary
) -> tuple[LayerPoint, ...]:
    """Return D at the input and after every block, with the fitted law.

    Args:
        first: the input of the first block; without it the points begin at index 1.
        layers: the blocks in running order.
        law: the law that was fitted to them.
    """
    reports: list[InputReport | LayerReport] = [*([first] if first else []), *layers]
    names = unique_names([*(["input"] if first else []), *(layer.name for layer in layers)])
    line = _fitted_line([positive(report.separation) for report in reports], law.rho)
    start = 0 if first else 1
    return tuple(
        _layer_point(index, name, report, fitted)
        for index, (name, report, fitted) in enumerate(
            zip(names, reports, line, strict=True), start
        )
    )


def curve_points(curve: Curve) -> tuple[LayerPoint, ...]:
    """Return D of every layer of a curve, on training and, where it is known, held-out data."""
    heldout = curve.separation_heldout or (None,) * len(curve.blocks)
    values = zip(unique_names(curve.blocks), curve.separation, heldout, strict=True)
    return tuple(
        LayerPoint(index, name, positive(training), positive(held))
        for index, (name, training, held) in enumerate(values)
    )


def _layer_point(
    index: int, name: str, report: InputReport | LayerReport, fitted: Measured
) -> LayerPoint:
    value = positive(report.separation)
    low, high = report.null_range or (None, None)
    return LayerPoint(
        index=index,
        layer=name,
        training=value,
        heldout=positive(report.separation_heldout),
        null=positive(report.separation_null),
        null_low=positive(low if low is not None else report.separation_null),
        null_high=positive(high if high is not None else report.separation_null),
        line=fitted,
        residual=math.log(value / fitted) if value is not None and fitted is not None else None,
    )


def _fitted_line(values: Sequence[Measured], rho: Measured) -> Iterator[Measured]:
    """Yield D of the fitted law at every layer, or None for all where it cannot be drawn.

    The least-squares line of log D on the layer goes through the mean of both, so rho and the
    values give it.
    """
    logs = [math.log(value) for value in values if value is not None]
    drawable = rho is not None and rho > 0 and len(logs) == len(values) > 1
    slope = math.log(rho) if rho is not None and drawable else 0.0
    middle = (len(values) - 1) / 2
    mean = sum(logs) / len(logs) if logs else 0.0
    for index in range(len(values)):
        line = mean + slope * (index - middle)
        yield math.exp(line) if drawable and abs(line) < math.log(LARGEST) else None


def _curve(name: str, points: tuple[LayerPoint, ...]) -> CurveFigure:
    rows = tuple(
        (
            str(point.index),
            point.layer,
            number(point.training),
            number(point.heldout),
            number(point.line),
            number(point.residual),
            number(point.null),
            interval_text(_interval(point.null_low, point.null_high)),
        )
        for point in points
    )
    columns = ("layer", "name", "training", "held-out", "line", "residual", "null", "null range")
    return CurveFigure(
        name=name,
        title="Separation, layer by layer",
        caption=(
            f"The vertical axis shows D on a logarithmic scale; smaller D is better separated. "
            f"{_fall([point.training for point in points])}The law holds where the points lie on "
            f"the dotted line. The grey band shows D with randomly permuted labels."
        ),
        table=TableView(
            "D at every layer", columns, rows, frozenset(columns) - frozenset({"name"})
        ),
        points=points,
    )


def _fall(values: Sequence[Measured]) -> str:
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    return f"On training data, D goes from {number(known[0])} to {number(known[-1])}. "


def _interval(low: Measured, high: Measured) -> Interval | None:
    return None if low is None or high is None else (low, high)


def _residuals(name: str, points: tuple[LayerPoint, ...]) -> ResidualsFigure:
    known = [abs(point.residual) for point in points if point.residual is not None]
    largest = f" The largest distance is {number(max(known))} nats." if known else ""
    columns = ("layer", "name", "residual")
    rows = tuple((str(point.index), point.layer, number(point.residual)) for point in points)
    return ResidualsFigure(
        name=name,
        title="Distance from the law",
        caption=f"A residual is log D minus the fitted line, in nats.{largest}",
        table=TableView("Residuals", columns, rows, frozenset({"layer", "residual"})),
        points=points,
    )


def _shares(name: str, layers: Sequence[LayerReport]) -> SharesFigure:
    named = list(zip(unique_names([layer.name for layer in layers]), layers, strict=True))
    rows = tuple(
        (
            unique,
            number(layer.share),
            interval_text(layer.interval),
            str(layer.verdict),
            layer.advice,
        )
        for unique, layer in named
    )
    counts = Counter(layer.verdict for layer in layers)
    verdicts = ", ".join(f"{counts[kind]} {kind}" for kind in Verdict if counts[kind])
    return SharesFigure(
        name=name,
        title="The share of each block in the separation",
        caption=(
            f"The share of a block is its step divided by the mean step, with its 95 % interval; "
            f"1 is an equal share. A share below {LOW_SHARE:g} is too little, and one above "
            f"{HIGH_SHARE:g} too much. Verdicts: {verdicts}."
        ),
        table=TableView(
            "Shares",
            ("block", "share", "95 %", "verdict", "advice"),
            rows,
            frozenset({"share", "95 %"}),
        ),
        bars=tuple(
            Bar(unique, finite(layer.share), *interval_ends(layer.interval), str(layer.verdict))
            for unique, layer in named
        ),
    )


def _architecture(
    name: str, first: InputReport | None, layers: Sequence[LayerReport]
) -> ArchitectureFigure:
    names = unique_names([layer.name for layer in layers])
    slabs = (
        *([Slab(0, "input", first.width, "input")] if first else []),
        *(
            Slab(index, unique, layer.width, str(layer.verdict))
            for index, (unique, layer) in enumerate(zip(names, layers, strict=True), 1)
        ),
    )
    widths = [layer.width for layer in layers]
    narrowest = names[widths.index(min(widths))]
    return ArchitectureFigure(
        name=name,
        title="The architecture, to scale",
        caption=(
            f"Every layer is drawn as high as it is wide. The narrowest block has "
            f"{min(widths):,} features per sample ({narrowest}), the widest {max(widths):,}. "
            f"Colours and signs stand for the verdicts."
        ),
        table=TableView(
            "Layers",
            ("layer", "width", "verdict"),
            tuple((slab.layer, f"{slab.width:,}", slab.kind) for slab in slabs),
            frozenset({"width"}),
        ),
        slabs=slabs,
    )


def _emergence(name: str, curves: Sequence[Curve]) -> EmergenceFigure:
    names = unique_names(curves[0].blocks)
    curves = [curve for curve in curves if curve.blocks == curves[0].blocks]
    epochs = [curve.epoch or 0 for curve in curves]
    columns = ("layer", *(f"epoch {epoch}" for epoch in epochs))
    rows = tuple(
        (unique, *(number(curve.separation[i]) for curve in curves))
        for i, unique in enumerate(names)
    )
    return EmergenceFigure(
        name=name,
        title="How the law emerges during training",
        caption=(
            f"The chart shows D at every layer after epochs {min(epochs)} to {max(epochs)} of the "
            f"first confirmation run. The curve falls with training, and becomes straight where "
            f"the law holds."
        ),
        table=TableView("D over the epochs", columns, rows, frozenset(columns[1:])),
        points=tuple(
            EpochPoint(curve.epoch or 0, index, unique, positive(curve.separation[index]))
            for curve in curves
            for index, unique in enumerate(names)
        ),
    )
