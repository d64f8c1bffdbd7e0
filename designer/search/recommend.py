"""Choose which candidates are confirmed and which are recommended."""

from __future__ import annotations

import math
from collections.abc import Sequence

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from designer.analysis.advice import input_report, layer_reports, mean_law, stage_laws
from designer.choices import Objective
from designer.results.layers import Curve, LawSummary, MeanSd
from designer.results.measured import LawStatus, measured
from designer.results.search import Recommendation
from designer.search.candidates import architecture_key
from designer.search.confirmation import Confirmed
from designer.search.job import Job
from designer.search.study.trials import EMERGENCE, RECORD, SPEC


def shortlist(job: Job, study: Study) -> list[FrozenTrial]:
    """Candidates for the three roles of a recommendation, at most one per architecture.

    The best by objective, but for two places: the smallest within one standard error of the
    best validation accuracy, and the best follower of the law within three.
    """
    ranked = _ranked(job, study)
    if not ranked:
        return []
    places = job.effort.confirm
    accuracies = [_record(trial, "validation_accuracy") for trial in ranked]
    best = max(accuracies)
    error = math.sqrt(best * (1 - best) / len(job.data.validation))
    close = [t for t, a in zip(ranked, accuracies, strict=True) if a >= best - error]
    near = [t for t, a in zip(ranked, accuracies, strict=True) if a >= best - 3 * error]
    smallest = min(close, key=lambda t: (_record(t, "parameters"), t.number))
    follower = max(near, key=lambda t: (_record(t, "adherence"), -t.number))
    picked: dict[str, FrozenTrial] = {}
    for trial in (*ranked[: max(1, places - 2)], smallest, follower, *ranked):
        picked.setdefault(architecture_key(trial.user_attrs[SPEC]), trial)
    return list(picked.values())[:places]


