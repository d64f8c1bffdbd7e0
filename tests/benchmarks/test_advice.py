"""What the claim about advice counts, and which architectures it draws."""

from __future__ import annotations

import json
import math
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from optuna.trial import FixedTrial

from benchmarks.claims.advice import FAMILIES, MAX_FLOPS, Arm, draws, summary_of
from benchmarks.claims.moved_advice import MovedAdvice
from benchmarks.claims.one_candidate import EDITED, OneCandidate, spec_of
from benchmarks.evidence.advice import figure, is_worth_more, rivals
from designer.data.loading import load_dataset
from designer.results.search import TriedEdit
from designer.search.candidates import size_of, spec_values
from designer.search.confirmation import ConfirmedCandidate
from designer.search.edits.order import in_order
from designer.search.study.records import spec_key
from search_spaces import CnnSpace, CnnSpec, Edit, EditKind, MlpSpace, MlpSpec


def network(advised: float, elsewhere: float, chance: float) -> dict[str, Any]:
    """Return a network of the accuracy 0.8 whose arms end with these, at half of the size."""
    ends = dict(zip(Arm, (advised, elsewhere, chance), strict=True))
    return {
        "space": "mlp",
        "arms": {
            arm: {
                "parameters": [100, 50],
                "test": [[0.8, 0.8], [end, end]],
                "kept": 1,
                "runs": 6,
                "tried": [{}, {}],
            }
            for arm, end in ends.items()
        },
    }


def test_an_arm_is_compared_with_the_advised_one_network_by_network() -> None:
    rows = [network(0.82, 0.81, 0.79), network(0.84, 0.81, 0.80), network(0.83, 0.81, 0.78)]
    group = summary_of(rows)["groups"]["all"]
    assert group["arms"][Arm.ADVISED]["points"]["mean"] == pytest.approx(3.0)
    assert group["arms"][Arm.ADVISED]["better"] == 3
    assert group["arms"][Arm.ANY]["better"] == 1  # it may lose half a point for its size
    assert group["leads"][Arm.ELSEWHERE]["points"]["mean"] == pytest.approx(2.0)
    assert group["leads"][Arm.ANY]["points"]["mean"] == pytest.approx(4.0)
    assert group["leads"][Arm.ANY]["log_size"]["mean"] == pytest.approx(0.0)
    assert group["arms"][Arm.ANY]["log_size"]["mean"] == pytest.approx(math.log(0.5), abs=1e-4)


