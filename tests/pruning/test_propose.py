"""Which blocks go first: each criterion against what its definition gives by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import designer
from designer.choices import Criterion
from designer.models.surgery import Removal, Way
from designer.pruning import criteria
from designer.pruning import propose as module
from designer.pruning.criteria import CRITERIA, block_influence, least_first
from designer.pruning.cut import cut
from designer.pruning.evaluation import mean_loss
from designer.pruning.propose import Proposal, propose
from designer.pruning.removable import Removable, removable_blocks
from designer.pruning.splits import Splits, splits_of
from designer.results.contribution import BlockContribution, Contribution, Effect
from designer.results.measured import SeparationProfile
from designer.results.pruning import Decision
from tests.support.helpers import draws_around, profile_of
from tests.support.trained import blob_net, blob_parts, same_state, state_of, train_briefly

DEPTH = 5


@pytest.fixture(scope="module")
def splits() -> Splits:
    return splits_of(blob_parts())


@pytest.fixture(scope="module")
def model(splits: Splits) -> nn.Module:
    return train_briefly(blob_net(DEPTH), splits.train)


@pytest.fixture(scope="module")
def removables(model: nn.Module, splits: Splits) -> list[Removable]:
    return removable_blocks(model, splits.train.inputs[:5])


@pytest.fixture(scope="module")
def measurement(model: nn.Module, splits: Splits) -> SeparationProfile:
    return designer.profile(model, splits.train, splits.validation, permutations=0)


def ignore(_what: str, _done: int, _total: int) -> None:
    pass


def proposed(
    model: nn.Module,
    removables: list[Removable],
    splits: Splits,
    criterion: Criterion = Criterion.HELDOUT,
    seed: int = 0,
) -> Proposal:
    return propose(model, removables, splits, criterion, blocks=None, seed=seed, progress=ignore)


def names(proposal: Proposal) -> list[str]:
    return [block.name for block in proposal.order]


def ranked(values: list[float]) -> list[str]:
    """Names of the blocks, the least value first."""
    return [f"blocks.{i}" for i in sorted(range(len(values)), key=values.__getitem__)]


def outputs(model: nn.Module, inputs: Tensor) -> list[Tensor]:
    """The input and what every block gives."""
    taps = [inputs]
    with torch.no_grad():
        for i in range(DEPTH):
            taps.append(model.get_submodule(f"blocks.{i}")(taps[-1]))
    return taps


class TestOrder:
    def test_of_held_out_steps(
        self,
        model: nn.Module,
        removables: list[Removable],
        splits: Splits,
        measurement: SeparationProfile,
    ) -> None:
        proposal = proposed(model, removables, splits)
        steps = [a - b for a, b in pairwise(np.log(measurement.values_heldout))]
        assert names(proposal) == ranked(steps)
        assert [block.value for block in proposal.blocks] == pytest.approx(steps)
        assert [block.step_heldout for block in proposal.blocks] == pytest.approx(steps)

    def test_of_training_steps(
        self,
        model: nn.Module,
        removables: list[Removable],
        splits: Splits,
        measurement: SeparationProfile,
    ) -> None:
        proposal = proposed(model, removables, splits, Criterion.TRAIN)
        steps = [a - b for a, b in pairwise(np.log(measurement.values))]
        assert names(proposal) == ranked(steps)
        assert [block.step for block in proposal.blocks] == pytest.approx(steps)

    def test_of_block_influence(
        self, model: nn.Module, removables: list[Removable], splits: Splits
    ) -> None:
        taps = outputs(model, splits.validation.inputs)
        by_hand = [
            1 - float((a * b).sum(1).div(a.norm(dim=1) * b.norm(dim=1)).mean())
            for a, b in pairwise(taps[1:])
        ]
        proposal = proposed(model, removables, splits, Criterion.BLOCK_INFLUENCE)
        # the first block takes 6 features and gives 10: no cosine, and it goes last
        assert names(proposal) == ranked([math.inf, *by_hand])
        assert proposal.blocks[0].value is None
        assert [block.value for block in proposal.blocks[1:]] == pytest.approx(by_hand, rel=1e-4)

    def test_of_the_loss_without_each(
        self, model: nn.Module, removables: list[Removable], splits: Splits
    ) -> None:
        losses = []
        for block in removables:
            with torch.no_grad():
                logits = cut(model, [block], splits.train).model(splits.validation.inputs)
            losses.append(float(functional.cross_entropy(logits, splits.validation.labels)))
        told: list[tuple[str, int, int]] = []
        proposal = propose(
            model,
            removables,
            splits,
            Criterion.ABLATION,
            blocks=None,
            seed=0,
            progress=lambda *now: told.append(now),
        )
        assert names(proposal) == ranked(losses)
        assert [block.value for block in proposal.blocks] == pytest.approx(losses, rel=1e-4)
        assert [now for now in told if now[0] == "ablation"] == [
            ("ablation", i, DEPTH) for i in range(1, DEPTH + 1)
        ]

    def test_of_the_last(
        self, model: nn.Module, removables: list[Removable], splits: Splits
    ) -> None:
        order = names(proposed(model, removables, splits, Criterion.LAST))
        assert order == [f"blocks.{i}" for i in reversed(range(DEPTH))]

    def test_at_random(self, model: nn.Module, removables: list[Removable], splits: Splits) -> None:
        orders = [
            names(proposed(model, removables, splits, Criterion.RANDOM, seed))
            for seed in (1, 1, 2, 3)
        ]
        assert orders[0] == orders[1]
        assert orders[1] != orders[2] or orders[2] != orders[3]
        assert {frozenset(order) for order in orders} == {
            frozenset(block.name for block in removables)
        }


def test_blocks_say_where_they_are_in_the_order(
    model: nn.Module, removables: list[Removable], splits: Splits
) -> None:
    proposal = proposed(model, removables, splits)
    by_place = sorted(proposal.blocks, key=lambda block: block.order or 0)
    assert [block.name for block in by_place] == names(proposal)
    assert [block.order for block in by_place] == [1, 2, 3, 4, 5]
    assert [block.name for block in proposal.blocks] == [block.name for block in removables]


def test_the_model_is_left_as_it_was(
    model: nn.Module, removables: list[Removable], splits: Splits
) -> None:
    before = state_of(model)
    for criterion in set(Criterion) - {Criterion.BEST}:
        proposed(model, removables, splits, criterion)
    assert same_state(model, before)


def test_influence_does_not_depend_on_the_batches(
    monkeypatch: pytest.MonkeyPatch, model: nn.Module, splits: Splits
) -> None:
    whole = block_influence(model, splits.validation)
    monkeypatch.setattr(criteria, "INFLUENCE_BATCH", 7)
    assert block_influence(model, splits.validation) == pytest.approx(whole, rel=1e-4, nan_ok=True)
    data = splits.validation
    assert mean_loss(model, data) == pytest.approx(
        float(functional.cross_entropy(model(data.inputs), data.labels).detach())
    )


# --- decisions, from made-up contributions ---


def block(i: int, *, can_go: bool = True) -> Removable:
    removals = (Removal(f"b{i}", Way.PASS),) if can_go else ()
    return Removable(f"b{i}", "Linear", i, removals, (), refit=False, reason="because")


def contributing(rise: float, half: float, loss: float = 0.0) -> BlockContribution:
    """A block without which cross-entropy rises, and accuracy falls by ``loss`` +- 0.005."""
    effects = [Effect(rise, (rise - half, rise + half)), Effect(-loss, (-loss - 0.005, 0.005))]
    return BlockContribution("b", "Linear", Contribution("what it receives", None, *effects))


CONTRIBUTIONS = [
    contributing(1.5, 0.1),
    contributing(0.01, 0.03),
    contributing(0.2, 0.3),  # may matter
    BlockContribution("b", "Linear", None, "It was not asked for."),
    contributing(0.01, 0.03, loss=0.02),  # cross-entropy hardly rises, but accuracy may fall
]


def decided(
    monkeypatch: pytest.MonkeyPatch,
    model: nn.Module,
    splits: Splits,
    *,
    fixed: int | None = None,
    contributions: Sequence[BlockContribution] = CONTRIBUTIONS,
) -> Proposal:
    """What is proposed for such contributions, with equal steps."""
    heldout = 50 * np.exp(-np.arange(6.0))
    profile = profile_of(heldout, heldout, resampled=draws_around(heldout), resampled_heldout=())
    monkeypatch.setattr(module, "profile", lambda *_, **__: profile)
    return propose(
        model,
        [block(i, can_go=i != fixed) for i in range(5)],
        splits,
        Criterion.HELDOUT,
        blocks=None,
        seed=0,
        progress=ignore,
        contributions=contributions,
    )


class TestDecision:
    def test_comes_from_the_contribution(
        self, monkeypatch: pytest.MonkeyPatch, model: nn.Module, splits: Splits
    ) -> None:
        proposal = decided(monkeypatch, model, splits)
        assert [block.decision for block in proposal.blocks] == [
            Decision.KEEP,
            Decision.SAFE,
            Decision.DOUBTFUL,
            Decision.DOUBTFUL,
            Decision.DOUBTFUL,
        ]
        assert proposal.blocks[0].contribution == CONTRIBUTIONS[0].contribution
        assert proposal.blocks[3].contribution_reason == "It was not asked for."

    def test_is_doubtful_where_nothing_was_measured(
        self, monkeypatch: pytest.MonkeyPatch, model: nn.Module, splits: Splits
    ) -> None:
        proposal = decided(monkeypatch, model, splits, contributions=())
        assert {block.decision for block in proposal.blocks} == {Decision.DOUBTFUL}
        assert {block.contribution_reason for block in proposal.blocks} == {"It was not measured."}

    def test_is_fixed_where_the_block_cannot_go(
        self, monkeypatch: pytest.MonkeyPatch, model: nn.Module, splits: Splits
    ) -> None:
        proposal = decided(monkeypatch, model, splits, fixed=1)
        assert proposal.blocks[1].decision is Decision.FIXED
        assert proposal.blocks[1].order is None
        assert sorted(names(proposal)) == ["b0", "b2", "b3", "b4"]

    def test_is_doubtful_where_no_layer_can_be_fitted_to_do_what_a_map_did(
        self, monkeypatch: pytest.MonkeyPatch, model: nn.Module, splits: Splits
    ) -> None:
        idle = CONTRIBUTIONS[1].contribution
        assert idle is not None
        mapped = replace(CONTRIBUTIONS[1], contribution=replace(idle, stand_in="a linear map"))
        proposal = decided(monkeypatch, model, splits, contributions=[mapped] * 5)
        assert {block.decision for block in proposal.blocks} == {Decision.DOUBTFUL}

    def test_of_equal_steps_the_later_block_goes_first(
        self, monkeypatch: pytest.MonkeyPatch, model: nn.Module, splits: Splits
    ) -> None:
        by_hand = least_first(lambda _: [0.5, None, 0.5, math.nan, 0.7])
        monkeypatch.setitem(CRITERIA, Criterion.HELDOUT, by_hand)
        proposal = decided(monkeypatch, model, splits)
        assert names(proposal) == ["b2", "b0", "b4", "b3", "b1"]
