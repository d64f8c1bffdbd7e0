"""Classes that normalise features count as normalisation, not names with the word in them."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from designer import analyze
from tests.support.helpers import labelled


class NormFreeBlock(nn.Linear):
    """A layer without normalisation that has the word in its name."""


class NoNorm(nn.Linear):
    """A layer that is named after what it lacks."""


class BlockWithoutNorm(nn.Sequential):
    """Parts that normalise nothing."""


class ScaleNorm(nn.Module):
    """A normalisation that torch does not have."""

    def forward(self, x: Tensor) -> Tensor:
        """Return vectors of length 1."""
        length: Tensor = x.norm(dim=-1, keepdim=True)
        return x / length


class LayerNorm2d(nn.LayerNorm):
    """A class of torch under another name."""


@pytest.mark.parametrize(
    ("part", "normalises"),
    [
        (NormFreeBlock(4, 4), False),
        (NoNorm(4, 4), False),
        (BlockWithoutNorm(nn.Linear(4, 4)), False),
        (nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), False),
        (nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), False),
        (ScaleNorm(), True),
        (LayerNorm2d(4), True),
        (BlockWithoutNorm(nn.LayerNorm(4)), True),
        (nn.BatchNorm1d(4), True),
        (nn.RMSNorm(4), True),
        (nn.GroupNorm(2, 4), True),
    ],
)
def test_what_counts_as_normalisation(part: nn.Module, *, normalises: bool) -> None:
    layers = [layer for _ in range(6) for layer in (nn.Linear(5, 5), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(5, 4), part, nn.Linear(4, 3))
    blocks = [str(i) for i in range(1, 12, 2)]
    result = analyze(model, labelled(60), labelled(30, seed=1), blocks, contribution_samples=0)
    assert ("no_normalisation" in {w.code for w in result.warnings}) is not normalises
