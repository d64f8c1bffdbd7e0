"""What the charts show: their figures, words and the tables behind them, computed once.

A renderer only draws.  Every number that a chart can place is finite, and above zero where its
axis is logarithmic; what could not be measured is None and leaves a gap.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from designer.report.words import interval_text, number, spec_label
from designer.results import (
    BlockProposal,
    Curve,
    Decision,
    InputReport,
    Interval,
    LawSummary,
    LayerReport,
    Measured,
    NetworkFigures,
    RankAgreement,
    Recommendation,
    TrialRow,
    Verdict,
)

LOW_SHARE, HIGH_SHARE = 0.5, 2.0
"""Shares outside of these are too little and too much."""

TRIALS_LISTED = 100
"""Rows of the table behind the chart of all trials."""

TRIALS_SPELT_OUT = 1000
"""Points of that chart, the best, that name their architecture."""


@dataclass(frozen=True)
class Spark:
    """One row of log D, to be drawn in a line of text."""

    label: str
    levels: tuple[float | None, ...]
    """0 for the least and 1 for the largest beside it; None without D."""
    ends: str
    """D at the first and the last layer."""


@dataclass(frozen=True)
class TableView:
    """A table of strings; ``numeric`` columns are aligned to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[str] = frozenset()
    background: bool = False
    """Whether it is left out where room is short, as in a terminal."""
    figures: tuple[Figure, ...] = ()
    """Charts that show it, where charts can be drawn."""
    sparks: tuple[Spark, ...] = ()
    """Curves that go with it, where they can only be drawn in a line."""


@dataclass(frozen=True)
class Figure:
    """One chart, whatever draws it."""

    name: str
    """Unlike that of any other in the report, and fit for a file."""
    title: str
    caption: str
    """How to read it, and what it shows, for those who cannot see it, too."""
    table: TableView
    """The same figures as text."""


@dataclass(frozen=True)
class Tap:
    """D at the input (0) or after one block."""

    index: int
    layer: str
    training: Measured
    heldout: Measured
    null: Measured = None
    null_low: Measured = None
    null_high: Measured = None
    line: Measured = None
    """The fitted law."""
    residual: Measured = None
    """log D minus the logarithm of the line, in nats."""


@dataclass(frozen=True)
class CurveFigure(Figure):
    """D against layer, with the null and the fitted law."""

    taps: tuple[Tap, ...]


@dataclass(frozen=True)
class ResidualsFigure(Figure):
    """Distance of log D from the fitted law."""

    taps: tuple[Tap, ...]


@dataclass(frozen=True)
class Bar:
    """What one block does."""

    layer: str
    value: Measured
    low: Measured
    high: Measured
    kind: str
    """Its verdict or decision."""


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


@dataclass(frozen=True)
class TrialPoint:
    """One complete trial."""

    trial: int
    architecture: str
    parameters: int
    accuracy: float
    """Validation accuracy in percent."""
    error: float
    """What it lacks to 100, for a logarithmic axis: never less than half of what can be told."""
    score: Measured
    front: bool
    """Whether no other is as accurate with fewer parameters."""
    rank: int | None
    """Of the recommendation that it became."""
    curve: bool
    """Whether its curve is there."""


@dataclass(frozen=True)
class TrialCurve:
    """The curve of one trial."""

    trial: int
    title: str
    figures: str
    """Of the trial, in words."""
    taps: tuple[Tap, ...]


@dataclass(frozen=True)
class TrialsFigure(Figure):
    """Accuracy against parameters, and the curves of the best."""

    points: tuple[TrialPoint, ...]
    curves: tuple[TrialCurve, ...]


@dataclass(frozen=True)
class AgreementFigure(Figure):
    """Rank correlation of each criterion with validation accuracy."""

    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class StepsFigure(Figure):
    """Held-out step of each block, coloured by what is proposed for it."""

    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Line:
    """D through one of several networks."""

    network: str
    taps: tuple[Tap, ...]


@dataclass(frozen=True)
class OverlayFigure(Figure):
    """The curves of several networks on each other."""

    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Size:
    """How large one network is in one respect, beside the first."""

    network: str
    what: str
    share: float
    """Of the first network's, in percent."""
    text: str


@dataclass(frozen=True)
class SizesFigure(Figure):
    """Sizes of several networks as shares of the first's."""

    sizes: tuple[Size, ...]


@dataclass(frozen=True)
class DifferencesFigure(Figure):
    """How log D of several networks differs from that of the first, layer by layer."""

    lines: tuple[Line, ...]
    """In them the differences stand for D."""


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


def positive(value: Measured) -> Measured:
    """What a logarithmic axis can show."""
    return value if value is not None and 0 < value < math.inf else None


def finite(value: Measured) -> Measured:
    """What an axis can show."""
    return value if value is not None and math.isfinite(value) else None


