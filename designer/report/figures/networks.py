"""Figures that compare networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from designer.report.figures.figure import Bar, Figure, TableView, Tap, ends, finite, unlike
from designer.report.figures.trials import curve_taps
from designer.report.words import number
from designer.results.pruning import BlockProposal, Decision, NetworkFigures


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
