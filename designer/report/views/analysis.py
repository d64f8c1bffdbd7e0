"""The view of an analysis: what each block of one model does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from designer.report.figures.network import network_figures
from designer.report.views.diagnosis import diagnosis_in_short, diagnosis_lines
from designer.report.views.network import (
    NOT_A_LAW,
    ONE_AT_A_TIME,
    advice_lines,
    advice_title,
    coverage_sentence,
    is_edit,
    law_figures,
    law_in_a_word,
    law_sentence,
    law_status_in_words,
    layer_views,
    need_sentence,
    separation_sparklines,
    shares_note,
    stages_table,
)
from designer.report.views.page import (
    NetworkView,
    ReportView,
    Tile,
    provenance_table,
    readable,
    short_count,
)
from designer.report.words import number
from designer.results.analysis import AnalysisResult, ModelSummary
from designer.results.diagnosis import WHOLE_FIRST
from designer.results.layers import LayerReport
from designer.results.measured import Verdict


def analysis_view(result: AnalysisResult) -> ReportView:
    """Return what every renderer shows of an analysis, with all text on one line."""
    network = NetworkView(
        heading=f"{result.model.kind}, block by block",
        reason=_model_sentence(result.model),
        law=law_sentence(result.law),
        need=need_sentence(result.layers),
        layers=tuple(layer_views(result.input, result.layers)),
        advice=tuple(advice_lines(result.layers)),
        stages=stages_table(result.stages),
        sparklines=separation_sparklines(result.input, result.layers),
        figures=network_figures("", result.input, result.layers, result.law),
        diagnosis=tuple(diagnosis_lines(result.diagnosis)),
        advice_title=advice_title(result.layers),
    )
    view = ReportView(
        title=f"Analysis: {result.model.name} on {result.data.name}",
        headline=_analysis_headline(result),
        facts=tuple(_analysis_facts(result)),
        warnings=tuple(warning.message for warning in result.warnings),
        sections=(network,),
        notes=tuple(_analysis_notes(result)),
        tiles=tuple(_analysis_tiles(result)),
        provenance=provenance_table(result.data.fingerprint, result.versions),
        command=result.command,
    )
    return readable(view)


def _analysis_tiles(result: AnalysisResult) -> Iterator[Tile]:
    yield Tile("blocks", str(len(result.layers)))
    yield Tile("parameters", short_count(result.model.parameters))
    for part, accuracy in (
        ("training", result.model.accuracy),
        (result.data.heldout_part, result.model.accuracy_heldout),
    ):
        if accuracy is not None:
            yield Tile(f"{part} accuracy", f"{100 * accuracy:.1f} %")
    for part, perplexity in (
        ("training", result.model.perplexity),
        (result.data.heldout_part, result.model.perplexity_heldout),
    ):
        if perplexity is not None:
            yield Tile(f"{part} perplexity", number(perplexity))
    yield Tile("the law", law_in_a_word(result.law), f"rho {number(result.law.rho)} per layer")


def _analysis_headline(result: AnalysisResult) -> str:
    at_chance = any(warning.code == "model_at_chance" for warning in result.warnings)
    start = "The model is no better than chance. " if at_chance else ""
    blocks = "1 block" if len(result.layers) == 1 else f"{len(result.layers)} blocks"
    start += diagnosis_in_short(result.diagnosis)
    law = f"{start}The law {law_status_in_words(result.law)} over {blocks}"
    needs = (_needed_in_short(result.layers), _changes_in_short(result.layers))
    return f"{'; '.join(filter(None, (law, *needs, _tunnel_in_short(result))))}."


def _needed_in_short(layers: Sequence[LayerReport]) -> str:
    """Return how many blocks are needed and idle; nothing where no contribution was measured."""
    if not any(layer.contribution for layer in layers):
        return ""
    needed = sum(_is_needed(layer) for layer in layers)
    idle = sum(layer.verdict is Verdict.IDLE for layer in layers)
    text = f"{needed} {'is' if needed == 1 else 'are'} needed"
    return f"{text} and {idle} idle" if idle else text


def _changes_in_short(layers: Sequence[LayerReport]) -> str:
    """Return how many blocks to change; idle blocks, which can only save size, do not count.

    Nothing where there is no advice on single blocks, because the network as a whole comes first.
    """
    if any(layer.advice == WHOLE_FIRST for layer in layers):
        return ""
    changes = sum(is_edit(layer.advice) for layer in layers if layer.verdict != Verdict.IDLE)
    advised = {0: "no block needs a change", 1: "1 block needs a change"}
    return advised.get(changes, f"{changes} blocks need a change")


def _tunnel_in_short(result: AnalysisResult) -> str:
    """Return how many blocks improve separation no further; nothing if all of them do."""
    beyond = len(result.tunnel.blocks) if result.tunnel else 0
    if not beyond:
        return ""
    behind = result.layers[-beyond:]
    last = "the last one separates" if beyond == 1 else f"the last {beyond} separate"
    needed = sum(_is_needed(layer) for layer in behind)
    all_of_them = "it is" if beyond == 1 else ("all are" if beyond == needed else "")
    counted = all_of_them or f"{needed} of them {'is' if needed == 1 else 'are'}"
    return f"{last} held-out data no further{f', but {counted} needed' if needed else ''}"


def _is_needed(layer: LayerReport) -> bool:
    return layer.contribution is not None and layer.contribution.needed


def _analysis_facts(result: AnalysisResult) -> Iterator[str]:
    data = result.data
    heldout = f" and {data.heldout:,} {data.heldout_part}" if data.heldout else ""
    classes = f" in {data.num_classes} classes" if data.num_classes else ""
    chance = f" Chance is {100 * data.chance:.1f} %." if data.chance is not None else ""
    scaling = f" Scaling: {data.scaling}." if data.scaling else ""
    yield (
        f"Data: {data.train:,} training{heldout} samples{classes}.{chance} Features: "
        f"{result.features}.{scaling}"
    )
    if result.tunnel is not None:
        yield result.tunnel.reason
    if result.law_heldout is not None:
        yield f"The law on {data.heldout_part} data: {law_figures(result.law_heldout)}"


def _model_sentence(model: ModelSummary) -> str:
    weights = f" and weights from {model.weights}" if model.weights else ""
    accuracies = [
        f"{100 * accuracy:.1f} % on {part} data"
        for part, accuracy in (("training", model.accuracy), ("held-out", model.accuracy_heldout))
        if accuracy is not None
    ]
    accuracy = f"Its accuracy is {' and '.join(accuracies)}." if accuracies else ""
    perplexities = [
        f"{number(perplexity)} on {part} data"
        for part, perplexity in (
            ("training", model.perplexity),
            ("held-out", model.perplexity_heldout),
        )
        if perplexity is not None
    ]
    perplexity = f"Its perplexity is {' and '.join(perplexities)}." if perplexities else ""
    size = f"The model has {model.parameters:,} parameters{weights}."
    coverage = coverage_sentence(model.coverage, embeddings=model.embedding_parameters > 0)
    return " ".join(filter(None, (size, coverage, perplexity, accuracy)))


def _analysis_notes(result: AnalysisResult) -> Iterator[str]:
    if result.measure == "residual":
        yield (
            "D is the prediction residual here: 1 - R^2 of a linear prediction of the target from "
            "a layer's features."
        )
    yield shares_note("samples")
    if any(layer.contribution for layer in result.layers):
        yield ONE_AT_A_TIME
    yield NOT_A_LAW
