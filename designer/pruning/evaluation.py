"""Evaluate a network on data: its logits, its correct answers, its loss and its time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from designer.data.dataset import LabelledTensors
from designer.measures.logits import OutputKind, as_logits, output_kind
from designer.probing.calling import Inputs, cloned, run_model, samples_at, tensors_of
from designer.training.trainer import evaluating, scored_rows

EVALUATION_BATCH, LOSS_BATCH, KIND_SAMPLES = 1024, 512, 32


LATENCY_BATCH, LATENCY_ROUNDS = 128, 15


@torch.no_grad()
def logits_of(model: nn.Module, data: LabelledTensors) -> Tensor:
    """Return the logits (rows, K) in eval mode, as float32; the model's mode is restored.

    Rows are samples, or tokens that have a label.

    Args:
        model: gives logits (n, K) or (n, tokens, K).
        data: at least one sample; left as they are.
    """
    with evaluating(model):
        return torch.cat([logits for logits, _, _ in scored_logits(model, data, EVALUATION_BATCH)])


def scored_logits(
    model: nn.Module, data: LabelledTensors, batch_size: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield logits (rows, K) as float32, their targets and the labels, batch by batch.

    The first batch decides what numbers the model gives, see ``OutputKind``.

    Args:
        model: in eval mode, gives rows (n, K) or (n, tokens, K).
        data: at least one sample; left as they are.
        batch_size: samples per forward pass.
    """
    kind = None
    for inputs, labels in data.batches(batch_size):
        rows, targets = scored_rows(run_model(model, cloned(inputs)), labels)
        kind = kind or output_kind(rows)
        yield as_logits(rows, kind).float(), targets, labels


@torch.no_grad()
def kind_of(model: nn.Module, data: LabelledTensors) -> OutputKind:
    """Return what numbers a model gives, judged by a few samples.

    Args:
        model: gives rows (n, K) or (n, tokens, K); it runs in eval mode, and is left as it was.
        data: at least one sample; left as they are.
    """
    few = data.at(slice(KIND_SAMPLES))
    with evaluating(model):
        return output_kind(scored_rows(run_model(model, cloned(few.inputs)), few.labels)[0])


def predictions_of(model: nn.Module, data: LabelledTensors) -> tuple[Tensor, Tensor]:
    """Return the predicted and the right classes (rows,) of all samples, or labelled tokens.

    Args:
        model: gives rows (n, K) or (n, tokens, K); it runs in eval mode, and is left as it was.
        data: at least one sample; left as they are.
    """
    with evaluating(model):
        batches = scored_logits(model, data, EVALUATION_BATCH)
        pairs = [(logits.argmax(1), targets) for logits, targets, _ in batches]
    predicted, targets = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return predicted, targets


@torch.no_grad()
def mean_loss(model: nn.Module, data: LabelledTensors) -> float:
    """Return the mean cross-entropy in nats.

    Args:
        model: in eval mode, gives logits (n, K) or (n, tokens, K).
        data: at least one sample; left as they are.
    """
    total, rows = 0.0, 0
    for logits, targets, _ in scored_logits(model, data, LOSS_BATCH):
        total += float(functional.cross_entropy(logits, targets, reduction="sum"))
        rows += len(targets)
    return total / rows


def latency_ratio(original: nn.Module, smaller: nn.Module, inputs: Inputs) -> float:
    """Return the time of a forward pass divided by that of the original.

    The two run in turn, so that whatever else slows the machine down slows both; the median of
    ``LATENCY_ROUNDS`` ratios is returned.

    Args:
        original: the network to compare with.
        smaller: the network in question.
        inputs: (n, ...); the first ``LATENCY_BATCH`` are one batch.
    """
    batch = samples_at(inputs, slice(LATENCY_BATCH))
    _seconds(original, batch), _seconds(smaller, batch)  # the first runs allocate memory
    ratios = [_seconds(smaller, batch) / _seconds(original, batch) for _ in range(LATENCY_ROUNDS)]
    return statistics.median(ratios)


@torch.no_grad()
def _seconds(model: nn.Module, batch: Inputs) -> float:
    batch, device = cloned(batch), tensors_of(batch)[0].device
    _synchronize(device)
    started = time.perf_counter()
    run_model(model, batch)
    _synchronize(device)
    return time.perf_counter() - started


def _synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work; calls to a GPU return before that."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
