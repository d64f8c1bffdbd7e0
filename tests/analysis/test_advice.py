"""Verdicts and advice, on made-up profiles that call for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from designer.analysis.advice import input_report, layer_reports, mean_law
from designer.analysis.diagnosis import diagnose
from designer.results.diagnosis import WHOLE_FIRST, FindingKind
from designer.results.layers import LayerReport
from designer.results.measured import FloatArray, LawStatus, SeparationProfile, Verdict
from tests.support.helpers import draws_around, profile_of, values_of_steps


def measured_profile(
    steps: Sequence[float],
    heldout: Sequence[float] | None = None,
    *,
    sd: float = 1e-3,
    seed: int = 0,
    nulls: FloatArray | None = None,
    **options: Any,
) -> SeparationProfile:
    """A profile with these steps on training and held-out data, and draws that scatter by
    ``sd``; the null is flat."""
    values = values_of_steps(steps)
    crossed = values_of_steps(steps if heldout is None else heldout)
    return profile_of(
        values,
        crossed,
        nulls=np.ones(len(values)) if nulls is None else nulls,
        resampled=draws_around(values, sd, seed=seed),
        resampled_heldout=draws_around(crossed, sd, seed=seed + 100),
        **options,
    )


def report_on(block: int, *profiles: SeparationProfile) -> LayerReport:
    """What is said of one block, from 0 on."""
    return layer_reports(profiles)[block]


# --- one verdict and one advice each ---


def test_equal_steps_are_all_kept() -> None:
    for report in layer_reports([measured_profile([1, 1, 1, 1])]):
        assert (report.verdict, report.advice) == (Verdict.OK, "keep")
        assert report.share == pytest.approx(1, rel=0.05)


LOW_STEPS = [1, 1, 0.1, 1]


@pytest.mark.parametrize(
    ("heldout_step", "advice"),
    [
        (-0.1, "measure again: the step is close to zero on training data, and not above it on"),
        (1.0, "keep: the step is small on training data, but larger on held-out data"),
        (0.1, "narrow: the step is small for the width, on training and on held-out data"),
    ],
)
def test_a_block_that_contributes_too_little(heldout_step: float, advice: str) -> None:
    report = report_on(2, measured_profile(LOW_STEPS, [1, 1, heldout_step, 1]))
    assert report.verdict is Verdict.LOW
    assert report.advice.startswith(advice)


def test_without_heldout_data_nothing_is_said_of_a_step_on_them() -> None:
    values = values_of_steps(LOW_STEPS)
    report = report_on(2, profile_of(values, resampled=draws_around(values, 1e-3)))
    assert report.verdict is Verdict.LOW
    assert report.advice == (
        "measure again: the step is small on training data, and there is none on held-out data, "
        "but whether the network needs it was not tried"
    )


HIGH_STEPS = [0.5, 0.5, 0.5, 3]


@pytest.mark.parametrize(
    ("heldout_step", "widths", "advice"),
    [
        (-0.1, None, "measure again: the large step is on training data only"),
        (0.1, None, "keep: the step is large on training data, but small on held-out"),
        (3.0, [784, 100, 100, 100, 40], "keep: the step is 2.7 times the mean step"),
        (3.0, [784, 100, 100, 100, 100], "keep: the step is 2.7 times the mean step"),
    ],
)
def test_a_block_that_contributes_too_much(
    heldout_step: float, widths: list[int] | None, advice: str
) -> None:
    report = report_on(
        3, measured_profile(HIGH_STEPS, [0.5, 0.5, 0.5, heldout_step], widths=widths)
    )
    assert report.verdict is Verdict.HIGH
    assert report.advice.startswith(advice)


@pytest.mark.parametrize("widths", [None, [784, 100, 40, 40, 40], [784, 100, 100, 40, 40]])
def test_a_block_that_undoes_separation(widths: list[int] | None) -> None:
    report = report_on(1, measured_profile([1, -0.5, 1, 1], widths=widths))
    assert report.verdict is Verdict.NEGATIVE
    assert report.advice.startswith("measure again: D rises here")


def test_the_input_width_is_no_width_of_a_block() -> None:
    report = report_on(0, measured_profile([-0.5, 1, 1, 1], widths=[784, 100, 100, 100, 100]))
    assert report.advice.startswith("measure again: D rises here")


def test_a_block_that_lost_a_class_direction() -> None:
    report = report_on(1, measured_profile([1, 1, 1], ranks=[9, 9, 5, 9]))
    assert report.verdict is Verdict.DEGENERATE
    assert report.advice == "widen: only 5 of 9 class directions are left"
    assert (report.rank, report.full_rank) == (5, 9)


@pytest.mark.parametrize("positions", [None, 4])
def test_pooled_features_that_lost_a_class_direction_say_to_take_flat_ones(
    positions: int | None,
) -> None:
    pooled = pooled_profile([9, 9, 5, 5], [positions] * 4)
    reports = layer_reports([pooled])
    assert [report.verdict for report in reports[1:]] == [Verdict.DEGENERATE] * 2
    for report in reports[1:]:
        assert report.advice.startswith("measure again: pooled features show only 5 of 9 class")
        assert report.advice.endswith("so take flat ones")
    assert diagnose([pooled]) == ()


def test_what_follows_pooled_features_that_lost_a_direction_is_measured_again() -> None:
    report = layer_reports([pooled_profile([9, 9, 5, 9], [64, 16, 4, 1])])[2]
    assert report.advice == (
        "measure again: pooled features show only 5 of 9 class directions before it, so take flat "
        "ones"
    )


def test_vectors_are_the_same_pooled_and_flat() -> None:
    profile = pooled_profile([9, 9, 5, 5], [16, 4, 1, 1])
    assert layer_reports([profile])[1].advice == "widen: only 5 of 9 class directions are left"
    assert [finding.kind for finding in diagnose([profile])] == [FindingKind.TOO_NARROW]


def pooled_profile(ranks: list[int], positions: list[int | None]) -> SeparationProfile:
    """Return an invented profile of pooled features."""
    profile = profile_of([100.0, 50.0, 20.0, 10.0], ranks=ranks, accuracies=[0.2, 0.5, 0.7, 0.9])
    layers = tuple(
        replace(layer, positions=count)
        for layer, count in zip(profile.layers, positions, strict=True)
    )
    return replace(profile, layers=layers, features="pool")


def test_a_block_after_one_that_lost_a_class_direction_is_degenerate_too() -> None:
    # its step compares a D over all directions with a D over some of them
    assert report_on(2, measured_profile([1, 1, 1], ranks=[9, 9, 5, 9])).verdict is (
        Verdict.DEGENERATE
    )


def test_a_wide_interval_settles_nothing() -> None:
    report = report_on(2, measured_profile(LOW_STEPS, sd=1.0))
    assert report.verdict is Verdict.UNCERTAIN
    assert report.interval is not None
    low, high = report.interval
    assert (
        report.advice
        == f"measure again: a share from {low:.2f} to {high:.2f} allows more than one verdict"
    )


def test_no_share_where_d_does_not_fall_in_total() -> None:
    falling, rising = layer_reports([measured_profile([0.5, -1.0])])
    assert falling.verdict is Verdict.UNCERTAIN
    assert falling.advice == rising.advice == WHOLE_FIRST
    assert rising.verdict is Verdict.NEGATIVE
    assert (falling.share, falling.interval) == (None, None)
    assert rising.step == pytest.approx(-1.0)
    assert rising.step_interval == pytest.approx((-1.0, -1.0), abs=0.01)


# --- width ---


def test_no_share_where_the_total_fall_is_not_sure() -> None:
    # blocks that rise and fall to nearly nothing in total would have shares of hundreds
    reports = layer_reports([measured_profile([-1, 0.5, 0.52], sd=0.05)])
    assert all(report.share is None and report.interval is None for report in reports)
    assert [report.verdict for report in reports] == [
        Verdict.NEGATIVE,
        Verdict.UNCERTAIN,
        Verdict.UNCERTAIN,
    ]


def test_a_step_that_the_width_explains_is_uncertain() -> None:
    # the null falls by 2.5 nats as the block widens: what is left of the step is ordinary
    nulls = values_of_steps([0, 0, 0, 2.5])
    widths = [100, 100, 100, 100, 1000]
    report = report_on(3, measured_profile(HIGH_STEPS, nulls=nulls, widths=widths))
    assert report.verdict is Verdict.UNCERTAIN
    assert "the width changes from 100 to 1000" in report.advice
    assert report.advice.endswith("the share would be 1.00")


@pytest.mark.parametrize(
    ("widths", "nulls"),
    [
        ([100, 100, 100, 100, 120], values_of_steps([0, 0, 0, 2.5])),  # hardly any wider
        ([100, 100, 100, 100, 1000], np.ones(5)),  # wider, but the null does not fall
        ([100, 100, 100, 100, 1000], np.full(5, np.nan)),  # no null was measured
    ],
)
def test_a_step_that_the_width_does_not_explain(widths: list[int], nulls: FloatArray) -> None:
    report = report_on(3, measured_profile(HIGH_STEPS, nulls=nulls, widths=widths))
    assert report.verdict is Verdict.HIGH


# --- seeds ---


def test_seeds_that_disagree_settle_nothing() -> None:
    low = measured_profile([1, 1, 0.1, 1], seed=1)
    ordinary = measured_profile([1, 1, 0.8, 1], seed=2)
    high = measured_profile([1, 1, 0.05, 1], seed=3)
    assert report_on(2, low).verdict is report_on(2, high).verdict is Verdict.LOW
    together = report_on(2, low, ordinary, high)
    assert together.verdict is Verdict.UNCERTAIN
    assert together.interval is not None
    assert together.interval[0] < 0.5 < together.interval[1]


def test_seeds_that_agree_settle_it() -> None:
    seeds = [measured_profile(LOW_STEPS, seed=seed) for seed in range(3)]
    assert report_on(2, *seeds).verdict is Verdict.LOW


def test_values_are_geometric_means_over_the_seeds() -> None:
    seeds = [profile_of([8.0, 9.0], [4.0, 9.0]), profile_of([8.0, 4.0], [1.0, 4.0])]
    report = report_on(0, *seeds)
    assert report.separation == pytest.approx(6)
    assert report.separation_heldout == pytest.approx(6)
    assert report.step == pytest.approx(np.log(8 / 6))
    assert report.step_heldout == pytest.approx(np.log(2 / 6))
    assert mean_law(seeds).total_reduction == pytest.approx(np.log(8 / 6))


def test_a_rank_lost_in_any_seed_counts() -> None:
    whole, lost = measured_profile([1, 1, 1]), measured_profile([1, 1, 1], ranks=[9, 9, 8, 9])
    assert report_on(1, whole, lost).verdict is Verdict.DEGENERATE


# --- missing measurements ---


def test_without_draws_there_is_no_interval_and_no_strong_verdict() -> None:
    ordinary, low, _ = layer_reports([profile_of(values_of_steps([1, 0.1, 1]))])
    assert (ordinary.interval, ordinary.step_interval) == (None, None)
    assert ordinary.verdict is Verdict.OK
    assert low.verdict is Verdict.UNCERTAIN
    assert low.advice.startswith("measure again")
    assert (low.separation_heldout, low.step_heldout, low.separation_null) == (None, None, None)


@pytest.mark.parametrize("bad", [0.0, float("nan")])
def test_a_block_without_a_d(bad: float) -> None:
    broken = profile_of([4.0, bad, 1.0], [4.0, bad, 1.0])
    for report in layer_reports([broken, broken]):
        assert report.verdict is Verdict.UNCERTAIN
        assert report.step is None
    assert mean_law([broken]).status is LawStatus.DEGENERATE


def test_the_input_is_reported_beside_the_blocks() -> None:
    profile = profile_of(
        [8.0, 2.0], [9.0, 3.0], nulls=[90.0, 80.0], widths=[64, 16], accuracies=[0.4, 0.7]
    )
    report = input_report([profile])
    assert (report.width, report.separation, report.separation_heldout) == (64, 8.0, 9.0)
    assert (report.separation_null, report.nearest_class_mean_accuracy) == (90.0, 0.4)
    (block,) = layer_reports([profile])
    assert (block.name, block.width) == ("block1", 16)
    assert block.nearest_class_mean_accuracy == pytest.approx(0.7)


def test_the_input_without_heldout_data() -> None:
    report = input_report([profile_of([8.0, 2.0], accuracies=[float("nan")] * 2)])
    assert report.separation_heldout is None
    assert report.separation_null is None
    assert report.nearest_class_mean_accuracy is None


def block_with(step: float, heldout_step: float) -> LayerReport:
    """The third of five blocks, the others with step 1 on either side."""
    return report_on(2, measured_profile([1, 1, step, 1, 1], heldout=[1, 1, heldout_step, 1, 1]))


def test_an_ordinary_block_that_adds_nothing_on_heldout_data_is_measured_again() -> None:
    report = block_with(1.0, -0.5)
    assert report.verdict is Verdict.OK
    assert report.advice == (
        "measure again: the step is on training data only, but whether the network needs it was "
        "not tried"
    )


def test_a_rise_on_training_data_alone_is_no_reason_to_remove() -> None:
    report = block_with(-0.4, 1.0)
    assert report.verdict is Verdict.NEGATIVE
    assert report.advice.startswith("measure again")


def test_a_step_that_is_all_width_is_not_ordinary() -> None:
    nulls = np.array([100.0, 100.0, 100.0, 100.0 / np.e, 100.0 / np.e, 100.0 / np.e])
    widths = [64, 64, 64, 512, 512, 512]
    profile = measured_profile([1.0] * 5, nulls=nulls, widths=widths)
    assert report_on(2, profile).verdict is Verdict.UNCERTAIN
    assert report_on(1, profile).verdict is Verdict.OK
