"""Folders of images as arrays, and arrays as inputs of one size."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from designer.errors import DataError, first_line

Array = NDArray[Any]


TRAIN_FOLDERS = ("train", "training")


TEST_FOLDERS = ("test", "testing", "val", "valid", "validation")
"""Names of the parts of an image folder, in any case; of the test's, the first that is there."""


IMAGE_SUFFIXES = {
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
}
"""Of files in class folders that are read as images, in any case; others are not looked at."""


BYTE_MODES = ("L", "RGB", "RGBA")
"""Pillow's modes with a byte per channel that images are brought to, the richest last."""


KEPT_MODES = {
    **dict.fromkeys(("1", "L"), "L"),
    **dict.fromkeys(("LA", "La", "PA", "RGBA", "RGBa"), "RGBA"),
    **dict.fromkeys(("I;16", "I;16B", "I;16L", "I;16N"), "I;16"),
    "I": "I",
    "F": "F",
}
"""What becomes of Pillow's modes; all others become RGB."""


def read_image_folder(folder: Path, image_size: int | None) -> tuple[Array, ...]:
    """Images and the names of their classes, of training and, if there, of the test set.

    ``folder`` holds one folder per class, or ``train`` and ``test`` that do. Where there is no
    ``test``, ``val`` (``valid``, ``validation``) is the test set; beside ``test`` it is not used,
    for validation data are split off the training data. Without any the test set is split off,
    too. Class folders are searched through all their levels; hidden files and those without one
    of ``IMAGE_SUFFIXES`` are not looked at. The order is that of the paths, on any file system.

    Images (n, height, width), or (n, channels, height, width) with colours, are turned upright as
    their EXIF data say and brought to the richest mode among them: grey, RGB, or RGBA (also for
    grey with alpha). One bit becomes grey, a palette RGB, CMYK and the like RGB. Grey of more than
    8 bits stays exact, and apart: its range is unknown, so it does not mix with the others. Pillow
    reads colours of 16 bits as 8. Of several frames the first counts.

    Raises:
        DataError: on folders without classes or images, and on images that cannot be read, or
            differ in size where no ``image_size`` is given.
    """
    train, test = _train_and_test(folder)
    paths, y = _labelled_images(train)
    if len(set(y)) < 2:
        raise DataError(f"Expected at least 2 class folders in '{train}', got '{y[0]}' alone.")
    paths_test, y_test = _labelled_images(test) if test else ([], [])
    x = _images([*paths, *paths_test], image_size)
    if not test:
        return x, np.array(y)
    return x[: len(y)], np.array(y), x[len(y) :], np.array(y_test)


def _train_and_test(folder: Path) -> tuple[Path, Path | None]:
    """Where the class folders of training and test are.

    A folder ``train`` is a part beside a test part or alone, and a class beside other classes.
    """
    found = {path.name.lower(): path for path in _subfolders(folder)}
    train = next((found[name] for name in TRAIN_FOLDERS if name in found), None)
    test = next((found[name] for name in TEST_FOLDERS if name in found), None)
    if train is None or (test is None and len(found) > 1):
        return folder, None
    return train, test


def _labelled_images(folder: Path) -> tuple[list[Path], list[str]]:
    """Image files of all classes, class by class, and the class of each."""
    classes = _subfolders(folder)
    if not classes:
        raise DataError(
            f"Expected one folder of images per class in '{folder}', found no folder; move the "
            f"images of every class into one of its own."
        )
    pairs = [(path, one.name) for one in classes for path in _image_files(one)]
    return [path for path, _ in pairs], [label for _, label in pairs]


def _subfolders(folder: Path) -> list[Path]:
    try:
        inside = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise DataError(
            f"Expected a folder that can be read at '{folder}': {first_line(error)}."
        ) from error
    return [path for path in inside if path.is_dir() and not path.name.startswith(".")]


