"""Profiles of one architecture, over one or more training seeds, to verdicts and advice.

The verdict comes from the shares on training data, which is what the law speaks of.  The
advice also looks at the held-out steps: a last layer often takes the largest training step by
collapsing what is already classified, and is then the one to remove.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from designer.measures.intervals import intervals, pool_seeds
from designer.measures.law import ROUNDING, fit_law, judge, shares, steps
from designer.results.layers import InputReport, LawSummary, LayerReport, ReportWarning, StageLaw
from designer.results.measured import (
    HIGH_SHARE,
    LOW_SHARE,
    FloatArray,
    Interval,
    LawFit,
    LawStatus,
    LayerSeparation,
    Separation,
    SeparationProfile,
    SeparationStatus,
    Verdict,
    measured,
)

MEANINGLESS = {
    SeparationStatus.NON_FINITE: "there are NaN or infinite features",
    SeparationStatus.NO_SIGNAL: "all class means coincide",
    SeparationStatus.COLLAPSED: "there is no scatter within the classes beyond rounding",
}
"""Why D means nothing, in a word."""


WIDTH_CHANGE = 1.5
"""From this ratio on, a step between two widths is checked against the permutation null."""


def mean_law(profiles: Sequence[SeparationProfile]) -> LawFit:
    """The law of the geometric mean of D over training seeds."""
    return fit_law(_geometric_mean([p.values for p in profiles]))


def input_report(profiles: Sequence[SeparationProfile]) -> InputReport:
    """Separation of the input, the same for every seed."""
    layer = profiles[0].layers[0]
    return InputReport(
        width=layer.width,
        separation=measured(layer.train.value),
        separation_heldout=measured(layer.heldout.value) if layer.heldout else None,
        separation_null=measured(layer.null),
        nearest_class_mean_accuracy=measured(layer.nearest_class_mean_accuracy),
        null_range=_null_range(profiles, 0),
    )


def layer_reports(profiles: Sequence[SeparationProfile]) -> tuple[LayerReport, ...]:
    """Step, share, interval, verdict and advice for every block.

    Args:
        profiles: one per training seed of the same architecture, measured with resamples.
    """
    contributions = _contributions(profiles)
    return tuple(_layer_report(profiles, contributions, i) for i in range(len(contributions.steps)))


def stage_laws(profiles: Sequence[SeparationProfile]) -> tuple[StageLaw, ...]:
    """The law in each stage, of the geometric mean of D over training seeds; none where all
    blocks are of one kind in one part of the network."""
    values = _geometric_mean([p.values for p in profiles])
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


def law_warnings(
    subject: str, law: LawSummary, layers: Sequence[LayerReport]
) -> Iterator[ReportWarning]:
    """What to beware of in the law of ``subject``, such as "Recommendation 1"."""
    if law.status is LawStatus.TOO_FEW_LAYERS:
        yield ReportWarning("too_few_layers", f"{subject}: {law.reason}")
    if law.status is LawStatus.NOT_DECREASING:
        yield ReportWarning("not_decreasing", f"{subject}: {law.reason}")
    if law.status is LawStatus.DEGENERATE:
        yield ReportWarning("degenerate", f"{subject}: {law.reason}")
    rising = [layer.name for layer in layers if layer.step is not None and layer.step < -ROUNDING]
    if rising:
        yield ReportWarning(
            "non_monotone", f"{subject}: D rises instead of falling at {', '.join(rising)}."
        )


def _stage(layer: LayerSeparation) -> tuple[str, str]:
    """The part of the network that a block is in, and its kind."""
    return layer.name.rpartition(".")[0], layer.kind


@dataclass(frozen=True, eq=False)
class _Contributions:
    """Per block (L,): point values over all seeds and their intervals."""

    values: FloatArray
    values_heldout: FloatArray
    nulls: FloatArray
    steps: FloatArray
    shares: FloatArray
    null_corrected_shares: FloatArray
    heldout_steps: FloatArray
    heldout_shares: FloatArray
    step_intervals: list[Interval]
    share_intervals: list[Interval]
    heldout_intervals: list[Interval]
    widths: tuple[int, ...]


def _contributions(profiles: Sequence[SeparationProfile]) -> _Contributions:
    values = _geometric_mean([p.values for p in profiles])
    heldout = _geometric_mean([p.values_heldout for p in profiles])
    nulls = _geometric_mean([p.nulls for p in profiles])
    with np.errstate(divide="ignore", invalid="ignore"):
        g, g_heldout = steps(values), steps(heldout)
        drawn = _drawn_steps([p.resampled for p in profiles], len(g))
        falls = np.ones(len(g)) if _surely_falls(drawn) else np.full(len(g), np.nan)
        drawn_heldout = _drawn_steps([p.resampled_heldout for p in profiles], len(g))
        return _Contributions(
            values=values,
            values_heldout=heldout,
            nulls=nulls,
            steps=g,
            shares=shares(g) * falls,
            null_corrected_shares=shares(steps(values / nulls)),
            heldout_steps=g_heldout,
            heldout_shares=shares(g_heldout),
            step_intervals=intervals(drawn),
            share_intervals=intervals(shares(drawn) * falls),
            heldout_intervals=intervals(drawn_heldout),
            widths=tuple(layer.width for layer in profiles[0].layers),
        )


def _layer_report(
    profiles: Sequence[SeparationProfile], all_: _Contributions, i: int
) -> LayerReport:
    layer = profiles[0].layers[i + 1]
    pooled = profiles[0].features.startswith("pool")
    before, after = _weakest(profiles, i), _weakest(profiles, i + 1)
    verdict, advice = _verdict(all_, i, before, after, pooled=pooled)
    return LayerReport(
        name=layer.name,
        width=layer.width,
        separation=measured(all_.values[i + 1]),
        separation_heldout=measured(all_.values_heldout[i + 1]),
        separation_null=measured(all_.nulls[i + 1]),
        step=measured(all_.steps[i]),
        share=measured(all_.shares[i]),
        interval=_measured_interval(all_.share_intervals[i]),
        verdict=verdict,
        advice=advice,
        step_interval=_measured_interval(all_.step_intervals[i]),
        step_heldout=measured(all_.heldout_steps[i]),
        step_heldout_interval=_measured_interval(all_.heldout_intervals[i]),
        nearest_class_mean_accuracy=measured(
            float(np.mean([p.layers[i + 1].nearest_class_mean_accuracy for p in profiles]))
        ),
        rank=_weakest(profiles, i + 1).rank,
        full_rank=layer.train.full_rank,
        kind=layer.kind,
        null_range=_null_range(profiles, i + 1),
    )


def _null_range(profiles: Sequence[SeparationProfile], tap: int) -> Interval | None:
    """Of D with permuted labels, over permutations and seeds; None without any."""
    drawn = [value for profile in profiles for value in profile.layers[tap].nulls]
    return _measured_interval((min(drawn), max(drawn))) if drawn else None


def _weakest(profiles: Sequence[SeparationProfile], tap: int) -> Separation:
    """What was measured at a tap, in the seed where the fewest directions are left."""
    return min((profile.layers[tap].train for profile in profiles), key=lambda one: one.rank)


def _deficient(one: Separation) -> bool:
    """Whether directions are missing; a prediction residual needs none in particular."""
    return one.rank < one.full_rank and one.status is not SeparationStatus.OK


def _verdict(
    all_: _Contributions, i: int, before: Separation, after: Separation, *, pooled: bool
) -> tuple[Verdict, str]:
    degenerate = _deficient(before) or _deficient(after)
    verdict = judge(all_.shares[i], all_.share_intervals[i], all_.step_intervals[i], degenerate)
    for one, where in ((after, "behind it"), (before, "before it")):
        if one.status in MEANINGLESS:
            return Verdict.DEGENERATE, f"measure again: {MEANINGLESS[one.status]} {where}"
    if _deficient(after) and pooled:
        return verdict, (
            f"measure again: pooled, its features show only {after.rank} of {after.full_rank} "
            f"class directions; look at them flat"
        )
    if _deficient(after):
        return verdict, f"widen: only {after.rank} of {after.full_rank} class directions are left"
    if _deficient(before):
        return verdict, (
            f"measure again: only {before.rank} of {before.full_rank} class directions reach it, "
            f"so its step cannot be judged"
        )
    if verdict is not Verdict.UNCERTAIN and _width_confounds(all_, i, verdict):
        return Verdict.UNCERTAIN, (
            f"measure again: the width goes from {all_.widths[i]} to {all_.widths[i + 1]} here, "
            f"and beyond what width alone does the share is {all_.null_corrected_shares[i]:.2f}"
        )
    return verdict, _advice(verdict, all_, i)


def _width_confounds(all_: _Contributions, i: int, verdict: Verdict) -> bool:
    """Whether the width changes here and the share beyond the permutation null tells otherwise."""
    before, after = all_.widths[i], all_.widths[i + 1]
    corrected = all_.null_corrected_shares[i]
    if max(before, after) < WIDTH_CHANGE * min(before, after) or np.isnan(corrected):
        return False
    return bool((LOW_SHARE <= corrected <= HIGH_SHARE) != (verdict is Verdict.OK))


def _advice(verdict: Verdict, all_: _Contributions, i: int) -> str:
    return {
        Verdict.OK: _advice_ok,
        Verdict.LOW: _advice_low,
        Verdict.HIGH: _advice_high,
        Verdict.NEGATIVE: _advice_negative,
    }.get(verdict, _advice_uncertain)(all_, i)


def _advice_ok(all_: _Contributions, i: int) -> str:
    if _adds_nothing_heldout(all_, i):
        return "remove: its step is on training data only"
    return "keep"


def _advice_uncertain(all_: _Contributions, i: int) -> str:
    if np.isnan(all_.shares[i]):
        return "measure again: there is no share where D does not clearly fall in total"
    low, high = all_.share_intervals[i]
    if np.isnan(low):
        return "measure again: without resamples nothing is certain"
    return f"measure again: a share from {low:.2f} to {high:.2f} does not settle it"


def _advice_negative(all_: _Contributions, i: int) -> str:
    if _narrows(all_, i):
        return f"widen: D rises where the width falls from {all_.widths[i]}"
    if all_.heldout_steps[i] > 0:
        return "measure again: D rises on training data and falls on held-out data"
    return "remove: D rises here, it undoes separation"


def _advice_high(all_: _Contributions, i: int) -> str:
    share = all_.shares[i]
    if _adds_nothing_heldout(all_, i):
        return "remove: its large step is on training data only"
    if _little_heldout(all_, i):
        return "keep: the large step is on training data, little of it on held-out data"
    if _narrows(all_, i):
        return f"widen: it does {share:.1f} times its share at a smaller width than its input"
    if i + 1 < len(all_.steps) and _adds_nothing_heldout(all_, i + 1):
        return f"keep: it does {share:.1f} times its share, and the next one adds nothing"
    return f"insert: a layer after this one, for it does {share:.1f} times its share"


def _advice_low(all_: _Contributions, i: int) -> str:
    if _adds_nothing_heldout(all_, i):
        return "remove: it adds next to nothing on training data and nothing on held-out data"
    if _little_heldout(all_, i):
        return "narrow: little on training and on held-out data for its width"
    return "keep: little on training data, but more on held-out data"


def _little_heldout(all_: _Contributions, i: int) -> bool:
    """Whether the held-out share is low; without shares, whether the step is not positive."""
    share = all_.heldout_shares[i]
    return bool(all_.heldout_steps[i] <= 0 if np.isnan(share) else share < LOW_SHARE)


def _narrows(all_: _Contributions, i: int) -> bool:
    """Whether this block is clearly narrower than the block before it."""
    return i > 0 and all_.widths[i + 1] * WIDTH_CHANGE <= all_.widths[i]


def _adds_nothing_heldout(all_: _Contributions, i: int) -> bool:
    """Whether the held-out step is not positive, with its whole interval at or below zero
    or, without an interval, by its value."""
    step, (_, high) = all_.heldout_steps[i], all_.heldout_intervals[i]
    return bool(step <= 0 and (np.isnan(high) or high <= 0))


def _geometric_mean(values: Sequence[FloatArray]) -> FloatArray:
    """Over seeds, of (L + 1,) arrays; nan or 0 where one of them is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean: FloatArray = np.exp(np.mean(np.log(np.stack(values)), axis=0))
    return mean


def _drawn_steps(resampled: Sequence[tuple[tuple[float, ...], ...]], count: int) -> FloatArray:
    """(B, L) bootstrap draws of the steps, over samples and seeds; (0, L) without draws."""
    if not all(resampled):
        return np.empty((0, count))
    return steps(pool_seeds(resampled))


def _surely_falls(drawn: FloatArray) -> bool:
    """Whether D falls in total in nearly all draws (B, L), so that shares of it mean something."""
    totals = drawn.sum(axis=1)
    totals = totals[np.isfinite(totals)]
    return not len(totals) or float(np.percentile(totals, 2.5)) > 0


def _measured_interval(interval: Interval) -> Interval | None:
    return interval if np.isfinite(interval).all() else None
