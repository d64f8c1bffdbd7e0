"""Part of the claim ``gpu``: an analysis against two plain forward passes over the same images.

Images are noise around one mean per class, in float32 on the device, and both sides read them in
the same batches.  Weights are random: neither time nor memory depends on them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.claim import Figures
from benchmarks.command import say
from benchmarks.gpu_timing import (
    SEED,
    Setting,
    against,
    in_turns,
    note_profile,
    or_error,
    seconds,
)
from designer import analyze

PIXELS, IMAGES, CLASSES, BATCH = 224, 5000, 10, 256
QUICK_PIXELS, QUICK_IMAGES, QUICK_BATCH = 32, 24, 8
ROUNDS, LIMIT = 3, 20.0
PROFILED_BATCHES = 2

TIMES_FORWARD = 1.3
"""Acceptance: the longest time of an analysis over that of two forward passes."""

TORCHVISION = "torchvision is missing: pip install torchvision==0.26.0"


def measure(setting: Setting) -> Figures:
    """Compare times of both networks in both precisions."""
    data = images(setting)
    rows = {}
    for name, build in builders(QUICK_PIXELS if setting.quick else PIXELS).items():
        torch.manual_seed(SEED)
        model = build().to(setting.device).eval()
        for precision in (torch.float32, torch.bfloat16):
            title = f"{name}, {str(precision).removeprefix('torch.')}"
            rows[title] = or_error(partial(_row, model, data, precision, setting, title))
            say(f"{title}: {rows[title]}")
        del model
        if setting.device.type == "cuda":
            torch.cuda.empty_cache()
    met = all(row.get("ratio", TIMES_FORWARD + 1) <= TIMES_FORWARD for row in rows.values())
    n, pixels = len(data[1]), data[0].shape[-1]
    return {
        "images": n,
        "pixels": pixels,
        "classes": CLASSES,
        "batch": _batch(setting),
        "rows": rows,
        "acceptance": TIMES_FORWARD,
        "met": met,
    }


def builders(pixels: int) -> dict[str, Callable[[], nn.Module]]:
    """Return what builds each network with random weights.

    Raises:
        ImportError: without torchvision, with what to do.
    """
    try:
        models = import_module("torchvision.models")
    except ImportError as error:
        raise ImportError(TORCHVISION) from error
    return {
        "ResNet-50": partial(models.resnet50, weights=None, num_classes=CLASSES),
        "ViT-B/16": partial(models.vit_b_16, weights=None, num_classes=CLASSES, image_size=pixels),
    }


def images(setting: Setting) -> tuple[Tensor, Tensor]:
    """Return images (n, 3, pixels, pixels) of noise around one mean per class, and labels (n,)."""
    n, pixels = (QUICK_IMAGES, QUICK_PIXELS) if setting.quick else (IMAGES, PIXELS)
    generator = torch.Generator(setting.device).manual_seed(SEED)
    shape, device = (3, pixels, pixels), setting.device
    labels = torch.arange(n, device=device) % CLASSES
    means = torch.empty(CLASSES, *shape, device=device).normal_(generator=generator)
    inputs = torch.empty(n, *shape, device=device).normal_(generator=generator)
    for rows in torch.split(
        torch.arange(n, device=device), QUICK_BATCH if setting.quick else BATCH
    ):
        inputs[rows] += means[labels[rows]]
    return inputs, labels


def _batch(setting: Setting) -> int:
    return QUICK_BATCH if setting.quick else BATCH


def _row(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    precision: torch.dtype,
    setting: Setting,
    title: str,
) -> Figures:
    """Time an analysis and two forward passes of one network in one precision."""
    device, batch = setting.device, _batch(setting)

    def in_precision(call: Callable[..., Any], *args: Any) -> Any:
        half = precision is not torch.float32
        with torch.autocast(device.type, precision) if half else nullcontext():
            return call(*args)

    first = (data[0][: 2 * batch], data[1][: 2 * batch])
    in_precision(_twice, model, first[0], batch)
    first_seconds = seconds(partial(in_precision, _analyzed, model, first, batch), device)
    calls = [
        partial(in_precision, _analyzed, model, data, batch),
        partial(in_precision, _twice, model, data[0], batch),
    ]
    row = against(*in_turns(calls, device, 1 if setting.quick else ROUNDS, LIMIT))
    row |= {"first_two_batches_seconds": round(first_seconds, 2)}
    row |= _memory(partial(in_precision, _analyzed, model, first, batch), device)
    few = tuple(part[: PROFILED_BATCHES * batch] for part in data)
    note_profile(partial(in_precision, _analyzed, model, few, batch), setting, title)
    return row


def _analyzed(model: nn.Module, data: tuple[Tensor, Tensor], batch: int) -> Any:
    return analyze(model, data, batch_size=batch)


@torch.no_grad()
def _twice(model: nn.Module, inputs: Tensor, batch: int) -> None:
    """Run two plain forward passes."""
    for _ in range(2):
        for part in torch.split(inputs, batch):
            model(part)


def _memory(look: Callable[[], Any], device: torch.device) -> Figures:
    """Return features and blocks of an analysis, and its peak beyond what was there before."""
    before = 0
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    analysis = look()
    figures = {"features": analysis.features, "blocks": len(analysis.layers)}
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) - before
        figures["peak_gib"] = round(peak / 2**30, 2)
    return figures
