"""Zero-cost scores and extrapolated curves are what the papers that propose them say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.claims.criterion import extrapolate
from benchmarks.pools.zero_cost import gradient_norm, jacobian_covariance, snip

X = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 0.25]])
Y = torch.tensor([0, 1, 1])


def linear() -> nn.Linear:
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, -1.0], [0.25, 2.0]]))
        layer.bias.zero_()
    return layer


def test_snip_is_the_first_order_loss_of_removing_weights() -> None:
    model = linear()
    wrong = torch.softmax(X @ model.weight.T, 1) - nn.functional.one_hot(Y)
    gradient = wrong.T @ X / len(X)
    expected = float((model.weight * gradient).abs().sum().detach())  # the bias is 0
    assert snip(model, X, Y) == pytest.approx(expected, rel=1e-5)
    both = gradient.square().sum() + (wrong.mean(0) ** 2).sum()
    assert gradient_norm(model, X, Y) == pytest.approx(float(both.sqrt().detach()), rel=1e-5)


def test_inputs_that_all_do_the_same_have_the_worst_jacobians() -> None:
    alike = jacobian_covariance(linear(), X)
    inputs = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    mixed = nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 2))
    different = jacobian_covariance(mixed, 3 * inputs)
    assert alike < different
    # the eigenvalues of a correlation matrix of ones are n and, n - 1 times, 0
    expected = -sum(math.log(v + 1e-5) + 1 / (v + 1e-5) for v in (3.0, 0.0, 0.0))
    assert alike == pytest.approx(expected, rel=1e-3)


def test_a_power_law_is_continued() -> None:
    epochs = np.arange(1.0, 11)
    assert extrapolate(0.9 - 0.5 * epochs**-0.7, 60) == pytest.approx(0.9 - 0.5 * 60**-0.7)
    assert extrapolate(np.array([0.5, 0.6]), 60) == 0.6
    assert extrapolate(np.array([0.8, 0.7, 0.6, 0.5]), 60) == 0.5
    assert math.isnan(extrapolate(np.array([]), 60))
