"""Scale inputs per channel or feature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from designer.choices import Scaling
from designer.data.dataset import Array
from designer.data.raw import as_array
from designer.errors import DataError

IMAGENET_MEAN, IMAGENET_SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of red, green and blue, from 0 to 1, in ImageNet; torchvision's
pretrained models take inputs scaled with them."""


ROUNDED = 1e-3
"""How far pixel values may lie outside of their range, because of rounding in resizing."""


VARIES = 1e-12
"""Channels whose standard deviation is a smaller share of their mean are constant."""


BLOCK_VALUES = 1 << 22
"""Number of input values that are scaled at a time; they take 32 MiB in float64."""


@dataclass(frozen=True, eq=False)
class Moments:
    """What the values of inputs are like, per channel or feature (float64)."""

    low: Tensor
    """(channels,) the lowest value."""
    high: Tensor
    """(channels,) the highest value."""
    mean: Tensor
    """(channels,) the mean."""
    sd: Tensor
    """(channels,) the standard deviation."""


def scale_inputs(
    inputs: dict[str, Tensor], scaling: str | Mapping[str, Sequence[float]]
) -> tuple[dict[str, Tensor], dict[str, list[float]]]:
    """Subtract a mean and divide by a scale, per channel or feature.

    The arithmetic is in float64, some samples at a time; only the result is float32.

    Args:
        inputs: inputs (n, features) or (n, channels, ...) by the name of their part; mean
            and scale come from "train".
        scaling: a value of ``Scaling`` other than ``given``; the ``mean`` and ``scale`` to apply;
            or the ``mean`` and ``std`` of pixel values from 0 to 1, as timm and torchvision state
            them.

    Returns:
        The scaled inputs (float32), and ``mean`` and ``scale`` per channel or feature.

    Raises:
        DataError: if the scaling does not fit the inputs, or if scaled values are too large for
            float32.
    """
    train = inputs["train"]
    if isinstance(scaling, Mapping) and set(scaling) == {"mean", "std"}:
        mean, scale = _of_pixels(train, {"mean": scaling["mean"], "scale": scaling["std"]})
    elif isinstance(scaling, Mapping):
        mean, scale = _checked_scaling(train, scaling)
    elif scaling == Scaling.STANDARD:
        mean, scale = _mean_and_scale(train)
    else:
        mean, scale = _fixed(train, Scaling(scaling))
    scaled = {name: scaled_by(x, mean, scale, name) for name, x in inputs.items()}
    return scaled, {"mean": mean.flatten().tolist(), "scale": scale.flatten().tolist()}


def scaling_of_images(
    train: Moments, scaling: str | Mapping[str, Sequence[float]]
) -> tuple[Tensor, Tensor]:
    """Return the mean and scale (1, channels, 1, 1) that ``scale_inputs`` would scale images with.

    Args:
        train: what the training images are like.
        scaling: as for ``scale_inputs``.

    Raises:
        DataError: if the scaling does not fit the images.
    """
    extremes = torch.stack([train.low, train.high]).view(2, -1, 1, 1)
    if scaling == Scaling.STANDARD:
        varies = train.sd > VARIES * train.mean.abs()
        mean = torch.where(varies, train.mean, train.high)
        scale = torch.where(varies, train.sd, 1.0)
    else:
        numbers = scale_inputs({"train": extremes}, scaling)[1]
        mean, scale = (torch.tensor(numbers[k], dtype=torch.float64) for k in ("mean", "scale"))
    return mean.view(1, -1, 1, 1), scale.view(1, -1, 1, 1)


def _checked_scaling(x: Tensor, scaling: Mapping[str, Sequence[float]]) -> tuple[Tensor, Tensor]:
    """Return the mean and the scale that a caller asks for, once they fit the inputs."""
    if set(scaling) != {"mean", "scale"}:
        names = ", ".join(sorted(map(str, scaling))) or "nothing"
        raise DataError(f"Expected a scaling with mean and scale, found {names}.")
    values = {name: as_array(scaling[name], f"the {name} of the scaling") for name in scaling}
    for name, numbers in values.items():
        if numbers.shape != (x.shape[1],) or numbers.dtype.kind not in "fiu":
            raise DataError(
                f"Expected the {name} of the scaling as {x.shape[1]} numbers, one per channel or "
                f"feature, got shape {numbers.shape} of {numbers.dtype}; it belongs to other data."
            )
    mean, scale = values["mean"], values["scale"]
    if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise DataError(
            "Expected a scaling with a finite mean and a positive scale, got NaN, infinity or a "
            "scale of 0 or less."
        )
    return _per_channel(x, mean), _per_channel(x, scale)


