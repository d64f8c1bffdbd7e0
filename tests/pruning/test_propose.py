"""Which blocks go first: each criterion against what its definition gives by hand."""

from __future__ import annotations

import math
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
from designer.results.measured import SeparationProfile
from designer.results.pruning import Decision
from tests.support.helpers import draws_around, profile_of
from tests.support.trained import blob_net, blob_parts, same_state, state_of, train_briefly

DEPTH = 5


@pytest.fixture(scope="module")
def parts() -> Splits:
    return splits_of(blob_parts())


@pytest.fixture(scope="module")
def model(parts: Splits) -> nn.Module:
    return train_briefly(blob_net(DEPTH), parts.train)


@pytest.fixture(scope="module")
def found(model: nn.Module, parts: Splits) -> list[Removable]:
    return removable_blocks(model, parts.train.inputs[:5])


@pytest.fixture(scope="module")
def seen(model: nn.Module, parts: Splits) -> SeparationProfile:
    return designer.profile(model, parts.train, parts.validation, permutations=0)


def ignore(_what: str, _done: int, _total: int) -> None:
    pass


def proposed(
    model: nn.Module,
    found: list[Removable],
    parts: Splits,
    criterion: Criterion = Criterion.HELDOUT,
    seed: int = 0,
) -> Proposal:
    return propose(model, found, parts, criterion, blocks=None, seed=seed, progress=ignore)


def names(proposal: Proposal) -> list[str]:
    return [one.name for one in proposal.order]


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
        self, model: nn.Module, found: list[Removable], parts: Splits, seen: SeparationProfile
    ) -> None:
        proposal = proposed(model, found, parts)
        steps = [a - b for a, b in pairwise(np.log(seen.values_heldout))]
        assert names(proposal) == ranked(steps)
        assert [one.value for one in proposal.blocks] == pytest.approx(steps)
        assert [one.step_heldout for one in proposal.blocks] == pytest.approx(steps)

    def test_of_training_steps(
        self, model: nn.Module, found: list[Removable], parts: Splits, seen: SeparationProfile
    ) -> None:
        proposal = proposed(model, found, parts, Criterion.TRAIN)
        steps = [a - b for a, b in pairwise(np.log(seen.values))]
        assert names(proposal) == ranked(steps)
        assert [one.step for one in proposal.blocks] == pytest.approx(steps)

    def test_of_block_influence(
        self, model: nn.Module, found: list[Removable], parts: Splits
    ) -> None:
        taps = outputs(model, parts.validation.inputs)
        by_hand = [
            1 - float((a * b).sum(1).div(a.norm(dim=1) * b.norm(dim=1)).mean())
            for a, b in pairwise(taps[1:])
        ]
        proposal = proposed(model, found, parts, Criterion.BLOCK_INFLUENCE)
        # the first block takes 6 features and gives 10: no cosine, and it goes last
        assert names(proposal) == ranked([math.inf, *by_hand])
        assert proposal.blocks[0].value is None
        assert [one.value for one in proposal.blocks[1:]] == pytest.approx(by_hand, rel=1e-4)

    def test_of_the_loss_without_each(
        self, model: nn.Module, found: list[Removable], parts: Splits
    ) -> None:
        losses = []
        for one in found:
            with torch.no_grad():
                logits = cut(model, [one], parts.train).model(parts.validation.inputs)
            losses.append(float(functional.cross_entropy(logits, parts.validation.labels)))
        told: list[tuple[str, int, int]] = []
        proposal = propose(
            model,
            found,
            parts,
            Criterion.ABLATION,
            blocks=None,
            seed=0,
            progress=lambda *now: told.append(now),
        )
        assert names(proposal) == ranked(losses)
        assert [one.value for one in proposal.blocks] == pytest.approx(losses, rel=1e-4)
        assert [now for now in told if now[0] == "ablation"] == [
            ("ablation", i, DEPTH) for i in range(1, DEPTH + 1)
        ]

    def test_of_the_last(self, model: nn.Module, found: list[Removable], parts: Splits) -> None:
        order = names(proposed(model, found, parts, Criterion.LAST))
        assert order == [f"blocks.{i}" for i in reversed(range(DEPTH))]

    def test_at_random(self, model: nn.Module, found: list[Removable], parts: Splits) -> None:
        orders = [
            names(proposed(model, found, parts, Criterion.RANDOM, seed)) for seed in (1, 1, 2, 3)
        ]
        assert orders[0] == orders[1]
        assert orders[1] != orders[2] or orders[2] != orders[3]
        assert {frozenset(order) for order in orders} == {frozenset(one.name for one in found)}


def test_blocks_say_where_they_are_in_the_order(
    model: nn.Module, found: list[Removable], parts: Splits
) -> None:
    proposal = proposed(model, found, parts)
    by_place = sorted(proposal.blocks, key=lambda one: one.order or 0)
    assert [one.name for one in by_place] == names(proposal)
    assert [one.order for one in by_place] == [1, 2, 3, 4, 5]
    assert [one.name for one in proposal.blocks] == [one.name for one in found]


