"""Data and networks to cut blocks from, and ridge regression as a textbook does it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from designer.data.dataset import LabelledTensors
from designer.probing.calling import unwrap
from designer.probing.hidden import channel_axis
from designer.pruning.removable import Removable, removable_blocks
from tests.support.networks.parts import seeded

Make = Callable[[], nn.Module]


GENERATOR = torch.Generator().manual_seed(1)


LABELS = torch.arange(40) % 3


def labelled(*shape: int) -> LabelledTensors:
    """Draw 40 samples of a shape, in three classes."""
    return LabelledTensors(torch.randn(40, *shape, generator=GENERATOR), LABELS)


VECTORS, IMAGES, SEQUENCES = labelled(6), labelled(3, 8, 8), labelled(5, 8)


SIGNALS, VOLUMES = labelled(3, 16), labelled(2, 4, 4, 4)


def with_statistics(make: Make) -> Any:
    """Build a network in eval mode whose norms have statistics of their own."""
    model = unwrap(seeded(make)).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        for part in model.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                nn.init.normal_(part.weight, 1, 0.3)
                nn.init.normal_(part.bias, 0, 0.3)
                nn.init.normal_(part.running_mean, 0, 0.3)  # type: ignore[arg-type]
                nn.init.uniform_(part.running_var, 0.5, 2)  # type: ignore[arg-type]
    return model


def chosen_blocks(
    model: nn.Module, data: LabelledTensors, *names: str, blocks: Sequence[str] | None = None
) -> list[Removable]:
    """Return the named blocks, or all; each must be able to go."""
    removables = removable_blocks(model, data.inputs[:5], blocks)
    chosen = [block for block in removables if block.name in names or not names]
    assert all(block.can_go for block in chosen), [block.reason for block in chosen]
    return chosen


def output_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """Run a model without gradients."""
    with torch.no_grad():
        output: Tensor = model(inputs)
    return output


def columns_of(layer: Any, x: Tensor) -> Tensor:
    """Return (rows, p) that a layer makes its outputs from, with ones if it has a bias.

    They are what a layer of its kind gives each of whose outputs has a single weight, which is one.
    """
    channels = x.shape[channel_axis(layer)]
    shape = (channels, *layer.weight.shape[2:])
    single = copy.deepcopy(layer)
    single.weight = nn.Parameter(torch.eye(math.prod(shape)).view(-1, *shape))
    single.in_channels, single.bias = channels, None
    columns = rows_of(layer, output_of(single, x))
    return columns if layer.bias is None else F.pad(columns, (0, 1), value=1)


def rows_of(layer: nn.Module, y: Tensor) -> Tensor:
    """Return what a layer gives as (rows, q)."""
    return y.movedim(channel_axis(layer), -1).flatten(0, -2)


def ridge_by_textbook(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    """Return the W of the least |XW - Y|^2 + lambda |W|^2.

    It solves the plain least-squares problem with sqrt(lambda) I below X, and zeros below Y.
    """
    design, wanted = x.double().numpy(), y.double().numpy()
    strength = ridge * (design**2).sum(0).mean()
    below = np.sqrt(strength) * np.eye(design.shape[1])
    stacked = np.vstack([design, below]), np.vstack([wanted, np.zeros((len(below), y.shape[1]))])
    return torch.tensor(np.linalg.lstsq(*stacked, rcond=None)[0])


def weights_and_bias(layer: Any) -> Tensor:
    """Return the weights of a layer as (p, q), its bias last."""
    weights: Tensor = layer.weight.detach().flatten(1).T
    if layer.bias is not None:
        weights = torch.cat([weights, layer.bias.detach()[None]])
    return weights.double()
