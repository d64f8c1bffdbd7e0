"""What a report says, in words and rows: one view that every renderer draws.

A renderer decides on borders, colours and bars; which figures are shown, in what order and
with how many digits is decided here, once.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from typing import Any

from designer.report.figures import (
    Figure,
    Spark,
    TableView,
    agreement_figure,
    before_after,
    known_figures,
    level,
    network_figures,
    sizes_figure,
    sparks_of,
    steps_figure,
    trials_figure,
)
from designer.report.words import (
    MISSING,
    interval_text,
    number,
    one_line,
    percent,
    spec_label,
)
from designer.results import (
    AnalysisResult,
    BlockProposal,
    InputReport,
    LawSummary,
    LayerReport,
    Measured,
    ModelSummary,
    NetworkFigures,
    Proportion,
    PruningReport,
    Recommendation,
    SearchResult,
    StageLaw,
    StudySummary,
    Verdict,
)

TRIALS_SHOWN = 5

NOT_A_LAW = (
    "Equal steps are what was measured in many well-trained networks, not a law of nature: "
    "late blocks may add little to what held-out data show."
)

ORIGINAL = "original"
"""Network that the others are compared with."""

UNITS = ((12, "T"), (9, "G"), (6, "M"))
"""Powers of ten."""

OWN_COLUMN = {"block-influence": "influence", "ablation": "loss"}
"""Criteria for pruning that are no steps."""

NOTHING = TableView("", (), ())
"""A table that is not drawn."""

CRITERIA = {
    "design_score": "design score",
    "heldout_separation": "held-out separation",
    "adherence": "adherence to the law",
    "training_loss": "summed training loss (negated)",
    "parameters": "parameters",
    "depth": "depth",
}


@dataclass(frozen=True)
class LayerView:
    """One line of a recommendation's layers; the first is the input."""

    name: str
    width: str
    bar: float | None
    """log D, 0 for the least and 1 for the largest in this network; None without D."""
    separation: str
    heldout: str
    null: str
    step: str
    share: str
    interval: str
    verdict: Verdict | None
    advice: str
    """The first word of the advice."""


