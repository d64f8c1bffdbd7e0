"""Images in files as arrays, and arrays as inputs of one size."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from designer.data.dataset import Array
from designer.data.limits import LARGEST_IMAGE_SIZE, check_data_size, largest_in_memory
from designer.errors import DataError, first_line
from designer.results.layers import ReportWarning

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


class StoredImage(Protocol):
    """An image that is no file of its own."""

    def opened(self) -> BinaryIO:
        """Open the image, to be read."""
        ...


Place = str | Path | StoredImage
"""Where an image is; as a text it says so to the user."""


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Places of images, and their classes."""

    places: Sequence[Place]
    """All images: those of training, then those of test."""
    y: Array
    """(n,) names or numbers of the classes of the training images."""
    y_test: Array | None
    """(m,) those of the test images; None if there are no test images."""
    warnings: tuple[ReportWarning, ...] = ()
    """What a reader of results on these images should know."""


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Images of one mode and one size, which are decoded when they are asked for."""

    places: Sequence[Place]
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
    def of(cls, places: Sequence[Place], image_size: int | None) -> ImageFiles:
        """Return image files with the richest mode among them, and the size of the first.

        Args:
            places: where the images are, at least one.
            image_size: height and width in pixels to resize to; None keeps the size.

        Raises:
            DataError: if the header of a file, or the first image, cannot be read, or if images of
                more than 8 bits are mixed with others.
        """
        mode = _common_mode(places)
        first = _pixels(places[0], mode, image_size)
        kept = [str(p) if isinstance(p, Path) else p for p in places]  # a path takes more memory
        return cls(kept, mode, image_size, first.shape, first.dtype)

    def __len__(self) -> int:
        return len(self.places)

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
            pixels = _pixels(self.places[row], self.mode, self.image_size)
            if pixels.shape != self.shape:
                raise DataError(
                    f"Expected images of one size, got {_size(self.shape)} pixels in "
                    f"'{self.places[0]}' and {_size(pixels.shape)} in '{self.places[row]}'; resize "
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


def _common_mode(places: Sequence[Place]) -> str:
    """Return the richest mode among images, which needs only the headers of the files."""
    examples: dict[str, Place] = {}
    for place in places:
        with _opened(place) as image:
            examples.setdefault(KEPT_MODES.get(image.mode, "RGB"), place)
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


def _pixels(place: Place, mode: str, image_size: int | None) -> Array:
    """Return an upright image (height, width) or (channels, height, width); float if resized."""
    with _opened(place) as image:
        upright = ImageOps.exif_transpose(image)
        pixels = np.asarray(upright.convert(mode) if mode in BYTE_MODES else upright)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.ndim == 3:
        pixels = pixels.transpose(2, 0, 1)
    return pixels if image_size is None else to_inputs(pixels[None], image_size)[0].numpy()


@contextmanager
def _opened(place: Place) -> Iterator[Image.Image]:
    """Open an image and close it on leaving; raise any failure as a ``DataError``."""
    with warnings.catch_warnings(), ExitStack() as opened:
        warnings.simplefilter("ignore")  # warnings are about metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            file = place if isinstance(place, str | Path) else opened.enter_context(place.opened())
            yield opened.enter_context(Image.open(file))
        except DataError:
            raise
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise DataError(
                f"Expected images of at most {Image.MAX_IMAGE_PIXELS} pixels, which Pillow "
                f"considers safe, got more in '{place}'; make it smaller or remove it."
            ) from error
        except UnidentifiedImageError as error:  # its text names an object where a part is read
            raise DataError(
                f"Expected '{place}' to be an image, but Pillow knows no format like it; save it "
                f"again or remove it."
            ) from error
        except Exception as error:  # each of Pillow's formats fails in its own way
            raise DataError(
                f"Expected '{place}' to be an image, but reading it failed: {first_line(error)}; "
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
