"""Random changes to training images that leave their class what it is.

Every image is changed on its own, all of a batch at once.  Evaluation never sees any of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from designer.choices import Augmentation
from designer.errors import InvalidInputError

LARGEST_SHIFT = 8
"""Images are shifted by up to one part in so many of their height and width."""


def check_augmentable(kind: Augmentation, input_shape: tuple[int, ...]) -> None:
    """Raise ``InvalidInputError`` unless inputs of this shape can be varied so.

    Args:
        kind: of augmentation.
        input_shape: of one input, (channels, height, width) for an image.
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
    """Images (n, channels, height, width), each varied at random; ``inputs`` stay as they are.

    Args:
        inputs: on any device; with ``NONE`` of any shape, and returned themselves.
        kind: of augmentation.
        generator: of the CPU, so that all devices draw the same.

    Raises:
        InvalidInputError: where the inputs are no images, or too small to be shifted.
    """
    check_augmentable(kind, tuple(inputs.shape[1:]))
    if kind.flips:
        inputs = _flipped(inputs, generator)
    if kind.shifts:
        inputs = _shifted(inputs, generator)
    return inputs


def _flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored.to(images.device), images.flip(3), images)


def _shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Windows of the size of the image, somewhere in it with a frame of zeros around."""
    n, channels, height, width = images.shape
    rows, down = _window(n, height, generator)
    columns, right = _window(n, width, generator)
    framed = torch.nn.functional.pad(images, (right, right, down, down))
    where = (
        torch.arange(n)[:, None, None, None],
        torch.arange(channels)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    )
    return framed[tuple(index.to(images.device) for index in where)]


def _window(n: int, size: int, generator: torch.Generator) -> tuple[Tensor, int]:
    """(n, size) indices into a framed axis, one random run each; and how wide the frame is."""
    frame = size // LARGEST_SHIFT
    start = torch.randint(0, 2 * frame + 1, (n, 1), generator=generator)
    return start + torch.arange(size), frame
