"""Choose which candidates are confirmed and which are recommended, and for which role.

One rule decides the roles twice: among the trials of the search, to choose what is confirmed, and
among the confirmed candidates, to recommend.

==============  ==============================================================================
role            who holds it
==============  ==============================================================================
most accurate   the highest validation accuracy
smallest        the fewest parameters within one standard error of the most accurate
best follower   the most uniform steps within ``FOLLOWER_ERRORS`` binomial standard errors
==============  ==============================================================================
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from designer.analysis.advice import input_report, mean_law, stage_laws
from designer.choices import Objective
from designer.results.layers import LawSummary, MeanSd
from designer.results.measured import LawStatus, Measured, measured
from designer.results.search import Recommendation
from designer.search.candidates import architecture_key
from designer.search.confirmation import Candidate, CandidateKey, ConfirmedCandidate
from designer.search.job import Job
from designer.search.study.records import TrialRecord

MOST_ACCURATE, SMALLEST, BEST_FOLLOWER = "most accurate", "smallest", "best follower"
"""Roles, in the order in which they are shown."""

FOLLOWER_ERRORS = 3
"""Binomial standard errors of accuracy that the best follower may be behind the most accurate:
following the law does not make up for a lower accuracy."""

MIN_RECOMMENDATIONS = 3
"""Number of recommendations that runners-up fill up."""


@dataclass(frozen=True)
class Contender:
    """A candidate as the rule for roles sees it."""

    key: CandidateKey
    """What identifies it."""
    parameters: int
    """Number of trainable parameters."""
    accuracy: float
    """Validation accuracy of one run, or its mean over seeds."""
    error: float
    """Standard error of ``accuracy``."""
    binomial_error: float
    """Standard error of a proportion ``accuracy`` of the validation samples."""
    uniformity: Measured
    """How equal the blocks' steps are; None where the law cannot be judged."""
    precedence: tuple[float, CandidateKey]
    """Decides between equals, the smaller first."""


def role_holders(contenders: Sequence[Contender]) -> dict[str, CandidateKey]:
    """Return who holds each role; a role that nobody can hold is left out.

    Args:
        contenders: any number; without any nobody holds a role.
    """
    if not contenders:
        return {}
    best = min(contenders, key=lambda c: (-c.accuracy, c.parameters, c.key))
    close = [c for c in contenders if c.accuracy >= best.accuracy - best.error]
    smallest = min(close, key=lambda c: (c.parameters, *c.precedence))
    holders = {MOST_ACCURATE: best.key, SMALLEST: smallest.key}
    bound = best.accuracy - FOLLOWER_ERRORS * best.binomial_error
    followers = [
        (-c.uniformity, c.key)
        for c in contenders
        if c.uniformity is not None and c.accuracy >= bound
    ]
    if followers:
        holders[BEST_FOLLOWER] = min(followers)[1]
    return holders


def shortlist(job: Job, study: Study) -> list[Candidate]:
    """Return the candidates to confirm, best first and at most one per architecture.

    They are the best by objective, except for two places. Those go to the trials that would be the
    smallest and the best follower.

    Args:
        job: objective, validation data and the number of places.
        study: study of the search.
    """
    ranked = _ranked(job, study)
    if not ranked:
        return []
    by_key = {_key_of_trial(trial): trial for trial in ranked}
    contenders = [_contender_of_trial(trial, len(job.data.validation)) for trial in ranked]
    holders = role_holders(contenders)
    roles = [by_key[holders[r]] for r in (SMALLEST, BEST_FOLLOWER) if r in holders]
    places = job.options.confirm
    shortlisted: dict[str, FrozenTrial] = {}
    for trial in (*ranked[: max(1, places - 2)], *roles, *ranked):
        shortlisted.setdefault(_architecture(trial), trial)
    return [Candidate.of(trial) for trial in list(shortlisted.values())[:places]]


def chosen(
    confirmed: Sequence[ConfirmedCandidate], replaced: Container[CandidateKey] = ()
) -> list[ConfirmedCandidate]:
    """Return the candidates to recommend, in rank order.

    The most accurate comes first, then others with a role, then the most accurate of the rest until
    there are ``MIN_RECOMMENDATIONS``.

    Args:
        confirmed: all candidates with their runs.
        replaced: candidates that are only recommended if they hold a role.
    """
    roles = roles_of(confirmed)
    ranked = sorted(confirmed, key=_by_accuracy)
    with_role = sorted(
        (c for c in ranked if c.key in roles),
        key=lambda c: (MOST_ACCURATE not in roles[c.key], _by_accuracy(c)),
    )
    others = [c for c in ranked if c.key not in roles and c.key not in replaced]
    return with_role + others[: max(0, MIN_RECOMMENDATIONS - len(with_role))]


def roles_of(confirmed: Sequence[ConfirmedCandidate]) -> dict[CandidateKey, tuple[str, ...]]:
    """Return the roles of candidates by what identifies them, without those that have none."""
    holders = role_holders([_contender_of_candidate(candidate) for candidate in confirmed])
    return {
        key: tuple(role for role, holder in holders.items() if holder == key)
        for key in holders.values()
    }


