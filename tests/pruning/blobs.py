"""The perceptron that most tests of pruning prune, and what they read off the result."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from designer.models.surgery import PassThrough
from designer.results.pruning import NetworkFigures, PruningReport
from tests.support.trained import blob_net

DEPTH = 5


NAMES = [f"blocks.{i}" for i in range(DEPTH)]


QUICK: dict[str, Any] = {"epochs": 2, "learning_rate": 3e-3, "batch_size": 32}


def blob_again(seed: int) -> nn.Module:
    """Build the perceptron anew, with the weights of a seed."""
    return blob_net(DEPTH, seed=seed)


def size(model: nn.Module) -> int:
    """Count the parameters."""
    return sum(p.numel() for p in model.parameters())


def operations(model: nn.Module, inputs: Tensor) -> int:
    """Count the floating-point operations of one sample."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(inputs[:1])
    return int(counter.get_total_flops())


def gone(model: nn.Module) -> list[str]:
    """Return the names of the blocks that a stand-in has replaced."""
    return [name for name, part in model.named_modules() if isinstance(part, PassThrough)]


def figures(report: PruningReport) -> dict[str, NetworkFigures]:
    """Return what a report says of each network, by name."""
    return {network.name: network for network in report.networks}


def timeless(report: PruningReport) -> PruningReport:
    """Return a report without measured times, which differ from run to run."""
    return replace(
        report, networks=tuple(replace(network, latency=None) for network in report.networks)
    )
