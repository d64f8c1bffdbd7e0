"""The view of a search: its recommendations, its trials and what to do next."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from designer.report.figures.figure import TableView, figure_section, known_figures
from designer.report.figures.front import front_figure
from designer.report.figures.network import network_figures
from designer.report.figures.trials import agreement_figure, trials_figure
from designer.report.views.diagnosis import diagnosis_in_short, diagnosis_lines
from designer.report.views.edits import tried_notes, tried_table
from designer.report.views.network import (
    NOT_A_LAW,
    ONE_AT_A_TIME,
    advice_lines,
    advice_title,
    coverage_sentence,
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
from designer.report.words import MISSING, interval_text, number, percent, spec_label
from designer.results.search import Recommendation, SearchResult, StudySummary

TRIALS_SHOWN = 5
"""Rows of the table of the best trials."""


CRITERIA = {
    "design_score": "design score",
    "heldout_separation": "held-out separation",
    "adherence": "adherence to the law",
    "training_loss": "summed training loss (negated)",
    "parameters": "parameters",
    "depth": "depth",
}
"""Criteria as the reader sees them, by their name in report.json."""


def search_view(result: SearchResult) -> ReportView:
    """Return what every renderer shows of a search, with all text on one line."""
    study = result.study
    view = ReportView(
        title=f"Design report: {study.data}, space {study.space}",
        headline=_headline(result),
        facts=tuple(_facts(result)),
        warnings=tuple(warning.message for warning in result.warnings),
        sections=(
            _recommendations(result.recommendations),
            *figure_section(front_figure(result.confirmed, result.recommendations)),
            *tried_table(result.tried),
            *map(_detail, result.recommendations),
            _trials(result),
            _criterion(result),
        ),
        notes=tuple(_notes(result)),
        tiles=tuple(_tiles(result)),
        provenance=_provenance(result.study),
        command=result.command,
    )
    return readable(view)


def _tiles(result: SearchResult) -> Iterator[Tile]:
    if not result.recommendations:
        return
    best = result.recommendations[0]
    yield Tile("parameters", f"{best.parameters:,}", f"{short_count(best.flops)} operations")
    yield Tile("validation accuracy", f"{percent(best.validation_accuracy)} %", _seeds(best))
    if best.test_accuracy is not None:
        yield Tile("test accuracy", f"{percent(best.test_accuracy)} %", "measured once, at the end")
    yield Tile("design score", number(best.score, 3), "1 is perfect")
    yield Tile("the law", law_in_a_word(best.law), f"rho {number(best.law.rho)} per layer")


def _seeds(recommendation: Recommendation) -> str:
    seeds = recommendation.validation_accuracy.seeds
    return f"mean ± sd over {seeds} seeds" if seeds > 1 else "one seed"


def _provenance(study: StudySummary) -> TableView:
    counts = study.trials
    settings = {
        "seed": str(study.seed),
        "trials": f"{counts.complete} complete, {counts.pruned} pruned, {counts.failed} failed",
        "epochs": str(study.epochs),
        "time": f"{study.seconds:.0f} s of training and measuring",
        "search space": str(study.settings.get("space_definition", study.space)),
    }
    fingerprint = study.dataset.fingerprint if study.dataset is not None else ""
    return provenance_table(fingerprint, study.versions, settings)


def _headline(result: SearchResult) -> str:
    if not result.recommendations:
        return "No architecture is recommended yet."
    best = result.recommendations[0]
    if not best.roles:
        return best.reason
    return (
        f"Recommended: {spec_label(best.spec)}. It reaches {percent(best.validation_accuracy)} % "
        f"validation accuracy with {best.parameters:,} parameters. "
        f"{diagnosis_in_short(best.diagnosis)}The law "
        f"{law_status_in_words(best.law)}."
    )


def _facts(result: SearchResult) -> Iterator[str]:
    study = result.study
    counts = study.trials
    up_to = "up to " if counts.pruned else ""
    yield (
        f"Trials: {counts.complete} complete, {counts.pruned} pruned, {counts.failed} failed, with "
        f"{up_to}{_counted(study.epochs, 'epoch')} each, objective '{study.objective}' and seed "
        f"{study.seed}. Training and measuring took {study.seconds:.0f} s in total."
    )
    if study.dataset is not None:
        data = study.dataset
        yield (
            f"Data: {data.train:,} training, {data.validation:,} validation and {data.test:,} test "
            f"samples in {data.num_classes} classes. Chance is {100 * data.chance:.1f} %."
        )
    if {"seeds", "epochs"} <= study.confirmation.keys() and result.recommendations:
        yield (
            f"Confirmation: each recommendation was trained again with "
            f"{_counted(study.confirmation['seeds'], 'fresh seed')} for "
            f"{_counted(study.confirmation['epochs'], 'epoch')}. The test set was used only for "
            f"these recommendations."
        )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _recommendations(recommendations: Sequence[Recommendation]) -> TableView:
    rows = tuple(
        (
            str(recommendation.rank),
            spec_label(recommendation.spec),
            f"{recommendation.parameters:,}",
            percent(recommendation.validation_accuracy),
            percent(recommendation.test_accuracy),
            number(recommendation.score, 3),
            number(recommendation.law.rho),
            number(recommendation.law.uniformity),
        )
        for recommendation in recommendations
    )
    columns = ("#", "architecture", "params", "val %", "test %", "score", "rho", "unif.")
    any_recommended = any(recommendation.roles for recommendation in recommendations)
    return TableView(
        "Recommendations" if any_recommended else "Candidates, none of them recommended",
        columns,
        rows,
        frozenset(columns) - frozenset({"architecture"}),
    )


def _detail(network: Recommendation) -> NetworkView:
    return NetworkView(
        heading=f"{network.rank}. {spec_label(network.spec)}",
        reason=" ".join(filter(None, (network.reason, coverage_sentence(network.coverage)))),
        law=law_sentence(network.law),
        need=need_sentence(network.layers),
        layers=tuple(layer_views(network.input, network.layers)),
        advice=tuple(advice_lines(network.layers)),
        stages=stages_table(network.stages),
        sparklines=separation_sparklines(network.input, network.layers),
        figures=network_figures(
            f"-{network.rank}", network.input, network.layers, network.law, network.emergence
        ),
        diagnosis=tuple(diagnosis_lines(network.diagnosis)),
        advice_title=advice_title(network.layers),
    )


def _criterion(result: SearchResult) -> TableView:
    rows = tuple(
        (
            CRITERIA.get(name, name),
            number(agreement.spearman),
            interval_text(agreement.interval),
            str(agreement.n),
        )
        for name, agreement in result.criterion.items()
    )
    table = TableView(
        "Rank correlation of each criterion with validation accuracy",
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
    yield from tried_notes(result.tried)
    yield shares_note("samples and seeds")
    layers = [layer for network in result.recommendations for layer in network.layers]
    if any(layer.contribution for layer in layers):
        yield ONE_AT_A_TIME
    yield NOT_A_LAW
    if any(layer.advice.startswith(("remove", "narrow")) for layer in layers):
        yield (
            "To remove blocks that are not needed and see what that costs, run: designer prune "
            "RUN/best/1 --max-drop 0.01 (RUN is the folder of this search). Add --narrow to make "
            "layers narrower, too."
        )
