"""The view of an analysis."""

from __future__ import annotations

from collections.abc import Iterator

from designer.errors import one_line
from designer.report.figures.network import network_figures
from designer.report.views.network import (
    NOT_A_LAW,
    advice_lines,
    law_figures,
    law_in_a_word,
    law_sentence,
    law_status_in_words,
    layer_views,
    separation_sparks,
    stages_table,
)
from designer.report.views.page import (
    NetworkView,
    ReportView,
    Tile,
    made_of,
    rewritten,
    short_count,
)
from designer.report.words import number
from designer.results.analysis import AnalysisResult, ModelSummary


def analysis_view(result: AnalysisResult) -> ReportView:
    """The view of a look inside one model; all its text is ``one_line``."""
    network = NetworkView(
        heading=f"{result.model.kind}, block by block",
        reason=_model_sentence(result.model),
        law=law_sentence(result.law),
        layers=tuple(layer_views(result.input, result.layers)),
        advice=tuple(advice_lines(result.layers)),
        stages=stages_table(result.stages),
        sparks=separation_sparks(result.input, result.layers),
        figures=network_figures("", result.input, result.layers, result.law),
    )
    view = ReportView(
        title=f"Analysis: {result.model.name} on {result.data.name}",
        headline=_analysis_headline(result),
        facts=tuple(_analysis_facts(result)),
        warnings=tuple(warning.message for warning in result.warnings),
        sections=(network,),
        notes=tuple(_analysis_notes(result)),
        tiles=tuple(_analysis_tiles(result)),
        made=made_of(result.data.fingerprint, result.versions),
        command=result.command,
    )
    plain: ReportView = rewritten(view, one_line)
    return plain


def _analysis_tiles(result: AnalysisResult) -> Iterator[Tile]:
    yield Tile("blocks", str(len(result.layers)))
    yield Tile("parameters", short_count(result.model.parameters))
    for part, accuracy in (
        ("training", result.model.accuracy),
        (result.data.heldout_part, result.model.accuracy_heldout),
    ):
        if accuracy is not None:
            yield Tile(f"{part} accuracy", f"{100 * accuracy:.1f} %")
    yield Tile("the law", law_in_a_word(result.law), f"rho {number(result.law.rho)} per layer")


def _analysis_headline(result: AnalysisResult) -> str:
    kinds = [layer.advice.partition(":")[0] for layer in result.layers]
    changes = sum(kind not in {"keep", "measure again"} for kind in kinds)
    advised = {0: "no block asks for a change", 1: "1 block asks for a change"}
    beyond = len(result.tunnel.blocks) if result.tunnel else 0
    tunnel = {0: "", 1: "; the last one adds nothing on held-out data"}
    at_chance = any(warning.code == "model_at_chance" for warning in result.warnings)
    start = "The model is no better than chance. " if at_chance else ""
    blocks = "1 block" if len(result.layers) == 1 else f"{len(result.layers)} blocks"
    return (
        f"{start}The law {law_status_in_words(result.law)} over {blocks}; "
        f"{advised.get(changes, f'{changes} blocks ask for a change')}"
        f"{tunnel.get(beyond, f'; the last {beyond} add nothing on held-out data')}."
    )


def _analysis_facts(result: AnalysisResult) -> Iterator[str]:
    data = result.data
    held = f" and {data.heldout:,} {data.heldout_part}" if data.heldout else ""
    classes = f" in {data.num_classes} classes" if data.num_classes else ""
    chance = f"; chance is {100 * data.chance:.1f} %" if data.chance is not None else ""
    scaling = f"; scaling: {data.scaling}" if data.scaling else ""
    yield (
        f"{data.train:,} training{held} samples{classes}{chance}; features: "
        f"{result.features}{scaling}."
    )
    if result.tunnel is not None:
        yield result.tunnel.reason
    if result.law_heldout is not None:
        yield f"On {data.heldout_part} data: {law_figures(result.law_heldout)}"


def _model_sentence(model: ModelSummary) -> str:
    weights = f", weights from {model.weights}" if model.weights else ""
    correct = [
        f"{100 * accuracy:.1f} % on {part} data"
        for part, accuracy in (("training", model.accuracy), ("held-out", model.accuracy_heldout))
        if accuracy is not None
    ]
    right = f"; it is right on {' and '.join(correct)}".replace("on ", "", 1) if correct else ""
    return f"{model.parameters:,} parameters{weights}{right}."


def _analysis_notes(result: AnalysisResult) -> Iterator[str]:
    if result.measure == "residual":
        yield (
            "D stands for the prediction residual, 1 - R^2 of a linear prediction of the target "
            "from a layer's features."
        )
    yield (
        "A step is log D before a block minus log D after it, on training data; a share is the "
        "step over the mean step, with its 95 % interval over samples. Shares below 0.5 are low "
        "and above 2 high, where the whole interval says so."
    )
    yield NOT_A_LAW
