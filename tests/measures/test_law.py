"""The law's fit and its verdicts: closed forms and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from designer.errors import InvalidInputError
from designer.measures.law import (
    curvature,
    depth_fair_uniformity,
    fit_law,
    judge,
    robustness_ratio,
    shares,
    steps,
    uniformity,
)
from designer.results.measured import HIGH_SHARE, LOW_SHARE, FloatArray, LawStatus, Verdict
from designer.results.ranges import Interval
from tests.support.helpers import values_of_steps

few = settings(max_examples=50, deadline=None, derandomize=True)
some_steps = arrays(np.float64, st.integers(1, 12), elements=st.floats(-3, 3, width=32))
NAN = float("nan")


# --- fit ---


@pytest.mark.parametrize("depth", [3, 8, 20])
@pytest.mark.parametrize("rho", [0.1, 0.5, 0.95])
def test_a_geometric_sequence_follows_the_law_exactly(depth: int, rho: float) -> None:
    fit = fit_law([7.0 * rho**layer for layer in range(depth + 1)])
    assert fit.status is LawStatus.HOLDS
    assert fit.rho == pytest.approx(rho)
    assert fit.half_life == pytest.approx(math.log(2) / -math.log(rho))
    assert fit.r == pytest.approx(-1)
    assert fit.r_squared == pytest.approx(1)
    assert fit.uniformity == pytest.approx(1)
    assert fit.curvature == pytest.approx(0, abs=1e-9)
    assert fit.robustness_ratio == pytest.approx(1)
    assert fit.total_reduction == pytest.approx(-depth * math.log(rho))
    assert fit.steps == pytest.approx([-math.log(rho)] * depth)
    assert fit.shares == pytest.approx([1] * depth)
    assert fit.residuals == pytest.approx([0] * (depth + 1), abs=1e-9)


def test_halving_has_a_half_life_of_one_layer() -> None:
    assert fit_law([8, 4, 2, 1]).half_life == pytest.approx(1)


def test_a_rising_curve_is_not_called_decreasing() -> None:
    fit = fit_law([1, 2, 4, 8, 16])
    assert fit.status is LawStatus.NOT_DECREASING
    assert fit.reason
    assert fit.uniformity == pytest.approx(-1)
    assert fit.r == pytest.approx(1)
    assert fit.rho == pytest.approx(2)
    assert fit.half_life == math.inf
    assert fit.total_reduction < 0
    assert np.isnan(fit.shares).all()
    assert math.isnan(fit.curvature)


@pytest.mark.parametrize("constant", [0.3, 1.0, 1.3, 7.0])
def test_a_level_curve(constant: float) -> None:
    fit = fit_law([constant] * 5)
    assert fit.status is LawStatus.NOT_DECREASING
    assert fit.uniformity == 0
    assert fit.half_life == math.inf
    assert math.isnan(fit.r)


def test_unequal_steps_do_not_follow_the_law() -> None:
    fit = fit_law(values_of_steps([0.1, 0.1, 0.1, 4]))
    assert fit.status is LawStatus.DOES_NOT_HOLD
    assert f"{fit.uniformity:.2f}" in fit.reason


@pytest.mark.parametrize("values", [[4, 1], [4, 2, 1]])
def test_two_or_three_points_are_too_few(values: list[float]) -> None:
    fit = fit_law(values)
    assert fit.status is LawStatus.TOO_FEW_LAYERS
    assert str(len(values) - 1) in fit.reason
    assert fit.uniformity == pytest.approx(1)


def test_two_points() -> None:
    fit = fit_law([4, 1])
    assert fit.rho == pytest.approx(1 / 4)
    assert fit.r == pytest.approx(-1)
    assert fit.shares == pytest.approx([1])
    assert math.isnan(fit.curvature)


@pytest.mark.parametrize("bad", [0.0, -1.0, NAN, math.inf])
def test_values_without_a_logarithm_are_degenerate(bad: float) -> None:
    fit = fit_law([4, 2, bad, 1])
    assert fit.status is LawStatus.DEGENERATE
    assert "layer 2" in fit.reason
    for number in (fit.rho, fit.half_life, fit.r, fit.uniformity, fit.total_reduction):
        assert math.isnan(number)
    assert (len(fit.steps), len(fit.shares), len(fit.residuals)) == (3, 3, 4)
    assert np.isnan([*fit.steps, *fit.shares, *fit.residuals]).all()


@pytest.mark.parametrize("values", [[], [1.0], 3.0, [[4.0, 2.0, 1.0]]])
def test_fewer_than_two_values_are_refused(values: list[float]) -> None:
    with pytest.raises(InvalidInputError, match=r"Expected `values` of shape .* got \("):
        fit_law(values)


@few
@given(g=some_steps, exponent=st.floats(-5, 5))
def test_the_unit_of_d_does_not_matter(g: FloatArray, exponent: float) -> None:
    fit = fit_law(values_of_steps(g.tolist()))
    other = fit_law(values_of_steps(g.tolist(), first=10**exponent))
    assert other.steps == pytest.approx(fit.steps, abs=1e-9)
    assert other.rho == pytest.approx(fit.rho)
    assert other.uniformity == pytest.approx(fit.uniformity, abs=1e-6)
    assert other.robustness_ratio == pytest.approx(fit.robustness_ratio)


@few
@given(g=some_steps)
def test_least_squares_residuals_add_up_to_nothing(g: FloatArray) -> None:
    residuals = np.array(fit_law(values_of_steps(g.tolist())).residuals)
    assert residuals.sum() == pytest.approx(0, abs=1e-8)
    assert residuals @ np.arange(len(residuals)) == pytest.approx(0, abs=1e-7)


# --- parts ---


@few
@given(g=some_steps)
def test_steps_undo_values_of_steps(g: FloatArray) -> None:
    np.testing.assert_allclose(steps(values_of_steps(g.tolist())), g, atol=1e-9)


@few
@given(g=some_steps)
def test_shares_average_one_wherever_d_falls(g: FloatArray) -> None:
    if g.mean() > 1e-6:
        assert shares(g).mean() == pytest.approx(1)
    elif g.mean() <= 0:
        assert np.isnan(shares(g)).all()


@few
@given(g=some_steps)
def test_robustness_ratio_is_at_least_one(g: FloatArray) -> None:
    assert robustness_ratio(g) >= 1 - 1e-12


def test_robustness_ratio_by_hand() -> None:
    rho = np.array([0.5, 0.125])
    expected = (1 / rho).sum() / (2 * rho.prod() ** -0.5)
    assert robustness_ratio(-np.log(rho)) == pytest.approx(expected)
    assert expected > 1


@few
@given(g=some_steps)
def test_uniformity_is_the_cosine_with_equal_steps(g: FloatArray) -> None:
    norm = float(np.linalg.norm(g) * math.sqrt(len(g)))
    assert uniformity(g) == pytest.approx(g.sum() / norm if norm > 1e-9 else uniformity(g))
    assert -1 <= uniformity(g) <= 1


@few
@given(g=some_steps)
def test_depth_fair_uniformity_never_flatters(g: FloatArray) -> None:
    assert abs(depth_fair_uniformity(g)) <= abs(uniformity(g)) + 1e-9
    assert depth_fair_uniformity(g) * uniformity(g) >= 0


def test_depth_fair_uniformity_of_equal_steps_and_of_one() -> None:
    assert depth_fair_uniformity(np.array([1.0, 1.0])) == pytest.approx(1)
    assert depth_fair_uniformity(np.array([5.0])) == 0
    assert depth_fair_uniformity(np.zeros(4)) == 0


def test_depth_fair_uniformity_by_hand() -> None:
    # mean 2, variance over L - 1 is 2, over L is 1
    assert depth_fair_uniformity(np.array([1.0, 3.0])) == pytest.approx(2 / math.sqrt(4 + 2))
    assert uniformity(np.array([1.0, 3.0])) == pytest.approx(2 / math.sqrt(4 + 1))


def test_curvature_says_which_end_does_more() -> None:
    assert curvature(np.array([1.0, 2.0, 3.0])) == pytest.approx(1)  # shares 0.5, 1, 1.5
    assert curvature(np.array([3.0, 2.0, 1.0])) == pytest.approx(-1)
    assert curvature(np.array([1.0, 3.0, 1.0])) == pytest.approx(0, abs=1e-9)


# --- verdicts ---


@pytest.mark.parametrize(
    ("share", "interval", "verdict"),
    [
        (1.0, (0.9, 1.1), Verdict.OK),
        (1.0, (0.1, 3.0), Verdict.OK),
        (LOW_SHARE, (0.3, 0.7), Verdict.OK),
        (HIGH_SHARE, (1.5, 2.5), Verdict.OK),
        (0.2, (0.1, 0.4), Verdict.LOW),
        (0.2, (-0.1, 0.4), Verdict.LOW),
        (0.2, (0.1, 0.6), Verdict.UNCERTAIN),
        (3.0, (2.5, 3.5), Verdict.HIGH),
        (3.0, (1.9, 4.0), Verdict.UNCERTAIN),
        (-0.5, (-0.9, -0.1), Verdict.NEGATIVE),
        (-0.5, (-0.9, 0.0), Verdict.NEGATIVE),
        (-0.5, (-2.0, 1.0), Verdict.UNCERTAIN),
        (3.0, (NAN, NAN), Verdict.UNCERTAIN),
        (-1.0, (NAN, NAN), Verdict.UNCERTAIN),
        (1.0, (NAN, NAN), Verdict.OK),
    ],
)
def test_verdict_on_a_share(share: float, interval: Interval, verdict: Verdict) -> None:
    assert judge(share, interval, (1, 1), degenerate=False) is verdict
    assert judge(share, interval, (1, 1), degenerate=True) is Verdict.DEGENERATE


@pytest.mark.parametrize(
    ("step_interval", "verdict"),
    [
        ((-2.0, -1.0), Verdict.NEGATIVE),
        ((-2.0, 1.0), Verdict.UNCERTAIN),
        ((1.0, 2.0), Verdict.UNCERTAIN),
        ((NAN, NAN), Verdict.UNCERTAIN),
    ],
)
def test_verdict_where_there_is_no_share(step_interval: Interval, verdict: Verdict) -> None:
    assert judge(NAN, (NAN, NAN), step_interval, degenerate=False) is verdict
