"""What is wrong with a network as a whole, from profiles of it over one or more seeds.

The network as a whole comes first: where D does not clearly fall, normalisation, a higher rate and
longer training help more than an edit of any single layer.  The thresholds were chosen on
perceptrons on Fashion-MNIST; ``benchmarks/claims/diagnosis.py`` measures them on other data.

==============  ==================================================================================
finding         condition
==============  ==================================================================================
not sound       the 95 % interval of the total fall of log D reaches down to 0, or no class
                direction is left behind the last block, or after less than ``MIN_EPOCHS`` epochs
                more than ``LOSS_LEFT`` of the training loss of the first is left
rate too low    the training loss still falls when the rate goes down, after the first third of the
                epochs: at least ``STILL_FALLING`` as fast as so far; from there it falls by less
                than 1 - ``STALLED``, and more than ``LOSS_LEFT`` of that of the first epoch is left
rate too high   a run diverged, or the seeds end more than ``SEED_SPREAD`` apart, unless the
                training was too short, as above
over-deep       it is sound, and ``SURPLUS_BLOCKS`` or more blocks lie behind the first whose
                held-out nearest-class-mean accuracy is within ``GOOD_ENOUGH`` of the best
too narrow      a block has fewer class directions than what reaches it, of those that there can be
dead units      ``DEAD_SHARE`` or more of the units of a part of a block give nothing but zero
too wide        a layer is far wider than others, and with half of its units or less, without any
                training, the network loses at most ``FREE`` of its held-out accuracy (``unit_use``)
memorising      training accuracy is more than ``MEMORISED_GAP`` above held-out accuracy
==============  ==================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from designer.analysis.over_seeds import (
    deficient,
    drawn_falls,
    drawn_steps,
    geometric_mean,
    pooled_away,
    surely_falls,
    weakest,
)
from designer.analysis.training_runs import (
    RATE_FACTOR,
    TrainingRuns,
    rate_diverged,
    rate_too_low,
    seeds_differ,
    trained_too_short,
)
from designer.analysis.unit_use import FREE
from designer.measures.law import MEMORISED_GAP
from designer.measures.proportions import beats_chance
from designer.results.contribution import BlockContribution
from designer.results.diagnosis import Finding, FindingKind
from designer.results.measured import FloatArray, SeparationProfile, SeparationStatus
from designer.results.units import UnitUse

GOOD_ENOUGH = 0.03
"""A block separates held-out data about as well as the best if it is within this accuracy.  Chosen
together with ``SURPLUS_BLOCKS``."""

SURPLUS_BLOCKS = 6
"""From this many blocks behind the first good one on, a network is over-deep, so no network of up
to this many blocks is."""

WIDEN_BY = 4
"""Factor of widening where class directions are missing; by 2 is often too little."""

UNDERFIT_GAP = 0.06
"""A network without normalisation is not trained far enough either if its training accuracy is less
than this above its held-out accuracy."""

DEAD_SHARE = 0.5
"""From this share of dead units on a block is named: with a few of them it may be as it should."""

NO_RUNS = TrainingRuns()
"""Stands for a network without a record of its training."""

UNITS_UNKNOWN = UnitUse()
"""Stands for a network whose units nobody looked at."""


def diagnose(
    profiles: Sequence[SeparationProfile],
    contributions: Sequence[BlockContribution] = (),
    *,
    normalised: bool | None = None,
    runs: TrainingRuns = NO_RUNS,
    units: UnitUse = UNITS_UNKNOWN,
) -> tuple[Finding, ...]:
    """Return what is wrong with a network as a whole; empty if nothing was found.

    Args:
        profiles: one per training seed of the same architecture, at least one.
        contributions: one record per block in running order, pooled over the seeds; empty if
            nothing of the kind was measured.
        normalised: True if the network has normalisation; None if that is not known.
        runs: the record of the training.
        units: what was found of the units of the blocks.
    """
    fall, rate, short = _fall(profiles), _rate(profiles, runs), trained_too_short(runs)
    too_high = rate is not None and rate.kind is FindingKind.RATE_TOO_HIGH
    if short and not rate_diverged(runs):
        rate = None  # seeds that have not come far differ at a rate that is too low, too
    findings = (
        _not_sound(profiles, fall, normalised, rate_too_high=too_high) or short,
        rate,
        None if fall.open else _over_deep(profiles, contributions),
        _too_narrow(profiles),
        _dead_units(units),
        None if at_chance(profiles) else _too_wide(units),
        _memorising(profiles),
    )
    return tuple(finding for finding in findings if finding is not None)


def whole_comes_first(profiles: Sequence[SeparationProfile]) -> bool:
    """Return True if there is no use in advice on single blocks.

    That is so where D does not clearly fall, and where the network is no better than chance.

    Args:
        profiles: one per training seed of the same architecture, at least one.
    """
    return _fall(profiles).open or at_chance(profiles)


def at_chance(profiles: Sequence[SeparationProfile]) -> bool:
    """Return True if the accuracy cannot be told from chance, on training or on held-out data.

    Args:
        profiles: one per training seed of the same architecture, at least one. Without logits the
            answer is False.
    """
    first = profiles[0]
    parts = (
        (
            _mean([p.accuracy for p in profiles]),
            _mean([p.accuracy_by_chance for p in profiles]),
            first.samples,
            first.chance_train,
        ),
        (
            _mean([p.accuracy_heldout for p in profiles]),
            _mean([p.accuracy_by_chance_heldout for p in profiles]),
            first.samples_heldout,
            first.chance,
        ),
    )
    return any(
        math.isfinite(accuracy) and largest < 1 and not beats_chance(accuracy, n, chance)
        for accuracy, chance, n, largest in parts
    )


@dataclass(frozen=True)
class _Fall:
    """The total fall of log D from the input to the last block, in nats."""

    value: float
    """Of the geometric mean over seeds; nan where some D has no logarithm."""
    draws: FloatArray
    """(B,) bootstrap draws of it."""
    open: bool
    """True if log D does not clearly fall, or does not reach the end."""
    lost_behind: str = ""
    """Name of the first block behind which no class direction is left up to the end."""


def _fall(profiles: Sequence[SeparationProfile]) -> _Fall:
    if _has_non_finite_features(profiles):
        return _Fall(float("nan"), np.empty(0), open=False)
    values = geometric_mean([profile.values for profile in profiles])
    if not np.isfinite(values[-1]):
        last = int(np.flatnonzero(np.isfinite(values))[-1]) if np.isfinite(values).any() else 0
        lost = profiles[0].layers[min(last + 1, len(values) - 1)].name
        return _Fall(float("nan"), np.empty(0), open=True, lost_behind=lost)
    if not np.all(np.isfinite(values) & (values > 0)):
        return _Fall(float("nan"), np.empty(0), open=False)
    fall = float(np.log(values[0] / values[-1]))
    drawn = drawn_steps([profile.resampled for profile in profiles], len(values) - 1)
    return _Fall(fall, drawn_falls(drawn), open=fall <= 0 or not surely_falls(drawn))


def _has_non_finite_features(profiles: Sequence[SeparationProfile]) -> bool:
    """Return True if D is missing because of NaN or infinity, which says nothing of the classes."""
    return any(
        layer.train.status is SeparationStatus.NON_FINITE
        for profile in profiles
        for layer in profile.layers
    )


def _not_sound(
    profiles: Sequence[SeparationProfile],
    fall: _Fall,
    normalised: bool | None,
    *,
    rate_too_high: bool,
) -> Finding | None:
    """Return that D does not clearly fall, and what of the two reasons is the likelier one."""
    if not fall.open:
        return None
    faster = "" if rate_too_high else f"with {RATE_FACTOR} times the learning rate, or "
    longer = f"train {faster}{RATE_FACTOR} times as long"
    gap = _mean([profile.accuracy - profile.accuracy_heldout for profile in profiles])
    likelier, advice = _likelier_reason(normalised, gap, longer)
    return Finding(FindingKind.NOT_SOUND, f"{_fall_in_words(fall)} {likelier}", advice)


def _likelier_reason(normalised: bool | None, gap: float, longer: str) -> tuple[str, str]:
    """Return why D does not clearly fall, and what to do, in sentences.

    Args:
        normalised: as in ``diagnose``.
        gap: training accuracy minus held-out accuracy; nan if that is not known.
        longer: what to do against training that was too short, without a full stop.
    """
    if normalised:
        reason = "It has normalisation, so it is likelier not trained far enough."
        return reason, f"{longer[0].upper()}{longer[1:]}."
    if normalised is None:
        reason = "Whether it has normalisation is not known."
        return reason, f"Add normalisation if there is none; otherwise {longer}."
    if gap < UNDERFIT_GAP:
        reason = (
            f"It has no normalisation. Nor is it trained far enough, it seems: the gap between "
            f"training and held-out accuracy is {100 * gap:.1f} points, and less than "
            f"{100 * UNDERFIT_GAP:.0f} is little."
        )
        return reason, f"Add normalisation behind every layer, and {longer}."
    reason = "It has no normalisation, which is the likelier reason."
    return reason, f"Add normalisation behind every layer; if that is not enough, {longer}."


def _fall_in_words(fall: _Fall) -> str:
    if fall.lost_behind:
        return (
            f"Behind block '{fall.lost_behind}' all class means coincide: nothing of the classes "
            f"reaches the end."
        )
    if not len(fall.draws):
        return (
            f"From the input to the last block log D changes by {-fall.value:.2f} nats, and not "
            f"below 0."
        )
    low, high = np.percentile(-fall.draws, [2.5, 97.5])
    return (
        f"From the input to the last block log D changes by {-fall.value:.2f} nats, with a 95 % "
        f"interval from {low:.2f} to {high:.2f} that does not lie below 0."
    )


def _rate(profiles: Sequence[SeparationProfile], runs: TrainingRuns) -> Finding | None:
    """Return that the rate was too low or too high, as far as the record of training tells."""
    if at_chance(profiles):
        return None
    return (
        rate_diverged(runs) or rate_too_low(runs) or seeds_differ(runs, profiles[0].samples_heldout)
    )


def _over_deep(
    profiles: Sequence[SeparationProfile], contributions: Sequence[BlockContribution]
) -> Finding | None:
    """Return that many blocks lie behind the first one that separates held-out data well.

    log D falls evenly over surplus blocks, so that steps do not show them.
    """
    accuracies = np.mean(
        [[layer.nearest_class_mean_accuracy for layer in p.layers[1:]] for p in profiles], axis=0
    )
    best = float(accuracies.max())
    samples, chance = profiles[0].samples_heldout, profiles[0].chance
    if not samples or not math.isfinite(best) or not beats_chance(best, samples, chance):
        return None
    enough = int(np.argmax(accuracies >= best - GOOD_ENOUGH)) + 1
    surplus = len(accuracies) - enough
    if surplus < SURPLUS_BLOCKS:
        return None
    name = profiles[0].layers[enough].name
    return Finding(
        FindingKind.OVER_DEEP,
        f"Block {enough} of {len(accuracies)}, '{name}', is within {100 * GOOD_ENOUGH:.0f} points "
        f"of the best nearest-class-mean accuracy on held-out data "
        f"({100 * accuracies[enough - 1]:.1f} and {100 * best:.1f} %). {surplus} blocks lie behind "
        f"it; from {SURPLUS_BLOCKS} on they are too many.",
        f"{_shallower(enough)} {_not_by_removing(contributions[enough:])}",
    )


def _shallower(enough: int) -> str:
    blocks = "1 block" if enough == 1 else f"{enough} blocks"
    return f"Train a shallower network anew: {blocks} would do by this measure."


def _not_by_removing(behind: Sequence[BlockContribution]) -> str:
    """Return whether the trained network needs the surplus blocks, which is another question."""
    tried = [record.contribution for record in behind if record.contribution is not None]
    needed = sum(contribution.needed for contribution in tried)
    if needed:
        return (
            f"Do not just remove blocks: as it is trained, the network needs {needed} of these "
            f"{len(behind)}."
        )
    if tried:
        return "As it is trained, it surely needs none of those blocks that were left out alone."
    return "Whether the network as it is trained needs those blocks was not measured."


def _too_narrow(profiles: Sequence[SeparationProfile]) -> Finding | None:
    """Return which blocks lose class directions."""
    losing = []
    untrained = at_chance(profiles)
    for tap in range(1, len(profiles[0].layers)):
        if pooled_away(profiles[0], tap) or (untrained and _only_smaller_maps(profiles[0], tap)):
            continue  # pooled features show fewer directions than there are
        before, after = weakest(profiles, tap - 1), weakest(profiles, tap)
        if after.rank and deficient(after) and after.rank < before.rank:
            layer = profiles[0].layers[tap]
            losing.append(
                f"'{layer.name}' ({after.rank} of {after.full_rank} at width {layer.width})"
            )
    if not losing:
        return None
    block, it = _blocks_in_words(losing)
    return Finding(
        FindingKind.TOO_NARROW,
        f"Class directions are lost in {block} {', '.join(losing)}.",
        f"Make {it} {WIDEN_BY} times as wide, or leave {it} out, and train anew.",
    )


def _blocks_in_words(blocks: Sequence[object]) -> tuple[str, str]:
    """Return the noun and the pronoun for so many blocks."""
    return ("block", "it") if len(blocks) == 1 else ("blocks", "them")


def _dead_units(units: UnitUse) -> Finding | None:
    """Return which blocks have a part whose units are dead for the most part."""
    dead = [record for record in units.dead if record.share >= DEAD_SHARE]
    if not dead:
        return None
    named = ", ".join(
        f"'{record.block}' ({record.dead:,} of {record.units:,} in '{record.layer}')"
        for record in dead
    )
    block, it = _blocks_in_words(dead)
    return Finding(
        FindingKind.DEAD_UNITS,
        f"Units give nothing but zero on all training samples that were looked at, in {block} "
        f"{named}; from {100 * DEAD_SHARE:.0f} % on a block is named.",
        f"Give {it} only as many units as are alive, or leave {it} out, and train anew.",
    )


def _too_wide(units: UnitUse) -> Finding | None:
    """Return which layers were tried with far fewer units at no cost."""
    free = [trial for trial in units.narrower if trial.accuracy.value >= -FREE]
    if not free:
        return None
    named = ", ".join(
        f"'{trial.block}' ({trial.units:,} units in '{trial.layer}')" for trial in free
    )
    outcomes = "; ".join(
        f"with {trial.kept:,} units in '{trial.layer}', from which the others are predicted, and "
        f"without training, held-out accuracy changes by {100 * trial.accuracy.value:+.1f} points "
        f"({100 * trial.accuracy.interval[0]:+.1f} to {100 * trial.accuracy.interval[1]:+.1f})"
        for trial in free
    )
    block, it = _blocks_in_words(free)
    return Finding(
        FindingKind.TOO_WIDE,
        f"Far wider than the other layers, whose median is {free[0].usual:,} units, "
        f"{'is' if len(free) == 1 else 'are'} {block} {named}.",
        f"Make {it} as narrow as was tried, and train anew.",
        tried=True,
        outcome=outcomes,
    )


def _only_smaller_maps(profile: SeparationProfile, tap: int) -> bool:
    """Return True if a block gives as many channels as it receives, or more, on smaller maps.

    Before training such a block loses class directions that training brings into its channels.
    """
    before, after = profile.layers[tap - 1], profile.layers[tap]
    if profile.features != "flatten" or before.positions is None or after.positions is None:
        return False
    smaller = after.positions < before.positions
    return smaller and after.width * before.positions >= before.width * after.positions


def _memorising(profiles: Sequence[SeparationProfile]) -> Finding | None:
    """Return that the network memorised its labels, since the law holds for them, too."""
    gap = _mean([profile.accuracy - profile.accuracy_heldout for profile in profiles])
    if not gap > MEMORISED_GAP:
        return None
    return Finding(
        FindingKind.MEMORISING,
        f"It is right {100 * gap:.0f} points more often on training than on held-out data; more "
        f"than {100 * MEMORISED_GAP:.0f} means that labels were memorised, and the law holds for "
        f"memorised labels, too.",
        "Believe held-out figures only; train with more data, augmentation or a smaller network.",
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
