"""The study, its trials and what to beware of, as the records of the report."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from designer.analysis.warnings import (
    law_warnings,
    memorised_warnings,
    no_normalisation_warning,
)
from designer.measures.proportions import beats_chance
from designer.measures.ranks import spearman
from designer.measures.score import ADHERENCE_WEIGHT
from designer.results.layers import Curve, LawSummary, ReportWarning
from designer.results.measured import LawStatus, measured
from designer.results.provenance import versions
from designer.results.search import (
    RankAgreement,
    Recommendation,
    StudySummary,
    TrialCounts,
    TrialRow,
)
from designer.search.confirmation import Confirmed
from designer.search.job import Job
from designer.search.study.trials import (
    REASON,
    RECORD,
    SPEC,
    failed,
    finished,
    retried,
    seconds_of,
    trials_of,
)

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


BOOTSTRAP_DRAWS = 1000


MIN_FOR_AGREEMENT = 5
"""Fewer trials say nothing about how criteria agree."""


CURVES_KEPT = 100
"""Trials, the best by design score, whose curve the report holds: others would make it large."""


SCORE_EXPLANATION = (
    "The design score is the held-out nearest-class-mean accuracy averaged over the later two "
    "thirds of the depth (0 is chance, 1 is perfect), reduced by up to "
    f"{ADHERENCE_WEIGHT:.0%} the less equally the blocks share the work of separating the classes."
)


def trial_rows(study: Study) -> tuple[TrialRow, ...]:
    """One row per finished or failed trial, by number."""
    trials = trials_of(study)
    ended = sorted([*finished(trials), *failed(trials)], key=lambda t: t.number)
    rows = [_row(trial) for trial in ended]
    best = sorted((row for row in rows if row.score is not None), key=lambda r: -(r.score or 0.0))
    kept = {row.number for row in best[:CURVES_KEPT]}
    return tuple(row if row.number in kept else replace(row, curve=None) for row in rows)


def study_summary(job: Job, study: Study, confirmation: Study) -> StudySummary:
    """What was searched and how."""
    trials = trials_of(study)
    states = [trial.state for trial in finished(trials)]
    spent = [*finished(trials), *failed(trials), *finished(trials_of(confirmation))]
    return StudySummary(
        space=job.space.name,
        data=job.data.name,
        seed=job.settings.seed,
        trials=TrialCounts(
            complete=states.count(TrialState.COMPLETE),
            pruned=states.count(TrialState.PRUNED),
            failed=len(failed(trials)),
            retried=retried(trials),
        ),
        epochs=job.settings.epochs,
        objective=str(job.settings.objective),
        seconds=round(sum(map(seconds_of, spent)), 2),
        dataset=job.data.summary(),
        confirmation={
            "candidates": job.effort.confirm,
            "epochs": job.effort.confirm_epochs,
            "seeds": job.effort.confirm_seeds,
        },
        settings={
            **job.identity(),
            "data_source": job.data.options.get("source", job.data.name),
            "trials": job.effort.trials,
            "workers": job.effort.workers,
            "device": ",".join(job.effort.devices),
        },
        versions=versions(),
        score_explanation=SCORE_EXPLANATION,
    )


def agreements(rows: Sequence[TrialRow]) -> dict[str, RankAgreement]:
    """How each criterion ranks the complete trials compared with validation accuracy."""
    complete = [row for row in rows if row.state == "complete"]
    target = [row.validation_accuracy for row in complete]
    columns: dict[str, list[float | None]] = {
        "design_score": [row.score for row in complete],
        "heldout_separation": [row.heldout_separation for row in complete],
        "adherence": [row.adherence for row in complete],
        "training_loss": [_negated(row.training_loss) for row in complete],
        "parameters": [row.parameters for row in complete],
        "depth": [row.depth for row in complete],
    }
    return {name: _agreement(values, target) for name, values in columns.items()}


def at_chance(confirmed: Sequence[Confirmed], chance: float) -> bool:
    """Whether no candidate can be told from always naming the largest class."""
    if not confirmed:
        return False
    samples = confirmed[0].profiles[0].samples_heldout
    best = max(c.mean("validation_accuracy") for c in confirmed)
    return not beats_chance(best, samples, chance)


def warnings(
    job: Job,
    rows: Sequence[TrialRow],
    confirmed: Sequence[Confirmed],
    recommendations: Sequence[Recommendation],
    stopped_by: int | None,
    last_rejection: str,
    confirmation: Study,
) -> tuple[ReportWarning, ...]:
    """All that the reader should know before trusting the numbers."""
    return (
        *job.data.warnings,
        *_run_warnings(job, rows, stopped_by, last_rejection),
        *_confirmation_warnings(job, rows, confirmed, stopped_by, confirmation),
        *_data_warnings(job, confirmed),
        *_law_warnings(recommendations),
    )


def _run_warnings(
    job: Job,
    rows: Sequence[TrialRow],
    stopped_by: int | None,
    last_rejection: str,
) -> Iterator[ReportWarning]:
    done = sum(row.state != "failed" for row in rows)
    failures = [row for row in rows if row.state == "failed"]
    if stopped_by is not None:
        yield ReportWarning(
            "terminated" if stopped_by == signal.SIGTERM else "interrupted",
            f"The run was stopped after {done} of {job.effort.trials} trials; the same command "
            f"continues it.",
        )
    elif done < job.effort.trials and len(failures) > job.effort.trials:
        yield ReportWarning(
            "too_many_failures",
            f"{len(failures)} trials failed, so the search ended after {done} of "
            f"{job.effort.trials}; the last reason: {failures[-1].reason}",
        )
    elif done < job.effort.trials:
        yield ReportWarning(
            "space_used_up",
            f"The search found nothing new to try after {done} of {job.effort.trials} trials: "
            f"the space within the limits is used up (the last proposal: {last_rejection}).",
        )
    if failures and done:
        yield ReportWarning(
            "failed_trials",
            f"{len(failures)} {'trial' if len(failures) == 1 else 'trials'} failed; the last "
            f"reason: {failures[-1].reason}",
        )


def _confirmation_warnings(
    job: Job,
    rows: Sequence[TrialRow],
    confirmed: Sequence[Confirmed],
    stopped_by: int | None,
    confirmation: Study,
) -> Iterator[ReportWarning]:
    if stopped_by is not None:
        return
    failures = failed(trials_of(confirmation))
    reason = f" The last reason: {failures[-1].user_attrs.get(REASON)}" if failures else ""
    short = [c for c in confirmed if len(c.runs) < job.effort.confirm_seeds]
    if short:
        yield ReportWarning(
            "missing_confirmations",
            f"{len(short)} of {len(confirmed)} recommendations have fewer than the "
            f"{job.effort.confirm_seeds} confirmation runs asked for; the others failed.{reason}",
        )
    if any(row.state != "failed" for row in rows) and not confirmed:
        yield ReportWarning(
            "not_confirmed", f"No candidate could be confirmed, so nothing is recommended.{reason}"
        )


def _data_warnings(job: Job, confirmed: Sequence[Confirmed]) -> Iterator[ReportWarning]:
    if job.data.shuffled_labels:
        yield ReportWarning(
            "shuffled_labels",
            "The labels were shuffled on purpose: whatever is found here is not in the data.",
        )
    if at_chance(confirmed, job.data.chance):
        best = max(c.mean("validation_accuracy") for c in confirmed)
        yield ReportWarning(
            "chance_accuracy",
            f"The best validation accuracy, {best:.3f}, cannot be told from chance "
            f"({job.data.chance:.3f}) with {len(job.data.validation)} validation samples: "
            f"no architecture here is known to be good, and following the law means nothing.",
        )
    for rank, candidate in enumerate(confirmed, start=1):
        yield from memorised_warnings(
            f"Recommendation {rank}",
            candidate.mean("train_accuracy"),
            candidate.mean("validation_accuracy"),
            "validation",
        )


def _law_warnings(recommendations: Sequence[Recommendation]) -> Iterator[ReportWarning]:
    for recommendation in recommendations:
        name = f"Recommendation {recommendation.rank}"
        yield from law_warnings(name, recommendation.law, recommendation.layers)
        if recommendation.spec.get("normalisation") == "none":
            yield no_normalisation_warning(name)


def _row(trial: FrozenTrial) -> TrialRow:
    record: dict[str, Any] = trial.user_attrs.get(RECORD, {})
    spec: dict[str, Any] = trial.user_attrs.get(SPEC, {})
    law, curve = record.get("law"), record.get("curve")
    return TrialRow(
        number=trial.number,
        state=STATES[trial.state],
        spec=spec,
        parameters=record.get("parameters"),
        flops=record.get("flops"),
        depth=record.get("depth"),
        learning_rate=spec.get("learning_rate"),
        score=record.get("score"),
        heldout_separation=record.get("heldout_separation"),
        adherence=record.get("adherence"),
        validation_accuracy=record.get("validation_accuracy"),
        train_accuracy=record.get("train_accuracy"),
        training_loss=record.get("training_loss"),
        law=LawSummary(**{**law, "status": LawStatus(law["status"])}) if law else None,
        epochs=record.get("epochs", 0),
        seconds=seconds_of(trial),
        reason=trial.user_attrs.get(REASON, ""),
        curve=None if curve is None else Curve.read(curve),
    )


def _agreement(values: Sequence[float | None], target: Sequence[float | None]) -> RankAgreement:
    pairs = np.array(
        [(v, t) for v, t in zip(values, target, strict=True) if v is not None and t is not None]
    ).reshape(-1, 2)
    n = len(pairs)
    if n < MIN_FOR_AGREEMENT:
        return RankAgreement(None, n, None)
    drawn = np.random.default_rng(0).integers(n, size=(BOOTSTRAP_DRAWS, n))
    figures, targets = pairs.T
    rho = float(spearman(figures, targets))
    draws = spearman(figures[drawn], targets[drawn])
    draws = draws[~np.isnan(draws)]
    if math.isnan(rho) or not len(draws):
        return RankAgreement(measured(rho), n, None)
    low, high = np.percentile(draws, [2.5, 97.5])
    return RankAgreement(rho, n, (float(low), float(high)))


def _negated(value: float | None) -> float | None:
    return None if value is None else -value
