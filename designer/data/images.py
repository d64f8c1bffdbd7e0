"""Folders of images as arrays, and arrays as inputs of one size."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from designer.data.dataset import Array
from designer.data.limits import LARGEST_IMAGE_SIZE, check_data_size, largest_in_memory
from designer.data.raw import RawArrays
from designer.errors import DataError, first_line
from designer.results.layers import ReportWarning

TRAIN_FOLDERS = ("train", "training")
"""Names of the folder of training images, in upper or lower case."""


TEST_FOLDERS = ("test", "testing", "val", "valid", "validation")
"""Names of the folder of test images, in upper or lower case; the first that exists is used."""


IMAGE_SUFFIXES = {
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
}
"""Suffixes, in upper or lower case, of files that are read as images; other files are ignored."""


BYTE_MODES = ("L", "RGB", "RGBA")
"""Pillow's modes with one byte per channel that images are converted to, the richest last."""


KEPT_MODES = {
    **dict.fromkeys(("1", "L"), "L"),
    **dict.fromkeys(("LA", "La", "PA", "RGBA", "RGBa"), "RGBA"),
    **dict.fromkeys(("I;16", "I;16B", "I;16L", "I;16N"), "I;16"),
    "I": "I",
    "F": "F",
}
"""The mode that images of each of Pillow's modes are converted to; all others become RGB."""


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Images of one mode and one size, which are decoded when they are asked for."""

    paths: Sequence[str]
    """Where the images are."""
    mode: str
    """Pillow's mode that all of them are converted to."""
    image_size: int | None
    """Height and width in pixels to resize to; None keeps the size."""
    shape: tuple[int, ...]
    """Shape of the pixels of an image: (height, width), or (channels, height, width)."""
    dtype: np.dtype[Any]
    """Type of the pixels."""

    @classmethod
    def of(cls, paths: Sequence[Path], image_size: int | None) -> ImageFiles:
        """Return image files with the richest mode among them, and the size of the first.

        Args:
            paths: where the images are, at least one.
            image_size: height and width in pixels to resize to; None keeps the size.

        Raises:
            DataError: if the header of a file, or the first image, cannot be read, or if images of
                more than 8 bits are mixed with others.
        """
        mode = _common_mode(paths)
        first = _pixels(paths[0], mode, image_size)
        return cls([str(path) for path in paths], mode, image_size, first.shape, first.dtype)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape (channels, height, width) of an image as the input of a network."""
        channels = self.shape[0] if len(self.shape) == 3 else 1
        return channels, self.shape[-2], self.shape[-1]

    def pixels(self, rows: Sequence[int]) -> Array:
        """Return some images (n, height, width) or (n, channels, height, width).

        Raises:
            DataError: if an image cannot be read, or has another size than the first one.
        """
        images = np.empty((len(rows), *self.shape), self.dtype)
        for i, row in enumerate(rows):
            pixels = _pixels(self.paths[row], self.mode, self.image_size)
            if pixels.shape != self.shape:
                raise DataError(
                    f"Expected images of one size, got {_size(self.shape)} pixels in "
                    f"'{self.paths[0]}' and {_size(pixels.shape)} in '{self.paths[row]}'; resize "
                    f"all with --image-size."
                )
            images[i] = pixels
        return images

    def all_pixels(self) -> Array:
        """Return all images, as ``pixels`` does.

        Raises:
            DataError: as ``pixels``; also if the images take too much memory.
        """
        size = len(self) * int(np.prod(self.shape)) * self.dtype.itemsize
        check_data_size(size, f"{len(self):,} images of {_size(self.shape)} pixels")
        return self.pixels(range(len(self)))

    def fit_in_memory(self) -> bool:
        """Return False if the images, as float32, take more memory than ``largest_in_memory``."""
        return len(self) * int(np.prod(self.shape)) * 4 <= largest_in_memory()


@dataclass(frozen=True, eq=False)
class RawImages:
    """The images of a folder that do not fit in memory, and their classes."""

    files: ImageFiles
    """All images: those of training, then those of test."""
    y: Array
    """(n,) class names of the training images."""
    y_test: Array | None = None
    """(m,) class names of the test images; None if there is no test folder."""
    warnings: tuple[ReportWarning, ...] = ()
    """What a reader of results on these images should know."""


def read_image_folder(folder: Path, image_size: int | None) -> RawArrays | RawImages:
    """Read images and the names of their classes; the images only if they fit in memory.

    ``folder`` holds one folder per class, or ``train`` and ``test`` with such folders. Without
    ``test``, a folder ``val`` (``valid``, ``validation``) is the test set; beside ``test`` it is
    ignored, because validation data are split off the training data. Without any of these the
    test set is split off later. Class folders are searched with all their subfolders; hidden files
    and files without one of ``IMAGE_SUFFIXES`` are ignored. Pipes, sockets and devices are not
    opened, but counted in a warning. Images are sorted by their paths, so that the order does not
    depend on the file system.

    Images are turned upright as their EXIF data say and converted to the richest mode among them:
    grey, RGB, or RGBA (also for grey with alpha). Images of one bit become grey; palettes, CMYK and
    other colour spaces become RGB. Grey of more than 8 bits keeps its values and cannot be mixed
    with other images, because its range is unknown. Pillow reads colours of 16 bits as 8. The
    first of several frames is used.

    Args:
        folder: the folder.
        image_size: height and width in pixels to resize to; None keeps the size.

    Returns:
        Training images (n, height, width), or (n, channels, height, width) with colours, and their
        class names (n,); test images and class names if there is a test folder. In the place of
        images that do not fit in memory, their files.

    Raises:
        DataError: if there are no classes or images, if an image cannot be read, or if images
            differ in size and ``image_size`` is None. Of images that do not fit in memory, only
            the headers are read here.
    """
    train, test = _train_and_test(folder)
    paths, y = _labelled_images(train)
    if len(set(y)) < 2:
        raise DataError(f"Expected at least 2 class folders in '{train}', got '{y[0]}' alone.")
    paths_test, y_test = _labelled_images(test) if test else ([], [])
    files = ImageFiles.of([*paths, *paths_test], image_size)
    warnings = tuple(_special_files([train] if test is None else [train, test]))
    if not files.fit_in_memory():
        return RawImages(files, np.array(y), np.array(y_test) if test else None, warnings)
    x = files.all_pixels()
    if not test:
        return RawArrays(x, np.array(y), warnings=warnings)
    return RawArrays(x[: len(y)], np.array(y), x[len(y) :], np.array(y_test), warnings)


def folder_classes(folder: Path) -> set[str]:
    """Return the names of the classes that ``read_image_folder`` would find, without any image.

    Raises:
        DataError: if there is no folder of images per class.
    """
    train, _ = _train_and_test(folder)
    return set(_labelled_images(train)[1])


def _special_files(folders: list[Path]) -> Iterator[ReportWarning]:
    """Yield a warning if there are pipes, sockets or devices where images should be."""
    special = [
        path
        for folder in folders
        for label in _subfolders(folder)
        for path in _named_as_images(label).values()
        if _is_special(path)
    ]
    if special:
        yield ReportWarning(
            "special_files",
            f"{len(special):,} of the names of images belong to no regular files, but to pipes, "
            f"sockets or devices, which were not opened; the first is '{special[0]}'.",
        )


def _is_special(path: Path) -> bool:
    """True for pipes, sockets and devices, and for links to them; a broken link is none."""
    return path.exists() and not path.is_file()


def _train_and_test(folder: Path) -> tuple[Path, Path | None]:
    """Return the folders that hold the class folders of training and of test.

    A folder ``train`` holds classes if it is alone or beside a test folder; beside other folders it
    is a class itself.
    """
    folders = {path.name.lower(): path for path in _subfolders(folder)}
    train = next((folders[name] for name in TRAIN_FOLDERS if name in folders), None)
    test = next((folders[name] for name in TEST_FOLDERS if name in folders), None)
    if train is None or (test is None and len(folders) > 1):
        return folder, None
    return train, test


def _labelled_images(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the image files of all classes, class by class, and the class of each."""
    classes = _subfolders(folder)
    if not classes:
        raise DataError(
            f"Expected one folder of images per class in '{folder}', found no folder; move the "
            f"images of every class into one of its own."
        )
    pairs = [(path, label.name) for label in classes for path in _image_files(label)]
    return [path for path, _ in pairs], [label for _, label in pairs]


