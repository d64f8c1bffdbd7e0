"""Memory and speed with a folder of images that is larger than the memory it may take.

    python -m benchmarks.run streaming [--images N] [--size PIXELS] [--json FILE]

Makes a folder of JPEG files in 10 classes, no two of them equal, in a temporary folder.  A process
of its own runs ``designer analyze`` of a small convolutional network on it, and another one loads
the folder and trains the network for one epoch.  Memory is the largest sum of the proportional set
sizes (PSS) of the process and all that it has started, so that pages that they share count once;
files that the system keeps in its cache do not count.  Images per second are all images of the
folder over the wall time of the whole command, and training images over that of the epoch.  The
same is done with a smaller folder whose images are read into memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.table import Table
from torch import nn

from benchmarks.claim import Figures, Result
from benchmarks.command import Parser, positive, say, verdict, wide_console
from designer.data.limits import STREAMED_ABOVE
from designer.data.loading import load_dataset
from designer.training.trainer import build_seeded, train

SEED, CLASSES, PICTURES = 0, 10, 20
"""Seed, number of classes, and number of pictures of each class that the files are changes of."""

LIMIT_GIB = 2.0
"""Acceptance: the most memory of a streamed analysis, and of a streamed epoch of training."""

SMALLER = 25
"""How many times smaller the folder is whose images are read into memory."""

POLL_SECONDS = 0.2
"""Time between two measurements of memory."""

EPOCH = "from benchmarks.claims.streaming import print_epoch; print_epoch({!r})"
"""The program that trains for one epoch on a folder."""


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument("--images", type=positive, default=50_000, help="images in the folder")
    parser.add_argument("--size", type=positive, default=224, help="their height and width")


def run(options: argparse.Namespace) -> Result:
    """Make both folders, and measure analysis and training on them."""
    few = max(6 * CLASSES, options.images // SMALLER)
    figures: Figures = {"limit_gib": LIMIT_GIB, "size": options.size}
    for name, images, above in (("streamed", options.images, "1e-6"), ("in_memory", few, "1e6")):
        with tempfile.TemporaryDirectory() as folder:
            make_folder(Path(folder), images, options.size)
            figures[name] = {"images": images, **measured(folder, {STREAMED_ABOVE: above})}
        say(f"{name}: {figures[name]}")
    parts = (figures["streamed"][part]["peak_gib"] for part in ("analysis", "training"))
    figures["met"] = all(peak <= LIMIT_GIB for peak in parts)
    return Result(options, figures, seeds=[SEED], about={"threads": 1})


def make_folder(folder: Path, images: int, size: int) -> None:
    """Write JPEG files, each a picture of its class with a few other pixels, into class folders."""
    generator = np.random.default_rng(SEED)
    pictures = [list(_pictures(label, size, generator)) for label in range(CLASSES)]
    for label in range(CLASSES):
        (folder / f"class{label}").mkdir()
    patch = max(1, size // 8)
    for i in range(images):
        label, number = i % CLASSES, i // CLASSES
        pixels = pictures[label][number % PICTURES].copy()
        place = generator.integers(0, size - patch + 1, 2)
        pixels[place[0] :, place[1] :][:patch, :patch] = generator.integers(0, 256, 3)
        path = folder / f"class{label}" / f"{number:06d}.jpg"
        Image.fromarray(pixels).save(path, quality=80)


def _pictures(label: int, size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield pictures of a class: a wave of its own frequency, in random colours."""
    x = np.linspace(0, 1, size)
    wave = np.sin(2 * np.pi * (label + 1) * (x[:, None] + x[None]))
    for _ in range(PICTURES):
        colour = generator.uniform(20, 90, 3)
        noise = generator.normal(0, 4, (size, size, 1))
        yield (128 + wave[..., None] * colour + noise).clip(0, 255).astype(np.uint8)


def network() -> nn.Module:
    """Return a small convolutional network with weights from a fixed seed."""
    return build_seeded(_network, SEED, torch.device("cpu"))


def _network() -> nn.Module:
    widths = (3, 8, 16, 32)
    blocks = [
        nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b), nn.ReLU())
        for a, b in pairwise(widths)
    ]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES))


def measured(folder: str, environment: Mapping[str, str]) -> Figures:
    """Return memory and speed of an analysis of a folder, and of an epoch of training on it."""
    model = f"{__name__}:network"
    analyze = ["-m", "designer", "analyze", model, "--data", folder, "--features", "pool"]
    with tempfile.TemporaryDirectory() as out:
        scaled = ["--scaling", "imagenet", "--json", "--out", out]
        analysis, _ = watched([*analyze, *scaled], environment)
    analysis["images_per_second"] = round(_images_in(folder) / analysis["seconds"], 1)
    training, printed = watched(["-c", EPOCH.format(folder)], environment)
    return {"analysis": analysis, "training": {**training, **json.loads(printed)}}


def print_epoch(folder: str) -> None:
    """Load a folder, train the network for one epoch, and print the speed as JSON."""
    data = load_dataset(folder)
    started = time.perf_counter()
    history = train(network(), data.train, epochs=1, learning_rate=1e-3, seed=SEED, batch_size=64)
    rate = len(data.train) / (time.perf_counter() - started)
    print(json.dumps({"images_per_second": round(rate, 1), "loss": round(history.losses[0], 4)}))


def watched(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[Figures, str]:
    """Return the peak memory and the wall time of a Python process, and what it prints."""
    started, peak = time.perf_counter(), 0.0
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdout=output,
        )
        while process.poll() is None:
            peak = max(peak, tree_pss(process.pid))
            time.sleep(POLL_SECONDS)
        if process.returncode:
            raise RuntimeError(f"{' '.join(arguments)} ended with code {process.returncode}.")
        seconds = time.perf_counter() - started
        output.seek(0)
        return {"peak_gib": round(peak / 2**30, 3), "seconds": round(seconds, 1)}, output.read()


def tree_pss(pid: int) -> float:
    """Return the summed proportional set sizes of a process and all below it, in bytes."""
    own, children = 0, set[int]()
    with suppress(OSError):  # it may have ended meanwhile
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        own = sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        for task in Path(f"/proc/{pid}/task").iterdir():
            children |= set(map(int, (task / "children").read_text().split()))
    return own + sum(map(tree_pss, children))


def _images_in(folder: str) -> int:
    return sum(1 for _ in Path(folder).rglob("*.jpg"))


def show(result: Result) -> None:
    """Print memory and speed, and whether the acceptance is met."""
    table = Table("images", "number", "of", "peak memory", "images per second")
    for name in ("streamed", "in_memory"):
        row = result.figures[name]
        for part in ("analysis", "training"):
            table.add_row(
                name.replace("_", " "),
                f"{row['images']:,}",
                part,
                f"{row[part]['peak_gib']:.2f} GiB",
                f"{row[part]['images_per_second']:,.0f}",
            )
    wide_console().print(table)
    limit = f"at most {LIMIT_GIB:g} GiB streamed"
    wide_console().print(f"Acceptance: {limit}: {verdict(result.figures['met'])}")
