"""What the claims about other people's networks and tools plant, read and count."""

from __future__ import annotations

import pytest
import torch

from benchmarks.claim import Figures
from benchmarks.claims.peer_tools import DESIGNER, FEWER, NARROW, REMOVE, TOOLS, WIDEN, Flags
from benchmarks.claims.peers import healthy_of, judged, summary_of
from benchmarks.claims.planted_networks import Defect, Family, PlantedNetwork, PlantedSpec
from benchmarks.claims.pretrained import no_better_behind
from benchmarks.claims.receptive_field import is_right, without, without_front

SHAPE, CLASSES = (1, 10, 10), 10


def network(family: Family, defect: Defect, seed: int = 1) -> PlantedNetwork:
    torch.manual_seed(seed)
    return PlantedNetwork(PlantedSpec(family, defect, seed), SHAPE, CLASSES).eval()


def received_and_given(model: PlantedNetwork, place: int) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.rand(8, *SHAPE)
    features = model.stem(inputs if model.stem[0].weight.ndim == 4 else inputs.flatten(1))
    for block in list(model.blocks)[:place]:
        features = block(features)
    return features, model.blocks[place](features)


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("defect", Defect)
def test_every_defect_can_be_planted_in_every_family(family: Family, defect: Defect) -> None:
    spec = PlantedSpec(family, defect, seed=2)
    model = network(family, defect, seed=2)
    assert model(torch.rand(3, *SHAPE)).shape == (3, CLASSES)
    assert len(model.blocks) == spec.depth
    assert set(spec.planted) <= set(range(spec.depth))
    assert (len(spec.planted) == 0) == (defect is Defect.NONE)


@pytest.mark.parametrize("family", Family)
def test_an_identity_gives_what_it_receives(family: Family) -> None:
    received, gives = received_and_given(network(family, Defect.IDENTITY), place=2)
    torch.testing.assert_close(received, gives)


@pytest.mark.parametrize("family", [Family.MLP, Family.CNN])
def test_most_units_of_a_dead_block_are_dead(family: Family) -> None:
    _, gives = received_and_given(network(family, Defect.DEAD), place=2)
    alive = gives.transpose(0, 1).flatten(1).abs().sum(1) > 0
    assert 0 < int(alive.sum()) <= family.width / 8


def test_a_tool_is_right_only_with_an_advice_that_helps() -> None:
    costs = {"blocks.1": 0.2, "blocks.2": 0.0, "blocks.3": 0.2}
    flags = Flags({"blocks.1": frozenset({WIDEN}), "blocks.2": frozenset({REMOVE})})
    outcome = judged(flags, ["blocks.1"], Defect.IDENTITY, costs)
    assert (outcome["named"], outcome["right"]) == (True, False)
    assert (outcome["false_alarms"], outcome["costly_alarms"]) == (1, 0)
    assert judged(flags, ["blocks.1"], Defect.BOTTLENECK, costs)["right"]
    outcome = judged(flags, ["blocks.3"], Defect.IDENTITY, costs)
    assert (outcome["named"], outcome["false_alarms"], outcome["costly_alarms"]) == (False, 2, 1)


def test_surplus_depth_is_named_as_a_whole_or_by_half_of_its_blocks() -> None:
    planted = [f"blocks.{i}" for i in range(6, 10)]
    costs = dict.fromkeys(planted, 0.0)
    for count, named in ((1, False), (2, True)):
        flags = Flags(dict.fromkeys(planted[:count], frozenset({REMOVE, NARROW})))
        outcome = judged(flags, planted, Defect.DEEP, costs)
        assert (outcome["named"], outcome["right"]) == (named, named)
        assert outcome["false_alarms"] == 0
    assert judged(Flags({}, frozenset({FEWER})), planted, Defect.DEEP, costs)["right"]


def row(defect: Defect, family: str, **of_designer: object) -> Figures:
    silent = {"reason": "there are no convolutions"}
    return {
        "defect": str(defect),
        "family": family,
        "blocks": 7,
        "planted": [] if defect is Defect.NONE else ["blocks.2"],
        "tools": {**dict.fromkeys(TOOLS, silent), DESIGNER: of_designer},
    }


def test_a_tool_that_says_nothing_names_nothing_and_raises_no_alarm() -> None:
    outcome = {
        "named": True,
        "right": False,
        "false_alarms": 2,
        "costly_alarms": 1,
        "too_deep": False,
        "seconds": 1.5,
    }
    rows = [row(Defect.DEAD, family, **outcome) for family in ("plain MLP", "CNN")]
    everything = next(g for g in summary_of(rows) if g["family"] == "all")
    assert everything["networks"] == 2
    designer = everything["tools"][DESIGNER]
    assert (designer["named"], designer["right"], designer["asked"]) == (2, 0, 2)
    assert (designer["false_alarms"], designer["other_blocks"]) == (4, 12)
    silent = everything["tools"]["rfa_toolbox"]
    assert (silent["asked"], silent["named"], silent["seconds"]) == (0, 0, None)
    healthy = healthy_of([*rows, row(Defect.NONE, "CNN", **outcome)])
    assert healthy[-1]["tools"][DESIGNER]["other_blocks"] == 7


def test_a_tunnel_begins_where_no_later_accuracy_is_higher() -> None:
    assert no_better_behind([0.1, 0.5, 0.495, 0.505, 0.5]) == 1
    assert no_better_behind([0.1, 0.2, 0.3]) == 2
    assert no_better_behind([0.3, 0.2, 0.1]) == 0


def test_blocks_go_from_where_they_are_said_to() -> None:
    assert without((3, 4), [(0, 2), (1, 3)]) == (2, 3)
    assert without((2, 1), [(1, 0)]) == (2,)
    assert without_front((3, 4), 2) == (1, 4)
    assert without_front((3, 4), 4) == (1, 2)
    assert without_front((1, 1, 2), 2) == (1, 1)
    assert sum(without_front((2, 2, 4), 5)) == 3


@pytest.mark.parametrize(
    ("mean", "low", "right"), [(0.0, -0.005, True), (-0.006, -0.008, False), (0.0, -0.02, False)]
)
def test_a_rule_is_right_within_both_bounds(mean: float, low: float, right: bool) -> None:
    assert is_right({"mean": mean, "interval": [low, 0.03]}) == right
