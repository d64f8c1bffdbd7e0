"""The one rule for roles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from designer.search.options import SearchOptions
from designer.search.recommend import (
    BEST_FOLLOWER,
    KNEE,
    MOST_ACCURATE,
    SMALLEST,
    Contender,
    asks_for_small,
    chosen,
    recommend,
    role_holders,
)
from tests.support.searches import confirmed, run


def contender(
    trial: int,
    accuracy: float,
    parameters: int = 100,
    uniformity: float | None = 0.5,
    precedence: tuple[float, int] | None = None,
) -> Contender:
    """A contender with a standard error of 0.02 and a binomial one of 0.01."""
    own = (0.0, trial) if precedence is None else precedence
    return Contender(
        (trial, ()), parameters, accuracy, 0.02, 0.01, uniformity, (own[0], (own[1], ()))
    )


def holders(contenders: list[Contender], *, with_knee: bool = False) -> dict[str, int]:
    """Return the number of the trial that holds each role."""
    roles = role_holders(contenders, with_knee=with_knee)
    return {role: number for role, (number, _) in roles.items()}


def test_nobody_holds_a_role_without_contenders() -> None:
    assert holders([]) == {}


def test_each_role_goes_to_its_best_within_its_bound() -> None:
    contenders = [
        contender(0, accuracy=0.95, parameters=900),
        contender(1, accuracy=0.935, parameters=300),  # within one standard error of 0.02
        contender(2, accuracy=0.925, parameters=100, uniformity=0.9),  # within 3 of 0.01
        contender(3, accuracy=0.91, parameters=10, uniformity=1.0),  # outside of both
    ]
    assert holders(contenders) == {MOST_ACCURATE: 0, SMALLEST: 1, BEST_FOLLOWER: 2}


def test_one_contender_may_hold_all_roles() -> None:
    assert set(holders([contender(5, 0.9)]).values()) == {5}


def test_equally_accurate_ones_are_told_apart_by_size_and_then_by_number() -> None:
    assert holders([contender(0, 0.9), contender(1, 0.9, 50)])[MOST_ACCURATE] == 1
    assert holders([contender(1, 0.9), contender(0, 0.9)])[MOST_ACCURATE] == 0


def test_equally_small_ones_are_told_apart_by_precedence() -> None:
    pair = [contender(0, 0.90, precedence=(-0.90, 0)), contender(1, 0.91, precedence=(-0.91, 1))]
    assert holders(pair)[SMALLEST] == 1
    assert holders([contender(0, 0.90), contender(1, 0.91)])[SMALLEST] == 0


def test_equally_uniform_ones_are_told_apart_by_number() -> None:
    assert holders([contender(4, 0.9), contender(2, 0.9)])[BEST_FOLLOWER] == 2


def test_nobody_follows_a_law_that_cannot_be_judged() -> None:
    assert BEST_FOLLOWER not in holders([contender(0, 0.9, uniformity=None)])
    pair = [contender(0, 0.9, uniformity=None), contender(1, 0.9, uniformity=-0.5)]
    assert holders(pair)[BEST_FOLLOWER] == 1


def test_the_knee_has_a_role_only_where_small_networks_are_asked_for() -> None:
    front = [contender(0, 0.88, 10), contender(1, 0.895, 20), contender(2, 0.9, 1000)]
    assert KNEE not in holders(front)
    assert holders(front, with_knee=True)[KNEE] == 1
    assert KNEE not in holders(front[1:], with_knee=True)


def test_what_is_far_less_accurate_is_not_on_the_front() -> None:
    far = [contender(0, 0.5, 10), contender(1, 0.8, 20), contender(2, 0.9, 1000)]
    assert KNEE not in holders(far, with_knee=True)  # 3 binomial errors of 0.01 are the bound


@pytest.mark.parametrize(
    ("options", "small"),
    [
        ({}, False),
        ({"max_params": 1000}, True),
        ({"max_flops": 1000}, True),
        ({"objective": "pareto"}, True),
        ({"objective": "accuracy"}, False),
    ],
)
def test_limits_and_pareto_ask_for_small_networks(options: dict[str, Any], *, small: bool) -> None:
    assert asks_for_small(SearchOptions.of(**options)) is small


def test_an_edit_holds_its_role_apart_from_the_trial_that_it_comes_from() -> None:
    edit = replace(contender(3, 0.89, 50), key=(3, ("half the width",)))
    roles = role_holders([contender(3, 0.9, 100), edit])
    assert roles[MOST_ACCURATE] == (3, ())
    assert roles[SMALLEST] == (3, ("half the width",))


def test_a_runner_up_does_not_pass_for_more_accurate_than_what_an_edit_replaced() -> None:
    best, before, _ = networks = [
        replace(network, candidate=replace(network.candidate, edits=edits))
        for network, edits in (
            (confirmed([0.95] * 3), ("half the width",)),
            (confirmed([0.9] * 3), ()),
            (confirmed([0.7] * 3), ("half the blocks",)),
        )
    ]
    ends, roles = "the next most accurate of the confirmed candidates", {best.key: ("smallest",)}
    for replaced, end in (({before.key}, " whose place no edit has taken."), (set(), ".")):
        shown = chosen(networks, roles, replaced)
        rows = recommend(shown, roles, [None] * len(shown), replaced=replaced)
        assert rows[1].reason.startswith(f"It is a runner-up: {ends}{end}")


@pytest.mark.parametrize("options", [{"max_params": 5000}, {"objective": "pareto"}])
def test_a_front_is_confirmed_and_recommended_from(options: dict[str, Any], tmp_path: Path) -> None:
    result = run(tmp_path / "a", trials=12, confirm=5, epochs=6, **options)
    sizes = [row.parameters for row in result.confirmed]
    assert len(set(sizes)) == len(sizes) >= 3
    roles = {role for network in result.recommendations for role in network.roles}
    assert {MOST_ACCURATE, SMALLEST} <= roles
    keys = {(row.trial, row.edits) for row in result.confirmed}
    assert {(r.trial, r.edits) for r in result.recommendations} <= keys
    smallest = min(
        row.parameters for row in result.trials if row.state == "complete" and row.parameters
    )
    if "objective" in options:
        assert min(sizes) == smallest  # an end of the front