def test_the_model_is_left_as_it_was(
    model: nn.Module, found: list[Removable], parts: Splits
) -> None:
    before = state_of(model)
    for criterion in set(Criterion) - {Criterion.BEST}:
        proposed(model, found, parts, criterion)
    assert same_state(model, before)


def test_influence_does_not_depend_on_the_batches(
    monkeypatch: pytest.MonkeyPatch, model: nn.Module, parts: Splits
) -> None:
    whole = block_influence(model, parts.validation.inputs)
    monkeypatch.setattr(criteria, "INFLUENCE_BATCH", 7)
    assert block_influence(model, parts.validation.inputs) == pytest.approx(
        whole, rel=1e-4, nan_ok=True
    )
    data = parts.validation
    assert mean_loss(model, data.inputs, data.labels) == pytest.approx(
        float(functional.cross_entropy(model(data.inputs), data.labels).detach())
    )


# --- decisions, from made-up profiles ---


def block(i: int, *, can_go: bool = True) -> Removable:
    removals = (Removal(f"b{i}", Way.PASS),) if can_go else ()
    return Removable(f"b{i}", "Linear", i, removals, (), refit=False, reason="because")


STEPS = [1.0, 0.02, 0.5, 0.05, 0.93]
"""Their mean is 0.5, so that up to 0.25 is safe and from 0.5 on is kept."""


def decided(
    monkeypatch: pytest.MonkeyPatch,
    model: nn.Module,
    parts: Splits,
    sd: float | None = 0.02,
    fixed: int | None = None,
    steps: list[float] = STEPS,
) -> Proposal:
    """What is proposed for such held-out steps, known to such a standard deviation."""
    heldout = 50 * np.exp(-np.cumsum([0.0, *steps]))
    made = profile_of(
        heldout,
        heldout,
        resampled=draws_around(heldout),
        resampled_heldout=() if sd is None else draws_around(heldout, sd),
    )
    monkeypatch.setattr(module, "profile", lambda *_, **__: made)
    return proposed(model, [block(i, can_go=i != fixed) for i in range(len(steps))], parts)


class TestDecision:
    def test_is_safe_where_the_whole_interval_is_low(
        self, monkeypatch: pytest.MonkeyPatch, model: nn.Module, parts: Splits
    ) -> None:
        proposal = decided(monkeypatch, model, parts)
        assert [one.decision for one in proposal.blocks] == [
            Decision.KEEP,
            Decision.SAFE,
            Decision.DOUBTFUL,  # about the mean
            Decision.SAFE,
            Decision.KEEP,
        ]
        assert names(proposal) == ["b1", "b3", "b2", "b4", "b0"]
        for one in proposal.blocks:
            assert one.step_heldout_interval is not None
            low, high = one.step_heldout_interval
            assert (one.decision is Decision.SAFE) == (high < 0.25)
            assert (one.decision is Decision.KEEP) == (low > 0.5)

    def test_is_doubtful_where_the_interval_is_wide(
        self, monkeypatch: pytest.MonkeyPatch, model: nn.Module, parts: Splits
    ) -> None:
        proposal = decided(monkeypatch, model, parts, sd=0.6)
        assert {one.decision for one in proposal.blocks} == {Decision.DOUBTFUL}

    def test_is_doubtful_where_there_is_no_interval(
        self, monkeypatch: pytest.MonkeyPatch, model: nn.Module, parts: Splits
    ) -> None:
        proposal = decided(monkeypatch, model, parts, sd=None)
        assert {one.decision for one in proposal.blocks} == {Decision.DOUBTFUL}

    def test_is_fixed_where_the_block_cannot_go(
        self, monkeypatch: pytest.MonkeyPatch, model: nn.Module, parts: Splits
    ) -> None:
        proposal = decided(monkeypatch, model, parts, fixed=1)
        assert proposal.blocks[1].decision is Decision.FIXED
        assert proposal.blocks[1].order is None
        assert names(proposal) == ["b3", "b2", "b4", "b0"]

    def test_calls_nothing_safe_where_nothing_is_gained_at_all(
        self, monkeypatch: pytest.MonkeyPatch, model: nn.Module, parts: Splits
    ) -> None:
        proposal = decided(monkeypatch, model, parts, sd=0.001, steps=[0.1, -0.2, -0.3])
        decisions = [one.decision for one in proposal.blocks]
        # the mean step is negative and counts as 0: only what surely undoes work is safe to remove
        assert decisions == [Decision.KEEP, Decision.SAFE, Decision.SAFE]

    def test_of_equal_steps_the_later_block_goes_first(
        self, monkeypatch: pytest.MonkeyPatch, model: nn.Module, parts: Splits
    ) -> None:
        by_hand = least_first(lambda _: [0.5, None, 0.5, math.nan])
        monkeypatch.setitem(CRITERIA, Criterion.HELDOUT, by_hand)
        proposal = decided(monkeypatch, model, parts, steps=[0.4] * 4)
        assert names(proposal) == ["b2", "b0", "b3", "b1"]
