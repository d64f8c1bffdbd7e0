"""What looking inside costs: time over plain forward passes, and memory with many classes.

    python -m benchmarks.run analysis [--quick] [--json FILE]

Time: ``designer.analyze`` of a ResNet-18 on 32x32 images, with nulls and intervals, takes turns
with two plain forward passes over the same images; the ratio is the median over the rounds.
Memory: a residual network of 10 blocks on 50,000 images of 1,000 classes, in a process of its own,
beyond the model and the images.  The images are noise around one mean per class: neither time nor
memory depends on what is in them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from benchmarks.claim import Figures, Result
from benchmarks.command import Parser, say, verdict, wide_console
from benchmarks.memory import highest_mib
from designer import analyze
from search_spaces import ResnetSpace, ResnetSpec

SHAPE = (3, 32, 32)
RESNET18 = ResnetSpec("basic", (2, 2, 2, 2), (64, 128, 256, 512), 1e-3)
SMALL = ResnetSpec("basic", (3, 3, 3), (16, 32, 64), 1e-3)
SEED, BATCH = 0, 256

ROUNDS = 3
SAMPLES = {10: 2048, 100: 1024}
"""Images by number of classes, for the time."""
TIMES_FORWARD = 1.5
"""Acceptance: the longest time of an analysis over that of two forward passes."""

MANY_CLASSES, MANY_SAMPLES = 1000, 50_000
QUICK_SAMPLES, QUICK_MANY_SAMPLES = 256, 4096
PEAK_MIB = 2048.0
"""Acceptance: less memory than this beyond the model and the images."""


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument("--quick", action="store_true", help="one round, few images")


def run(options: argparse.Namespace) -> Result:
    """Measure time and memory."""
    rounds = 1 if options.quick else ROUNDS
    figures = {
        "time": {
            str(k): against_forward(k, QUICK_SAMPLES if options.quick else n, rounds)
            for k, n in SAMPLES.items()
        },
        "memory": memory(QUICK_MANY_SAMPLES if options.quick else MANY_SAMPLES),
    }
    return Result(options, figures, seeds=[SEED], about={"threads": torch.get_num_threads()})


def network(spec: ResnetSpec, classes: int) -> nn.Module:
    """Return an untrained network in eval mode."""
    torch.manual_seed(SEED)
    model: nn.Module = ResnetSpace().build(spec, SHAPE, classes).eval()
    return model


def images(n: int, classes: int) -> tuple[Tensor, Tensor]:
    """Return images (n, *SHAPE) of noise around one mean per class, and balanced labels (n,)."""
    generator = torch.Generator().manual_seed(SEED)
    labels = torch.arange(n) % classes
    means = torch.empty(classes, *SHAPE).normal_(generator=generator)
    inputs = torch.empty(n, *SHAPE).normal_(generator=generator)
    for rows in torch.split(torch.arange(n), BATCH):
        inputs[rows] += means[labels[rows]]
    return inputs, labels


def against_forward(classes: int, n: int, rounds: int) -> Figures:
    """Return the time of an analysis divided by that of two forward passes, which run in turns."""
    say(f"{classes} classes, {n:,} images: {rounds} rounds")
    model, data = network(RESNET18, classes), images(n, classes)
    forward(model, data[0][:BATCH])
    pairs = [
        (_seconds(partial(look, model, data)), _seconds(partial(twice, model, data)))
        for _ in range(rounds)
    ]
    ratios = [ours / plain for ours, plain in pairs]
    return {
        "images": n,
        "analyze_s": round(statistics.median(ours for ours, _ in pairs), 2),
        "two_forward_passes_s": round(statistics.median(plain for _, plain in pairs), 2),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "features": look(model, (data[0][:BATCH], data[1][:BATCH])).features,
        "acceptance": TIMES_FORWARD,
        "met": statistics.median(ratios) <= TIMES_FORWARD,
    }


def look(model: nn.Module, data: tuple[Tensor, Tensor]) -> Any:
    """Analyse the model."""
    return analyze(model, data, batch_size=BATCH)


def twice(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    """Run two plain forward passes."""
    for _ in range(2):
        forward(model, data[0])


@torch.no_grad()
def forward(model: nn.Module, inputs: Tensor) -> None:
    """Run one pass over all inputs."""
    for batch in torch.split(inputs, BATCH):
        model(batch)


def memory(n: int) -> Figures:
    """Measure the peak of memory beyond model and images, with many classes."""
    say(f"{MANY_CLASSES:,} classes, {n:,} images: memory")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        figures = pool.submit(peak, n).result()
    return {**figures, "acceptance_mib": PEAK_MIB, "met": figures["peak_mib"] < PEAK_MIB}


def peak(n: int) -> Figures:
    """Measure the peak of this process, which must be new: nothing before may have used more."""
    model, data = network(SMALL, MANY_CLASSES), images(n, MANY_CLASSES)
    before, started = highest_mib(), time.perf_counter()
    analysis = look(model, data)
    return {
        "classes": MANY_CLASSES,
        "images": n,
        "blocks": len(analysis.layers),
        "widest": max(layer.width for layer in analysis.layers),
        "features": analysis.features,
        "seconds": round(time.perf_counter() - started, 1),
        "peak_mib": round(highest_mib() - before, 1),
    }


def show(result: Result) -> None:
    """Print time and memory, and whether the acceptances are met."""
    console, figures = wide_console(), result.figures
    table = Table("classes", "images", "analyze", "two forward passes", "ratio", "acceptance")
    table.title = "ResNet-18 on 32x32 images"
    for classes, row in figures["time"].items():
        table.add_row(
            classes,
            f"{row['images']:,}",
            f"{row['analyze_s']:.1f} s",
            f"{row['two_forward_passes_s']:.1f} s",
            f"{row['ratio']:.2f} ({row['ratio_range'][0]:.2f} to {row['ratio_range'][1]:.2f})",
            f"at most {row['acceptance']}: {verdict(row['met'])}",
        )
    console.print(table)
    row = figures["memory"]
    console.print(
        f"{row['classes']:,} classes, {row['images']:,} images, {row['blocks']} blocks: "
        f"{row['peak_mib']:,.0f} MiB beyond model and images ({row['features']}), acceptance "
        f"under {row['acceptance_mib']:,.0f} MiB: {verdict(row['met'])}.",
        highlight=False,
    )


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
