"""A trained perceptron, its data, and what is left of it without two blocks."""

from __future__ import annotations

import pytest
from torch import nn

import designer
from designer.pruning.prune import PruningResult
from tests.pruning.blobs import (
    DEPTH,
    QUICK,
    blob_again,
)
from tests.support.trained import (
    Triple,
    blob_net,
    blob_parts,
    train_briefly,
)


@pytest.fixture(scope="session")
def data() -> Triple:
    """Draw training, held-out and test data."""
    return blob_parts()


@pytest.fixture(scope="session")
def model(data: Triple) -> nn.Module:
    """Train the perceptron that most tests prune."""
    return train_briefly(blob_net(DEPTH), data[0])


@pytest.fixture(scope="session")
def pruned(model: nn.Module, data: Triple) -> PruningResult:
    """Remove two blocks, and train the baselines."""
    return designer.prune(
        model, data, remove=2, baselines=True, scratch_epochs=3, build=blob_again, **QUICK
    )
