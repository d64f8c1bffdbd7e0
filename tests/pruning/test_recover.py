"""Recovery keeps its best epoch, whatever training does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from designer.data.dataset import LabelledTensors
from designer.errors import TrialFailed
from designer.pruning import recover as module
from designer.pruning.evaluation import logits_of
from designer.pruning.options import RecoveryOptions
from designer.pruning.recover import recover
from designer.pruning.splits import Splits, splits_of
from designer.training.trainer import correct_answers
from tests.support.helpers import gaussian_classes
from tests.support.trained import blob_net, blob_parts, same_state, state_of, train_briefly

EVENS = LabelledTensors(torch.arange(10.0).unsqueeze(1) + 0.5, torch.zeros(10).long())
SPLITS = Splits("ten", EVENS, EVENS, None)


class Threshold(nn.Module):
    """Says 0, which is right, below its bound, which is the share of ten that it is right on."""

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.bound = nn.Parameter(torch.tensor(float(bound)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.bound - x, x - self.bound], dim=1)


def epochs_of(bounds: Sequence[float], then: Exception | None = None) -> Callable[..., None]:
    """A training whose epochs leave these bounds behind."""

    def train(
        model: Threshold, data: LabelledTensors, *, on_epoch: Callable[..., None], **_: Any
    ) -> None:
        for epoch, bound in enumerate(bounds, start=1):
            with torch.no_grad():
                model.bound.fill_(bound)
            on_epoch(epoch, model)
        if then is not None:
            model.bound.grad = torch.tensor(1.0)
            raise then

    return train


@pytest.mark.parametrize(
    ("bounds", "epochs", "kept"),
    [
        ([6, 9, 8, 7, 9, 8, 10, 10], 6, 9.0),  # four epochs without a better one
        ([6, 7, 8, 9, 10, 9], 6, 10.0),  # to the end
        ([4, 3, 2, 1, 6], 4, 5.0),  # nothing better than what was there
        ([9, 9.25, 9.4, 9, 9, 9, 9.2, 9.3], 7, 9.4),  # as often right, and surer
    ],
)
def test_the_best_epoch_is_kept(
    monkeypatch: pytest.MonkeyPatch, bounds: list[float], epochs: int, kept: float
) -> None:
    monkeypatch.setattr(module, "train", epochs_of(bounds))
    model = Threshold(5)
    assert recover(model, SPLITS, RecoveryOptions(epochs=len(bounds), patience=4)) == epochs
    assert model.bound.item() == pytest.approx(kept)


def test_what_comes_before_a_divergence_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "train", epochs_of([7, 3], TrialFailed("it diverged")))
    model = Threshold(5)
    assert recover(model, SPLITS, RecoveryOptions(epochs=3)) == 2
    assert model.bound.item() == 7
    assert model.bound.grad is None


def test_an_epoch_that_gives_nothing_finite_is_no_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "train", epochs_of([float("nan")]))
    model = Threshold(0)  # wrong on all of them; nan is "right" on all of them
    recover(model, SPLITS, RecoveryOptions(epochs=1))
    assert model.bound.item() == 0


@pytest.fixture(scope="module")
def splits() -> Splits:
    return splits_of(blob_parts(400))


@pytest.fixture
def model(splits: Splits) -> nn.Module:
    return train_briefly(blob_net(3), splits.train, epochs=2)


@pytest.mark.parametrize("rate", [1e6, 1e30])
def test_a_rate_that_destroys_leaves_the_state_before(
    splits: Splits, model: nn.Module, rate: float
) -> None:
    before = state_of(model)
    recover(model, splits, RecoveryOptions(epochs=3, learning_rate=rate))
    assert same_state(model, before)
    assert not model.training
    assert all(p.grad is None for p in model.parameters())


def test_recovery_learns_and_never_makes_it_worse(splits: Splits) -> None:
    fresh = blob_net(3).eval()
    before = float(correct_answers(fresh, splits.validation).float().mean())
    calls: list[tuple[str, int, int]] = []
    how = RecoveryOptions(epochs=3, learning_rate=1e-2, batch_size=16)
    assert recover(fresh, splits, how, progress=lambda *now: calls.append(now)) == 3
    assert float(correct_answers(fresh, splits.validation).float().mean()) > before + 0.2
    assert calls == [("recovery", epoch, 3) for epoch in (1, 2, 3)]


def test_no_epochs_change_nothing(splits: Splits, model: nn.Module) -> None:
    before = state_of(model)
    assert recover(model, splits, RecoveryOptions(epochs=0)) == 0
    assert same_state(model, before)


def test_the_seed_fixes_the_result(splits: Splits) -> None:
    def recovered(seed: int) -> dict[str, Tensor]:
        model = blob_net(3).eval()
        recover(model, splits, RecoveryOptions(epochs=1, learning_rate=1e-2, seed=seed))
        return state_of(model)

    first, again, other = recovered(1), recovered(1), recovered(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_soft_targets_are_half_of_the_teacher(
    monkeypatch: pytest.MonkeyPatch, splits: Splits, model: nn.Module
) -> None:
    targets: list[LabelledTensors] = []
    monkeypatch.setattr(module, "train", lambda _, data, **__: targets.append(data))
    teacher = blob_net(2, seed=3).eval()
    for soft in (True, False):
        recover(model, splits, RecoveryOptions(epochs=1, soft_targets=soft), teacher)
    labels = splits.train.labels
    by_hand = 0.5 * logits_of(teacher, splits.train).softmax(1) + 0.5 * torch.eye(3)[labels]
    assert torch.allclose(targets[0].labels, by_hand)
    assert targets[1] is splits.train


def test_soft_targets_pull_towards_the_teacher(splits: Splits) -> None:
    teacher = train_briefly(blob_net(3, seed=5), splits.train, epochs=1)
    wanted = logits_of(teacher, splits.validation).softmax(1)

    def distance(*, soft: bool) -> float:
        model = blob_net(3).eval()
        how = RecoveryOptions(epochs=6, learning_rate=1e-2, soft_targets=soft)
        recover(model, splits, how, teacher)
        return float((logits_of(model, splits.validation).softmax(1) - wanted).abs().mean())

    assert distance(soft=True) < distance(soft=False)


class Auxiliary(nn.Module):
    """Gives the logits of an auxiliary head, too, in training, before or behind its own."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.body, self.drop = nn.Sequential(nn.Linear(6, 16), nn.ReLU()), nn.Dropout(0.1)
        self.head, self.auxiliary = nn.Linear(16, 3), nn.Linear(16, 3)
        self.first = first

    def forward(self, x: Tensor) -> object:
        features = self.drop(self.body(x))
        own, other = self.head(features), self.auxiliary(features)
        if not self.training:
            return own
        return {"auxiliary": other, "own": own} if self.first else (own, other)


def test_the_head_that_is_used_is_the_one_that_recovers() -> None:
    features, labels = gaussian_classes(300, 6, 3, seed=1, dtype=torch.float32)
    data = LabelledTensors(features, labels)
    outcomes = []
    for first in (False, True):
        torch.manual_seed(0)
        model = Auxiliary(first)
        recovery = RecoveryOptions(epochs=5, learning_rate=1e-2)
        recover(model, Splits("blobs", data, data, None), recovery)
        outcomes.append(state_of(model))
        assert not model._forward_hooks
    before, after = outcomes
    assert all(torch.equal(after[name], value) for name, value in before.items())
