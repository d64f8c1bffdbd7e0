"""Small data sets as arrays and as images, and a check that a source is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from designer.data.dataset import Array, Dataset, LabelledTensors
from designer.data.loading import load_dataset, load_source
from designer.errors import DataError

Source = Callable[..., str]
"""Returns the name of a callable that returns its arguments; a fixture of ``tests/data``."""


X = np.random.default_rng(0).normal(size=(60, 4))


Y = np.arange(60) % 3
"""Inputs (60, 4) without structure, and labels of three classes."""


IMAGES = np.random.default_rng(1).integers(0, 256, size=(60, 6, 6), dtype=np.uint8)
"""Grey images (60, 6, 6) without structure."""


BATCHES = [(torch.ones(4, 3) * i, torch.arange(4) % 2) for i in range(3)]
"""Three batches of four samples."""


def write_image(path: Path, pixels: Array | Image.Image, **options: Any) -> Path:
    """Write one image file and its folders; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def pictures(n: int, shape: tuple[int, ...] = (5, 7), *, seed: int = 0) -> Array:
    """Return random bytes (n, *shape)."""
    return np.random.default_rng(seed).integers(0, 256, size=(n, *shape), dtype=np.uint8)


def write_classes(
    folder: Path,
    shape: tuple[int, ...] = (5, 7),
    *,
    n: int = 5,
    classes: Sequence[str] = ("cat", "dog"),
    seed: int = 0,
) -> Array:
    """Write ``n`` PNG files per class; return their pixels (classes * n, *shape) by path."""
    pixels = pictures(n * len(classes), shape, seed=seed)
    for i, image in enumerate(pixels):
        write_image(folder / classes[i // n] / f"{i % n}.png", image)
    return pixels


def numbered(n: int = 100, classes: int = 4) -> tuple[Array, Array]:
    """Return samples whose only feature is their number, and their labels."""
    return np.arange(n, dtype=np.float64)[:, None], np.arange(n) % classes


def original(data: Dataset, part: LabelledTensors) -> list[int]:
    """Return the sorted numbers of the samples of ``numbered`` that a part holds."""
    mean, scale = data.scaling["mean"][0], data.scaling["scale"][0]
    return sorted(np.rint(part.inputs[:, 0].double().numpy() * scale + mean).astype(int).tolist())


def same_data(first: Dataset, second: Dataset) -> bool:
    """True if all parts of two data sets hold equal tensors in the same order."""
    return all(
        torch.equal(a, b)
        for part in ("train", "validation", "test")
        for a, b in zip(getattr(first, part), getattr(second, part), strict=True)
    )


def refused(source: str, message: str, **options: Any) -> None:
    """Check that ``load_dataset`` fails with one sentence that matches ``message``."""
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(source, **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def refused_source(source: str, message: str, **options: Any) -> None:
    """Check that ``load_source`` fails with one sentence that matches ``message``."""
    with pytest.raises(DataError, match=message) as caught:
        load_source(source, **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
