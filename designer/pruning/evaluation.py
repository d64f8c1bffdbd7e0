"""Evaluate a network on data: its logits, its correct answers, its loss and its time."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn
from torch.nn import functional

from designer.data.dataset import LabelledTensors
from designer.probing.calling import check_rows
from designer.training.trainer import correct_answers

EVALUATION_BATCH, LOSS_BATCH = 1024, 512


LATENCY_BATCH, LATENCY_ROUNDS = 128, 15


@torch.no_grad()
def logits_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the logits (n, K) in eval mode, as float32; the model's mode is restored.

    Args:
        model: gives logits (n, K).
        inputs: (n, ...), at least one sample.
    """
    training = model.training
    model.eval()
    try:
        # a first layer that works in place must not change the data
        copies = [batch.clone() for batch in torch.split(inputs, EVALUATION_BATCH)]
        logits = torch.cat([model(batch).float() for batch in copies])
    finally:
        model.train(training)
    check_rows(logits, len(inputs))
    return logits


def correct_mask(model: nn.Module, data: LabelledTensors) -> Tensor:
    """Return a mask (n,) of the samples that the model classifies correctly."""
    return correct_answers(model, data, EVALUATION_BATCH)


@torch.no_grad()
def mean_loss(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Return the mean cross-entropy in nats.

    Args:
        model: in eval mode, gives logits (n, K).
        inputs: (n, ...), at least one sample.
        labels: (n,), integers below K.
    """
    # a first layer that works in place must not change the data
    batches = zip(torch.split(inputs, LOSS_BATCH), torch.split(labels, LOSS_BATCH), strict=True)
    total = sum(
        float(functional.cross_entropy(model(x.clone()).float(), y, reduction="sum"))
        for x, y in batches
    )
    return total / len(labels)


def latency_ratio(original: nn.Module, smaller: nn.Module, inputs: Tensor) -> float:
    """Return the time of a forward pass divided by that of the original.

    The two run in turn, so that whatever else slows the machine down slows both; the median of
    ``LATENCY_ROUNDS`` ratios is returned.

    Args:
        original: the network to compare with.
        smaller: the network in question.
        inputs: (n, ...); the first ``LATENCY_BATCH`` are one batch.
    """
    batch = inputs[:LATENCY_BATCH]
    _seconds(original, batch), _seconds(smaller, batch)  # the first runs allocate memory
    ratios = [_seconds(smaller, batch) / _seconds(original, batch) for _ in range(LATENCY_ROUNDS)]
    return statistics.median(ratios)


@torch.no_grad()
def _seconds(model: nn.Module, batch: Tensor) -> float:
    batch = batch.clone()
    _synchronize(batch.device)
    started = time.perf_counter()
    model(batch)
    _synchronize(batch.device)
    return time.perf_counter() - started


def _synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work; calls to a GPU return before that."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
