"""What the report says of a study, its trials and what makes the numbers doubtful."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from designer.analysis.warnings import law_warnings, no_normalisation_warning
from designer.measures.proportions import beats_chance
from designer.measures.ranks import resampled_spearman, spearman
from designer.measures.score import ADHERENCE_WEIGHT
from designer.results.layers import ReportWarning
from designer.results.measured import measured
from designer.results.provenance import versions
from designer.results.search import (
    RankAgreement,
    Recommendation,
    StudySummary,
    TrialCounts,
    TrialRow,
)
from designer.search.candidates import is_normalised
from designer.search.confirmation import ConfirmedCandidate
from designer.search.job import Job
from designer.search.recommend import Doubt
from designer.search.study.records import TrialRecord
from designer.search.study.trials import failed, finished, retried, trials_of
from designer.search.workers.phases import MAX_REJECTED

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
"""Words of the report for Optuna's states."""

BOOTSTRAP_DRAWS = 1000
"""Resamples of the trials for the interval of a rank correlation, of up to 5,000 trials."""

FEWEST_DRAWS = 200
"""Resamples of so many trials that their interval is narrow anyway."""

MIN_FOR_AGREEMENT = 5
"""Fewer trials say nothing about how criteria agree."""

CURVES_KEPT = 100
"""Number of trials, the best by design score, whose curve the report holds: more would make it
large."""

SCORE_EXPLANATION = (
    "The design score is the mean of two accuracies on validation data (0 is chance, 1 is "
    "perfect): the nearest-class-mean accuracy averaged over the later two thirds of the depth, "
    "and that of the network itself over its last epochs; it is reduced by up to "
    f"{ADHERENCE_WEIGHT:.0%} the less equally the blocks share the work of separating the classes. "
    "It holds validation accuracy itself, so it agrees with it by construction; held-out "
    "separation and adherence do not."
)


def trial_rows(study: Study) -> tuple[TrialRow, ...]:
    """Return one row per finished or failed trial, by number."""
    trials = trials_of(study)
    ended = sorted([*finished(trials), *failed(trials)], key=lambda t: t.number)
    rows = [_row(trial) for trial in ended]
    scored = [place for place, row in enumerate(rows) if row.score is not None]
    for place in sorted(scored, key=lambda place: -(rows[place].score or 0.0))[:CURVES_KEPT]:
        curve = TrialRecord.read(ended[place]).measurements.curve
        rows[place] = replace(rows[place], curve=curve)
    return tuple(rows)


def study_summary(
    job: Job, study: Study, rows: Sequence[TrialRow], longer: Sequence[Study]
) -> StudySummary:
    """Return what was searched, how, and how long it took.

    Args:
        job: data and options.
        study: the search.
        rows: its trials, from ``trial_rows``.
        longer: the confirmation and the edits.
    """
    states = [row.state for row in rows]
    later = [trial for each in longer for trial in finished(trials_of(each))]
    spent_later = [TrialRecord.read(trial).measurements.seconds or 0.0 for trial in later]
    return StudySummary(
        space=job.space.name,
        data=job.data.name,
        seed=job.options.seed,
        trials=TrialCounts(
            complete=states.count("complete"),
            pruned=states.count("pruned"),
            failed=states.count("failed"),
            retried=retried(trials_of(study)),
        ),
        epochs=job.options.epochs,
        objective=str(job.options.objective),
        seconds=round(sum(row.seconds for row in rows) + sum(spent_later), 2),
        dataset=job.data.summary(),
        confirmation={
            "candidates": job.options.confirm,
            "epochs": job.options.confirmation_epochs,
            "seeds": job.options.confirm_seeds,
        },
        settings={
            **job.identity(),
            "data_source": job.data.options.get("source", job.data.name),
            "trials": job.options.trials,
            "workers": job.options.worker_count,
            "device": ",".join(job.options.worker_devices),
        },
        versions=versions(),
        score_explanation=SCORE_EXPLANATION,
    )


