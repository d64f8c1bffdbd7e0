"""How many blocks go: the search for the most, with few trainings, and the trials it is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import nn

from designer.errors import InvalidInputError
from designer.measures.proportions import drop_of
from designer.models.surgery import Removal, Way
from designer.pruning.cut import cut
from designer.pruning.evaluation import mean_loss
from designer.pruning.how_many import fewest_for, most_within
from designer.pruning.options import RecoveryOptions
from designer.pruning.recover import recover
from designer.pruning.removable import Removable, removable_blocks
from designer.pruning.removal_trials import PrunedCandidate, RemovalTrials
from designer.pruning.splits import Splits, splits_of
from designer.training.trainer import correct_answers
from tests.support.trained import blob_net, blob_parts, same_state, state_of, train_briefly


def blocks(count: int) -> list[Removable]:
    return [
        Removable(
            f"b{i}",
            "Linear",
            i,
            (Removal(f"b{i}", Way.PASS),),
            (),
            refit=False,
            reason="",
        )
        for i in range(count)
    ]


class FakeTrials:
    """Allows so many blocks with recovery, and says that it were ``guess`` without."""

    def __init__(self, allowed: int, guess: int) -> None:
        self._allowed, self._guess = allowed, guess
        self.trained: list[int] = []

    def best_of(self, choices: Sequence[Sequence[Removable]]) -> list[Removable]:
        return list(choices[-1])

    def fitted(self, chosen: Sequence[Removable]) -> bool:
        return len(chosen) <= self._guess

    def recovered(self, chosen: Sequence[Removable]) -> PrunedCandidate:
        self.trained.append(len(chosen))
        removed = tuple(block.name for block in chosen)
        candidate = SimpleNamespace(within=len(chosen) <= self._allowed, removed=removed)
        return cast("PrunedCandidate", candidate)


def searched(count: int, allowed: int, guess: int) -> tuple[int, list[int]]:
    """How many blocks were removed, and after removing how many it was trained."""
    fake = FakeTrials(allowed, guess)
    order = blocks(count)
    candidate = most_within([order[::-1], order], cast("RemovalTrials", fake))
    removed = () if candidate is None else cast("SimpleNamespace", candidate).removed
    assert removed == tuple(block.name for block in order[: len(removed)])
    return len(removed), fake.trained


@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_the_most_that_is_allowed_is_found(count: int) -> None:
    for allowed in range(count + 1):
        for guess in range(count + 1):
            removed, trained = searched(count, allowed, guess)
            assert removed == allowed
            assert len(trained) == len(set(trained)) <= 2 + math.ceil(math.log2(count + 1))


def test_a_good_guess_is_tried_first_and_what_lies_beyond_by_bisection() -> None:
    for guess in range(1, 24):
        removed, trained = searched(24, guess, guess)
        assert (removed, trained[0]) == (guess, guess)
        assert len(trained) <= 1 + math.ceil(math.log2(24 - guess + 1))
    assert searched(24, 24, 24) == (24, [24])
    assert searched(24, 0, 0) == (0, [1])


@pytest.fixture(scope="module")
def splits() -> Splits:
    return splits_of(blob_parts(600))


@pytest.fixture(scope="module")
def model(splits: Splits) -> nn.Module:
    return train_briefly(blob_net(4), splits.train)


@pytest.fixture(scope="module")
def removables(model: nn.Module, splits: Splits) -> list[Removable]:
    return removable_blocks(model, splits.train.inputs[:5])


def size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_the_fewest_blocks_that_reach_a_size(
    model: nn.Module, splits: Splits, removables: list[Removable]
) -> None:
    order = removables[::-1]
    sizes = [size(cut(model, order[:k], splits.train).model) for k in range(1, 5)]
    assert sizes == sorted(sizes, reverse=True)
    for k, reached in enumerate(sizes, start=1):
        assert fewest_for(order, model, splits, reached) == order[:k]
        assert fewest_for(order, model, splits, reached + 1) == order[:k]
    with pytest.raises(InvalidInputError, match=f"got {sizes[-1] - 1}.*no fewer than {sizes[-1]}"):
        fewest_for(order, model, splits, sizes[-1] - 1)


class TestTrials:
    HOW = RecoveryOptions(epochs=2, learning_rate=3e-3, batch_size=32)

    def test_say_what_it_costs_to_remove_blocks(
        self, model: nn.Module, splits: Splits, removables: list[Removable]
    ) -> None:
        before = state_of(model)
        trials = RemovalTrials(model, splits, self.HOW, 0.5, lambda *_: None)
        candidate = trials.recovered([removables[2], removables[1]])
        assert same_state(model, before)
        smaller = candidate.cut.model
        mask = correct_answers(smaller, splits.validation)
        drop = drop_of(correct_answers(model, splits.validation), mask)
        assert torch.equal(candidate.quality.correct, mask)
        assert candidate.trial.removed == ("blocks.1", "blocks.2")
        assert candidate.trial.recovered
        assert candidate.trial.validation_accuracy == pytest.approx(float(mask.float().mean()))
        assert (candidate.trial.drop, candidate.trial.drop_bound) == (drop.value, drop.bound)
        assert candidate.trial.within == (drop.bound <= 0.5) == candidate.within
        assert trials.done == [candidate.trial]
        assert 2 <= candidate.epochs <= 4  # both starts, fitted and not

    def test_tell_without_training_whether_it_may_be(
        self, model: nn.Module, splits: Splits, removables: list[Removable]
    ) -> None:
        for most, allowed in ((0.9, True), (0.0, False)):
            trials = RemovalTrials(model, splits, self.HOW, most, lambda *_: None)
            assert trials.fitted(removables[1:2]) is allowed
            assert not trials.done[0].recovered

    def test_take_the_better_of_both_starts(
        self, model: nn.Module, splits: Splits, removables: list[Removable]
    ) -> None:
        trials = RemovalTrials(model, splits, self.HOW, None, lambda *_: None)
        candidate = trials.recovered(removables[:2])
        assert candidate.trial.within is None
        assert candidate.within
        by_hand = [cut(model, removables[:2], splits.train, fit=fit).model for fit in (True, False)]
        for start in by_hand:
            recover(start, splits, self.HOW)
        data = splits.validation
        better = max(
            by_hand,
            key=lambda start: (
                float(correct_answers(start, data).float().mean()),
                -mean_loss(start, data),
            ),
        )
        assert same_state(candidate.cut.model, state_of(better))

    def test_without_recovery_what_follows_is_only_fitted(
        self, model: nn.Module, splits: Splits, removables: list[Removable]
    ) -> None:
        trials = RemovalTrials(model, splits, RecoveryOptions(epochs=0), None, lambda *_: None)
        candidate = trials.recovered(removables[1:2])
        by_hand = cut(model, removables[1:2], splits.train).model
        assert candidate.epochs == 0
        assert same_state(candidate.cut.model, state_of(by_hand))
