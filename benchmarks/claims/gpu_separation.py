"""Part of the claim ``gpu``: D of wide features against reading the features twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.claim import Figures
from benchmarks.gpu_timing import (
    SEED,
    Setting,
    against,
    in_turns,
    note_profile,
    or_error,
    seconds,
)
from designer.measures.separation import separation_fuzziness

CLASSES = 10
SAMPLES = {65_536: 8_192, 1_000_000: 1_024}
"""Samples by width: 2 and 4 GB in float32."""
QUICK_SAMPLES = {8_192: 64}
ROUNDS, LIMIT = 7, 10.0


def measure(setting: Setting) -> Figures:
    """Compare times at every width."""
    samples = QUICK_SAMPLES if setting.quick else SAMPLES
    rows = {str(p): or_error(partial(_row, p, n, setting)) for p, n in samples.items()}
    return {"classes": CLASSES, "rows": rows}


def _row(p: int, n: int, setting: Setting) -> Figures:
    device = setting.device
    generator = torch.Generator(device).manual_seed(SEED)
    labels = torch.arange(n, device=device) % CLASSES
    means = torch.empty(CLASSES, p, device=device).normal_(generator=generator)
    features = torch.empty(n, p, device=device).normal_(generator=generator)
    for rows in torch.split(torch.arange(n, device=device), 256):
        features[rows] += means[labels[rows]]
    calls: list[Callable[[], Any]] = [
        partial(separation_fuzziness, features, labels),
        partial(_read_twice, features),
    ]
    for call in calls:
        seconds(call, device)
    row = against(*in_turns(calls, device, 1 if setting.quick else ROUNDS, LIMIT))
    note_profile(calls[0], setting, f"D, width {p}")
    return {"samples": n, **row, "d": separation_fuzziness(features, labels).value}


def _read_twice(features: Tensor) -> None:
    for _ in range(2):
        features.sum()