def agreements(rows: Sequence[TrialRow]) -> dict[str, RankAgreement]:
    """Return how each criterion ranks the complete trials compared with validation accuracy."""
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


def at_chance(confirmed: Sequence[ConfirmedCandidate], chance: float) -> bool:
    """Return True if no candidate can be told from always naming the largest class.

    Args:
        confirmed: candidates with their confirmation runs; without any the answer is False.
        chance: share of the largest class in the validation data.
    """
    if not confirmed:
        return False
    samples = confirmed[0].profiles[0].samples_heldout
    best = max(candidate.validation_accuracy.mean for candidate in confirmed)
    return not beats_chance(best, samples, chance)


def doubt_about(confirmed: Sequence[ConfirmedCandidate], job: Job) -> Doubt | None:
    """Return why no candidate may be called good; None if nothing speaks against it.

    Args:
        confirmed: candidates with their confirmation runs.
        job: data and options.
    """
    chance = job.data.chance
    if at_chance(confirmed, chance):
        return lambda candidate: (
            f"its validation accuracy of {candidate.validation_accuracy.mean:.3f} cannot be told "
            f"from chance ({chance:.3f})"
        )
    spoiling = next((leak for leak in job.leaks if leak.spoils), None)
    if spoiling is not None:
        text = f"{spoiling.finding}, so accuracy there says little about new data"
        return lambda _: text
    return None


def warnings(
    job: Job,
    rows: Sequence[TrialRow],
    confirmed: Sequence[ConfirmedCandidate],
    recommendations: Sequence[Recommendation],
    stopped_by: int | None,
    last_rejection: str,
    confirmation: Study,
) -> tuple[ReportWarning, ...]:
    """Return all that the reader should know before trusting the numbers.

    Args:
        job: data and options.
        rows: finished and failed trials of the search.
        confirmed: recommended candidates in rank order.
        recommendations: the same as they are reported.
        stopped_by: number of the signal that stopped the run; None if it came to its end.
        last_rejection: why the latest proposal was rejected, if the search ended because all of
            many in a row were; else empty.
        confirmation: study of the confirmation runs.
    """
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
        when = (
            f"after {done} of {job.options.trials} trials"
            if done < job.options.trials
            else f"after all {done} trials, before everything that follows them was done"
        )
        yield ReportWarning(
            "terminated" if stopped_by == signal.SIGTERM else "interrupted",
            f"The run was stopped {when}; the same command continues it.",
        )
    elif done < job.options.trials and len(failures) > job.options.trials:
        yield ReportWarning(
            "too_many_failures",
            f"{len(failures)} trials failed, so the search ended after {done} of "
            f"{job.options.trials}. The last reason: {failures[-1].reason}",
        )
        return
    elif done < job.options.trials and not last_rejection:
        yield ReportWarning(
            "workers_ended",
            f"The worker processes ended by themselves or were killed, so the search ended after "
            f"{done} of {job.options.trials} trials; the same command continues it.",
        )
    elif done < job.options.trials:
        yield ReportWarning(
            "space_used_up",
            f"The search found nothing new to try after {done} of {job.options.trials} trials: "
            f"{MAX_REJECTED} proposals in a row were known or over a limit, so the space within "
            f"the limits seems to be used up (the last proposal: {last_rejection}).",
        )
    if failures:
        yield ReportWarning(
            "failed_trials",
            f"{len(failures)} {'trial' if len(failures) == 1 else 'trials'} failed. The last "
            f"reason: {failures[-1].reason}",
        )