def _ranked(job: Job, study: Study) -> list[FrozenTrial]:
    """Complete trials by objective, best first; of several rates for one architecture the best."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if job.settings.objective is Objective.PARETO:
        front = {trial.number for trial in study.best_trials}
        complete = [trial for trial in complete if trial.number in front]
    best: dict[str, FrozenTrial] = {}
    for trial in sorted(complete, key=lambda t: (-t.values[0], t.number)):
        best.setdefault(architecture_key(trial.user_attrs[SPEC]), trial)
    return list(best.values())


def _record(trial: FrozenTrial, name: str) -> float:
    return float(trial.user_attrs[RECORD][name])


MOST_ACCURATE, SMALLEST, BEST_FOLLOWER = "most accurate", "smallest", "best follower"


MIN_RECOMMENDATIONS = 3


def recommend(
    confirmed: Sequence[Confirmed], tests: Sequence[MeanSd | None], chance: float, at_chance: bool
) -> tuple[Recommendation, ...]:
    """Recommendations in rank order.

    Args:
        confirmed: candidates in rank order, from ``chosen``.
        tests: their test accuracies.
        chance: validation accuracy of always naming the largest class.
        at_chance: whether none does better than that, so that none is called good.
    """
    roles = roles_of(confirmed)
    return tuple(
        _recommendation(rank, one, test, roles.get(one.trial.number, ()), chance, at_chance)
        for rank, (one, test) in enumerate(zip(confirmed, tests, strict=True), start=1)
    )


def chosen(confirmed: Sequence[Confirmed]) -> list[Confirmed]:
    """Those with a role, most accurate first, then the most accurate others, at least three."""
    ranked = sorted(confirmed, key=_by_accuracy)
    roles = roles_of(confirmed)
    with_role = sorted(
        (c for c in ranked if c.trial.number in roles),
        key=lambda c: (MOST_ACCURATE not in roles[c.trial.number], _by_accuracy(c)),
    )
    others = [c for c in ranked if c.trial.number not in roles]
    return with_role + others[: max(0, MIN_RECOMMENDATIONS - len(with_role))]


def roles_of(confirmed: Sequence[Confirmed]) -> dict[int, tuple[str, ...]]:
    """Roles by trial number."""
    if not confirmed:
        return {}
    best = min(confirmed, key=_by_accuracy)
    bound = best.mean("validation_accuracy") - standard_error(best)
    within = [c for c in confirmed if c.mean("validation_accuracy") >= bound]
    smallest = min(within, key=lambda c: (c.parameters, *_by_accuracy(c)))
    holders = [(MOST_ACCURATE, best), (SMALLEST, smallest)]
    followers = [c for c in confirmed if _can_follow(c) and _near(c, best)]
    if followers:
        holders.append((BEST_FOLLOWER, max(followers, key=_uniformity)))
    roles: dict[int, tuple[str, ...]] = {}
    for role, holder in holders:
        number = holder.trial.number
        roles[number] = (*roles.get(number, ()), role)
    return roles


def standard_error(one: Confirmed) -> float:
    """Of the mean validation accuracy over seeds; binomial where there is only one seed."""
    accuracy = one.mean_sd("validation_accuracy")
    if accuracy.sd is not None:
        return accuracy.sd / math.sqrt(accuracy.seeds)
    samples = one.profiles[0].samples_heldout
    return math.sqrt(accuracy.mean * (1 - accuracy.mean) / samples)


def _recommendation(
    rank: int,
    one: Confirmed,
    test: MeanSd | None,
    roles: tuple[str, ...],
    chance: float,
    at_chance: bool,
) -> Recommendation:
    law = mean_law(one.profiles)
    return Recommendation(
        rank=rank,
        spec=one.spec,
        parameters=one.parameters,
        flops=int(one.trial.user_attrs[RECORD]["flops"]),
        learning_rate=float(one.spec["learning_rate"]),
        score=measured(one.mean("score")),
        validation_accuracy=one.mean_sd("validation_accuracy"),
        test_accuracy=test,
        law=LawSummary.of(law),
        layers=layer_reports(one.profiles),
        reason=_reason(one, roles, chance, at_chance, law.status),
        roles=() if at_chance else roles,
        input=input_report(one.profiles),
        trial=one.trial.number,
        score_parts={
            "heldout_separation": measured(one.mean("heldout_separation")),
            "adherence": measured(one.mean("adherence")),
        },
        train_accuracy=measured(one.mean("train_accuracy")),
        stages=stage_laws(one.profiles),
        emergence=tuple(Curve.read(curve) for curve in one.runs[0].user_attrs.get(EMERGENCE, ())),
    )


def _reason(
    one: Confirmed, roles: tuple[str, ...], chance: float, at_chance: bool, status: LawStatus
) -> str:
    accuracy = one.mean("validation_accuracy")
    if at_chance:
        return (
            f"Not recommended: its validation accuracy of {accuracy:.3f} cannot be told from "
            f"chance ({chance:.3f})."
        )
    uniformity = mean_law(one.profiles).uniformity
    said = {
        MOST_ACCURATE: "most accurate of the confirmed candidates on validation data",
        SMALLEST: "smallest within one standard error of the most accurate",
        BEST_FOLLOWER: f"best follower of the law (uniformity {uniformity:.2f}, {status})",
    }
    if not roles:
        return "Runner-up: next most accurate of the confirmed candidates."
    text = "; ".join(said[role] for role in roles)
    return f"{text[0].upper()}{text[1:]}."


def _by_accuracy(one: Confirmed) -> tuple[float, int, int]:
    return (-one.mean("validation_accuracy"), one.parameters, one.trial.number)


def _can_follow(one: Confirmed) -> bool:
    """The law can only be followed where there are enough layers for it to fail."""
    return mean_law(one.profiles).status in (LawStatus.HOLDS, LawStatus.DOES_NOT_HOLD)


def _near(one: Confirmed, best: Confirmed) -> bool:
    """Within three binomial standard errors of the best: following the law is no excuse."""
    accuracy = best.mean("validation_accuracy")
    error = math.sqrt(accuracy * (1 - accuracy) / best.profiles[0].samples_heldout)
    return one.mean("validation_accuracy") >= accuracy - 3 * error


def _uniformity(one: Confirmed) -> tuple[float, int]:
    return mean_law(one.profiles).uniformity, -one.trial.number
