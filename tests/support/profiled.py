"""Small data and models to profile, and comparisons of profiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from designer.data.dataset import LabelledTensors
from designer.measures.features import projection
from designer.results.measured import FloatArray, SeparationProfile
from tests.support.helpers import gaussian_classes, labelled

ALL = labelled(100)
"""100 samples of three classes."""

TRAIN = LabelledTensors(ALL.inputs[:60], ALL.labels[:60])
HELDOUT = LabelledTensors(ALL.inputs[60:], ALL.labels[60:])


def taps_by_hand(model: nn.Sequential, inputs: Tensor) -> list[Tensor]:
    """Return the input and the outputs of both blocks of ``small_mlp``, without any hook."""
    model.eval()
    with torch.no_grad():
        first = model[0](inputs)
        return [inputs, first, model[1](first)]


def only_for(features: str, dimension: int) -> int | None:
    """Return the dimension if features are projected, else None."""
    return dimension if features == "project" else None


def spreads_of(profile: SeparationProfile) -> FloatArray:
    """Return the standard deviations (L + 1,) of log D over the resamples."""
    spreads: FloatArray = np.log(profile.resampled).std(axis=0)
    return spreads


def conv_net() -> nn.Sequential:
    """Return two convolutions without padding for images of 8 x 8, and a head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()),
            nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU()),
            nn.Flatten(),
            nn.Linear(96, 3),
        )


def images(n: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return images (n, 1, 8, 8) of three classes, and their labels."""
    flat, labels = gaussian_classes(n, 64, seed=seed, dtype=dtype)
    return flat.view(n, 1, 8, 8), labels


def maps_by_hand(model: nn.Sequential, inputs: Tensor) -> list[Tensor]:
    """Return the flat input and the maps behind both convolutions of ``conv_net``."""
    with torch.no_grad():
        first = model[0](inputs)
        return [inputs.flatten(1), first, model[1](first)]


def reduced(output: Tensor, features: str, dimension: int, seed: int) -> Tensor:
    """Return features (n, p) of an output (n, ...)."""
    if features == "pool" and output.ndim == 4:
        return output.mean((2, 3))
    flat = output.flatten(1)
    if features == "project":
        return flat @ projection(flat.shape[1], dimension, seed).to_dense().T
    return flat


def tagger() -> nn.Sequential:
    """Return two blocks and a head that work on each token (n, tokens, 5) alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Sequential(nn.Linear(5, 7), nn.ReLU()),
            nn.Sequential(nn.Linear(7, 7), nn.Tanh()),
            nn.Linear(7, 3),
        )


def sequences(n: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return sequences (n, 6, 5) and a label for each of their tokens (n, 6)."""
    inputs, labels = gaussian_classes(6 * n, 5, seed=seed, dtype=torch.float32)
    order = torch.randperm(6 * n, generator=torch.Generator().manual_seed(seed))
    return inputs[order].view(n, 6, 5), labels[order].view(n, 6)


def sample(seed: int, n: int = 300) -> tuple[Tensor, Tensor]:
    """Return a fresh sample (n, 5) of the same three classes, and its labels."""
    labels = torch.arange(n) % 3
    noise = torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))
    return 2 * torch.eye(5)[labels] + noise, labels


def assert_same(first: SeparationProfile, second: SeparationProfile) -> None:
    """Check that two profiles are equal to the last bit; NaN equals NaN."""
    assert repr(first) == repr(second)


def assert_close(first: SeparationProfile, second: SeparationProfile) -> None:
    """Check that two profiles are equal up to the order of their sums."""
    for name in ("values", "values_heldout", "nulls", "resampled", "resampled_heldout"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), rtol=1e-4)
    for a, b in zip(first.layers, second.layers, strict=True):
        assert (a.name, a.width, a.train.rank) == (b.name, b.width, b.train.rank)
        assert a.nearest_class_mean_accuracy == pytest.approx(
            b.nearest_class_mean_accuracy, abs=0, nan_ok=True
        )
