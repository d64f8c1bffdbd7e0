"""The design score: its parts, its bounds, and that it is not fooled by memorised labels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from designer import design_score, load_dataset, profile
from designer.data.dataset import Dataset, LabelledTensors
from designer.errors import InvalidInputError
from designer.measures.law import depth_fair_uniformity
from designer.measures.score import ADHERENCE_WEIGHT, adherence, combine, heldout_separation
from designer.results.measured import SeparationProfile
from designer.training.trainer import accuracy, build_seeded, train
from search_spaces import MlpSpace, MlpSpec
from tests.support.helpers import profile_of, values_of_steps

few = settings(max_examples=50, deadline=None, derandomize=True)


def law_abiding(depth: int, correct: float = 0.8, reduction: float = 4.0) -> SeparationProfile:
    """Equal steps that add up to ``reduction``, the same accuracy after every block."""
    values = values_of_steps([reduction / depth] * depth)
    return profile_of(values, values, accuracies=[0.3] + [correct] * depth)


def uneven(steps: list[float], correct: float = 0.8) -> SeparationProfile:
    """Any steps, the same accuracy after every block."""
    values = values_of_steps(steps)
    return profile_of(values, values, accuracies=[0.3] + [correct] * len(steps))


# --- parts ---


def test_the_score_of_a_perfect_follower_is_its_heldout_separation() -> None:
    score = design_score(law_abiding(5, correct=0.82))
    assert score.heldout_separation == pytest.approx((0.82 - 0.1) / 0.9)
    assert score.adherence == pytest.approx(1)
    assert score.value == pytest.approx(score.heldout_separation)


def test_heldout_separation_averages_the_later_two_thirds_and_leaves_the_input_out() -> None:
    measured = profile_of([8, 4, 2, 1], [8, 4, 2, 1], accuracies=[0.0, 0.1, 0.4, 0.8], chance=0.2)
    assert design_score(measured).heldout_separation == pytest.approx((0.6 - 0.2) / 0.8)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.integers(2, 4))
@few
def test_heldout_separation_does_not_depend_on_depth_as_such(
    accuracies: list[float], times: int
) -> None:
    once = heldout_separation(np.array(accuracies), 0.1)
    repeated = heldout_separation(np.repeat(accuracies, times), 0.1)
    assert repeated == pytest.approx(once, abs=1e-9)


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.9])
def test_heldout_separation_is_corrected_for_chance(chance: float) -> None:
    assert heldout_separation(np.array([chance, chance]), chance) == pytest.approx(0)
    assert heldout_separation(np.array([1.0, 1.0]), chance) == pytest.approx(1)


def test_heldout_separation_where_chance_is_certain() -> None:
    assert heldout_separation(np.array([1.0]), 1.0) == 0


def test_adherence_is_of_the_steps_beyond_the_null() -> None:
    steps = [1.0, 0.5, 2.0]
    nulls = values_of_steps([0.3, -0.4, 0.1])
    values = values_of_steps(steps) * nulls
    expected = depth_fair_uniformity(np.array(steps))
    assert adherence(values, nulls) == pytest.approx(expected)
    assert adherence(values, nulls) != pytest.approx(adherence(values, np.full(4, np.nan)))


def test_a_null_that_was_not_measured_leaves_d_as_it_is() -> None:
    values = values_of_steps([1.0, 2.0, 3.0])
    expected = depth_fair_uniformity(np.array([1.0, 2.0, 3.0]))
    assert adherence(values, np.full(4, np.nan)) == pytest.approx(expected)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_adherence_is_worst_where_d_does_not_exist(bad: float) -> None:
    assert adherence(np.array([4.0, bad, 1.0]), np.ones(3)) == -1


# --- the whole ---


@few
@given(follows=st.floats(-1, 1))
def test_without_any_accuracy_there_is_no_score(follows: float) -> None:
    assert combine(0.0, 0.0, follows) == 0
    assert combine(0.0, math.nan, follows) == 0


@few
@given(h=st.floats(1e-3, 1), v=st.floats(1e-3, 1), follows=st.floats(-1, 1))
def test_adherence_can_cost_no_more_than_its_weight(h: float, v: float, follows: float) -> None:
    mean = (h + v) / 2
    score = combine(h, v, follows)
    assert mean * (1 - ADHERENCE_WEIGHT) - 1e-12 <= score <= mean + 1e-12
    assert combine(h, v, 1.0) == pytest.approx(mean)
    assert combine(h, v, -1.0) == pytest.approx(mean * (1 - ADHERENCE_WEIGHT))


@few
@given(heldout=st.floats(1e-3, 1), low=st.floats(-1, 0.99), gain=st.floats(0.01, 1))
def test_the_score_rises_with_adherence(heldout: float, low: float, gain: float) -> None:
    better = combine(heldout, heldout, min(low + gain, 1.0))
    assert better > combine(heldout, heldout, low)


@few
@given(follows=st.floats(-1, 1), low=st.floats(0, 0.98), gain=st.floats(0.01, 1))
def test_the_score_rises_with_both_accuracies(follows: float, low: float, gain: float) -> None:
    high = min(low + gain, 1.0)
    assert combine(high, low, follows) > combine(low, low, follows)
    assert combine(low, high, follows) > combine(low, low, follows)
    assert combine(high, low, follows) == combine(low, high, follows)


@few
@given(follows=st.floats(-1, 1), heldout=st.floats(-5, 0), accuracy=st.floats(0, 1))
def test_below_chance_the_features_leave_the_accuracy_to_decide(
    follows: float, heldout: float, accuracy: float
) -> None:
    assert combine(heldout, accuracy, follows) == combine(0.0, accuracy, follows)


def test_of_two_networks_on_unequal_classes_the_better_one_wins() -> None:
    unequal = replace(law_abiding(3, correct=0.6), chance=0.9)
    untrained, trained = (replace(unequal, accuracy_heldout=a) for a in (0.9, 0.94))
    better = replace(
        trained,
        layers=tuple(
            replace(layer, nearest_class_mean_accuracy=layer.nearest_class_mean_accuracy - 0.1)
            for layer in trained.layers
        ),
    )
    assert design_score(better).value > design_score(untrained).value
    assert "which counts as 0" in design_score(better).explanation


def test_without_logits_the_score_is_that_of_the_features() -> None:
    assert combine(0.6, math.nan, 1.0) == pytest.approx(0.6)
    without = replace(law_abiding(3, correct=0.82), accuracy_heldout=math.nan)
    score = design_score(without)
    assert math.isnan(score.accuracy_above_chance)
    assert score.value == pytest.approx(score.heldout_separation)
    assert "mean of" not in score.explanation


def test_the_accuracy_is_the_mean_over_the_last_epochs_above_chance() -> None:
    measured = replace(law_abiding(3), accuracy_heldout=0.7)  # of 10 equal classes
    assert design_score(measured).accuracy_above_chance == pytest.approx((0.7 - 0.1) / 0.9)
    earlier = [0.0, 0.4, 0.55]  # the first is too long ago
    score = design_score(measured, earlier)
    assert score.accuracy_above_chance == pytest.approx(((0.4 + 0.55 + 0.7) / 3 - 0.1) / 0.9)
    mean = (score.heldout_separation + score.accuracy_above_chance) / 2
    assert score.value == pytest.approx(combine(mean, mean, score.adherence))


def test_below_chance_adherence_does_not_lower_the_score() -> None:
    assert combine(-0.1, -0.1, 1.0) >= combine(-0.1, -0.1, -1.0)


def test_of_two_equally_accurate_profiles_the_follower_wins() -> None:
    assert design_score(law_abiding(4)).value > design_score(uneven([0.1, 0.1, 0.1, 3.7])).value


def test_depth_has_no_advantage_of_its_own() -> None:
    assert design_score(law_abiding(3)).value == pytest.approx(design_score(law_abiding(12)).value)


def test_a_profile_without_heldout_data_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"Expected a profile with held-out .* `heldout`"):
        design_score(profile_of([4, 2, 1]))


@pytest.mark.parametrize("accuracies", [0.5, ["much"], [[0.5]], 7])
def test_accuracies_that_are_no_numbers_are_refused(accuracies: Any) -> None:
    with pytest.raises(InvalidInputError, match="Expected accuracies of earlier epochs as a list"):
        design_score(law_abiding(3), accuracies)


@pytest.mark.parametrize("profile", [None, 0.5, law_abiding(3).law])
def test_what_is_no_profile_is_refused(profile: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"Expected what `designer\.profile` returns, got"):
        design_score(profile)


def test_a_profile_of_the_residual_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="got one of the residual"):
        design_score(replace(law_abiding(3), measure="residual"))


def test_accuracies_that_do_not_exist_do_not_count() -> None:
    measured = replace(law_abiding(3), accuracy_heldout=0.7)
    assert design_score(measured, [None, 0.5, math.nan]) == design_score(measured, [0.5])


@pytest.mark.parametrize("wrong", [71.2, -0.1, math.inf])
def test_accuracies_beyond_0_and_1_are_refused(wrong: float) -> None:
    with pytest.raises(InvalidInputError, match="from 0 to 1, got"):
        design_score(law_abiding(3), [wrong])


def test_the_explanation_names_the_numbers() -> None:
    score = design_score(uneven([0.5, 1.5, 1.0]))
    loss = 1 - score.value / combine(score.heldout_separation, score.accuracy_above_chance, 1.0)
    for number in (f"{score.value:.3f}", f"{score.heldout_separation:.3f}", f"{loss:.1%}"):
        assert number in score.explanation
    assert f"{score.adherence:.2f}" in score.explanation


def test_the_explanation_of_no_score() -> None:
    assert "0.000" in design_score(law_abiding(3, correct=0.1)).explanation


# --- a real network ---


def test_memorised_labels_score_nothing_while_the_network_follows_the_law() -> None:
    data = load_dataset("digits", train_size=200, shuffle_labels=True)
    measured, correct = _trained(data, epochs=60)
    score = design_score(measured)
    assert correct > 0.95
    assert measured.law.uniformity > 0.6
    assert abs(score.value) < 0.1


def test_true_labels_score_well() -> None:
    measured, _ = _trained(load_dataset("digits", train_size=200), epochs=15)
    assert design_score(measured).value > 0.7


def _trained(data: Dataset, epochs: int) -> tuple[SeparationProfile, float]:
    """Profile and training accuracy of a small perceptron after ``epochs``."""
    spec = MlpSpec((64,) * 4, "batch", "relu", 3e-3)
    model = build_seeded(
        lambda: MlpSpace().build(spec, data.input_shape, data.num_classes),
        seed=0,
        device=torch.device("cpu"),
    )
    train(model, data.train, epochs=epochs, learning_rate=3e-3, seed=0, batch_size=50)
    everything: LabelledTensors = data.train
    return profile(model, everything, data.validation, resamples=0), accuracy(model, everything)