def ends(interval: Interval | None) -> tuple[Measured, Measured]:
    """Both ends of an interval, or none."""
    if interval is None or not all(map(math.isfinite, interval)):
        return None, None
    return interval


def level(value: Measured, values: Sequence[Measured]) -> float | None:
    """log D, 0 for the least and 1 for the largest of the values; None without D."""
    if value is None or not math.isfinite(value):
        return None
    logs = [math.log(v) for v in values if v is not None and 0 < v < math.inf]
    if value <= 0:
        return 0.0
    low, high = min(logs), max(logs)
    return (math.log(value) - low) / (high - low) if high > low else 1.0


def sparks_of(rows: Mapping[str, Sequence[Measured]]) -> tuple[Spark, ...]:
    """Rows of D by label, on the same scale; those without any left out."""
    both = [value for values in rows.values() for value in values]
    return tuple(
        Spark(
            label=label,
            levels=tuple(level(value, both) for value in values),
            ends=f"{number(values[0])} to {number(values[-1])}",
        )
        for label, values in rows.items()
        if any(level(value, both) is not None for value in values)
    )


def unlike(names: Sequence[str]) -> list[str]:
    """The names, those that occur again with a number behind them."""
    seen: Counter[str] = Counter()
    told = []
    for name in names:
        seen[name] += 1
        told.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return told


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


def trials_figure(
    trials: Sequence[TrialRow], recommendations: Sequence[Recommendation]
) -> TrialsFigure | None:
    """All trials that were completed and measured; None without any."""
    known = [row for row in trials if _placed(row)]
    if not known:
        return None
    best = sorted(known, key=lambda row: -(finite(row.score) or -math.inf))
    ranks = {one.trial: one.rank for one in recommendations}
    front = pareto_front({row.number: (_parameters(row), _percent(row)) for row in known})
    least = min((100 - _percent(row) for row in known if _percent(row) < 100), default=1.0) / 2
    spelt = {row.number for row in best[:TRIALS_SPELT_OUT]}
    curves = tuple(
        _trial_curve(row, row.curve)
        for row in best
        if row.curve is not None and any(map(positive, row.curve.separation))
    )
    shown = {curve.trial for curve in curves}
    points = tuple(
        TrialPoint(
            trial=row.number,
            architecture=spec_label(row.spec) if row.number in spelt else "",
            parameters=_parameters(row),
            accuracy=_percent(row),
            error=round(max(100 - _percent(row), least), 3),
            score=_shortened(row.score),
            front=row.number in front,
            rank=ranks.get(row.number),
            curve=row.number in shown,
        )
        for row in known
    )
    return TrialsFigure(
        name="trials",
        title="Accuracy against size",
        caption=_trials_caption(points, curves),
        table=_trials_table(best, front, ranks),
        points=points,
        curves=curves,
    )


def _trials_caption(points: Sequence[TrialPoint], curves: Sequence[TrialCurve]) -> str:
    n, kept = len(points), len(curves)
    said = f"{n:,} trials, coloured by design score. " if n > 1 else "One trial. "
    said += "The line joins those that no smaller one equals in accuracy; numbers are ranks of "
    said += "recommendations."
    if kept:
        whose = "A click on a point" if kept == n else f"A click on one of the {kept:,} best"
        said += f" {whose} shows its curve beside it."
    return said


def _trials_table(
    best: Sequence[TrialRow], front: frozenset[int], ranks: Mapping[int, int]
) -> TableView:
    shown = best[:TRIALS_LISTED]
    rows = tuple(
        (
            str(row.number),
            spec_label(row.spec),
            f"{_parameters(row):,}",
            number(row.score, 3),
            number(_percent(row), 1),
            ", ".join(
                [
                    *(["on the front"] if row.number in front else []),
                    *([f"recommendation {ranks[row.number]}"] if row.number in ranks else []),
                ]
            ),
        )
        for row in shown
    )
    columns = ("trial", "architecture", "params", "score", "val %", "what it is")
    part = "All" if len(shown) == len(best) else f"The best {len(shown):,} of"
    return TableView(
        f"{part} {len(best):,} trials, by design score",
        columns,
        rows,
        frozenset({"trial", "params", "score", "val %"}),
    )


def _placed(row: TrialRow) -> bool:
    return (
        row.state == "complete" and bool(row.parameters) and bool(finite(row.validation_accuracy))
    )


def _parameters(row: TrialRow) -> int:
    return row.parameters or 0


def _percent(row: TrialRow) -> float:
    return round(100 * (row.validation_accuracy or 0.0), 2)


def _shortened(value: Measured) -> Measured:
    known = finite(value)
    return None if known is None else round(known, 4)


def _trial_curve(row: TrialRow, curve: Curve) -> TrialCurve:
    return TrialCurve(
        trial=row.number,
        title=f"Trial {row.number}: {spec_label(row.spec)}",
        figures=(
            f"{number(_percent(row), 1)} % validation accuracy, {_parameters(row):,} parameters, "
            f"design score {number(row.score, 3)}."
        ),
        taps=curve_taps(curve),
    )