def recommend(
    confirmed: Sequence[ConfirmedCandidate],
    test_accuracies: Sequence[MeanSd | None],
    chance: float,
    at_chance: bool,
) -> tuple[Recommendation, ...]:
    """Return recommendations in rank order.

    Args:
        confirmed: candidates in rank order, from ``chosen``.
        test_accuracies: their test accuracies.
        chance: validation accuracy of always naming the largest class.
        at_chance: True if no candidate does better than that; then none gets a role.
    """
    roles = roles_of(confirmed)
    recommendations = []
    for rank, (candidate, test) in enumerate(zip(confirmed, test_accuracies, strict=True), start=1):
        own = roles.get(candidate.key, ())
        reason = _reason_at_chance(candidate, chance) if at_chance else _reason(candidate, own)
        shown = () if at_chance else own
        recommendations.append(_recommendation(rank, candidate, test, shown, reason))
    return tuple(recommendations)


def _ranked(job: Job, study: Study) -> list[FrozenTrial]:
    """Return the complete trials, best objective first, one per architecture.

    Of several learning rates of one architecture the best trial is kept.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if job.options.objective is Objective.PARETO:
        front = {trial.number for trial in study.best_trials}
        complete = [trial for trial in complete if trial.number in front]
    best: dict[str, FrozenTrial] = {}
    for trial in sorted(complete, key=lambda t: (-t.values[0], t.number)):
        best.setdefault(_architecture(trial), trial)
    return list(best.values())


def _key_of_trial(trial: FrozenTrial) -> CandidateKey:
    return trial.number, ()


def _architecture(trial: FrozenTrial) -> str:
    return architecture_key(TrialRecord.read(trial).architecture())


def _contender_of_trial(trial: FrozenTrial, samples: int) -> Contender:
    """Return the contender of a search trial, whose accuracy is too noisy to decide ties."""
    measurements = TrialRecord.read(trial).measurements
    accuracy = measurements.validation_accuracy or 0.0
    error = _binomial_error(accuracy, samples)
    return Contender(
        key=_key_of_trial(trial),
        parameters=measurements.parameters or 0,
        accuracy=accuracy,
        error=error,
        binomial_error=error,
        uniformity=measurements.adherence,
        precedence=(0.0, _key_of_trial(trial)),
    )


def _contender_of_candidate(candidate: ConfirmedCandidate) -> Contender:
    """Return the contender of a confirmed candidate.

    Its uniformity counts only if there are enough layers for the law to fail.
    """
    accuracy = candidate.validation_accuracy
    binomial = _binomial_error(accuracy.mean, candidate.profiles[0].samples_heldout)
    law = mean_law(candidate.profiles)
    judged = law.status in (LawStatus.HOLDS, LawStatus.DOES_NOT_HOLD)
    return Contender(
        key=candidate.key,
        parameters=candidate.parameters,
        accuracy=accuracy.mean,
        error=binomial if accuracy.sd is None else accuracy.sd / math.sqrt(accuracy.seeds),
        binomial_error=binomial,
        uniformity=law.uniformity if judged else None,
        precedence=(-accuracy.mean, candidate.key),
    )


def _binomial_error(accuracy: float, samples: int) -> float:
    """Return the standard error of a proportion ``accuracy`` of ``samples``."""
    return math.sqrt(accuracy * (1 - accuracy) / samples)


def _by_accuracy(candidate: ConfirmedCandidate) -> tuple[float, int, CandidateKey]:
    return (-candidate.validation_accuracy.mean, candidate.parameters, candidate.key)


def _recommendation(
    rank: int,
    candidate: ConfirmedCandidate,
    test: MeanSd | None,
    roles: tuple[str, ...],
    reason: str,
) -> Recommendation:
    """Return what the report says of a candidate."""
    return Recommendation(
        rank=rank,
        spec=candidate.spec,
        parameters=candidate.parameters,
        flops=candidate.candidate.size.flops or 0,
        learning_rate=float(candidate.spec["learning_rate"]),
        score=candidate.score,
        validation_accuracy=candidate.validation_accuracy,
        test_accuracy=test,
        law=LawSummary.of(mean_law(candidate.profiles)),
        layers=candidate.layers,
        reason=reason,
        roles=roles,
        input=input_report(candidate.profiles),
        trial=candidate.candidate.trial.number,
        edits=candidate.candidate.edits,
        score_parts=candidate.score_parts,
        train_accuracy=measured(candidate.train_accuracy),
        stages=stage_laws(candidate.profiles),
        emergence=TrialRecord.read(candidate.runs[0]).emergence or (),
        diagnosis=candidate.diagnosis,
    )


def _reason_at_chance(candidate: ConfirmedCandidate, chance: float) -> str:
    accuracy = candidate.validation_accuracy.mean
    return (
        f"Not recommended: its validation accuracy of {accuracy:.3f} cannot be told from "
        f"chance ({chance:.3f})."
    )


def _reason(candidate: ConfirmedCandidate, roles: tuple[str, ...]) -> str:
    """Return one sentence that says which roles a candidate holds."""
    law = mean_law(candidate.profiles)
    follower = f"best follower of the law (uniformity {law.uniformity:.2f}; the law {law.status})"
    words = {
        MOST_ACCURATE: "most accurate of the confirmed candidates on validation data",
        SMALLEST: "smallest within one standard error of the most accurate",
        BEST_FOLLOWER: follower,
    }
    origin = _origin(candidate.candidate)
    if not roles:
        return f"It is a runner-up: the next most accurate of the confirmed candidates.{origin}"
    return f"It is the {' and the '.join(words[role] for role in roles)}.{origin}"


def _origin(candidate: Candidate) -> str:
    """Return how an edited network came about; nothing for the network of a trial."""
    if not candidate.edits:
        return ""
    return (
        f" It is the network of trial {candidate.trial.number} with these edits, which were "
        f"tried and kept: {', '.join(candidate.edits)}."
    )
