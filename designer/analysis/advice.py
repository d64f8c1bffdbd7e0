"""Verdicts and advice per block, from profiles of one architecture over one or more seeds.

What the network loses without a block comes first (``need``): a block that is needed is never
called low, negative or idle, and only an idle block is one to remove.  A needed block with a small
step *prepares* what later blocks need.

For all others the verdict comes from the shares on training data, because the law is about training
data.  The advice also looks at the held-out steps: a last layer often takes the largest training
step by collapsing what is already classified.

There is advice on single blocks only where the network as a whole is sound, see ``diagnosis``.  It
names no edit that was measured not to pay: inserting a layer, and widening where D rises.

| symbol | meaning | shape |
|---|---|---|
| D | separation at the input and after every block | (L + 1,) |
| g | steps: log D before a block minus log D after it | (L,) |
| share | g / mean(g) | (L,) |

Block i, from 0 on, lies between tap i and tap i + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from designer.analysis.diagnosis import whole_comes_first
from designer.analysis.need import idle_in_words, is_idle, open_in_words, prepares_in_words
from designer.analysis.over_seeds import (
    deficient,
    drawn_steps,
    geometric_mean,
    pooled_away,
    surely_falls,
    weakest,
)
from designer.measures.intervals import intervals
from designer.measures.law import fit_law, judge, shares, steps
from designer.results.contribution import BlockContribution, Contribution
from designer.results.diagnosis import WHOLE_FIRST
from designer.results.layers import InputReport, LawSummary, LayerReport, StageLaw
from designer.results.measured import (
    HIGH_SHARE,
    LOW_SHARE,
    FloatArray,
    LawFit,
    LayerSeparation,
    Separation,
    SeparationProfile,
    SeparationStatus,
    Verdict,
    measured,
)
from designer.results.ranges import Interval

MEANINGLESS = {
    SeparationStatus.NON_FINITE: "there are NaN or infinite features",
    SeparationStatus.NO_SIGNAL: "all class means coincide",
    SeparationStatus.COLLAPSED: "there is no scatter within the classes beyond rounding",
}
"""Why D has no meaning, by its status."""


NOT_MEASURED = "It was not measured."
"""The reason of all blocks if no contributions were measured."""


WIDTH_CHANGE = 1.5
"""Where the width changes by at least this factor, a step is checked against the null."""


def mean_law(profiles: Sequence[SeparationProfile]) -> LawFit:
    """Fit the law to the geometric mean of D over training seeds.

    Args:
        profiles: one per training seed of the same architecture.
    """
    return fit_law(geometric_mean([p.values for p in profiles]))


def input_report(profiles: Sequence[SeparationProfile]) -> InputReport:
    """Return the separation of the input, which is the same for every seed.

    Args:
        profiles: one per training seed of the same architecture.
    """
    layer = profiles[0].layers[0]
    return InputReport(
        width=layer.width,
        separation=measured(layer.train.value),
        separation_heldout=measured(layer.heldout.value) if layer.heldout else None,
        separation_null=measured(layer.null),
        nearest_class_mean_accuracy=measured(layer.nearest_class_mean_accuracy),
        null_range=_null_range(profiles, 0),
    )


def layer_reports(
    profiles: Sequence[SeparationProfile], contributions: Sequence[BlockContribution] = ()
) -> tuple[LayerReport, ...]:
    """Return step, share, contribution, verdict and advice for every block.

    Args:
        profiles: one per training seed of the same architecture. Without resamples there are no
            intervals, so a block is never low, high or negative, but ``uncertain`` instead.
        contributions: one record per block in running order, pooled over the seeds; empty if
            nothing of the kind was measured.
    """
    blocks = range(len(profiles[0].layers) - 1)
    records = contributions or [BlockContribution("", "", None, NOT_MEASURED) for _ in blocks]
    summary = _summary(profiles, [record.contribution for record in records])
    return tuple(_layer_report(profiles, summary, i, records[i].reason) for i in blocks)


def stage_laws(profiles: Sequence[SeparationProfile]) -> tuple[StageLaw, ...]:
    """Fit the law within each stage: neighbouring blocks of one kind in one part of the network.

    Args:
        profiles: one per training seed of the same architecture.

    Returns:
        One law per stage, of the geometric mean of D over seeds; empty if there is one stage only.
    """
    values = geometric_mean([p.values for p in profiles])
    layers = profiles[0].layers
    stages = [
        list(group) for _, group in groupby(range(1, len(layers)), lambda i: _stage(layers[i]))
    ]
    if len(stages) < 2:
        return ()
    return tuple(
        StageLaw(
            *_stage(layers[taps[0]]),
            blocks=tuple(layers[i].name for i in taps),
            law=LawSummary.of(fit_law(values[taps[0] - 1 : taps[-1] + 1])),
        )
        for taps in stages
    )


def _stage(layer: LayerSeparation) -> tuple[str, str]:
    """Return the part of the network that a block is in, and the kind of the block."""
    return layer.name.rpartition(".")[0], layer.kind


@dataclass(frozen=True, eq=False)
class _SeedSummary:
    """Values and intervals over all training seeds; NaN where there are none."""

    values: FloatArray
    """(L + 1,) geometric mean of D on training data."""
    values_heldout: FloatArray
    """(L + 1,) geometric mean of the cross-fitted D."""
    nulls: FloatArray
    """(L + 1,) geometric mean of D with permuted labels."""
    steps: FloatArray
    """(L,) steps of ``values``, in nats."""
    shares: FloatArray
    """(L,) shares of ``steps``; NaN unless D clearly falls in total."""
    null_corrected_shares: FloatArray
    """(L,) shares of the steps of D / null."""
    heldout_steps: FloatArray
    """(L,) steps of ``values_heldout``, in nats."""
    heldout_shares: FloatArray
    """(L,) shares of ``heldout_steps``."""
    step_intervals: list[Interval]
    """L 95 % intervals of ``steps``."""
    share_intervals: list[Interval]
    """L 95 % intervals of ``shares``."""
    heldout_intervals: list[Interval]
    """L 95 % intervals of ``heldout_steps``."""
    widths: tuple[int, ...]
    """L + 1 numbers of features, the input first."""
    contributions: Sequence[Contribution | None]
    """L contributions; None where there is none."""
    whole_first: bool
    """True if there is no use in advice on single blocks."""


def _summary(
    profiles: Sequence[SeparationProfile], contributions: Sequence[Contribution | None]
) -> _SeedSummary:
    values = geometric_mean([p.values for p in profiles])
    heldout = geometric_mean([p.values_heldout for p in profiles])
    nulls = geometric_mean([p.nulls for p in profiles])
    with np.errstate(divide="ignore", invalid="ignore"):
        g, g_heldout = steps(values), steps(heldout)
        drawn = drawn_steps([p.resampled for p in profiles], len(g))
        # shares times NaN are NaN: they do not exist unless D clearly falls in total
        defined = 1.0 if surely_falls(drawn) else np.nan
        drawn_heldout = drawn_steps([p.resampled_heldout for p in profiles], len(g))
        return _SeedSummary(
            values=values,
            values_heldout=heldout,
            nulls=nulls,
            steps=g,
            shares=shares(g) * defined,
            null_corrected_shares=shares(steps(values / nulls)),
            heldout_steps=g_heldout,
            heldout_shares=shares(g_heldout),
            step_intervals=intervals(drawn),
            share_intervals=intervals(shares(drawn) * defined),
            heldout_intervals=intervals(drawn_heldout),
            widths=tuple(layer.width for layer in profiles[0].layers),
            contributions=contributions,
            whole_first=whole_comes_first(profiles),
        )


def _layer_report(
    profiles: Sequence[SeparationProfile], summary: _SeedSummary, i: int, reason: str
) -> LayerReport:
    layer = profiles[0].layers[i + 1]
    pooled = pooled_away(profiles[0], i), pooled_away(profiles[0], i + 1)
    before, after = weakest(profiles, i), weakest(profiles, i + 1)
    verdict, advice = _verdict(summary, i, before, after, pooled)
    contribution = summary.contributions[i]
    if contribution is not None and verdict is not Verdict.DEGENERATE:
        saving = (layer.parameters, profiles[0].parameters)
        verdict, advice = _by_need(contribution, summary, i, (verdict, advice), saving)
    if summary.whole_first and not _mismeasured(before, after, pooled):
        advice = WHOLE_FIRST
    return LayerReport(
        name=layer.name,
        width=layer.width,
        separation=measured(summary.values[i + 1]),
        separation_heldout=measured(summary.values_heldout[i + 1]),
        separation_null=measured(summary.nulls[i + 1]),
        step=measured(summary.steps[i]),
        share=measured(summary.shares[i]),
        interval=_measured_interval(summary.share_intervals[i]),
        verdict=verdict,
        advice=advice,
        step_interval=_measured_interval(summary.step_intervals[i]),
        step_heldout=measured(summary.heldout_steps[i]),
        step_heldout_interval=_measured_interval(summary.heldout_intervals[i]),
        nearest_class_mean_accuracy=measured(
            float(np.mean([p.layers[i + 1].nearest_class_mean_accuracy for p in profiles]))
        ),
        rank=weakest(profiles, i + 1).rank,
        full_rank=layer.train.full_rank,
        kind=layer.kind,
        null_range=_null_range(profiles, i + 1),
        parameters=layer.parameters,
        contribution=contribution,
        contribution_reason=reason,
    )


def _by_need(
    contribution: Contribution,
    summary: _SeedSummary,
    i: int,
    by_steps: tuple[Verdict, str],
    saving: tuple[int | None, int | None],
) -> tuple[Verdict, str]:
    """Return verdict and advice by what a block is needed for; those by steps where that is open.

    Args:
        contribution: of the block.
        summary: steps and shares of all blocks.
        i: place of the block.
        by_steps: verdict and advice by steps alone.
        saving: parameters of the block, and of the model.
    """
    if is_idle(contribution):
        return Verdict.IDLE, f"remove: {idle_in_words(contribution, *saving)}"
    shows_little = by_steps[0] in {Verdict.LOW, Verdict.NEGATIVE}
    if contribution.needed and (shows_little or _adds_nothing_heldout(summary, i)):
        return Verdict.PREPARES, f"keep: {prepares_in_words(contribution)}"
    return by_steps


def _null_range(profiles: Sequence[SeparationProfile], tap: int) -> Interval | None:
    """Return the range of D with permuted labels over permutations and seeds; None without any."""
    drawn = [value for profile in profiles for value in profile.layers[tap].nulls]
    return _measured_interval((min(drawn), max(drawn))) if drawn else None


def _mismeasured(before: Separation, after: Separation, pooled: tuple[bool, bool]) -> bool:
    """True if the features themselves are a reason to measure a block again."""
    pairs = list(zip((before, after), pooled, strict=True))
    meaningless = any(separation.status in MEANINGLESS for separation, _ in pairs)
    return meaningless or any(hides and deficient(separation) for separation, hides in pairs)


def _verdict(
    summary: _SeedSummary, i: int, before: Separation, after: Separation, pooled: tuple[bool, bool]
) -> tuple[Verdict, str]:
    """Return verdict and advice by steps.

    Args:
        summary: steps and shares of all blocks.
        i: place of the block.
        before: separation of what the block receives, in the weakest seed.
        after: separation of what it gives.
        pooled: True where features are means over positions, before and after.
    """
    degenerate = deficient(before) or deficient(after)
    verdict = judge(
        summary.shares[i], summary.share_intervals[i], summary.step_intervals[i], degenerate
    )
    sides = (after, "behind it", pooled[1]), (before, "before it", pooled[0])
    for separation, where, hides in sides:
        if separation.status in MEANINGLESS:
            reason = MEANINGLESS[separation.status]
            flat = separation.status is SeparationStatus.NO_SIGNAL and hides
            look = " in pooled features, so take flat ones" if flat else ""
            return Verdict.DEGENERATE, f"measure again: {reason} {where}{look}"
    for separation, where, hides in sides:
        if hides and deficient(separation):
            return verdict, (
                f"measure again: pooled features show only {separation.rank} of "
                f"{separation.full_rank} class directions {where}, so take flat ones"
            )
    if deficient(after):
        return verdict, f"widen: only {after.rank} of {after.full_rank} class directions are left"
    if deficient(before):
        return verdict, (
            f"measure again: only {before.rank} of {before.full_rank} class directions reach it, "
            f"so its step cannot be judged"
        )
    if verdict is not Verdict.UNCERTAIN and _width_confounds(summary, i, verdict):
        return Verdict.UNCERTAIN, (
            f"measure again: the width changes from {summary.widths[i]} to "
            f"{summary.widths[i + 1]}, and without the effect of the width the share would be "
            f"{summary.null_corrected_shares[i]:.2f}"
        )
    return verdict, _advice(verdict, summary, i)


def _width_confounds(summary: _SeedSummary, i: int, verdict: Verdict) -> bool:
    """True if the width changes here and the share beyond the null leads to another verdict."""
    before, after = summary.widths[i], summary.widths[i + 1]
    corrected = summary.null_corrected_shares[i]
    if max(before, after) < WIDTH_CHANGE * min(before, after) or np.isnan(corrected):
        return False
    return bool((LOW_SHARE <= corrected <= HIGH_SHARE) != (verdict is Verdict.OK))


def _advice(verdict: Verdict, summary: _SeedSummary, i: int) -> str:
    return {
        Verdict.OK: _advice_ok,
        Verdict.LOW: _advice_low,
        Verdict.HIGH: _advice_high,
        Verdict.NEGATIVE: _advice_negative,
    }.get(verdict, _advice_uncertain)(summary, i)


def _advice_ok(summary: _SeedSummary, i: int) -> str:
    if _adds_nothing_heldout(summary, i):
        return _may_not_be_needed("the step is on training data only", summary, i)
    return "keep"


def _advice_uncertain(summary: _SeedSummary, i: int) -> str:
    if np.isnan(summary.shares[i]):
        return "measure again: there is no share without a D at every block"
    low, high = summary.share_intervals[i]
    if np.isnan(low):
        return "measure again: without resamples nothing is certain"
    return f"measure again: a share from {low:.2f} to {high:.2f} allows more than one verdict"


def _advice_negative(summary: _SeedSummary, i: int) -> str:
    if summary.heldout_steps[i] > 0:
        return "measure again: D rises on training data and falls on held-out data"
    return _may_not_be_needed("D rises here", summary, i)


def _advice_high(summary: _SeedSummary, i: int) -> str:
    share = summary.shares[i]
    if _adds_nothing_heldout(summary, i):
        return _may_not_be_needed("the large step is on training data only", summary, i)
    if _little_heldout(summary, i):
        return "keep: the step is large on training data, but small on held-out data"
    if i + 1 < len(summary.steps) and _adds_nothing_heldout(summary, i + 1):
        return f"keep: the step is {share:.1f} times the mean step, and the next block adds nothing"
    return f"keep: the step is {share:.1f} times the mean step"


def _advice_low(summary: _SeedSummary, i: int) -> str:
    if np.isnan(summary.heldout_steps[i]):
        little = "the step is small on training data, and there is none on held-out data"
        return _may_not_be_needed(little, summary, i)
    if _adds_nothing_heldout(summary, i):
        little = "the step is close to zero on training data, and not above it on held-out data"
        return _may_not_be_needed(little, summary, i)
    if _little_heldout(summary, i):
        return "narrow: the step is small for the width, on training and on held-out data"
    return "keep: the step is small on training data, but larger on held-out data"


def _may_not_be_needed(reason: str, summary: _SeedSummary, i: int) -> str:
    """Return the advice on a block that shows nothing, because a step alone is no reason to remove.

    Args:
        reason: what the step of the block is like.
        summary: steps and contributions of all blocks.
        i: place of the block.
    """
    contribution = summary.contributions[i]
    if contribution is None:
        return f"measure again: {reason}, but whether the network needs it was not tried"
    return f"measure again: {reason}, but {open_in_words(contribution)}"


def _little_heldout(summary: _SeedSummary, i: int) -> bool:
    """True if the held-out share is low; without shares, if the held-out step is not positive."""
    share = summary.heldout_shares[i]
    return bool(summary.heldout_steps[i] <= 0 if np.isnan(share) else share < LOW_SHARE)


def _adds_nothing_heldout(summary: _SeedSummary, i: int) -> bool:
    """True if the held-out step and its whole interval, if there is one, are at or below zero."""
    step, (_, high) = summary.heldout_steps[i], summary.heldout_intervals[i]
    return bool(step <= 0 and (np.isnan(high) or high <= 0))


def _measured_interval(interval: Interval) -> Interval | None:
    return interval if np.isfinite(interval).all() else None
