"""What a smaller network is worth beside the original: accuracy, size, time, law.

Both are run on the same samples, so the difference of their accuracies is paired:

======  ========================================================
symbol  meaning
======  ========================================================
n       samples
b       of these right with the original alone
c       of these right with the smaller network alone
drop    (b - c) / n
======  ========================================================

The bound on the drop is one-sided, with b and c each increased by 1 and n by 2 (Bonett & Price,
"Adjusted Wald confidence interval for a difference of binomial proportions based on paired
data", 2012), which holds its level also where hardly any answer differs.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn
from torch.nn import functional

from designer.data.dataset import LabelledTensors
from designer.training.trainer import correct_answers

EVALUATION_BATCH, LOSS_BATCH = 1024, 512


LATENCY_BATCH, LATENCY_ROUNDS = 128, 15


@torch.no_grad()
def logits_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """(n, K) float32 logits in eval mode; training mode is restored."""
    training = model.training
    model.eval()
    try:
        # a first layer that works in place must not change the data
        parts = [part.clone() for part in torch.split(inputs, EVALUATION_BATCH)]
        batches = [model(part).float() for part in parts]
    finally:
        model.train(training)
    return torch.cat(batches)


def correct_mask(model: nn.Module, data: LabelledTensors) -> Tensor:
    """(n,) mask of samples that the model classifies correctly."""
    return correct_answers(model, data, EVALUATION_BATCH)


@torch.no_grad()
def mean_loss(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Cross-entropy in nats of a model in eval mode."""
    batches = zip(
        torch.split(inputs, LOSS_BATCH),
        torch.split(labels, LOSS_BATCH),
        strict=True,
    )
    total = sum(
        float(functional.cross_entropy(model(x).float(), y, reduction="sum")) for x, y in batches
    )
    return total / len(labels)


def latency_ratio(original: nn.Module, smaller: nn.Module, inputs: Tensor) -> float:
    """Time of a forward pass over that of the original, median of interleaved runs."""
    batch = inputs[:LATENCY_BATCH]
    _seconds(original, batch), _seconds(smaller, batch)
    ratios = [_seconds(smaller, batch) / _seconds(original, batch) for _ in range(LATENCY_ROUNDS)]
    return statistics.median(ratios)


@torch.no_grad()
def _seconds(model: nn.Module, batch: Tensor) -> float:
    _finish(batch.device)
    started = time.perf_counter()
    model(batch)
    _finish(batch.device)
    return time.perf_counter() - started


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
