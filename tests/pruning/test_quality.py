"""How well networks do: accuracy for classes, perplexity with a bound over sequences for tokens."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn
from torch.nn import functional

from designer.data.dataset import LabelledTensors
from designer.measures.proportions import drop_of
from designer.pruning.evaluation import mean_loss
from designer.pruning.quality import Quality, quality_of, rise_of
from designer.training.trainer import correct_answers

LOGITS = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 4, (6, 5), generator=torch.Generator().manual_seed(1))
LABELS[0, 2:], LABELS[3, 0] = -100, -100


class Broken(nn.Module):
    """Gives no number."""

    def forward(self, x: Tensor) -> Tensor:
        return x * math.nan


@pytest.mark.parametrize("language", [False, True])
def test_the_quality_of_tokens_is_that_of_all_labelled_ones(language: bool) -> None:
    data, net = LabelledTensors(LOGITS, LABELS), nn.Identity()
    quality = quality_of(net, data, language=language)
    losses = functional.cross_entropy(LOGITS.transpose(1, 2), LABELS, reduction="none")
    assert torch.equal(quality.correct, correct_answers(net, data))
    assert quality.losses == pytest.approx(losses.sum(1).double(), abs=1e-6)
    assert quality.counts.tolist() == (LABELS >= 0).sum(1).tolist()
    assert quality.loss == pytest.approx(mean_loss(net, data), abs=1e-6)
    perplexity = math.exp(quality.loss) if language else math.nan
    assert quality.perplexity == pytest.approx(perplexity, nan_ok=True)


def test_of_samples_every_one_counts_once() -> None:
    logits, labels = LOGITS[:, 0], LABELS[:, 1]
    quality = quality_of(nn.Identity(), LabelledTensors(logits, labels))
    assert quality.counts.tolist() == [1] * 6
    assert quality.loss == pytest.approx(float(functional.cross_entropy(logits, labels)), abs=1e-6)
    assert quality.score == (quality.accuracy, -quality.loss)


def test_loss_alone_decides_between_language_models() -> None:
    worse, better = (
        Quality(
            torch.tensor([right, right]), torch.tensor([loss]), torch.tensor([2]), language=True
        )
        for right, loss in ((True, 3.0), (False, 2.0))
    )
    assert better.score > worse.score
    assert quality_of(Broken(), LabelledTensors(LOGITS, LABELS), language=True).score < worse.score


def test_a_model_is_left_in_its_mode() -> None:
    net = nn.Sequential(nn.Identity(), nn.Dropout(0.5)).train()
    net[0].eval()
    first, second = (quality_of(net, LabelledTensors(LOGITS, LABELS)).loss for _ in range(2))
    assert first == second
    assert [module.training for module in net] == [False, True]


def test_of_equally_long_sequences_the_bound_is_that_of_their_means() -> None:
    generator = torch.Generator().manual_seed(2)
    before, after = (torch.rand(50, generator=generator) * 8 for _ in range(2))
    rise = rise_of(before, after, torch.full((50,), 8))
    means = (after - before).double() / 8
    bound = means.mean() + norm.ppf(0.95) * means.std() / math.sqrt(50)
    assert rise.value == pytest.approx(math.expm1(means.mean()))
    assert rise.bound == pytest.approx(math.expm1(bound))


def test_the_bound_holds_about_as_often_as_it_says() -> None:
    generator = torch.Generator().manual_seed(3)
    counts = torch.randint(2, 20, (400, 40), generator=generator)
    shared = torch.randn(
        400, 40, generator=generator
    )  # what the tokens of a sequence have in common
    differences = counts * (0.1 + 0.3 * shared)
    bounds = [
        rise_of(torch.zeros(40), d, n).bound for d, n in zip(differences, counts, strict=True)
    ]
    held = sum(bound >= math.expm1(0.1) for bound in bounds) / 400
    assert 0.91 <= held <= 0.98


def test_one_sequence_bounds_nothing_and_no_number_is_the_worst() -> None:
    assert rise_of(torch.ones(1), torch.ones(1), torch.ones(1)).bound == math.inf
    assert rise_of(torch.ones(2), torch.tensor([1.0, math.nan]), torch.ones(2)).value == math.inf


def test_classes_lose_accuracy() -> None:
    data = LabelledTensors(LOGITS[:, 0], LABELS[:, 1])
    original, other = quality_of(nn.Identity(), data), quality_of(nn.ReLU(), data)
    assert other.drop_from(original) == drop_of(original.correct, other.correct)
