"""The pictures of the evidence, drawn from the result files into ``docs/evidence/``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from benchmarks.claim import Figures
from benchmarks.claims.contribution_removals import RECOVERED
from benchmarks.claims.payoff_searches import NSGA2, OURS, REFERENCE
from benchmarks.evidence.contribution import REMOVAL_FILES, groups_of
from benchmarks.evidence.criterion import LEAD_EPOCHS, TOP_HALF, known_pools
from benchmarks.evidence.payoff import FILES as PAYOFFS
from benchmarks.result_files import is_measured, read_result
from designer.report.charts.palette import LIGHT
from designer.report.charts.theme import colour_ramp, themed_specification

PICTURES = Path(__file__).parents[2] / "docs" / "evidence"

COLOURS = [LIGHT.training, LIGHT.heldout, LIGHT.ok, LIGHT.fourth, LIGHT.null]
DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [1, 0]]
"""Dashes beside the colours, for readers who cannot tell colours apart."""

DEPTHS = (4, 8, 20)
OPTIMISERS = {"sgd": "SGD", "momentum": "momentum", "adam": "Adam"}
SHOWN_ARMS = {
    OURS: "designer search",
    REFERENCE: "TPE, MedianPruner",
    "TPE, Hyperband": "TPE, Hyperband",
    NSGA2: "NSGA-II",
    "random": "random",
}
LEAD = "lead in Spearman"

MOST_REGRET = 4
"""Points at which the axis ends, since the first steps of a search lack much more."""

ORDERS = {
    "contribution": "contribution",
    "heldout": "held-out steps",
    "block-influence": "Block Influence",
    "last": "the last blocks",
    "random": "random blocks",
}


def draw() -> None:
    """Draw all pictures."""
    PICTURES.mkdir(exist_ok=True)
    for name, picture in ALL.items():
        specification = themed_specification(picture(), LIGHT, background=LIGHT.raised)
        svg = vl_convert.vegalite_to_svg(specification, allowed_base_urls=[])
        (PICTURES / f"{name}.svg").write_text(svg, encoding="utf-8")


def law() -> alt.HConcatChart:
    """Draw log D of trained networks by optimiser and depth, and of one over its training."""
    figures = read_result("paper.json")["figures"]
    rows = [
        {"depth": f"{depth} layers", "optimiser": label, "layer": layer, "log D": value}
        for depth in DEPTHS
        for name, label in OPTIMISERS.items()
        for layer, value in enumerate(
            figures["optimisers"]["conditions"][f"{name}, {depth} layers"]["log_d"]
        )
    ]
    trained = [
        _curves([row for row in rows if row["depth"] == f"{depth} layers"], "optimiser").properties(
            title=f"trained, {depth} layers", width=190, height=220
        )
        for depth in DEPTHS
    ]
    moments = figures["emergence"]["conditions"]["8 layers"]["emergence"]
    emerging = [
        {"epoch": int(epoch), "layer": layer, "log D": value}
        for epoch, moment in moments.items()
        for layer, value in enumerate(moment["log_d"])
    ]
    epochs = [int(epoch) for epoch in moments]
    shades = alt.Scale(domain=epochs, range=colour_ramp(len(epochs), LIGHT))
    emergence = (
        alt.Chart(alt.InlineData(values=emerging))
        .mark_line(point=True)
        .encode(
            x=alt.X("layer:Q", axis=alt.Axis(tickMinStep=1, format="d")),
            y=alt.Y("log D:Q", title="log D"),
            color=alt.Color("epoch:O", scale=shades, legend=alt.Legend(orient="bottom")),
        )
        .properties(title="8 layers, emerging over the epochs", width=230, height=220)
    )
    whole: alt.HConcatChart = alt.hconcat(alt.hconcat(*trained), emergence).resolve_scale(
        color="independent"
    )
    return whole


def _curves(rows: list[Figures], by: str) -> alt.Chart:
    kinds = list(dict.fromkeys(row[by] for row in rows))
    curves: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_line(point=True)
        .encode(
            x=alt.X("layer:Q", axis=alt.Axis(tickMinStep=1, format="d")),
            y=alt.Y("log D:Q", title="log D"),
            color=_colour(by, kinds),
            strokeDash=_dash(by, kinds),
        )
    )
    return curves


def leads() -> alt.HConcatChart:
    """Draw the lead of the design score over validation accuracy, pool by pool."""
    whole: alt.HConcatChart = alt.hconcat(
        _forest("all architectures", "", labels=True),
        _forest("the better half", TOP_HALF, labels=False),
    )
    return whole


def _forest(title: str, prefix: str, *, labels: bool) -> Any:
    """Draw leads with their intervals, a row for each pool.

    Args:
        title: of the chart.
        prefix: of the figures.
        labels: True to name the pools.
    """
    rows = list(_leads(prefix))
    epochs = [f"{epochs} epochs" for epochs in LEAD_EPOCHS]
    pools = list(dict.fromkeys(row["pool"] for row in rows))
    axis = alt.Axis(labelLimit=320, labels=labels, ticks=False)
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        y=alt.Y("pool:N", sort=pools, title=None, axis=axis),
        yOffset=alt.YOffset("epochs:N", sort=epochs),
        color=_colour("epochs", epochs),
    )
    bars = base.mark_rule(strokeWidth=1.5).encode(x=alt.X("low:Q", title=LEAD), x2="high:Q")
    points = base.mark_point(filled=True, size=45, opacity=1).encode(
        x=alt.X("lead:Q", title=LEAD),
        shape=alt.Shape("epochs:N", sort=epochs, legend=None),
    )
    none = alt.InlineData(values=[{"zero": 0}])
    zero = alt.Chart(none).mark_rule(color=LIGHT.muted).encode(x=alt.X("zero:Q", title=LEAD))
    layers = alt.layer(zero, bars, points)
    return layers.properties(title=title, width=280, height=40 * len(pools))


def _leads(prefix: str) -> Iterator[Figures]:
    for group, pools in known_pools().items():
        for title, pool in pools.items():
            for epochs in LEAD_EPOCHS:
                row = pool["design_score"][epochs]
                low, high = row[f"{prefix}lead_interval"]
                yield {
                    "pool": f"{group}, {title}",
                    "which": "the better half" if prefix else "all architectures",
                    "epochs": f"{epochs} epochs",
                    "lead": row[f"{prefix}lead"],
                    "low": low,
                    "high": high,
                }


def payoff() -> alt.ConcatChart:
    """Draw the regret of the best so far against the time spent, with its interval."""
    arms = list(SHOWN_ARMS.values())
    charts = []
    for file, title in PAYOFFS.items():
        if not is_measured(file):
            continue
        measured = read_result(file)["arms"]
        rows = [
            {
                "arm": label,
                "time": float(share),
                "regret": point["mean"],
                "low": point["interval"][0],
                "high": point["interval"][1],
            }
            for arm, label in SHOWN_ARMS.items()
            if arm in measured
            for share, point in measured[arm]["curve"].items()
            if point["mean"] is not None
        ]
        base = alt.Chart(alt.InlineData(values=rows)).encode(
            x=alt.X("time:Q", title="share of our processor time"), color=_colour("arm", arms)
        )
        shown = alt.Scale(domain=[0, MOST_REGRET])
        band = base.mark_area(opacity=0.12, clip=True).encode(
            y=alt.Y("low:Q", title="regret (points)", scale=shown), y2="high:Q"
        )
        line = base.mark_line(clip=True).encode(
            y=alt.Y("regret:Q", title="regret (points)", scale=shown),
            strokeDash=_dash("arm", arms),
        )
        charts.append(alt.layer(band, line).properties(title=title, width=240, height=240))
    whole: alt.ConcatChart = alt.concat(*charts, columns=3)
    return whole


def pruning() -> alt.HConcatChart:
    """Draw the accuracy after removing blocks and recovery, by order."""
    charts = []
    for group in groups_of(REMOVAL_FILES):
        rows = [
            {"order": label, "removed": int(k), "accuracy": 100 * accuracy}
            for order, label in ORDERS.items()
            for k, accuracy in (("0", group["whole"]["after"]["mean"]), *_accuracies(group, order))
        ]
        orders = list(ORDERS.values())
        chart = (
            alt.Chart(alt.InlineData(values=rows))
            .mark_line(point=True)
            .encode(
                x=alt.X("removed:Q", title="blocks removed", axis=alt.Axis(tickMinStep=1)),
                y=alt.Y("accuracy:Q", title="test accuracy (%)", scale=alt.Scale(zero=False)),
                color=_colour("order", orders),
                strokeDash=_dash("order", orders),
            )
            .properties(title=group["family"], width=180, height=220)
        )
        charts.append(chart)
    whole: alt.HConcatChart = alt.hconcat(*charts)
    return whole


def _accuracies(group: Figures, order: str) -> Iterator[tuple[str, float]]:
    for k, removed in group["removed"].items():
        if order in removed["accuracy"]:
            yield k, removed["accuracy"][order][RECOVERED]["mean"]


ALL: dict[str, Callable[[], alt.HConcatChart | alt.ConcatChart]] = {
    "law": law,
    "leads": leads,
    "payoff": payoff,
    "pruning": pruning,
}


WORDS = {
    "law": "log D falls nearly straight for three optimisers at 4, 8 and 20 layers, and ever "
    "further over the epochs",
    "leads": "lead of the design score over validation accuracy in each pool, with intervals",
    "payoff": "regret against the processor time spent, for five ways to search",
    "pruning": "test accuracy after recovery against the blocks removed, for each kind of network",
}
"""The pictures in words, for readers who cannot see them."""


def embedded(name: str) -> Iterator[str]:
    """Yield the lines of a document that show a picture."""
    yield from ("", f"![{WORDS[name]}](evidence/{name}.svg)", "")


def _colour(field: str, kinds: list[str]) -> alt.Color:
    scale = alt.Scale(domain=kinds, range=COLOURS[: len(kinds)])
    legend = alt.Legend(
        orient="bottom", title=None, symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1
    )
    return alt.Color(f"{field}:N", scale=scale, legend=legend)


def _dash(field: str, kinds: list[str]) -> alt.StrokeDash:
    scale = alt.Scale(domain=kinds, range=DASHES[: len(kinds)])
    return alt.StrokeDash(f"{field}:N", scale=scale, legend=None)