def test_a_network_where_nothing_can_be_moved_counts_in_the_other_arms_alone() -> None:
    rows = [network(0.82, 0.81, 0.79), network(0.84, 0.81, 0.80), network(0.88, 0.81, 0.78)]
    del rows[2]["arms"][Arm.ELSEWHERE]
    group = summary_of(rows)["groups"]["all"]
    assert [group["arms"][arm]["networks"] for arm in Arm] == [3, 2, 3]
    assert group["leads"][Arm.ELSEWHERE]["points"]["mean"] == pytest.approx(2.0)
    assert group["leads"][Arm.ANY]["points"]["mean"] == pytest.approx(17 / 3, abs=1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_what_a_report_says_of_one_block_is_tried_with_another(seed: int) -> None:
    candidate = OneCandidate(MlpSpace(), MlpSpec((64, 32, 64, 48), "batch", "relu", 1e-3))
    network = reported(candidate, {"blocks.1": "remove: it is idle", "blocks.0": "keep"})
    edits = list(candidate.edits(candidate.start))
    in_place = MovedAdvice(candidate, seed, moved=False)
    advised = in_place.ordered(edits, network)
    elsewhere = MovedAdvice(candidate, seed).ordered(edits, network)
    assert advised == in_order(edits, network)
    assert (advised[0].kind, advised[0].block) == (EditKind.REMOVE_BLOCK, "blocks.1")
    assert elsewhere[0].kind == EditKind.REMOVE_BLOCK
    assert elsewhere[0].block != "blocks.1"
    assert elsewhere[1:] == advised[1:]  # the narrowest is not removed, and all else is as before
    assert in_place.could_be_moved([tried(advised[0])])
    assert not in_place.could_be_moved([tried(advised[1])])
    assert not in_place.could_be_moved([tried(advised[0], runs=0)])


@pytest.mark.parametrize("seed", range(8))
def test_several_blocks_are_moved_to_as_many_others_that_give_other_networks(seed: int) -> None:
    spec = MlpSpec((256, 256, 16, 256, 128, 64), "batch", "relu", 1e-3)
    candidate = OneCandidate(MlpSpace(), spec)
    widen = {"blocks.2": "widen: by 4", "blocks.5": "widen: by 4"}
    edits = list(candidate.edits(spec))
    first, *_ = MovedAdvice(candidate, seed).ordered(edits, reported(candidate, widen))
    assert (first.kind, first.block) == (EditKind.WIDEN_BLOCK, "blocks.4")  # 256 is the widest
    remove = {"blocks.0": "remove: idle", "blocks.5": "remove: idle"}
    moved = MovedAdvice(candidate, seed).ordered(edits, reported(candidate, remove))[:2]
    assert {edit.kind for edit in moved} == {EditKind.REMOVE_BLOCK}
    results = {str(candidate.suggest(FixedTrial(dict(edit.params)))) for edit in moved}
    assert len(results) == len(moved)
    assert {edit.block for edit in moved} <= {"blocks.2", "blocks.3", "blocks.4"}


def test_stages_of_equal_blocks_leave_nothing_to_move() -> None:
    candidate = OneCandidate(CnnSpace(), CnnSpec((1, 3), (8, 16), "batch", 1e-3))
    network = reported(candidate, {"stages.1.0": "remove: it is idle"})
    edits = list(candidate.edits(candidate.start))
    assert MovedAdvice(candidate, 0).ordered(edits, network) == in_order(edits, network)


def tried(edit: Edit, runs: int = 3) -> TriedEdit:
    return cast(
        "TriedEdit", SimpleNamespace(before=(), kind=edit.kind, block=edit.block, runs=runs)
    )


def reported(candidate: OneCandidate, advice: dict[str, str]) -> ConfirmedCandidate:
    """Return the network of a candidate whose report advises this on its blocks."""
    return cast(
        "ConfirmedCandidate",
        SimpleNamespace(
            spec=spec_values(candidate.start),
            candidate=SimpleNamespace(params={EDITED: 0.5}, edits=()),
            diagnosis=(),
            layers=tuple(
                SimpleNamespace(
                    name=f"blocks.{i}",
                    width=width,
                    verdict=None,
                    advice=advice.get(f"blocks.{i}", "keep"),
                )
                for i, width in enumerate(spec_values(candidate.start)["widths"])
            ),
        ),
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_architectures_are_drawn_within_the_limit_and_by_their_number(name: str) -> None:
    data = load_dataset("digits")
    space, kind = FAMILIES[name]
    specs = [next(draws(space, number, data)) for number in range(3)]
    assert specs == [next(draws(space, number, data)) for number in range(3)]
    assert len(set(map(str, specs))) > 1
    for spec in specs:
        assert isinstance(spec, kind)
        flops = size_of(space, spec, data.input_shape, data.num_classes).flops
        assert flops is not None
        assert flops <= MAX_FLOPS
        assert spec_of(json.loads(spec_key(spec_values(spec))), kind) == spec


def test_a_claim_names_families_in_which_random_edits_are_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [network(0.82, 0.81, 0.85), network(0.84, 0.81, 0.88), network(0.83, 0.81, 0.86)]
    for row in rows:
        del row["arms"][Arm.ELSEWHERE]
    result = {"edits": 12, **summary_of(rows)}
    monkeypatch.setattr("benchmarks.evidence.advice.read_result", lambda _: result)
    assert re.search(r"in `mlp` -3.3 \(.*\) points \(behind\)", figure())
    assert set(rivals()) == {"unedited ones", "randomly edited ones"}
    assert not is_worth_more()