def curve_taps(curve: Curve) -> tuple[Tap, ...]:
    """The points of a curve."""
    heldout = curve.separation_heldout or (None,) * len(curve.blocks)
    values = zip(unlike(list(curve.blocks)), curve.separation, heldout, strict=True)
    return tuple(
        Tap(index, name, positive(training), positive(held))
        for index, (name, training, held) in enumerate(values)
    )


def pareto_front(places: Mapping[int, tuple[int, float]]) -> frozenset[int]:
    """Those of (parameters, accuracy) that no other equals or beats with fewer parameters.

    Of several that are equal in both, the first.
    """
    front, highest = [], -math.inf
    for key, (_, accuracy) in sorted(
        places.items(), key=lambda item: (item[1][0], -item[1][1], item[0])
    ):
        if accuracy > highest:
            front.append(key)
            highest = accuracy
    return frozenset(front)


def agreement_figure(
    criterion: Mapping[str, RankAgreement], names: Mapping[str, str], table: TableView
) -> AgreementFigure | None:
    """How each criterion ranks the trials; None where that could not be measured."""
    known = {name: one for name, one in criterion.items() if finite(one.spearman) is not None}
    if not known:
        return None
    best = max(known, key=lambda name: finite(known[name].spearman) or -1.0)
    told = unlike([names.get(name, name) for name in known])
    return AgreementFigure(
        name="agreement",
        title="How far each criterion can be trusted",
        caption=(
            f"Rank correlation with validation accuracy over the trials of this study, with 95 % "
            f"intervals; 1 is the same order, 0 none. Highest here: {names.get(best, best)}."
        ),
        table=table,
        bars=tuple(
            Bar(name, finite(one.spearman), *ends(one.interval), "criterion")
            for name, one in zip(told, known.values(), strict=True)
        ),
    )


def steps_figure(blocks: Sequence[BlockProposal], table: TableView) -> StepsFigure | None:
    """What is proposed for each block of a model; None without any held-out step."""
    if not any(finite(one.step_heldout) is not None for one in blocks):
        return None
    counts = Counter(one.decision for one in blocks)
    said = ", ".join(f"{counts[kind]} {kind}" for kind in Decision if counts[kind])
    names = unlike([f"{one.name} (removed)" if one.removed else one.name for one in blocks])
    return StepsFigure(
        name="steps",
        title="What each block does for held-out data",
        caption=(
            f"A block's step on held-out data, in nats, with its 95 % interval: the smaller, the "
            f"sooner it can go. Proposed: {said}."
        ),
        table=table,
        bars=tuple(
            Bar(name, finite(one.step_heldout), *ends(one.step_heldout_interval), str(one.decision))
            for name, one in zip(names, blocks, strict=True)
        ),
    )


def known_figures(*figures: Figure | None) -> tuple[Figure, ...]:
    """Those that are there."""
    return tuple(figure for figure in figures if figure is not None)


def overlay_figure(lines: Sequence[Line], title: str, caption: str) -> OverlayFigure | None:
    """The curves of several networks; None without any."""
    drawn = tuple(line for line in lines if any(tap.training is not None for tap in line.taps))
    if not drawn:
        return None
    columns = ("network", "layer", "name", "training", "held-out")
    rows = tuple(
        (line.network, str(tap.index), tap.layer, number(tap.training), number(tap.heldout))
        for line in drawn
        for tap in line.taps
    )
    table = TableView("D at every layer", columns, rows, frozenset({"layer", *columns[3:]}))
    return OverlayFigure("curves", title, caption, table, drawn)


def before_after(networks: Sequence[NetworkFigures]) -> OverlayFigure | None:
    """The curves of a network before and after pruning, and of what it is compared with."""
    lines = [Line(one.name, curve_taps(one.curve)) for one in networks if one.curve is not None]
    return overlay_figure(
        lines,
        "The law before and after",
        "D at every layer that is left, on a logarithmic axis: solid on training data, dashed on "
        "held-out data.",
    )


def sizes_figure(networks: Sequence[NetworkFigures], table: TableView) -> SizesFigure | None:
    """Sizes beside those of the first network; None where there is nothing to compare."""
    if len(networks) < 2:
        return None
    first = networks[0]
    sizes = tuple(
        Size(one.name, what, 100 * share, f"{100 * share:.0f} %")
        for one in networks
        for what, share in (
            ("parameters", one.parameters / max(first.parameters, 1)),
            ("operations", one.flops / max(first.flops, 1)),
            ("time", 1.0 if one is first else finite(one.latency)),
        )
        if share is not None
    )
    return SizesFigure(
        name="sizes",
        title="Size and time beside the original",
        caption="Parameters, operations and time of a forward pass, in percent of the original's.",
        table=table,
        sizes=sizes,
    )
