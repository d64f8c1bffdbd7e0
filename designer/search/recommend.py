"""Choose which candidates are confirmed and which are recommended, and for which role.

One rule decides the roles twice: among the trials of the search, to choose what is confirmed, and
among the confirmed candidates, to recommend.

==============  ==============================================================================
role            who holds it
==============  ==============================================================================
most accurate   the highest validation accuracy
smallest        the fewest parameters within one standard error of the most accurate (Breiman
                et al., "Classification and Regression Trees", 1984); the error covers samples
                and seeds
best follower   the most uniform steps within ``FOLLOWER_ERRORS`` binomial standard errors
knee            where less size begins to cost much accuracy, on the front of both within
                ``FOLLOWER_ERRORS`` binomial standard errors; only if small networks were asked for
==============  ==============================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from designer.analysis.advice import input_report, mean_law, stage_laws
from designer.choices import Objective
from designer.results.front import knee, pareto_front
from designer.results.layers import LawSummary, MeanSd
from designer.results.measured import LawStatus, measured
from designer.results.ranges import Measured
from designer.results.search import Recommendation
from designer.search.candidates import architecture_key
from designer.search.confirmation import Candidate, CandidateKey, ConfirmedCandidate
from designer.search.job import Job
from designer.search.options import SearchOptions
from designer.search.study.keys import SPEC
from designer.search.study.records import Measurements, TrialRecord

MOST_ACCURATE, SMALLEST, BEST_FOLLOWER, KNEE = "most accurate", "smallest", "best follower", "knee"
"""Roles, in the order in which they are shown."""

FOLLOWER_ERRORS = 3
"""Binomial standard errors of accuracy that the best follower and the knee may be behind the most
accurate: neither the law nor a small size makes up for a lower accuracy."""

MIN_RECOMMENDATIONS = 3
"""Number of recommendations that runners-up fill up."""

Doubt = Callable[[ConfirmedCandidate], str]
"""Returns the clause that says why a candidate is not called good."""


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


def role_holders(
    contenders: Sequence[Contender], *, with_knee: bool = False
) -> dict[str, CandidateKey]:
    """Return who holds each role; a role that nobody can hold is left out.

    Args:
        contenders: any number; without any nobody holds a role.
        with_knee: True if small networks were asked for.
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
    good = {c.key: (c.parameters, c.accuracy) for c in contenders if c.accuracy >= bound}
    middle = knee_of(good)
    if with_knee and middle is not None:
        holders[KNEE] = middle
    return holders


def knee_of(sizes: Mapping[CandidateKey, tuple[int, float]]) -> CandidateKey | None:
    """Return the knee of the front of parameters and accuracy or score; None without one."""
    front = pareto_front(sizes)
    place = knee([sizes[key] for key in front])
    return None if place is None else front[place]


def asks_for_small(options: SearchOptions) -> bool:
    """Return True if a search limits the size of its networks, or has it as a goal."""
    limited = options.max_params is not None or options.max_flops is not None
    return limited or options.objective is Objective.PARETO


def shortlist(job: Job, study: Study) -> list[Candidate]:
    """Return the candidates to confirm, best first and at most one per architecture.

    They are the best by objective, those that would be the smallest and the best follower, and the
    knee of the front of size and score. If small networks were asked for, more of that front takes
    the place of the next best.  But for the objective ``pareto`` the front only holds what is about
    as accurate as the most accurate.

    Args:
        job: objective, validation data and the number of places.
        study: study of the search.
    """
    ranked = _ranked(job, study)
    if not ranked:
        return []
    by_key = {_key_of_trial(trial): trial for trial in ranked}
    measured = {_key_of_trial(trial): TrialRecord.read(trial).measurements for trial in ranked}
    samples = len(job.data.validation)
    contenders = [_contender_of_trial(key, measured[key], samples) for key in by_key]
    holders = role_holders(contenders)
    good = _good_enough(contenders, job.options)
    sizes = {key: (measured[key].parameters or 0, measured[key].score or 0.0) for key in good}
    wishes = [holders.get(SMALLEST), holders.get(BEST_FOLLOWER), knee_of(sizes)]
    special = [by_key[key] for key in wishes if key is not None]
    places = job.options.confirm
    small = asks_for_small(job.options)
    best = ranked[: 1 if small else max(1, places - len(wishes))]
    front = [by_key[key] for key in reversed(pareto_front(sizes))] if small else []
    shortlisted: dict[str, FrozenTrial] = {}
    for trial in (*best, *special, *_spread(front, places), *ranked):
        shortlisted.setdefault(_architecture(trial), trial)
    return [Candidate.of(trial) for trial in list(shortlisted.values())[:places]]


