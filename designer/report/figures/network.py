"""Figures about the layers of one network."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from designer.report.figures.figure import (
    Bar,
    Figure,
    TableView,
    Tap,
    ends,
    finite,
    known_figures,
    positive,
    unlike,
)
from designer.report.words import interval_text, number
from designer.results.layers import Curve, InputReport, LawSummary, LayerReport
from designer.results.measured import Interval, Measured, Verdict

LOW_SHARE, HIGH_SHARE = 0.5, 2.0
"""Shares outside of these are too little and too much."""


@dataclass(frozen=True)
class CurveFigure(Figure):
    """D against layer, with the null and the fitted law."""

    taps: tuple[Tap, ...]


@dataclass(frozen=True)
class ResidualsFigure(Figure):
    """Distance of log D from the fitted law."""

    taps: tuple[Tap, ...]


@dataclass(frozen=True)
class SharesFigure(Figure):
    """Share of each block in the work, with the bounds of too little and too much."""

    bars: tuple[Bar, ...]
    bounds: tuple[float, float] = (LOW_SHARE, HIGH_SHARE)


@dataclass(frozen=True)
class Slab:
    """One layer as a slab as high as it is wide."""

    index: int
    layer: str
    width: int
    kind: str
    """Its verdict; ``input`` for what comes in."""


@dataclass(frozen=True)
class ArchitectureFigure(Figure):
    """The network drawn to scale."""

    slabs: tuple[Slab, ...]


@dataclass(frozen=True)
class Moment:
    """D at one place after one epoch."""

    epoch: int
    index: int
    layer: str
    training: Measured


@dataclass(frozen=True)
class EmergenceFigure(Figure):
    """D against layer after ever more epochs."""

    moments: tuple[Moment, ...]


def network_figures(
    key: str,
    first: InputReport | None,
    layers: Sequence[LayerReport],
    law: LawSummary,
    emergence: Sequence[Curve] = (),
) -> tuple[Figure, ...]:
    """The charts of one network.

    Args:
        key: that tells their names from those of another network.
        first: what comes in.
        layers: its blocks, in running order.
        law: that was fitted to them.
        emergence: its curves after some epochs.
    """
    if not layers:
        return ()
    taps = taps_of(first, layers, law)
    emerging = _emergence(f"emergence{key}", emergence) if emergence else None
    return known_figures(
        _curve(f"curve{key}", taps) if any(tap.training is not None for tap in taps) else None,
        _residuals(f"residuals{key}", taps) if taps[0].residual is not None else None,
        _shares(f"shares{key}", layers),
        _architecture(f"architecture{key}", first, layers),
        emerging
        if emerging and any(one.training is not None for one in emerging.moments)
        else None,
    )


def taps_of(
    first: InputReport | None, layers: Sequence[LayerReport], law: LawSummary
) -> tuple[Tap, ...]:
    """D at the input and after every block, with the fitted law."""
    reports: list[InputReport | LayerReport] = [*([first] if first else []), *layers]
    names = unlike([*(["input"] if first else []), *(layer.name for layer in layers)])
    line = _fitted([positive(one.separation) for one in reports], law.rho)
    start = 0 if first else 1
    return tuple(
        _tap(index, name, one, fitted)
        for index, (name, one, fitted) in enumerate(zip(names, reports, line, strict=True), start)
    )


def _tap(index: int, name: str, one: InputReport | LayerReport, fitted: Measured) -> Tap:
    value = positive(one.separation)
    low, high = one.null_range or (None, None)
    return Tap(
        index=index,
        layer=name,
        training=value,
        heldout=positive(one.separation_heldout),
        null=positive(one.separation_null),
        null_low=positive(low if low is not None else one.separation_null),
        null_high=positive(high if high is not None else one.separation_null),
        line=fitted,
        residual=math.log(value / fitted) if value is not None and fitted is not None else None,
    )


def _fitted(values: Sequence[Measured], rho: Measured) -> Iterator[Measured]:
    """The least-squares line of log D on the layer, which goes through the mean of both."""
    logs = [math.log(value) for value in values if value is not None]
    fits = rho is not None and rho > 0 and len(logs) == len(values) > 1
    slope = math.log(rho) if rho is not None and fits else 0.0
    middle = (len(values) - 1) / 2
    mean = sum(logs) / len(logs) if logs else 0.0
    for index in range(len(values)):
        yield math.exp(mean + slope * (index - middle)) if fits else None


def _curve(name: str, taps: tuple[Tap, ...]) -> CurveFigure:
    rows = tuple(
        (
            str(tap.index),
            tap.layer,
            number(tap.training),
            number(tap.heldout),
            number(tap.line),
            number(tap.residual),
            number(tap.null),
            interval_text(_both(tap.null_low, tap.null_high)),
        )
        for tap in taps
    )
    columns = ("layer", "name", "training", "held-out", "line", "residual", "null", "null range")
    said = _from_to([tap.training for tap in taps])
    return CurveFigure(
        name=name,
        title="Separation, layer by layer",
        caption=(
            f"D on a logarithmic axis; smaller is better separated. {said}The law holds where the "
            f"points lie on the dotted line. The grey band is what labels without meaning give at "
            f"the same width."
        ),
        table=TableView(
            "D at every layer", columns, rows, frozenset(columns) - frozenset({"name"})
        ),
        taps=taps,
    )


def _from_to(values: Sequence[Measured]) -> str:
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    return f"On training data it goes from {number(known[0])} to {number(known[-1])}. "


def _both(low: Measured, high: Measured) -> Interval | None:
    return None if low is None or high is None else (low, high)


def _residuals(name: str, taps: tuple[Tap, ...]) -> ResidualsFigure:
    known = [abs(tap.residual) for tap in taps if tap.residual is not None]
    said = f" The largest is {number(max(known))} nats." if known else ""
    columns = ("layer", "name", "residual")
    rows = tuple((str(tap.index), tap.layer, number(tap.residual)) for tap in taps)
    return ResidualsFigure(
        name=name,
        title="Distance from the law",
        caption=f"log D minus the fitted line, in nats.{said}",
        table=TableView("Residuals", columns, rows, frozenset({"layer", "residual"})),
        taps=taps,
    )


def _shares(name: str, layers: Sequence[LayerReport]) -> SharesFigure:
    names = unlike([layer.name for layer in layers])
    rows = tuple(
        (told, number(one.share), interval_text(one.interval), str(one.verdict), one.advice)
        for told, one in zip(names, layers, strict=True)
    )
    counts = Counter(layer.verdict for layer in layers)
    said = ", ".join(f"{counts[kind]} {kind}" for kind in Verdict if counts[kind])
    return SharesFigure(
        name=name,
        title="What each block contributes",
        caption=(
            f"A block's step over the mean step, with its 95 % interval; 1 is an equal share. "
            f"Below {LOW_SHARE:g} is too little, above {HIGH_SHARE:g} too much. Verdicts: {said}."
        ),
        table=TableView(
            "Shares",
            ("block", "share", "95 %", "verdict", "advice"),
            rows,
            frozenset({"share", "95 %"}),
        ),
        bars=tuple(
            Bar(told, finite(one.share), *ends(one.interval), str(one.verdict))
            for told, one in zip(names, layers, strict=True)
        ),
    )


def _architecture(
    name: str, first: InputReport | None, layers: Sequence[LayerReport]
) -> ArchitectureFigure:
    names = unlike([layer.name for layer in layers])
    slabs = (
        *([Slab(0, "input", first.width, "input")] if first else []),
        *(
            Slab(index, told, one.width, str(one.verdict))
            for index, (told, one) in enumerate(zip(names, layers, strict=True), 1)
        ),
    )
    widths = [layer.width for layer in layers]
    narrowest = names[widths.index(min(widths))]
    return ArchitectureFigure(
        name=name,
        title="The architecture, to scale",
        caption=(
            f"Every slab is as high as its layer is wide, from {min(widths):,} features per "
            f"sample ({narrowest}) to {max(widths):,}. Colours and signs are those of the verdicts."
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
    names = unlike(list(curves[0].blocks))
    epochs = [curve.epoch or 0 for curve in curves]
    columns = ("layer", *(f"epoch {epoch}" for epoch in epochs))
    rows = tuple(
        (told, *(number(curve.separation[i]) for curve in curves)) for i, told in enumerate(names)
    )
    return EmergenceFigure(
        name=name,
        title="The law emerging",
        caption=(
            f"D at every layer after epochs {min(epochs)} to {max(epochs)} of its first "
            f"confirmation run: the curve falls, and straightens where the law takes hold."
        ),
        table=TableView("D over the epochs", columns, rows, frozenset(columns[1:])),
        moments=tuple(
            Moment(curve.epoch or 0, index, told, positive(curve.separation[index]))
            for curve in curves
            for index, told in enumerate(names)
        ),
    )