@dataclass(frozen=True)
class Tile:
    """A figure that stands out."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class NetworkView:
    """One network with its layers."""

    heading: str
    reason: str
    law: str
    layers: tuple[LayerView, ...]
    advice: tuple[str, ...]
    """A full sentence for every layer that is not simply to be kept."""
    stages: TableView
    """The law in each stage; without rows where there are no stages."""
    sparks: tuple[Spark, ...] = ()
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class ReportView:
    """The whole report in reading order; tables without rows are not drawn."""

    title: str
    headline: str
    facts: tuple[str, ...]
    warnings: tuple[str, ...]
    sections: tuple[TableView | NetworkView, ...]
    notes: tuple[str, ...]
    tiles: tuple[Tile, ...] = ()
    """The recommendation, or the model, in a few figures."""
    made: TableView = NOTHING
    """Seeds, versions, data."""
    command: str = ""
    """That makes it again; empty where that is not known."""


def report_view(result: SearchResult) -> ReportView:
    """The view of a search result; all its text is ``one_line``."""
    study = result.study
    view = ReportView(
        title=f"Design report: {study.data}, space {study.space}",
        headline=_headline(result),
        facts=tuple(_facts(result)),
        warnings=tuple(warning.message for warning in result.warnings),
        sections=(
            _recommendations(result.recommendations),
            *map(_detail, result.recommendations),
            _trials(result),
            _criterion(result),
        ),
        notes=tuple(_notes(result)),
        tiles=tuple(_tiles(result)),
        made=_made_search(result.study),
        command=search_command(result.study),
    )
    plain: ReportView = rewritten(view, one_line)
    return plain


def analysis_view(result: AnalysisResult) -> ReportView:
    """The view of a look inside one model; all its text is ``one_line``."""
    network = NetworkView(
        heading=f"{result.model.kind}, block by block",
        reason=_model_sentence(result.model),
        law=_law_sentence(result.law),
        layers=tuple(_layers(result.input, result.layers)),
        advice=tuple(_advice(result.layers)),
        stages=_stages(result.stages),
        sparks=_sparks(result.input, result.layers),
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


def pruning_view(report: PruningReport) -> ReportView:
    """The view of what was removed from a model; all its text is ``one_line``."""
    view = ReportView(
        title=f"Pruning: {report.model.name} on {report.data.name}",
        headline=report.conclusion,
        facts=tuple(_pruning_facts(report)),
        warnings=tuple(warning.message for warning in report.warnings),
        sections=(
            *_networks(report.networks),
            _proposal(report),
            _ways(report.blocks),
            _removal_trials(report),
        ),
        notes=tuple(_pruning_notes(report)),
        tiles=tuple(_pruning_tiles(report)),
        made=made_of(report.data.fingerprint, report.versions, report.settings),
        command=report.command,
    )
    plain: ReportView = rewritten(view, one_line)
    return plain


def figures_of(view: ReportView) -> Iterator[Figure]:
    """All charts of a view, in reading order."""
    for section in view.sections:
        yield from section.figures


def rewritten(view: Any, change: Callable[[str], str]) -> Any:
    """A copy of a view, or of a part of one, with ``change`` applied to every text in it."""
    if isinstance(view, str) and not isinstance(view, Enum):
        return change(view)
    if isinstance(view, tuple):
        return tuple(rewritten(part, change) for part in view)
    if is_dataclass(view) and not isinstance(view, type):
        parts = {field.name: getattr(view, field.name) for field in fields(view)}
        return replace(view, **{name: rewritten(part, change) for name, part in parts.items()})
    return view


def _tiles(result: SearchResult) -> Iterator[Tile]:
    if not result.recommendations:
        return
    best = result.recommendations[0]
    yield Tile("parameters", f"{best.parameters:,}", f"{_count(best.flops)} operations")
    yield Tile("validation accuracy", f"{percent(best.validation_accuracy)} %", _seeds(best))
    if best.test_accuracy is not None:
        yield Tile("test accuracy", f"{percent(best.test_accuracy)} %", "looked at once")
    yield Tile("design score", number(best.score, 3), "1 is perfect")
    yield Tile("the law", law_in_a_word(best.law), f"rho {number(best.law.rho)} per layer")


def _seeds(one: Recommendation) -> str:
    seeds = one.validation_accuracy.seeds
    return f"mean ± sd over {seeds} seeds" if seeds > 1 else "one seed"


def _analysis_tiles(result: AnalysisResult) -> Iterator[Tile]:
    yield Tile("blocks", str(len(result.layers)))
    yield Tile("parameters", _count(result.model.parameters))
    for part, accuracy in (
        ("training", result.model.accuracy),
        (result.data.heldout_part, result.model.accuracy_heldout),
    ):
        if accuracy is not None:
            yield Tile(f"{part} accuracy", f"{100 * accuracy:.1f} %")
    yield Tile("the law", law_in_a_word(result.law), f"rho {number(result.law.rho)} per layer")


def _pruning_tiles(report: PruningReport) -> Iterator[Tile]:
    by_name = {one.name: one for one in report.networks}
    original, pruned = by_name.get(ORIGINAL), by_name.get("pruned")
    if original is None or pruned is None:
        return
    yield Tile("blocks", str(pruned.blocks), f"of {original.blocks}")
    for what, before, after in (
        ("parameters", original.parameters, pruned.parameters),
        ("operations", original.flops, pruned.flops),
    ):
        share = f"{100 * after / max(before, 1):.0f} % of {_count(before)}"
        yield Tile(what, _count(after), share)
    if pruned.latency is not None:
        yield Tile("time", f"{pruned.latency:.2f}", "of the original's")
    accuracy = pruned.validation_accuracy
    lost = f"{_points(pruned.drop, '+')} points lost"
    yield Tile("validation accuracy", f"{100 * accuracy.value:.1f} %", lost)


def _made_search(study: StudySummary) -> TableView:
    counts = study.trials
    said = {
        "seed": str(study.seed),
        "trials": f"{counts.complete} complete, {counts.pruned} pruned, {counts.failed} failed",
        "epochs": str(study.epochs),
        "time": f"{study.seconds:.0f} s of training and measuring",
        "search space": str(study.settings.get("space_definition", study.space)),
    }
    fingerprint = study.dataset.fingerprint if study.dataset is not None else ""
    return made_of(fingerprint, study.versions, said)


def made_of(
    fingerprint: str, versions: Mapping[str, str], settings: Mapping[str, Any] | None = None
) -> TableView:
    """With what a report was made: settings, data, versions."""
    rows = {
        **{name.replace("_", " "): str(value) for name, value in (settings or {}).items()},
        **({"data fingerprint": fingerprint} if fingerprint else {}),
        **({"versions": ", ".join(f"{k} {v}" for k, v in versions.items())} if versions else {}),
    }
    return TableView("How it was made", ("what", "value"), tuple(rows.items()))


SEARCH_OPTIONS = {
    "data_train_size": ("--train-size", None),
    "data_image_size": ("--image-size", None),
    "data_validation_fraction": ("--validation-fraction", 0.25),
    "data_shuffle_labels": ("--shuffle-labels", False),
    "objective": ("--objective", "design"),
    "batch_size": ("--batch-size", 128),
    "max_params": ("--max-params", None),
    "max_flops": ("--max-flops", None),
    "prune": ("--prune", False),
    "augment": ("--augment", "none"),
    "workers": ("--workers", 1),
    "device": ("--device", "cpu"),
}
"""Options of ``designer search`` by the setting that they fix, and their defaults."""


def search_command(study: StudySummary) -> str:
    """The command that makes a search again; empty where its settings were not kept."""
    known = study.settings
    if "data_source" not in known:
        return ""
    said = ["designer", "search", "--data", str(known["data_source"])]
    said += ["--space", str(known["space"]), "--trials", str(known["trials"])]
    said += ["--epochs", str(study.epochs), "--seed", str(study.seed)]
    for setting, (option, default) in SEARCH_OPTIONS.items():
        value = known.get(setting, default)
        if value != default:
            said += [option] if value is True else [option, str(value)]
    confirmation = study.confirmation
    for name, option, default in (
        ("candidates", "--confirm", 5),
        ("epochs", "--confirm-epochs", 3 * study.epochs),
        ("seeds", "--confirm-seeds", 3),
    ):
        if confirmation.get(name, default) != default:
            said += [option, str(confirmation[name])]
    return shlex.join(said)


def _headline(result: SearchResult) -> str:
    if not result.recommendations:
        return "No architecture is recommended yet."
    best = result.recommendations[0]
    if not best.roles:
        return best.reason
    return (
        f"Recommended: {spec_label(best.spec)}: {percent(best.validation_accuracy)} % validation "
        f"accuracy with {best.parameters:,} parameters; the law {_holds(best.law)}."
    )


def _facts(result: SearchResult) -> Iterator[str]:
    study = result.study
    counts = study.trials
    yield (
        f"{counts.complete} trials complete, {counts.pruned} pruned, {counts.failed} failed, "
        f"{study.epochs} epochs each, objective {study.objective}, seed {study.seed}, "
        f"{study.seconds:.0f} s of training and measuring."
    )
    if study.dataset is not None:
        data = study.dataset
        yield (
            f"{data.train:,} training, {data.validation:,} validation and {data.test:,} test "
            f"samples in {data.num_classes} classes; chance is {100 * data.chance:.1f} %."
        )
    if study.confirmation and result.recommendations:
        yield (
            f"Confirmed with {study.confirmation['seeds']} fresh "
            f"{'seed' if study.confirmation['seeds'] == 1 else 'seeds'} of "
            f"{study.confirmation['epochs']} epochs; the test set was looked at only for these "
            f"recommendations."
        )


def _recommendations(recommendations: Sequence[Recommendation]) -> TableView:
    rows = tuple(
        (
            str(one.rank),
            spec_label(one.spec),
            f"{one.parameters:,}",
            percent(one.validation_accuracy),
            percent(one.test_accuracy),
            number(one.score, 3),
            number(one.law.rho),
            number(one.law.uniformity),
        )
        for one in recommendations
    )
    columns = ("#", "architecture", "params", "val %", "test %", "score", "rho", "unif.")
    called_good = any(one.roles for one in recommendations)
    return TableView(
        "Recommendations" if called_good else "Candidates, none of them recommended",
        columns,
        rows,
        frozenset(columns) - frozenset({"architecture"}),
    )


def _detail(one: Recommendation) -> NetworkView:
    return NetworkView(
        heading=f"{one.rank}. {spec_label(one.spec)}",
        reason=one.reason,
        law=_law_sentence(one.law),
        layers=tuple(_layers(one.input, one.layers)),
        advice=tuple(_advice(one.layers)),
        stages=_stages(one.stages),
        sparks=_sparks(one.input, one.layers),
        figures=network_figures(f"-{one.rank}", one.input, one.layers, one.law, one.emergence),
    )


def _sparks(first: InputReport | None, layers: Sequence[LayerReport]) -> tuple[Spark, ...]:
    reports: list[InputReport | LayerReport] = [*([first] if first else []), *layers]
    return sparks_of(
        {
            "training": [one.separation for one in reports],
            "held-out": [one.separation_heldout for one in reports],
        }
    )


def _advice(layers: Sequence[LayerReport]) -> Iterator[str]:
    alike: dict[tuple[Verdict, str], list[str]] = {}
    for layer in layers:
        if layer.advice != "keep":
            alike.setdefault((layer.verdict, layer.advice), []).append(layer.name)
    for (verdict, advice), names in alike.items():
        yield f"{', '.join(names)} ({verdict}): {advice}"


def _stages(stages: Sequence[StageLaw]) -> TableView:
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


def _layers(first: InputReport | None, layers: Sequence[LayerReport]) -> Iterator[LayerView]:
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


def _criterion(result: SearchResult) -> TableView:
    rows = tuple(
        (CRITERIA.get(name, name), number(one.spearman), interval_text(one.interval), str(one.n))
        for name, one in result.criterion.items()
    )
    table = TableView(
        "How each criterion agreed with validation accuracy over this study's trials",
        ("criterion", "Spearman", "95 % interval", "trials"),
        rows,
        frozenset({"Spearman", "95 % interval", "trials"}),
    )
    return replace(
        table, figures=known_figures(agreement_figure(result.criterion, CRITERIA, table))
    )


def _trials(result: SearchResult) -> TableView:
    trials = result.trials
    complete = [row for row in trials if row.state == "complete"]
    best = sorted(complete, key=lambda row: -(row.score if row.score is not None else -math.inf))
    rows = tuple(
        (
            str(row.number),
            spec_label(row.spec),
            f"{row.parameters:,}" if row.parameters is not None else MISSING,
            number(row.score, 3),
            number(None if row.validation_accuracy is None else 100 * row.validation_accuracy, 1),
        )
        for row in best[:TRIALS_SHOWN]
    )
    return TableView(
        f"Best {len(rows)} of {len(trials)} trials by design score",
        ("trial", "architecture", "params", "score", "val %"),
        rows,
        frozenset({"trial", "params", "score", "val %"}),
        background=bool(result.recommendations),
        figures=known_figures(trials_figure(trials, result.recommendations)),
    )


def _notes(result: SearchResult) -> Iterator[str]:
    if result.study.score_explanation:
        yield result.study.score_explanation
    yield (
        "A step is log D before a block minus log D after it, on training data; a share is the "
        "step over the mean step, with its 95 % interval over samples and seeds. Shares below "
        "0.5 are low and above 2 high, where the whole interval says so."
    )
    yield NOT_A_LAW
    layers = [layer for one in result.recommendations for layer in one.layers]
    if any(layer.advice.startswith(("remove", "narrow")) for layer in layers):
        yield (
            "To remove what is not needed and see what that costs: designer prune RUN/best/1 "
            "--max-drop 0.01, with the folder of this run for RUN; --narrow narrows, too."
        )


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
        f"{start}The law {_holds(result.law)} over {blocks}; "
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
        yield f"On {data.heldout_part} data: {_law_figures(result.law_heldout)}"


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


def _pruning_facts(report: PruningReport) -> Iterator[str]:
    data = report.data
    yield (
        f"{data.train:,} training and {data.heldout:,} validation samples in {data.num_classes} "
        f"classes; decided on validation data, criterion {report.criterion}."
    )
    if report.removed:
        yield f"Removed: {', '.join(report.removed)}."
    if report.fitted:
        yield f"Fitted to what they receive now: {', '.join(report.fitted)}."
    for layer, (before, after) in report.narrowed.items():
        yield f"Narrowed: {layer} from {before} to {after} units."


FIGURES: dict[str, Callable[[NetworkFigures], str]] = {
    "blocks": lambda one: str(one.blocks),
    "parameters": lambda one: _count(one.parameters),
    "FLOPs per sample": lambda one: _count(one.flops),
    "time": lambda one: "1.00" if one.latency is None else f"{one.latency:.2f}",
    "validation %": lambda one: _proportion(one.validation_accuracy),
    "points lost": lambda one: _points(None if one.name == ORIGINAL else one.drop, "+"),
    "at most": lambda one: _points(None if one.name == ORIGINAL else one.drop_bound),
    "test %": lambda one: _proportion(one.test_accuracy),
    "rho of the law": lambda one: number(one.law.rho) if one.law else MISSING,
}
"""What is said of every network, row by row."""


def _networks(networks: Sequence[NetworkFigures]) -> Iterator[TableView]:
    curves = {one.name: one.curve.separation for one in networks if one.curve is not None}
    table = replace(_side_by_side(networks), sparks=sparks_of(curves))
    yield table
    overlaid = before_after(networks)
    if overlaid is not None:
        yield replace(overlaid.table, rows=(), figures=(overlaid,))
    sizes = sizes_figure(networks, table)
    if sizes is not None:
        yield replace(table, title=sizes.title, rows=(), figures=(sizes,))


def _side_by_side(networks: Sequence[NetworkFigures]) -> TableView:
    columns = ("", *(one.name for one in networks))
    rows = ((title, *map(figure, networks)) for title, figure in FIGURES.items())
    known = tuple(row for row in rows if any(row[1:]))
    return TableView("Side by side", columns, known, frozenset(columns[1:]))


def _count(value: int) -> str:
    """In full below a million, then in three digits, as 25.6M."""
    if value < 10**6:
        return f"{value:,}"
    power, unit = next((power, unit) for power, unit in UNITS if value >= 0.9995 * 10**power)
    digits = f"{value / 10**power:.3g}"
    return f"{digits}{unit}"


def _points(share: Measured, sign: str = "") -> str:
    """A difference of accuracy in points; empty where there is nothing to compare with."""
    return "" if share is None else f"{100 * share:{sign}.1f}"


def _proportion(share: Proportion | None) -> str:
    if share is None:
        return MISSING
    half = (share.interval[1] - share.interval[0]) / 2
    return f"{100 * share.value:.1f} ± {100 * half:.1f}"


def _proposal(report: PruningReport) -> TableView:
    own = OWN_COLUMN.get(report.criterion)
    columns = ("block", "order", *([own] if own else []), "step", "held-out", "95 % interval")
    rows = tuple(
        (
            one.name,
            MISSING if one.order is None else str(one.order),
            *([number(one.value, 3)] if own else []),
            number(one.step),
            number(one.step_heldout),
            interval_text(one.step_heldout_interval),
            str(one.decision),
            "yes" if one.removed else "",
        )
        for one in report.blocks
    )
    numeric = frozenset(columns[1:])
    table = TableView("Block by block", (*columns, "proposal", "removed"), rows, numeric)
    return replace(table, figures=known_figures(steps_figure(report.blocks, table)))


def _ways(blocks: Sequence[BlockProposal]) -> TableView:
    """How blocks go and why they stay, those of the same kind together."""
    alike: dict[tuple[bool, str], list[str]] = {}
    for one in blocks:
        alike.setdefault((one.order is not None, one.reason), []).append(one.name)
    rows = tuple(
        (", ".join(names), f"can go: {reason}" if can_go else f"must stay: {reason}")
        for (can_go, reason), names in alike.items()
    )
    return TableView("How they go, or why not", ("blocks", "how"), rows)


def _removal_trials(report: PruningReport) -> TableView:
    asked = any(one.within is not None for one in report.trials)
    columns = ("removed", "recovered", "validation %", "points lost", "at most")
    rows = tuple(
        (
            str(len(one.removed)),
            "trained" if one.recovered else "fitted only",
            number(100 * one.validation_accuracy, 1),
            _points(one.drop, "+"),
            _points(one.drop_bound),
            *(["yes" if one.within else "no"] if asked else []),
        )
        for one in report.trials
    )
    numeric = frozenset({"removed", *columns[2:]})
    return TableView("Trial removals", (*columns, *(["allowed"] if asked else [])), rows, numeric)


def _pruning_notes(report: PruningReport) -> Iterator[str]:
    yield (
        "Time is that of a forward pass over the original's. Points lost are those of validation "
        "accuracy, at most with 95 % confidence. A block is safe to remove where its held-out "
        "step is surely below half of the mean step, and proposed to be kept where it is surely "
        "above the mean."
    )
    if len(report.networks) > 2:
        yield (
            "Greedy ablation removes the block that is missed least, one after the other, after "
            "trying each with an epoch of recovery."
        )


def _law_sentence(law: LawSummary) -> str:
    return f"The law {_holds(law)}: {_law_figures(law)} {law.reason}".strip()


def _law_figures(law: LawSummary) -> str:
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


def _holds(law: LawSummary) -> str:
    return {
        "holds": "holds",
        "does not hold": "does not hold",
        "too few layers": "cannot be judged (too few layers)",
        "not decreasing": "does not hold (D does not fall)",
        "degenerate": "cannot be judged (degenerate)",
    }[law.status]
