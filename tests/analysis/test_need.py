"""Verdicts and advice from what a block is needed for, on made-up profiles and contributions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from designer.analysis.advice import layer_reports
from designer.analysis.need import IDLE_ACCURACY_LOSS, IDLE_RISE, is_idle
from designer.results.contribution import BlockContribution, Contribution, Effect
from designer.results.layers import LayerReport
from designer.results.measured import SeparationProfile, Verdict
from tests.support.helpers import draws_around, profile_of, values_of_steps

ORDINARY = [1.0, 1.0, 1.0, 1.0]

SHOWING_LITTLE = {
    "low": ([1, 1, 0.1, 1], [1, 1, 0.1, 1]),
    "low on training data, not on held-out data": ([1, 1, 0.1, 1], [1, 1, 1, 1]),
    "low, and negative on held-out data": ([1, 1, 0.1, 1], [1, 1, -0.1, 1]),
    "negative": ([1, 1, -0.5, 1], [1, 1, -0.5, 1]),
    "negative on training data alone": ([1, 1, -0.5, 1], [1, 1, 1, 1]),
    "ordinary, but negative on held-out data": ([1, 1, 1, 1], [1, 1, -0.5, 1]),
    "high, but negative on held-out data": ([0.5, 0.5, 3, 0.5], [0.5, 0.5, -0.1, 0.5]),
}
"""Steps on training and on held-out data in which the third block shows little."""


def effect(value: float, half: float = 0.0) -> Effect:
    return Effect(value, (value - half, value + half))


def contribution(
    rise: Effect | None, accuracy: Effect | None = None, separation: Effect | None = None
) -> Contribution:
    return Contribution("what it receives", separation, rise, accuracy)


NEEDED = contribution(effect(1.6, 0.2), effect(-0.21, 0.02))
IDLE = contribution(effect(0.01, 0.03), effect(0.001, 0.005))
NOT_CLEAR = contribution(effect(0.05, 0.2), effect(-0.01, 0.03))


def profile_with(steps: Sequence[float], heldout: Sequence[float]) -> SeparationProfile:
    """Return a profile with draws that hardly scatter; blocks have 50 of 1,000 parameters."""
    values, crossed = values_of_steps(steps), values_of_steps(heldout)
    profile = profile_of(
        values,
        crossed,
        resampled=draws_around(values),
        resampled_heldout=draws_around(crossed, seed=1),
    )
    layers = tuple(replace(layer, parameters=50) for layer in profile.layers)
    return replace(profile, layers=layers, parameters=1000)


def third_of(
    measured: Contribution | None,
    steps: Sequence[float] = ORDINARY,
    heldout: Sequence[float] | None = None,
    reason: str = "",
) -> LayerReport:
    """Report on the third of four blocks, whose contribution is ``measured``."""
    others = [BlockContribution(name, "", NEEDED) for name in ("block1", "block2", "block4")]
    records = [*others[:2], BlockContribution("block3", "", measured, reason), others[2]]
    profile = profile_with(steps, steps if heldout is None else heldout)
    return layer_reports([profile], records)[2]


@pytest.mark.parametrize("steps", SHOWING_LITTLE.values(), ids=SHOWING_LITTLE)
def test_a_needed_block_that_shows_little_prepares(
    steps: tuple[Sequence[float], Sequence[float]],
) -> None:
    report = third_of(NEEDED, *steps)
    assert report.verdict is Verdict.PREPARES
    assert report.advice == (
        "keep: it prepares what later layers need: without it cross-entropy rises by 1.60 nats and "
        "accuracy falls by 21.0 points"
    )
    assert report.contribution == NEEDED


def test_a_needed_block_whose_absence_costs_little_is_not_said_to_change_nothing() -> None:
    hardly = contribution(effect(0.001, 0.0005), effect(0.0))
    assert third_of(hardly, [1, 1, 0.1, 1]).advice == (
        "keep: it prepares what later layers need: without it cross-entropy rises by less than "
        "0.01 nats and accuracy stays the same"
    )


@pytest.mark.parametrize("steps", SHOWING_LITTLE.values(), ids=SHOWING_LITTLE)
@pytest.mark.parametrize("measured", [None, NOT_CLEAR], ids=["not tried", "not clear"])
def test_a_small_step_alone_is_no_reason_to_remove(
    measured: Contribution | None, steps: tuple[Sequence[float], Sequence[float]]
) -> None:
    report = third_of(measured, *steps, reason="" if measured else "It was not asked for.")
    assert not report.advice.startswith("remove")
    assert report.verdict not in {Verdict.PREPARES, Verdict.IDLE}
    if report.advice.startswith("measure again") and "D rises on training" not in report.advice:
        tried = "whether it is needed is open, as without it cross-entropy changes by 0.05 (-0.15"
        assert (tried if measured else "was not tried") in report.advice


def test_a_needed_block_that_shows_much_keeps_the_verdict_of_its_steps() -> None:
    assert third_of(NEEDED).verdict is Verdict.OK
    high = third_of(NEEDED, [0.5, 0.5, 3, 0.5])
    assert high.verdict is Verdict.HIGH
    assert high.advice.startswith("keep: the step is 2.7 times the mean step")


@pytest.mark.parametrize(
    "steps", [(ORDINARY, ORDINARY), *SHOWING_LITTLE.values()], ids=["ordinary", *SHOWING_LITTLE]
)
def test_an_idle_block_is_one_to_remove_whatever_it_shows(
    steps: tuple[Sequence[float], Sequence[float]],
) -> None:
    report = third_of(IDLE, *steps)
    assert report.verdict is Verdict.IDLE
    assert report.advice == (
        "remove: without it cross-entropy changes by 0.01 (-0.02 to 0.04) nats and accuracy by 0.1 "
        "(-0.4 to 0.6) points; removing it would save 50 parameters (5.0 %)"
    )


def test_a_block_without_which_accuracy_surely_falls_is_needed_whatever_the_cross_entropy() -> None:
    """Networks that are too sure of themselves have a lower cross-entropy with more errors."""
    too_sure = contribution(effect(-3.0, 0.5), effect(-0.036, 0.01))
    assert too_sure.needed
    assert not replace(too_sure, accuracy=effect(-0.036, 0.04)).needed
    report = third_of(too_sure, [1, 1, 0.1, 1])
    assert report.verdict is Verdict.PREPARES
    assert report.advice == (
        "keep: it prepares what later layers need: without it accuracy falls by 3.6 points, though "
        "cross-entropy falls by 3.00 nats, as the network is too sure"
    )


def test_a_linear_map_in_the_place_of_a_block_has_parameters_too() -> None:
    fitted = replace(IDLE, stand_in="a linear map")
    advice = third_of(fitted).advice
    assert advice.startswith("remove: with a linear map in its place cross-entropy changes")
    assert advice.endswith("would save at most 50 parameters (5.0 %)")


def test_a_block_that_lost_class_directions_cannot_be_judged_by_what_it_is_needed_for() -> None:
    values = values_of_steps(ORDINARY)
    profile = profile_of(values, values, ranks=[9, 9, 9, 5, 9], resampled=draws_around(values))
    records = [BlockContribution(f"block{i}", "", IDLE) for i in range(1, 5)]
    report = layer_reports([profile], records)[2]
    assert report.verdict is Verdict.DEGENERATE
    assert report.advice == "widen: only 5 of 9 class directions are left"


LOSS, RISE = IDLE_ACCURACY_LOSS, IDLE_RISE


@pytest.mark.parametrize(
    ("measured", "idle"),
    [
        (contribution(effect(0.0), effect(0.0)), True),  # an identity block
        (contribution(effect(-0.2, 0.1), effect(0.01, 0.005)), True),  # it does harm
        (contribution(effect(0.02, 0.01), effect(0.0)), False),  # needed by its whole interval
        (contribution(Effect(0, (-0.01, RISE)), effect(0.0)), True),
        (contribution(Effect(0, (-0.01, RISE + 0.01)), effect(0.0)), False),
        (contribution(effect(0.0), Effect(0.0, (-LOSS, LOSS))), True),
        (contribution(effect(0.0), Effect(0.0, (-LOSS - 0.001, LOSS))), False),
        (contribution(effect(-0.2, 0.1), effect(-0.02, 0.005)), False),  # right, but less sure
        (contribution(None, None, effect(0.0, 0.01)), True),  # no logits
        (contribution(None, None, Effect(0.0, (-0.1, RISE + 0.01))), False),
        (contribution(None, None, effect(0.3, 0.1)), False),
        (contribution(None, None, None), False),
    ],
)
def test_what_is_idle(measured: Contribution, idle: bool) -> None:
    assert is_idle(measured) is idle
    assert (third_of(measured).verdict is Verdict.IDLE) is idle


def test_without_logits_the_separation_decides_and_is_named() -> None:
    report = third_of(contribution(None, None, effect(0.3, 0.1)), [1, 1, -0.5, 1])
    assert report.verdict is Verdict.PREPARES
    assert report.advice.endswith("without it log D at the end rises by 0.30 nats")


def test_the_reason_is_kept_where_there_is_no_contribution() -> None:
    report = third_of(None, reason="No linear map leads from one to the other.")
    assert report.contribution is None
    assert report.contribution_reason == "No linear map leads from one to the other."
    profile = profile_with(ORDINARY, ORDINARY)
    assert {r.contribution_reason for r in layer_reports([profile])} == {"It was not measured."}


def test_an_idle_block_without_logits_is_idle_once_the_last_layer_is_fitted_again() -> None:
    condition = "which holds once the last layer is fitted again"
    assert condition in third_of(contribution(None, separation=effect(0.01, 0.03))).advice
    assert condition not in third_of(IDLE).advice
