"""What the claim about advice counts, and which architectures it draws."""

from __future__ import annotations

import math
from typing import Any

import pytest

from benchmarks.claims.advice import ARMS, MAX_FLOPS, SPACES, LongTask, drawn, hashable, summary_of
from benchmarks.claims.one_candidate import Order
from designer.data.loading import load_dataset
from designer.search.candidates import size_of, spec_values


def network(advised: float, elsewhere: float, chance: float) -> dict[str, Any]:
    """Return a network of the accuracy 0.8 whose arms end with these, at half of the size."""
    ends = dict(zip(ARMS, (advised, elsewhere, chance), strict=True))
    return {
        "space": "mlp",
        "arms": {
            order: {
                "parameters": [100, 50],
                "test": [[0.8, 0.8], [end, end]],
                "kept": 1,
                "runs": 6,
                "tried": [{}, {}],
            }
            for order, end in ends.items()
        },
    }


def test_an_arm_is_compared_with_the_advised_one_network_by_network() -> None:
    rows = [network(0.82, 0.81, 0.79), network(0.84, 0.81, 0.80), network(0.83, 0.81, 0.78)]
    group = summary_of(rows)["groups"]["all"]
    assert group["arms"][Order.ADVISED]["points"]["mean"] == pytest.approx(3.0)
    assert group["arms"][Order.ADVISED]["better"] == 3
    assert group["arms"][Order.ANY]["better"] == 1  # it may lose half a point for its size
    assert group["leads"][Order.ELSEWHERE]["points"]["mean"] == pytest.approx(2.0)
    assert group["leads"][Order.ANY]["points"]["mean"] == pytest.approx(4.0)
    assert group["leads"][Order.ANY]["log_size"]["mean"] == pytest.approx(0.0)
    assert group["arms"][Order.ANY]["log_size"]["mean"] == pytest.approx(math.log(0.5), abs=1e-4)


@pytest.mark.parametrize("name", SPACES)
def test_architectures_are_drawn_within_the_limit_and_by_their_number(name: str) -> None:
    data = load_dataset("digits")
    space, kind = SPACES[name]
    specs = [drawn(space, number, data) for number in range(3)]
    assert specs == [drawn(space, number, data) for number in range(3)]
    assert len(set(map(str, specs))) > 1
    for spec in specs:
        assert isinstance(spec, kind)
        flops = size_of(space, spec, data.input_shape, data.num_classes).flops
        assert flops is not None
        assert flops <= MAX_FLOPS
        stored = hashable(spec_values(spec))
        assert kind(**dict(stored)) == spec
        assert hash(LongTask(name, "digits", stored)) == hash(LongTask(name, "digits", stored))