def _subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder that are not hidden, sorted by name."""
    try:
        inside = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise DataError(
            f"Expected a folder that can be read at '{folder}': {first_line(error)}."
        ) from error
    return [path for path in inside if path.is_dir() and not path.name.startswith(".")]


def _named_as_images(folder: Path) -> dict[str, Path]:
    """Return all that is named as an image below a class folder, but for folders, by its path."""
    inside = {path.relative_to(folder): path for path in folder.rglob("*")}
    return {
        relative.as_posix(): path
        for relative, path in inside.items()
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.is_dir()
        and not any(part.startswith(".") for part in relative.parts)
    }


def _image_files(folder: Path) -> list[Path]:
    """Return all files below a class folder that should be images, sorted by their paths."""
    named = _named_as_images(folder)
    files = {name: path for name, path in named.items() if not _is_special(path)}
    if not files:
        raise DataError(
            f"Expected images (.png, .jpg or others) in class folder '{folder}', found none; add "
            f"some or remove it."
        )
    return [files[name] for name in sorted(files)]


def _common_mode(paths: Sequence[Path]) -> str:
    """Return the richest mode among images, which needs only the headers of the files."""
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


def _pixels(path: Path | str, mode: str, image_size: int | None) -> Array:
    """Return an upright image (height, width) or (channels, height, width); float if resized."""
    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        pixels = np.asarray(upright.convert(mode) if mode in BYTE_MODES else upright)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.ndim == 3:
        pixels = pixels.transpose(2, 0, 1)
    return pixels if image_size is None else to_inputs(pixels[None], image_size)[0].numpy()


@contextmanager
def _opened(path: Path | str) -> Iterator[Image.Image]:
    """Open an image file and close it on leaving; raise any failure as a ``DataError``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings are about metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as image:
                yield image
        except DataError:
            raise
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise DataError(
                f"Expected images of at most {Image.MAX_IMAGE_PIXELS} pixels, which Pillow "
                f"considers safe, got more in '{path}'; make it smaller or remove it."
            ) from error
        except Exception as error:  # each of Pillow's formats fails in its own way
            raise DataError(
                f"Expected '{path}' to be an image, but reading it failed: {first_line(error)}; "
                f"save it again or remove it."
            ) from error


