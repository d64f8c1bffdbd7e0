"""Random changes to training images that do not change their class.

Every image is changed independently; a whole batch is changed at once.  Images that a model is
evaluated on are never changed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from designer.choices import Augmentation
from designer.errors import InvalidInputError

LARGEST_SHIFT = 8
"""Images are shifted by up to 1 / ``LARGEST_SHIFT`` of their height and width."""


def check_augmentable(kind: Augmentation, input_shape: tuple[int, ...]) -> None:
    """Raise ``InvalidInputError`` unless inputs of this shape can be augmented.

    Args:
        kind: which augmentation.
        input_shape: shape of one input, (channels, height, width) for an image.

    Raises:
        InvalidInputError: if the inputs are no images, or too small to be shifted.
    """
    if kind is Augmentation.NONE:
        return
    if len(input_shape) != 3:
        raise InvalidInputError(
            f"Expected images (channels, height, width) for the augmentation {kind}, got inputs "
            f"of shape {input_shape}; choose none."
        )
    if kind.shifts and max(input_shape[1:]) < LARGEST_SHIFT:
        raise InvalidInputError(
            f"Expected images of {LARGEST_SHIFT} pixels or more for the augmentation {kind}, got "
            f"inputs of shape {input_shape}; choose none or flip."
        )


def augmented(inputs: Tensor, kind: Augmentation, generator: torch.Generator) -> Tensor:
    """Return images, each changed at random; ``inputs`` themselves are not modified.

    Args:
        inputs: (n, channels, height, width) images on any device. With ``NONE`` they may have any
            shape and are returned unchanged.
        kind: which augmentation.
        generator: a generator on the CPU, so that all devices draw the same numbers.

    Returns:
        (n, channels, height, width) images on the device of ``inputs``.

    Raises:
        InvalidInputError: if the inputs are no images, or too small to be shifted.
    """
    check_augmentable(kind, tuple(inputs.shape[1:]))
    if kind.flips:
        inputs = _flipped(inputs, generator)
    if kind.shifts:
        inputs = _shifted(inputs, generator)
    return inputs


def _flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return images of which each is mirrored, left for right, with probability 1/2."""
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored.to(images.device), images.flip(3), images)


def _shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return images that are moved by whole pixels; zeros come in from outside."""
    n, channels, height, width = images.shape
    rows, down = _window(n, height, generator)
    columns, right = _window(n, width, generator)
    framed = torch.nn.functional.pad(images, (right, right, down, down))
    # One index per axis; together they cut a window of the image's size out of its frame.
    indices = (
        torch.arange(n)[:, None, None, None],
        torch.arange(channels)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    )
    return framed[tuple(index.to(images.device) for index in indices)]


def _window(n: int, size: int, generator: torch.Generator) -> tuple[Tensor, int]:
    """Return n random windows (n, size) into a framed axis, as indices, and the frame's width."""
    frame = size // LARGEST_SHIFT
    start = torch.randint(0, 2 * frame + 1, (n, 1), generator=generator)
    return start + torch.arange(size), frame
