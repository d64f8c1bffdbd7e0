"""Images that are decoded batch by batch, each time that they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from math import prod
from typing import overload

import torch
from torch import Tensor

from designer.data.dataset import Array, LabelledTensors, fitting_size
from designer.data.decoding import in_decoding_processes
from designer.data.images import ImageFiles, to_inputs
from designer.data.limits import check_data_size
from designer.data.scaling import scaled_by

VALUES_AT_ONCE = 1 << 19
"""Values of the images that a decoding process gives at a time, 2 MiB as float32, so that what
waits to be fetched is small for any size of a batch."""


@dataclass(frozen=True, eq=False)
class StreamedInputs:
    """Some of the images of a folder, scaled; in place of a tensor of inputs."""

    files: ImageFiles
    """All images."""
    rows: Array
    """(n,) positions of these among them."""
    mean: Tensor
    """(1, channels, 1, 1) float64 what is subtracted."""
    scale: Tensor
    """(1, channels, 1, 1) float64 what is divided by then."""
    digests: Array
    """(n, 16) bytes that are equal for equal images."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> int:
        """Bytes that all images take as float32."""
        return 4 * len(self) * prod(self.files.input_shape)

    def at(self, positions: Array) -> StreamedInputs:
        """Return the images at some positions, still in their files."""
        return replace(self, rows=self.rows[positions], digests=self.digests[positions])

    def decoded(self, positions: Sequence[int]) -> Tensor:
        """Return some images (n, channels, height, width) as float32.

        Raises:
            DataError: if an image cannot be read, or has changed its size.
        """
        pixels = self.files.pixels([int(self.rows[i]) for i in positions])
        return scaled_by(to_inputs(pixels, None), self.mean, self.scale, "all")

    def batches(self, parts: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        """Yield the images of each part, decoded in processes beside this one.

        Args:
            parts: positions of the images of every batch.

        Raises:
            DataError: as ``decoded``.
        """
        few = max(1, VALUES_AT_ONCE // prod(self.files.input_shape))
        pieces = [[part[i : i + few] for i in range(0, len(part), few)] for part in parts]
        decoded = in_decoding_processes(self.decoded, [p for part in pieces for p in part])
        for part in pieces:
            yield torch.cat(list(islice(decoded, len(part))))


@dataclass(frozen=True, eq=False)
class StreamedImages(LabelledTensors):
    """The images of one part of a data set, which are decoded each time that they are needed."""

    inputs: StreamedInputs
    """Where the images are, and how they are scaled."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape (channels, height, width) of one image."""
        return self.inputs.files.input_shape

    @property
    def is_scaled(self) -> bool:
        """True: images are real numbers."""
        return True

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept of the images; their pixels stay in the files."""
        return self.inputs.rows.nbytes + self.inputs.digests.nbytes + self.labels.nbytes

    @property
    def digests(self) -> list[bytes]:
        """A digest of each image, equal for equal ones."""
        return [digest.tobytes() for digest in self.inputs.digests]

    def in_memory(self) -> LabelledTensors:
        """Return all images as tensors in memory.

        Raises:
            DataError: if they take too much memory, or an image cannot be read.
        """
        height, width = self.input_shape[-2:]
        what = f"{len(self):,} images of {width} x {height} pixels, which this cannot stream,"
        check_data_size(self.inputs.size, what)
        inputs = torch.empty(len(self), *self.input_shape)
        start = 0
        for part in self.batches(len(self)):
            inputs[start : start + len(part)] = part.inputs
            start += len(part)
        return LabelledTensors(inputs.to(self.device), self.labels)

    def at(self, rows: slice | Tensor) -> LabelledTensors:
        """Return a few images as tensors, decoded here; see ``LabelledTensors.at``."""
        positions = self._positions(rows)
        decoded = self.inputs.decoded(positions.tolist()).to(self.device)
        return LabelledTensors(decoded, self.labels[positions])

    def part(self, rows: slice | Tensor) -> StreamedImages:
        """Return some images, still in their files; ``rows`` are as for ``at``."""
        positions = self._positions(rows)
        return StreamedImages(self.inputs.at(positions.numpy()), self.labels[positions])

    def batches(self, size: int) -> StreamedBatches:
        """Return all images in order, up to ``size`` at a time, as few as fit in a batch."""
        return StreamedBatches(self, min(size, fitting_size(prod(self.input_shape))))

    def drawn(self, order: Tensor, size: int) -> Iterator[LabelledTensors]:
        """Yield the images at indices (n,), ``size`` at a time."""
        parts = torch.split(order.cpu(), size)
        decoded = self.inputs.batches([part.tolist() for part in parts])
        for part, inputs in zip(parts, decoded, strict=True):
            yield LabelledTensors(inputs.to(self.device), self.labels[part])

    def to(self, device: torch.device) -> StreamedImages:
        """Return the same images, whose batches come on another device."""
        return StreamedImages(self.inputs, self.labels.to(device))

    def _positions(self, rows: slice | Tensor) -> Tensor:
        return torch.arange(len(self))[rows.cpu() if isinstance(rows, Tensor) else rows]


class StreamedBatches(Sequence[LabelledTensors]):
    """The batches of some images in order, decoded anew each time that they are iterated.

    Args:
        data: the images.
        size: images per batch.
    """

    def __init__(self, data: StreamedImages, size: int) -> None:
        self.data, self.size = data, size

    @cached_property
    def counts(self) -> list[int]:
        """Number of images in every batch."""
        starts = range(0, len(self.data), self.size)
        return [min(self.size, len(self.data) - start) for start in starts]

    def __len__(self) -> int:
        return len(self.counts)

    @overload
    def __getitem__(self, number: int) -> LabelledTensors: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[LabelledTensors]: ...
    def __getitem__(self, number: int | slice) -> LabelledTensors | Sequence[LabelledTensors]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        start = range(len(self))[number] * self.size
        return self.data.at(slice(start, start + self.size))

    def __iter__(self) -> Iterator[LabelledTensors]:
        return self.data.drawn(torch.arange(len(self.data)), self.size)
