"""Intervals of proportions, drops and chance: against scipy and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from designer.measures.proportions import (
    accuracy_by_chance,
    beats_chance,
    drop_of,
    proportion,
    wilson,
)

few = settings(max_examples=50, deadline=None, derandomize=True)


@few
@given(n=st.integers(1, 3000), share=st.floats(0, 1))
def test_wilson_is_the_interval_of_scipy(n: int, share: float) -> None:
    hits = round(share * n)
    expected = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson(hits, n) == pytest.approx((expected.low, expected.high), rel=1e-12)


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_all_or_none_have_an_interval_with_a_width(n: int) -> None:
    none, every = wilson(0, n), wilson(n, n)
    assert none[0] == 0
    assert every[1] == 1
    assert 0 < none[1] == pytest.approx(1 - every[0])


def test_a_proportion_is_the_share_of_true() -> None:
    share = proportion(torch.tensor([True, False, True, True]))
    assert (share.value, share.samples) == (0.75, 4)
    assert share.interval == wilson(3, 4)


def test_a_drop_by_hand() -> None:
    original = torch.tensor([True] * 60 + [False] * 40)
    smaller = torch.tensor([True] * 52 + [False] * 45 + [True] * 3)  # b = 8, c = 3
    p, q = 9 / 102, 4 / 102
    spread = math.sqrt((p + q - (p - q) ** 2) / 102)
    drop = drop_of(original, smaller)
    assert drop.value == pytest.approx(0.05)
    assert drop.bound == pytest.approx(p - q + stats.norm.ppf(0.95) * spread, rel=1e-12)


@pytest.mark.parametrize("n", [10, 1000])
def test_networks_that_agree_have_a_bound_above_no_drop(n: int) -> None:
    mask = torch.arange(n) % 3 > 0
    drop = drop_of(mask, mask)
    assert drop.value == 0
    assert 0 < drop.bound < 3 / math.sqrt(n)


def test_a_better_network_has_a_negative_drop() -> None:
    drop = drop_of(torch.zeros(500, dtype=torch.bool), torch.ones(500, dtype=torch.bool))
    assert drop.value == -1
    assert drop.bound == pytest.approx(-0.99, abs=0.01)


@few
@given(n=st.integers(1, 2000), share=st.floats(0, 1), chance=st.floats(0.01, 1))
def test_chance_is_the_binomial_test(n: int, share: float, chance: float) -> None:
    hits = round(share * n)
    expected = stats.binomtest(hits, n, chance, alternative="greater").pvalue <= stats.norm.sf(3)
    assert beats_chance(hits / n, n, chance) == expected


@pytest.mark.parametrize(("hits", "better"), [(0, False), (100, False), (128, False), (130, True)])
def test_chance_of_a_tenth_in_a_thousand(hits: int, better: bool) -> None:
    assert beats_chance(hits / 1000, 1000, 0.1) is better


def test_predictions_are_compared_with_what_they_would_be_right_about_by_chance() -> None:
    labels = (torch.arange(1000) % 20 == 0).long()  # 5 % of class 1
    weighted = labels.clone()
    weighted[labels == 1] = (torch.arange(50) % 5 > 0).long()
    weighted[labels == 0] = (torch.arange(950) % 12 == 0).long()
    accuracy = float((weighted == labels).double().mean())
    assert accuracy < 0.95
    by_chance = accuracy_by_chance(weighted, labels)
    assert by_chance == pytest.approx(0.05 * 0.12 + 0.95 * 0.88)
    assert beats_chance(accuracy, 1000, by_chance)
    largest = torch.zeros_like(labels)
    assert accuracy_by_chance(largest, labels) == pytest.approx(0.95)
    assert not beats_chance(0.95, 1000, 0.95)
    assert accuracy_by_chance(largest - 1, labels) == 0