def _of_pixels(train: Tensor, unit: Mapping[str, Sequence[float]]) -> tuple[Tensor, Tensor]:
    """Return the mean and the scale of pixels that are scaled as if they were from 0 to 1."""
    mean, scale = _checked_scaling(train, unit)
    largest = _largest_pixel(train, "by mean and std")
    return mean * largest, scale * largest


def _fixed(train: Tensor, scaling: Scaling) -> tuple[Tensor, Tensor]:
    """Return the mean and the scale of a scaling that does not depend on the distribution."""
    if scaling is Scaling.NONE:
        return _per_channel(train, 0.0), _per_channel(train, 1.0)
    largest = _largest_pixel(train, str(scaling))
    if scaling is Scaling.UNIT:
        return _per_channel(train, 0.0), _per_channel(train, largest)
    if scaling is Scaling.BYTES:
        return _per_channel(train, 0.0), _per_channel(train, largest / 255)
    if train.ndim != 4 or train.shape[1] != 3:
        raise DataError(
            f"Expected images with 3 channels for the scaling {scaling}, got inputs of shape "
            f"(n, {', '.join(map(str, train.shape[1:]))})."
        )
    return _of_pixels(train, {"mean": IMAGENET_MEAN, "scale": IMAGENET_SD})


def _largest_pixel(train: Tensor, scaling: str) -> float:
    """Return the value that stands for full brightness: 1 or 255."""
    low, high = float(train.min()), float(train.max())
    if low < -ROUNDED or high > 255 + ROUNDED:
        raise DataError(
            f"Expected pixel values from 0 to 1 or from 0 to 255 for the scaling {scaling}, got "
            f"values from {low:g} to {high:g}."
        )
    return 1.0 if high <= 1 + ROUNDED else 255.0


def _per_channel(x: Tensor, values: Array | float) -> Tensor:
    """Return values (float64) of shape (1, channels, 1, 1) for images, else (1, features)."""
    row = torch.as_tensor(values, dtype=torch.float64).expand(x.shape[1])
    return row.reshape(1, -1, *[1] * (x.ndim - 2))


def _mean_and_scale(train: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and sd per channel or feature (float64).

    A constant channel gets its value as the mean and 1 as the scale, so that it becomes 0.
    """
    over = _all_but_channels(train)
    highest = train.amax(over, keepdim=True).double()
    lowest = train.amin(over, keepdim=True).double()
    # Values are divided by the largest one, so that their squares neither over- nor underflow.
    unit = torch.maximum(highest.abs(), lowest.abs())
    unit = torch.where(unit > 0, unit, 1.0)
    mean = _mean(train, lambda x: x / unit)
    sd = _mean(train, lambda x: (x / unit - mean) ** 2).sqrt()
    varies = sd > VARIES * mean.abs()
    return torch.where(varies, mean * unit, highest), torch.where(varies, sd * unit, 1.0)


def _mean(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the mean of a function of the values (float64), per channel or feature."""
    over = _all_but_channels(x)
    sums = [function(chunk.double()).sum(over, keepdim=True) for chunk in _chunks(x)]
    return torch.cat(sums).sum(0, keepdim=True) / (x.numel() // x.shape[1])


def scaled_by(x: Tensor, mean: Tensor, scale: Tensor, which: str) -> Tensor:
    """Return (x - mean) / scale as float32.

    Args:
        x: (n, features) or (n, channels, ...) inputs.
        mean: (1, features) or (1, channels, 1, ...) float64.
        scale: the same shape.
        which: name of the part in the error.

    Raises:
        DataError: if scaled values are too large for float32.
    """
    scaled = torch.cat([((chunk.double() - mean) / scale).float() for chunk in _chunks(x)])
    if not scaled.isfinite().all():
        raise DataError(
            f"Expected {which} inputs near the mean they are scaled with, got values so far from "
            f"it that float32 cannot hold them once scaled; rescale or drop them."
        )
    return scaled


def _chunks(x: Tensor) -> tuple[Tensor, ...]:
    return torch.split(x, max(1, BLOCK_VALUES // x[0].numel()))


def _all_but_channels(x: Tensor) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))
