"""Look once at every image of a folder, for what its split and its scaling need."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from designer.data.dataset import Array
from designer.data.decoding import in_decoding_processes
from designer.data.duplicates import groups_of, sample_digests
from designer.data.images import ImageFiles, to_inputs
from designer.data.scaling import Moments

AT_ONCE = 16
"""Images that are looked at together."""

Look = tuple[Array, Array]
"""Digests (n, 16) of n images as bytes; and the lowest and highest value, the mean, and the summed
squared deviations from it, in each channel of each image (n, 4, channels)."""


@dataclass(frozen=True, eq=False)
class ImageScan:
    """What was seen of every image: a digest, and its values channel by channel."""

    files: ImageFiles
    """The images."""
    digests: Array
    """(n, 16) bytes, equal for equal images."""
    values: Array
    """(n, 4, channels) float64: lowest, highest, mean, and summed squared deviations from it."""

    @classmethod
    def of(cls, files: ImageFiles) -> ImageScan:
        """Return what one pass over all images shows.

        Args:
            files: the images.

        Raises:
            DataError: if an image cannot be read, or has another size than the first.
        """
        rows = range(len(files))
        parts = [rows[start : start + AT_ONCE] for start in range(0, len(files), AT_ONCE)]
        looks = list(in_decoding_processes(_Looking(files), parts))
        digests, values = (np.concatenate(column) for column in zip(*looks, strict=True))
        return cls(files, digests, values)

    def groups(self, n: int) -> Array | None:
        """Return for the first n images a number (n,) that equal ones share; None if all differ."""
        return groups_of([digest.tobytes() for digest in self.digests[:n]])

    def moments(self, rows: Array) -> Moments:
        """Return the range, the mean and the standard deviation of some images, by channel."""
        low, high, means, squares = self.values[rows].transpose(1, 0, 2)
        pixels = self.files.input_shape[1] * self.files.input_shape[2]
        mean = means.mean(0)
        spread = squares.sum(0) + pixels * ((means - mean) ** 2).sum(0)
        sd = np.sqrt(spread / (pixels * len(rows)))
        return Moments(*map(torch.from_numpy, (low.min(0), high.max(0), mean, sd)))

    def fingerprint(self, parts: Sequence[tuple[Array, Array]]) -> str:
        """Return the SHA-256 of the images as split, in hexadecimal digits.

        It differs from that of the same images in memory, because it is made of their digests.

        Args:
            parts: positions (n,) of the images of each part, and their labels (n,).
        """
        digest = hashlib.sha256(f"{self.files.dtype.str}{self.files.shape}".encode())
        for rows, labels in parts:
            digest.update(f"{len(rows)}".encode())
            digest.update(self.digests[rows].tobytes())
            digest.update(labels.astype("<i8").tobytes())
        return digest.hexdigest()


class _Looking:
    """Looks at some images; a class, because it has to be pickled where nothing is forked."""

    def __init__(self, files: ImageFiles) -> None:
        self._files = files

    def __call__(self, rows: Sequence[int]) -> Look:
        pixels = self._files.pixels(rows)
        digests = [np.frombuffer(digest, np.uint8) for digest in sample_digests([pixels])]
        x = to_inputs(pixels, None).flatten(2).double()
        mean = x.mean(2)
        squares = ((x - mean.unsqueeze(2)) ** 2).sum(2)
        return np.stack(digests), torch.stack([x.amin(2), x.amax(2), mean, squares], 1).numpy()
