"""Small networks that have learned something, for tests of what is done to trained ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from designer.analysis.advice import layer_reports
from designer.data.dataset import LabelledTensors
from designer.results.layers import LayerReport
from designer.results.measured import SeparationProfile, Verdict
from designer.training.trainer import build_seeded, train
from search_spaces import MlpSpace, MlpSpec
from tests.support.toy import blobs

CPU = torch.device("cpu")

Triple = tuple[LabelledTensors, LabelledTensors, LabelledTensors]


def blob_parts(n: int = 1200) -> Triple:
    """Split the blobs: half to train on, a quarter to validate with, a quarter to test with."""
    arrays = blobs(n=n)
    x = torch.tensor([*arrays["x_train"].tolist(), *arrays["x_test"].tolist()])
    y = torch.tensor([*arrays["y_train"].tolist(), *arrays["y_test"].tolist()])
    bounds = [0, n // 2, 3 * n // 4, n]
    first, second, third = (
        LabelledTensors(x[low:high], y[low:high]) for low, high in pairwise(bounds)
    )
    return first, second, third


def blob_net(depth: int = 5, width: int = 10, seed: int = 0) -> nn.Module:
    """Build a perceptron for the blobs; its blocks are ``blocks.0`` and so on."""
    spec = MlpSpec((width,) * depth, "batch", "relu", 1e-2)
    return build_seeded(lambda: MlpSpace().build(spec, (6,), 3), seed, CPU)


def train_briefly(model: nn.Module, data: LabelledTensors, epochs: int = 4) -> nn.Module:
    """Train a model in place for a few epochs, and return it in eval mode."""
    train(model, data, epochs=epochs, learning_rate=1e-2, seed=0, batch_size=64)
    return model.eval()


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of all parameters and buffers."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same_state(model: nn.Module, state: dict[str, Tensor]) -> bool:
    """True if a model's parameters and buffers are equal to these to the bit."""
    own = model.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[k], state[k]) for k in own)


def all_low(profiles: Sequence[SeparationProfile]) -> tuple[LayerReport, ...]:
    """Report on layers as ``layer_reports`` does, but with every verdict low."""
    return tuple(replace(layer, verdict=Verdict.LOW) for layer in layer_reports(profiles))