def _image_files(folder: Path) -> list[Path]:
    """Files below ``folder`` that should be images, sorted by their paths."""
    inside = {path.relative_to(folder): path for path in folder.rglob("*")}
    files = {
        relative.as_posix(): path
        for relative, path in inside.items()
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.is_dir()
        and not any(part.startswith(".") for part in relative.parts)
    }
    if not files:
        raise DataError(
            f"Expected images (.png, .jpg and such) in class folder '{folder}', found none; add "
            f"some or remove it."
        )
    return [files[name] for name in sorted(files)]


def _images(paths: list[Path], image_size: int | None) -> Array:
    """(n, height, width) or (n, channels, height, width) of one mode."""
    mode = _common_mode(paths)
    first = _pixels(paths[0], mode, image_size)
    images = np.empty((len(paths), *first.shape), first.dtype)
    for i, path in enumerate(paths):
        one = _pixels(path, mode, image_size)
        if one.shape != first.shape:
            raise DataError(
                f"Expected images of one size, got {_size(first)} pixels in '{paths[0]}' and "
                f"{_size(one)} in '{path}'; resize all with --image-size."
            )
        images[i] = one
    return images


def _common_mode(paths: list[Path]) -> str:
    """The richest of their modes, from the heads of the files alone."""
    examples: dict[str, Path] = {}
    for path in paths:
        with _opened(path) as image:
            examples.setdefault(KEPT_MODES.get(image.mode, "RGB"), path)
    deep = next((mode for mode in examples if mode not in BYTE_MODES), None)
    if deep is None:
        return max(examples, key=BYTE_MODES.index)
    other = next((mode for mode in examples if mode != deep), None)
    if other is not None:
        raise DataError(
            f"Expected images of more than 8 bits to be all of one kind, got {deep} in "
            f"'{examples[deep]}' and {other} in '{examples[other]}'; convert one."
        )
    return deep


def _pixels(path: Path, mode: str, image_size: int | None) -> Array:
    """(height, width) or (channels, height, width), upright; resized ones are floating."""
    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        pixels = np.asarray(upright.convert(mode) if mode in BYTE_MODES else upright)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.ndim == 3:
        pixels = pixels.transpose(2, 0, 1)
    return pixels if image_size is None else to_inputs(pixels[None], image_size)[0].numpy()


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image file, closed on leaving; whatever is wrong with it is a ``DataError``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata; pixels that cannot be read raise
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as image:
                yield image
        except DataError:
            raise
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise DataError(
                f"Expected images of at most {Image.MAX_IMAGE_PIXELS} pixels, which Pillow takes "
                f"for safe, got more in '{path}'; make it smaller or remove it."
            ) from error
        except Exception as error:  # whatever Pillow's many formats make of damaged bytes
            raise DataError(
                f"Expected '{path}' to be an image, but reading it failed: {first_line(error)}; "
                f"save it again or remove it."
            ) from error


def _size(pixels: Array) -> str:
    height, width = pixels.shape[-2:]
    return f"{width} x {height}"


def to_inputs(x: Array, image_size: int | None) -> Tensor:
    """Features (n, p), or images (n, channels, height, width), in a copy.

    float32 where that holds all values exactly, else float64; bytes are fractions of 255.
    """
    exact = np.float32 if np.can_cast(x.dtype, np.float32) else np.float64
    inputs = torch.from_numpy(np.array(x, dtype=exact, order="C"))
    if x.dtype == np.uint8:
        inputs /= 255
    if x.ndim == 3:
        inputs = inputs.unsqueeze(1)
    elif x.ndim == 4 and x.shape[3] in (1, 3, 4) and x.shape[1] not in (1, 3, 4):
        inputs = inputs.permute(0, 3, 1, 2)
    if image_size is None:
        return inputs.contiguous()
    if inputs.ndim != 4:
        raise DataError(
            f"Expected images for an image size of {image_size}, got inputs of shape {x.shape}."
        )
    if image_size < 1:
        raise DataError(f"Expected an image size of at least 1 pixel, got {image_size}.")
    return torch.nn.functional.interpolate(
        inputs, size=(image_size, image_size), mode="bilinear", antialias=True
    ).contiguous()