def chosen(
    confirmed: Sequence[ConfirmedCandidate],
    roles: Container[CandidateKey],
    replaced: Container[CandidateKey] = (),
) -> list[ConfirmedCandidate]:
    """Return the candidates to recommend, in rank order.

    The most accurate comes first, then others with a role, then the most accurate of the rest until
    there are ``MIN_RECOMMENDATIONS``.

    Args:
        confirmed: all candidates with their runs.
        roles: those that hold a role, from ``roles_of``.
        replaced: candidates that are only recommended if they hold a role.
    """
    ranked = sorted(confirmed, key=_by_accuracy)
    with_role = [c for c in ranked if c.key in roles]
    others = [c for c in ranked if c.key not in roles and c.key not in replaced]
    return with_role + others[: max(0, MIN_RECOMMENDATIONS - len(with_role))]


def roles_of(
    confirmed: Sequence[ConfirmedCandidate], *, with_knee: bool = False
) -> dict[CandidateKey, tuple[str, ...]]:
    """Return the roles of candidates by what identifies them, without those that have none."""
    contenders = [_contender_of_candidate(candidate) for candidate in confirmed]
    holders = role_holders(contenders, with_knee=with_knee)
    return {
        key: tuple(role for role, holder in holders.items() if holder == key)
        for key in holders.values()
    }


def recommend(
    confirmed: Sequence[ConfirmedCandidate],
    roles: Mapping[CandidateKey, tuple[str, ...]],
    test_accuracies: Sequence[MeanSd | None],
    doubt: Doubt | None = None,
    replaced: Collection[CandidateKey] = (),
) -> tuple[Recommendation, ...]:
    """Return recommendations in rank order.

    Args:
        confirmed: candidates in rank order, from ``chosen``.
        roles: the roles of candidates, from ``roles_of``.
        test_accuracies: their test accuracies.
        doubt: why none of them may be called good; then none gets a role.
        replaced: candidates that ``chosen`` passed over, because an edit took their place.
    """
    recommendations = []
    for rank, (candidate, test) in enumerate(zip(confirmed, test_accuracies, strict=True), start=1):
        own = roles.get(candidate.key, ())
        if doubt is None:
            reason = _reason(candidate, own, passed_over=bool(replaced))
        else:
            own, reason = (), f"Not recommended: {doubt(candidate)}."
        recommendations.append(_recommendation(rank, candidate, test, own, reason))
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


def _good_enough(contenders: Sequence[Contender], options: SearchOptions) -> list[CandidateKey]:
    """Return who may be on the front: those within ``FOLLOWER_ERRORS`` of the most accurate."""
    if options.objective is Objective.PARETO:
        return [c.key for c in contenders]
    best = max(contenders, key=lambda c: c.accuracy)
    bound = best.accuracy - FOLLOWER_ERRORS * best.binomial_error
    return [c.key for c in contenders if c.accuracy >= bound]


def _spread(trials: Sequence[FrozenTrial], count: int) -> list[FrozenTrial]:
    """Return at most this many trials, evenly spread over all."""
    if len(trials) <= count:
        return list(trials)
    return [trials[i * (len(trials) - 1) // max(count - 1, 1)] for i in range(count)]


def _key_of_trial(trial: FrozenTrial) -> CandidateKey:
    return trial.number, ()


def _architecture(trial: FrozenTrial) -> str:
    return architecture_key(trial.user_attrs.get(SPEC) or {})


def _contender_of_trial(key: CandidateKey, measurements: Measurements, samples: int) -> Contender:
    """Return the contender of a search trial, whose accuracy is too noisy to decide ties."""
    accuracy = measurements.validation_accuracy or 0.0
    error = _binomial_error(accuracy, samples)
    return Contender(
        key=key,
        parameters=measurements.parameters or 0,
        accuracy=accuracy,
        error=error,
        binomial_error=error,
        uniformity=measurements.adherence,
        precedence=(0.0, key),
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
        error=math.hypot(binomial, (accuracy.sd or 0.0) / math.sqrt(accuracy.seeds)),
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
        coverage=candidate.profiles[0].coverage,
        features=candidate.profiles[0].features,
    )


def _reason(candidate: ConfirmedCandidate, roles: tuple[str, ...], *, passed_over: bool) -> str:
    """Return one sentence that says which roles a candidate holds.

    Args:
        candidate: what is recommended.
        roles: its roles.
        passed_over: True if candidates were left out because an edit took their place.
    """
    law = mean_law(candidate.profiles)
    follower = f"best follower of the law (uniformity {law.uniformity:.2f}; the law {law.status})"
    words = {
        MOST_ACCURATE: "most accurate of the confirmed candidates on validation data",
        SMALLEST: "smallest within one standard error of the most accurate",
        KNEE: "knee of the front, where less size begins to cost much accuracy",
        BEST_FOLLOWER: follower,
    }
    origin = _origin(candidate.candidate)
    if not roles:
        those = " whose place no edit has taken" if passed_over else ""
        return (
            f"It is a runner-up: the next most accurate of the confirmed candidates{those}.{origin}"
        )
    return f"It is the {' and the '.join(words[role] for role in roles)}.{origin}"


def _origin(candidate: Candidate) -> str:
    """Return how an edited network came about; nothing for the network of a trial."""
    if not candidate.edits:
        return ""
    return (
        f" It is the network of trial {candidate.trial.number} with these edits, which were "
        f"tried and kept: {', '.join(candidate.edits)}."
    )
