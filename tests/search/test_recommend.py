"""The one rule for roles."""

from __future__ import annotations

from designer.search.recommend import (
    BEST_FOLLOWER,
    MOST_ACCURATE,
    SMALLEST,
    Contender,
    role_holders,
)


def contender(
    trial: int,
    accuracy: float,
    parameters: int = 100,
    uniformity: float | None = 0.5,
    precedence: tuple[float, int] | None = None,
) -> Contender:
    """A contender with a standard error of 0.02 and a binomial one of 0.01."""
    own = (0.0, trial) if precedence is None else precedence
    return Contender(trial, parameters, accuracy, 0.02, 0.01, uniformity, own)


def test_nobody_holds_a_role_without_contenders() -> None:
    assert role_holders([]) == {}


def test_each_role_goes_to_its_best_within_its_bound() -> None:
    contenders = [
        contender(0, accuracy=0.95, parameters=900),
        contender(1, accuracy=0.935, parameters=300),  # within one standard error of 0.02
        contender(2, accuracy=0.925, parameters=100, uniformity=0.9),  # within 3 of 0.01
        contender(3, accuracy=0.91, parameters=10, uniformity=1.0),  # outside of both
    ]
    assert role_holders(contenders) == {MOST_ACCURATE: 0, SMALLEST: 1, BEST_FOLLOWER: 2}


def test_one_contender_may_hold_all_roles() -> None:
    assert set(role_holders([contender(5, 0.9)]).values()) == {5}


def test_equally_accurate_ones_are_told_apart_by_size_and_then_by_number() -> None:
    assert role_holders([contender(0, 0.9), contender(1, 0.9, 50)])[MOST_ACCURATE] == 1
    assert role_holders([contender(1, 0.9), contender(0, 0.9)])[MOST_ACCURATE] == 0


def test_equally_small_ones_are_told_apart_by_precedence() -> None:
    pair = [contender(0, 0.90, precedence=(-0.90, 0)), contender(1, 0.91, precedence=(-0.91, 1))]
    assert role_holders(pair)[SMALLEST] == 1
    assert role_holders([contender(0, 0.90), contender(1, 0.91)])[SMALLEST] == 0


def test_equally_uniform_ones_are_told_apart_by_number() -> None:
    assert role_holders([contender(4, 0.9), contender(2, 0.9)])[BEST_FOLLOWER] == 2


def test_nobody_follows_a_law_that_cannot_be_judged() -> None:
    assert BEST_FOLLOWER not in role_holders([contender(0, 0.9, uniformity=None)])
    pair = [contender(0, 0.9, uniformity=None), contender(1, 0.9, uniformity=-0.5)]
    assert role_holders(pair)[BEST_FOLLOWER] == 1
