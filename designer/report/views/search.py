"""The view of a search."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace

from designer.errors import one_line
from designer.report.figures.figure import TableView, known_figures
from designer.report.figures.network import network_figures
from designer.report.figures.trials import agreement_figure, trials_figure
from designer.report.views.network import (
    NOT_A_LAW,
    advice_lines,
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
from designer.report.words import MISSING, interval_text, number, percent, spec_label
from designer.results.search import Recommendation, SearchResult, StudySummary

TRIALS_SHOWN = 5


CRITERIA = {
    "design_score": "design score",
    "heldout_separation": "held-out separation",
    "adherence": "adherence to the law",
    "training_loss": "summed training loss (negated)",
    "parameters": "parameters",
    "depth": "depth",
}


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


def _tiles(result: SearchResult) -> Iterator[Tile]:
    if not result.recommendations:
        return
    best = result.recommendations[0]
    yield Tile("parameters", f"{best.parameters:,}", f"{short_count(best.flops)} operations")
    yield Tile("validation accuracy", f"{percent(best.validation_accuracy)} %", _seeds(best))
    if best.test_accuracy is not None:
        yield Tile("test accuracy", f"{percent(best.test_accuracy)} %", "looked at once")
    yield Tile("design score", number(best.score, 3), "1 is perfect")
    yield Tile("the law", law_in_a_word(best.law), f"rho {number(best.law.rho)} per layer")


def _seeds(one: Recommendation) -> str:
    seeds = one.validation_accuracy.seeds
    return f"mean ± sd over {seeds} seeds" if seeds > 1 else "one seed"


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
        f"accuracy with {best.parameters:,} parameters; the law {law_status_in_words(best.law)}."
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
        law=law_sentence(one.law),
        layers=tuple(layer_views(one.input, one.layers)),
        advice=tuple(advice_lines(one.layers)),
        stages=stages_table(one.stages),
        sparks=separation_sparks(one.input, one.layers),
        figures=network_figures(f"-{one.rank}", one.input, one.layers, one.law, one.emergence),
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
