"""The page on contributions: verdicts follow the figures, losses are shown, nothing is invented."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.evidence.contribution import (
    agreement_losses,
    agreement_verdict,
    greedy_verdict,
    in_points,
    removal_losses,
    resnet_verdict,
)
from benchmarks.evidence.published_layer_pruning import NOT_FOUND, PUBLICATIONS, published


def figure(mean: float, half: float | None = None) -> dict[str, Any]:
    return {"mean": mean, "interval": [None, None] if half is None else [mean - half, mean + half]}


def effects(**by_criterion: float) -> dict[str, Any]:
    by_name = {name.replace("_", " "): figure(mean) for name, mean in by_criterion.items()}
    by_name["cross-entropy"] = by_name.pop("cross entropy")
    states = {"removed": {"accuracy": by_name}}
    return {"family": "ResNet-56", "networks": 1, "spearman": states}


def removals(ahead: float, behind_whole: float, before: float) -> dict[str, Any]:
    by_state = dict.fromkeys(("removed", "fitted", "recovered"), figure(before))
    leads = dict.fromkeys(("removed", "fitted", "recovered"), figure(ahead, 0.01))
    names = ("block-influence", "heldout", "random", "greedy ablation")
    return {
        "family": "ResNet-56",
        "blocks": 25,
        "passes": {"contribution": 4.0, "greedy ablation": 400.0},
        "removed": {
            "8": {
                "flops": 0.7,
                "accuracy": {"contribution": by_state},
                "lead": dict.fromkeys(names, leads),
                "minus_whole": figure(-behind_whole, 0.01),
            }
        },
    }


@pytest.mark.parametrize(("value", "word"), [(0.75, "met"), (0.74, "MISSED")])
def test_the_agreement_that_was_asked_for(value: float, word: str) -> None:
    group = effects(separation=0.9, cross_entropy=value, accuracy=0.5, held_out_step=0.2)
    assert f"asked for: 0.75 by cross-entropy, {word}" in agreement_verdict([group])


def test_a_criterion_that_is_ahead_is_named() -> None:
    group = effects(separation=0.5, cross_entropy=0.6, accuracy=0.5, saturation=0.7)
    assert "saturation 0.70 against 0.60" in agreement_losses([group])
    group = effects(separation=0.5, cross_entropy=0.6, accuracy=0.5, saturation=0.5)
    assert agreement_losses([group]).startswith("No other criterion is ahead")


@pytest.mark.parametrize(
    ("ahead", "behind_whole", "before", "missed"),
    [(0.03, 0.01, 0.66, 0), (0.03, 0.02, 0.66, 1), (0.005, 0.01, 0.6, 3)],
)
def test_what_eight_blocks_have_to_reach(
    ahead: float, behind_whole: float, before: float, missed: int
) -> None:
    (sentence,) = resnet_verdict([removals(ahead, behind_whole, before)])
    assert (sentence.count("MISSED"), sentence.count("met")) == (missed, 4 - missed)


def test_an_order_that_is_further_ahead_than_half_a_point_is_named() -> None:
    assert "heldout by 0.6 points" in removal_losses([removals(-0.006, 0, 0.7)])
    assert removal_losses([removals(-0.004, 0, 0.7)]).startswith("After recovery no order")


def test_the_cost_of_greedy_ablation_is_compared() -> None:
    assert "decides 100 times faster" in "".join(greedy_verdict([removals(0.0, 0, 0.7)]))


def test_a_single_value_has_no_interval() -> None:
    assert in_points(figure(0.012)) == "+1.2"
    assert in_points(figure(0.012, 0.01)) == "+1.2: +0.2 to +2.2"


def test_published_figures_have_a_source() -> None:
    assert all(publication.address.startswith("https://") for publication in PUBLICATIONS)
    rows = [line for line in published([]) if line.startswith("| ")][1:]
    assert len(rows) == len(PUBLICATIONS)
    assert all(NOT_FOUND in row for row in rows)