def _size(shape: tuple[int, ...]) -> str:
    height, width = shape[-2:]
    return f"{width} x {height}"


def to_inputs(x: Array, image_size: int | None, *, series: bool = False) -> Tensor:
    """Return a copy of inputs as a tensor: features, or images with channels first.

    Args:
        x: (n, p) features, (n, height, width), or with channels first or last.
        image_size: height and width in pixels to resize to; None keeps the size.
        series: True if (n, a, b) are no images, but series that stay of that shape.

    Returns:
        (n, p), (n, channels, time) or (n, channels, height, width); float32 where that holds all
        values exactly, else float64. Bytes are divided by 255.

    Raises:
        DataError: if ``image_size`` is below 1, or the inputs are no images.
    """
    exact = np.float32 if np.can_cast(x.dtype, np.float32) else np.float64
    inputs = torch.from_numpy(np.array(x, dtype=exact, order="C"))
    if x.dtype == np.uint8:
        inputs /= 255
    if x.ndim == 3 and not series:
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
    if image_size > LARGEST_IMAGE_SIZE:
        raise DataError(
            f"Expected an image size of at most {LARGEST_IMAGE_SIZE} pixels, got {image_size}."
        )
    size = inputs.shape[0] * inputs.shape[1] * image_size**2 * inputs.element_size()
    check_data_size(size, f"{len(inputs):,} images of {image_size} x {image_size} pixels")
    return torch.nn.functional.interpolate(
        inputs, size=(image_size, image_size), mode="bilinear", antialias=True
    ).contiguous()
