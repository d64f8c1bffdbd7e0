"""Sentences, rows and tables about the layers of one network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from designer.report.figures.figure import Sparkline, TableView, log_level, sparklines_of
from designer.report.views.page import LayerView
from designer.report.words import MISSING, interval_text, number
from designer.results.contribution import Contribution
from designer.results.effects import decisive_effect, losses_in_words
from designer.results.layers import InputReport, LawSummary, LayerReport, StageLaw
from designer.results.measured import HIGH_SHARE, LOW_SHARE, Verdict

ONE_AT_A_TIME = (
    "The contribution of a block is the rise of cross-entropy on held-out data, in nats, if the "
    "block is left out and nothing is trained, with a 95 % interval; without logits it is the rise "
    "of log D at the end. Each block was left out alone: two idle blocks may stand in for each "
    "other."
)
"""The note that explains contributions."""

NOT_A_LAW = (
    "Equal steps were measured in many well-trained networks, but they are not a law of nature: "
    "late blocks may improve little on held-out data."
)

ACTIONS = {
    "keep": "Keep {}",
    "remove": "Remove {}",
    "narrow": "Narrow {}",
    "widen": "Widen {}",
    "insert": "Insert a layer after {}",
    "measure again": "Measure {} again",
}
"""What an advice says to do with blocks, by the words before its colon."""


ADVICE = "Advice on single blocks:"
"""The title of advice that names an edit, where some of it was tried."""

NOT_TRIED = "Advice on single blocks (not tried by training anew):"
"""The same where nothing was tried."""


def shares_note(variation: str) -> str:
    """Return the note that explains steps, shares and verdicts.

    Args:
        variation: what the 95 % interval covers, such as ``samples and seeds``.
    """
    return (
        f"The step of a block is log D before the block minus log D after it, on training data. "
        f"Its share is its step divided by the mean step, with a 95 % interval over {variation}. "
        f"A share is low if its whole interval lies below {LOW_SHARE:g}, and high if its whole "
        f"interval lies above {HIGH_SHARE:g}."
    )


def separation_sparklines(
    first: InputReport | None, layers: Sequence[LayerReport]
) -> tuple[Sparkline, ...]:
    """Return log D on training and on held-out data, on the same scale.

    Args:
        first: the input of the first block; None where it was not measured.
        layers: the blocks in running order.
    """
    reports: list[InputReport | LayerReport] = [*([first] if first else []), *layers]
    return sparklines_of(
        {
            "training": [report.separation for report in reports],
            "held-out": [report.separation_heldout for report in reports],
        }
    )


def advice_lines(layers: Sequence[LayerReport]) -> Iterator[str]:
    """Yield a sentence for each advice, with all blocks that it is for; none for a plain "keep"."""
    any_tried = any(layer.outcome for layer in layers)
    names_by_advice: dict[tuple[str, str], dict[Verdict, list[str]]] = {}
    for layer in layers:
        if layer.advice != "keep":
            names_by_verdict = names_by_advice.setdefault((layer.advice, layer.outcome), {})
            names_by_verdict.setdefault(layer.verdict, []).append(layer.name)
    for (advice, outcome), names_by_verdict in names_by_advice.items():
        action, _, reason = advice.partition(": ")
        blocks = ", ".join(
            f"{', '.join(names)} ({verdict})" for verdict, names in names_by_verdict.items()
        )
        untried = " Not tried." if any_tried and is_edit(advice) else ""
        tried = f" Tried: {outcome}." if outcome else untried
        yield f"{ACTIONS.get(action, f'{action} {{}}').replace('{}', blocks)}: {reason}.{tried}"


def advice_title(layers: Sequence[LayerReport]) -> str:
    """Return the title of the advice, which says if nothing was tried; empty without any edit."""
    if not any(is_edit(layer.advice) for layer in layers):
        return ""
    return ADVICE if any(layer.outcome for layer in layers) else NOT_TRIED


def is_edit(advice: str) -> bool:
    """Return True if an advice says to change the network."""
    return advice.partition(":")[0] not in {"keep", "measure again"}


def stages_table(stages: Sequence[StageLaw]) -> TableView:
    """Return the law in each stage of a network; without rows where there are no stages."""
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
    return TableView("The law in each stage", columns, rows, frozenset(columns[2:]))


def layer_views(first: InputReport | None, layers: Sequence[LayerReport]) -> Iterator[LayerView]:
    """Yield the rows of the table of layers.

    Args:
        first: the input of the first block, which is the first row; None where it was not
            measured.
        layers: the blocks in running order.
    """
    values = [layer.separation for layer in layers]
    tried = any(layer.contribution is not None for layer in layers)
    if first is not None:
        values.append(first.separation)
        yield _input_row(first, log_level(first.separation, values))
    for layer in layers:
        yield _layer_row(layer, log_level(layer.separation, values), tried=tried)


def _input_row(first: InputReport, bar: float | None) -> LayerView:
    return LayerView(
        name="input",
        width=str(first.width),
        bar=bar,
        separation=number(first.separation),
        heldout=number(first.separation_heldout),
        null=number(first.separation_null),
        step="",
        share="",
        interval="",
        contribution="",
        contribution_interval="",
        accuracy_change="",
        verdict=None,
        advice="",
    )


def _layer_row(layer: LayerReport, bar: float | None, *, tried: bool) -> LayerView:
    contribution = layer.contribution
    effect = decisive_effect(contribution)
    accuracy = None if contribution is None else contribution.accuracy
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
        contribution=number(effect.value if effect else None) if tried else "",
        contribution_interval=interval_text(effect.interval if effect else None) if tried else "",
        accuracy_change=number(100 * accuracy.value if accuracy else None, 1) if tried else "",
        verdict=layer.verdict,
        advice=layer.advice.partition(":")[0],
    )


def need_sentence(layers: Sequence[LayerReport]) -> str:
    """Return which blocks the network needs, which are idle, and for which that is open.

    Where there is no contribution, return why; nothing for reports of earlier versions.
    """
    tried = {layer.name: c for layer in layers if (c := layer.contribution) is not None}
    needed = {name: contribution for name, contribution in tried.items() if contribution.needed}
    idle = [layer.name for layer in layers if layer.verdict is Verdict.IDLE]
    undecided = [name for name in tried if name not in {*needed, *idle}]
    sentences = [
        _needed_blocks(needed, len(layers)) if tried else "",
        f"Idle: {', '.join(idle)}." if idle else "",
        f"Not clear: {', '.join(undecided)}." if undecided else "",
        *_untried_blocks(layers),
    ]
    return " ".join(filter(None, sentences))


def _needed_blocks(needed: Mapping[str, Contribution], count: int) -> str:
    """Return how many blocks are needed, and which of them most of all, in a sentence."""
    if not needed:
        return "Left out one at a time, no block is surely needed."
    effects = {name: decisive_effect(contribution) for name, contribution in needed.items()}
    top = max(needed, key=lambda name: effect.value if (effect := effects[name]) else 0.0)
    which = f"is needed, {top}" if len(needed) == 1 else f"are needed, most of all {top}"
    counted = "the only block" if count == 1 else f"{len(needed)} of {count} blocks"
    return f"Left out one at a time, {counted} {which}: without it {losses_in_words(needed[top])}."


def _untried_blocks(layers: Sequence[LayerReport]) -> Iterator[str]:
    """Yield a sentence for each reason why blocks have no contribution."""
    names_by_reason: dict[str, list[str]] = {}
    for layer in layers:
        if layer.contribution is None and layer.contribution_reason:
            names_by_reason.setdefault(layer.contribution_reason, []).append(layer.name)
    for reason, names in names_by_reason.items():
        blocks = f" of {', '.join(names)}" if len(names) < len(layers) else ""
        yield f"The contribution{blocks} is not known. {reason}"


def coverage_sentence(coverage: float | None, *, embeddings: bool = False) -> str:
    """Return how much of a network its blocks hold, in a sentence; empty if that is not known.

    Args:
        coverage: share of the parameters outside of embeddings that lie in blocks.
        embeddings: True if the network has embeddings.
    """
    if coverage is None:
        return ""
    outside = " outside of embeddings" if embeddings else ""
    return f"The blocks hold {100 * coverage:.0f} % of the parameters{outside}."


def law_sentence(law: LawSummary) -> str:
    """Return whether the law holds, its numbers and the reason, in sentences."""
    return f"The law {law_status_in_words(law)}: {law_figures(law)} {law.reason}".strip()


def law_figures(law: LawSummary) -> str:
    """Return the numbers of a fitted law, with a full stop at the end."""
    return (
        f"rho {number(law.rho)}, half-life {number(law.half_life)} layers, "
        f"uniformity {number(law.uniformity)}, r {number(law.r, 3)}, total reduction "
        f"{number(law.total_reduction)} nats."
    )


def law_in_a_word(law: LawSummary) -> str:
    """Return whether the law holds in two or three words, for tables."""
    return {
        "holds": "holds",
        "does not hold": "does not hold",
        "too few layers": "too few layers",
        "not decreasing": "does not hold",
        "degenerate": "not measured",
    }[law.status]


def law_status_in_words(law: LawSummary) -> str:
    """Return whether the law holds, as the predicate of a sentence that begins "The law"."""
    return {
        "holds": "holds",
        "does not hold": "does not hold",
        "too few layers": "cannot be judged (too few layers)",
        "not decreasing": "does not hold (D does not fall)",
        "degenerate": "cannot be judged (log D does not exist at every layer)",
    }[law.status]