def _confirmation_warnings(
    job: Job,
    rows: Sequence[TrialRow],
    confirmed: Sequence[ConfirmedCandidate],
    stopped_by: int | None,
    confirmation: Study,
) -> Iterator[ReportWarning]:
    if stopped_by is not None:
        return
    failures = failed(trials_of(confirmation))
    reason = f" The last reason: {TrialRecord.read(failures[-1]).reason}" if failures else ""
    short = [
        candidate for candidate in confirmed if len(candidate.runs) < job.options.confirm_seeds
    ]
    if short:
        yield ReportWarning(
            "missing_confirmations",
            f"{len(short)} of {len(confirmed)} recommendations have fewer than the "
            f"{job.options.confirm_seeds} confirmation runs asked for; the others failed.{reason}",
        )
    if any(row.state != "failed" for row in rows) and not confirmed:
        yield ReportWarning(
            "not_confirmed", f"No candidate could be confirmed, so nothing is recommended.{reason}"
        )


def _data_warnings(job: Job, confirmed: Sequence[ConfirmedCandidate]) -> Iterator[ReportWarning]:
    if job.data.shuffled_labels:
        yield ReportWarning(
            "shuffled_labels",
            "The labels were shuffled on purpose: whatever is found here is not in the data.",
        )
    yield from (leak.warning() for leak in job.leaks)
    if at_chance(confirmed, job.data.chance):
        best = max(candidate.validation_accuracy.mean for candidate in confirmed)
        yield ReportWarning(
            "chance_accuracy",
            f"The best validation accuracy, {best:.3f}, cannot be told from chance "
            f"({job.data.chance:.3f}) with {len(job.data.validation)} validation samples: "
            f"no architecture here is known to be good, and following the law means nothing.",
        )


def _law_warnings(recommendations: Sequence[Recommendation]) -> Iterator[ReportWarning]:
    for recommendation in recommendations:
        name = f"Recommendation {recommendation.rank}"
        yield from law_warnings(name, recommendation.law, recommendation.layers)
        if is_normalised(recommendation.spec) is False:
            yield no_normalisation_warning(name)


def _row(trial: FrozenTrial) -> TrialRow:
    """Return what the report says of a trial, without its curve."""
    record = TrialRecord.read(trial)
    spec, measurements = record.architecture(), record.measurements
    return TrialRow(
        number=trial.number,
        state=STATES[trial.state],
        spec=spec,
        parameters=measurements.parameters,
        flops=measurements.flops,
        depth=measurements.depth,
        learning_rate=spec.get("learning_rate"),
        score=measurements.score,
        heldout_separation=measurements.heldout_separation,
        accuracy_above_chance=measurements.accuracy_above_chance,
        adherence=measurements.adherence,
        validation_accuracy=measurements.validation_accuracy,
        train_accuracy=measurements.train_accuracy,
        training_loss=measurements.training_loss,
        law=measurements.law,
        epochs=measurements.epochs or 0,
        seconds=measurements.seconds or 0.0,
        reason=record.reason or "",
    )


def _agreement(values: Sequence[float | None], target: Sequence[float | None]) -> RankAgreement:
    """Return the rank correlation with its bootstrap interval over the trials that have both."""
    pairs = np.array(
        [(v, t) for v, t in zip(values, target, strict=True) if v is not None and t is not None]
    ).reshape(-1, 2)
    n = len(pairs)
    if n < MIN_FOR_AGREEMENT:
        return RankAgreement(None, n, None)
    figures, targets = pairs.T
    rho = float(spearman(figures, targets))
    generator = np.random.default_rng(0)
    count = max(FEWEST_DRAWS, min(BOOTSTRAP_DRAWS, 5_000 * BOOTSTRAP_DRAWS // n))
    resamples = (generator.integers(n, size=n) for _ in range(count))
    draws = resampled_spearman(figures, targets, resamples)
    draws = draws[~np.isnan(draws)]
    if math.isnan(rho) or not len(draws):
        return RankAgreement(measured(rho), n, None)
    low, high = np.percentile(draws, [2.5, 97.5])
    return RankAgreement(rho, n, (float(low), float(high)))


def _negated(value: float | None) -> float | None:
    return None if value is None else -value
