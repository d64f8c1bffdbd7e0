"""Words, rows and tables about the layers of one network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from designer.report.figures.figure import Spark, TableView, level, sparks_of
from designer.report.views.page import LayerView
from designer.report.words import MISSING, interval_text, number
from designer.results.layers import InputReport, LawSummary, LayerReport, StageLaw
from designer.results.measured import Verdict

NOT_A_LAW = (
    "Equal steps are what was measured in many well-trained networks, not a law of nature: "
    "late blocks may add little to what held-out data show."
)


def separation_sparks(
    first: InputReport | None, layers: Sequence[LayerReport]
) -> tuple[Spark, ...]:
    reports: list[InputReport | LayerReport] = [*([first] if first else []), *layers]
    return sparks_of(
        {
            "training": [one.separation for one in reports],
            "held-out": [one.separation_heldout for one in reports],
        }
    )


def advice_lines(layers: Sequence[LayerReport]) -> Iterator[str]:
    alike: dict[tuple[Verdict, str], list[str]] = {}
    for layer in layers:
        if layer.advice != "keep":
            alike.setdefault((layer.verdict, layer.advice), []).append(layer.name)
    for (verdict, advice), names in alike.items():
        yield f"{', '.join(names)} ({verdict}): {advice}"


def stages_table(stages: Sequence[StageLaw]) -> TableView:
    rows = tuple(
        (
            stage.name or stage.blocks[0],
            stage.kind,
            str(len(stage.blocks)),
            number(stage.law.rho),
            number(stage.law.total_reduction),
            number(stage.law.uniformity) if len(stage.blocks) > 1 else MISSING,
        )
        for stage in stages
    )
    columns = ("stage", "kind", "blocks", "rho", "reduction", "unif.")
    return TableView("The law per stage", columns, rows, frozenset(columns[2:]))


def layer_views(first: InputReport | None, layers: Sequence[LayerReport]) -> Iterator[LayerView]:
    values = [layer.separation for layer in layers]
    if first is not None:
        values.append(first.separation)
        yield LayerView(
            name="input",
            width=str(first.width),
            bar=level(first.separation, values),
            separation=number(first.separation),
            heldout=number(first.separation_heldout),
            null=number(first.separation_null),
            step="",
            share="",
            interval="",
            verdict=None,
            advice="",
        )
    for layer in layers:
        yield _layer(layer, level(layer.separation, values))


def _layer(layer: LayerReport, bar: float | None) -> LayerView:
    return LayerView(
        name=layer.name,
        width=str(layer.width),
        bar=bar,
        separation=number(layer.separation),
        heldout=number(layer.separation_heldout),
        null=number(layer.separation_null),
        step=number(layer.step),
        share=number(layer.share),
        interval=interval_text(layer.interval),
        verdict=layer.verdict,
        advice=layer.advice.partition(":")[0],
    )


def law_sentence(law: LawSummary) -> str:
    return f"The law {law_status_in_words(law)}: {law_figures(law)} {law.reason}".strip()


def law_figures(law: LawSummary) -> str:
    return (
        f"rho {number(law.rho)}, half-life {number(law.half_life)} layers, "
        f"uniformity {number(law.uniformity)}, r {number(law.r, 3)}, total reduction "
        f"{number(law.total_reduction)} nats."
    )


def law_in_a_word(law: LawSummary) -> str:
    """Whether it holds, where there is no room for more."""
    return {
        "holds": "holds",
        "does not hold": "does not hold",
        "too few layers": "too few layers",
        "not decreasing": "does not hold",
        "degenerate": "not measured",
    }[law.status]


def law_status_in_words(law: LawSummary) -> str:
    return {
        "holds": "holds",
        "does not hold": "does not hold",
        "too few layers": "cannot be judged (too few layers)",
        "not decreasing": "does not hold (D does not fall)",
        "degenerate": "cannot be judged (degenerate)",
    }[law.status]
