"""Part of the claim ``gpu``: contributions of all blocks against one forward pass over the samples.

The network is a ResNet-56 for images of 32 pixels, and the samples are as many as the product takes
by default, on the device.  Weights are random and images noise: the time depends on neither.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.claim import Figures
from benchmarks.claims.pretrained_resnets import BLOCKS_PER_STAGE, CifarResnet
from benchmarks.gpu_timing import SEED, Setting, against, in_turns, note_profile, seconds
from designer import contributions
from designer.analysis.contribution import BATCH, SAMPLES

NETWORK, QUICK_NETWORK = "ResNet-56", "ResNet-20"
CLASSES, PIXELS = 10, 32
QUICK_SAMPLES = 40
ROUNDS, LIMIT = 5, 40.0

PASSES = 15
"""Acceptance: the longest time of all contributions, in forward passes over the samples."""


def measure(setting: Setting) -> Figures:
    """Compare the time of all contributions with that of one forward pass."""
    name, samples = (QUICK_NETWORK, QUICK_SAMPLES) if setting.quick else (NETWORK, SAMPLES)
    torch.manual_seed(SEED)
    model = CifarResnet(BLOCKS_PER_STAGE[name], CLASSES).to(setting.device).eval()
    train, heldout = (_images(samples, setting.device) for _ in range(2))
    calls: list[Callable[[], Any]] = [
        partial(contributions, model, train, heldout, samples=samples),
        partial(_pass, model, train[0], heldout[0]),
    ]
    for call in calls:
        seconds(call, setting.device)
    row = against(*in_turns(calls, setting.device, 1 if setting.quick else ROUNDS, LIMIT))
    note_profile(calls[0], setting, f"contributions, {name}")
    return {
        "network": name,
        "blocks": 3 * BLOCKS_PER_STAGE[name],
        "samples": 2 * samples,
        **row,
        "acceptance": PASSES,
        "met": row["ratio"] <= PASSES,
    }


def _images(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return images (n, 3, ``PIXELS``, ``PIXELS``) of noise, and labels (n,)."""
    return torch.randn(n, 3, PIXELS, PIXELS, device=device), torch.arange(
        n, device=device
    ) % CLASSES


@torch.no_grad()
def _pass(model: nn.Module, *parts: Tensor) -> None:
    """Run one plain forward pass, in the batches in which contributions are measured."""
    for part in parts:
        for inputs in torch.split(part, BATCH):
            model(inputs)
