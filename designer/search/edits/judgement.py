"""Whether an edit is kept: the same training with the same seeds, before and after the edit."""

from __future__ import annotations

from dataclasses import dataclass

from designer.measures.intervals import t_interval
from designer.results.layers import PairedChange
from designer.results.ranges import Interval
from designer.search.confirmation import ConfirmedCandidate

TOLERANCE = 0.005
"""A smaller network is no less accurate if its mean accuracy is at most this much below the best on
the way to it."""

HOPELESS = 0.015
"""A smaller network is given up after the first run if that is less accurate by more than this."""


@dataclass(frozen=True)
class Judgement:
    """Whether an edit is kept, and why."""

    kept: bool
    """True if the edited network takes the place of the one before."""
    reason: str
    """A clause without a capital letter and a full stop."""
    change: PairedChange | None = None
    """Change of the validation accuracy; None without a run of both networks."""

    @property
    def sure_gain(self) -> float:
        """Mean change of the accuracy if its whole interval lies above zero, else 0."""
        return self.change.mean if self.change and self.change.surely_positive else 0.0


def change_of(parent: ConfirmedCandidate, edited: ConfirmedCandidate) -> PairedChange | None:
    """Return the change of validation accuracy, paired by seed; None without a common seed.

    Its interval holds no change that leads to an accuracy below 0 or above 1.
    """
    before, after = parent.accuracy_by_seed, edited.accuracy_by_seed
    seeds = [seed for seed in after if seed in before]
    if not seeds:
        return None
    differences = [after[seed] - before[seed] for seed in seeds]
    mean = sum(differences) / len(seeds)
    interval = t_interval(differences)
    if interval is not None:
        interval = _possible(interval, mean, sum(before[seed] for seed in seeds) / len(seeds))
    return PairedChange(mean, interval, len(seeds))


def _possible(interval: Interval, mean: float, before: float) -> Interval:
    """Return the part of an interval of changes that an accuracy of ``before`` allows.

    It holds the mean whatever the rounding, and its lower end keeps its sign.
    """
    low, high = interval
    return min(max(low, -before), mean), max(min(high, 1 - before), mean)


def is_hopeless(parent: ConfirmedCandidate, edited: ConfirmedCandidate) -> bool:
    """Return True if further runs cannot make up for the first.

    A network that is not smaller must be more accurate by its whole interval, which no run that
    gains nothing allows.

    Args:
        parent: the network before the edit.
        edited: the network after it, with the runs that there are.
    """
    change = change_of(parent, edited)
    if change is None:  # no seed in common so far
        return False
    worst = -HOPELESS if edited.parameters < parent.parameters else 0.0
    return change.mean < worst or (change.mean == worst == 0.0)


def judge(parent: ConfirmedCandidate, edited: ConfirmedCandidate, best: float) -> Judgement:
    """Return whether an edit is kept.

    It is kept if the network becomes surely more accurate (``PairedChange``); or if it becomes
    smaller, its mean accuracy is at most ``TOLERANCE`` below ``best``, and it is not hopeless.

    Args:
        parent: the network before the edit.
        edited: the network after it.
        best: highest mean accuracy of the networks that led to it.
    """
    change = change_of(parent, edited)
    if change is None:
        reason = "no seed in common with the network before it"
        return Judgement(kept=False, reason=reason)
    if change.surely_positive:
        reason = "more accurate"
        return Judgement(kept=True, reason=reason, change=change)
    smaller = edited.parameters < parent.parameters
    lost = best - edited.validation_accuracy.mean
    if smaller and lost <= TOLERANCE and not is_hopeless(parent, edited):
        share = 1 - edited.parameters / parent.parameters
        reason = f"{share:.0%} smaller"
        return Judgement(kept=True, reason=reason, change=change)
    if change.mean < 0 and change.runs < len(parent.accuracy_by_seed):
        runs = f"{change.runs} run" + "s" * (change.runs > 1)
        reason = f"{-100 * change.mean:.1f} points less accurate in {runs}, and given up"
    elif smaller and lost > TOLERANCE:
        reason = f"{100 * lost:.1f} points below the best before it"
    elif change.mean < 0:
        reason = f"{-100 * change.mean:.1f} points less accurate"
    else:
        reason = "not surely more accurate"
    return Judgement(kept=False, reason=reason, change=change)
