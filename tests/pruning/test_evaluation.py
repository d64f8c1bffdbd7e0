"""Accuracies with intervals and bounds, against formulas by hand and in a small simulation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from designer.data.dataset import LabelledTensors
from designer.measures.proportions import drop_of, proportion
from designer.pruning import evaluation
from designer.pruning.evaluation import latency_ratio, logits_of
from designer.training.trainer import correct_answers
from tests.support.helpers import small_mlp

Z_TWO_SIDED, Z_ONE_SIDED = 1.959964, 1.644854


def mask_of(hits: int, n: int) -> Tensor:
    return torch.arange(n) < hits


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (1, 20), (13, 20), (20, 20), (970, 1000)])
def test_a_proportion_has_its_wilson_interval(hits: int, n: int) -> None:
    share = proportion(mask_of(hits, n))
    p, z = hits / n, Z_TWO_SIDED
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert (share.value, share.samples) == (p, n)
    assert share.interval == pytest.approx((centre - half, centre + half), abs=1e-6)


@pytest.mark.parametrize(("b", "c", "n"), [(0, 0, 100), (5, 2, 100), (2, 5, 40), (0, 9, 50)])
def test_the_bound_on_a_drop_is_that_of_bonett_and_price(b: int, c: int, n: int) -> None:
    original = torch.ones(n, dtype=torch.bool)
    original[b : b + c] = False
    smaller = torch.ones(n, dtype=torch.bool)
    smaller[:b] = False
    drop = drop_of(original, smaller)
    more, less = (b + 1) / (n + 2), (c + 1) / (n + 2)
    spread = math.sqrt((more + less - (more - less) ** 2) / (n + 2))
    assert drop.value == pytest.approx((b - c) / n)
    assert drop.bound == pytest.approx(more - less + Z_ONE_SIDED * spread, abs=1e-6)


def test_no_difference_is_no_proof_and_more_samples_are_more_of_one() -> None:
    few, many = (drop_of(mask_of(n, n), mask_of(n, n)) for n in (50, 5000))
    assert few.value == many.value == 0
    assert few.bound > many.bound > 0


@pytest.mark.parametrize(("lost", "won"), [(0.05, 0.05), (0.1, 0.02), (0.01, 0.01), (0.02, 0.0)])
def test_the_bound_holds_its_level(lost: float, won: float) -> None:
    n, times = 300, 1500
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(times, n, generator=generator)
    only_original, only_smaller = drawn < lost, drawn > 1 - won
    covered = [
        drop_of(~theirs, ~ours).bound >= lost - won
        for theirs, ours in zip(only_smaller, only_original, strict=True)
    ]
    assert sum(covered) / times >= 0.935


def test_logits_do_not_depend_on_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = small_mlp(), torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    data = LabelledTensors(inputs, torch.zeros(50, dtype=torch.long))
    whole = logits_of(model, data)
    assert model.training  # as before, though the logits are those of eval mode
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 7)
    assert torch.allclose(logits_of(model, data), whole)
    assert torch.equal(whole, model.eval()(inputs))
    assert not whole.requires_grad


def test_the_mode_comes_back_where_the_model_raises() -> None:
    model = small_mlp()
    with pytest.raises(RuntimeError):
        logits_of(model, LabelledTensors(torch.zeros(3, 4), torch.zeros(3)))
    assert model.training


def test_what_a_model_is_right_on() -> None:
    data = LabelledTensors(torch.eye(3), torch.tensor([0, 2, 2]))
    assert correct_answers(nn.Identity(), data).tolist() == [True, False, True]


def test_latency_is_the_median_of_interleaved_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    original, smaller = nn.Identity(), nn.Identity()
    takes: dict[nn.Module, float] = {original: 4.0, smaller: 1.0}
    order: list[nn.Module] = []

    def seconds(model: nn.Module, batch: Tensor) -> float:
        order.append(model)
        assert len(batch) <= evaluation.LATENCY_BATCH
        outlier = len(order) == 5
        return 100.0 if outlier else takes[model]

    monkeypatch.setattr(evaluation, "_seconds", seconds)
    assert latency_ratio(original, smaller, torch.zeros(999, 2)) == 0.25
    assert order[2:6] == [smaller, original] * 2
