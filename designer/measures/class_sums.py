"""Sums of the features of each class: the first pass over the data.

======  ==========================================================  ===========
symbol  meaning                                                     shape
======  ==========================================================  ===========
x       features of n samples                                       (n, p)
c       origin that they are measured from (see ``precision``)      (p,)
y       labels, 0..K-1, under each of B labelings                   (B, n)
        sums of x - c over each class                               (B, K, p)
        samples of each class, the same under all labelings         (K,)
======  ==========================================================  ===========
"""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor

from designer.errors import InvalidInputError
from designer.measures.checks import check_class_count
from designer.measures.class_directions import ClassDirections
from designer.measures.decomposition import FeatureSize, decompose
from designer.measures.permutations import PermutedScatter
from designer.measures.precision import (
    epsilon_of,
    flattened,
    float64_chunks,
    norm_of,
    origin_of,
)

SMALLEST = 1e-200
"""Sums of squares below this may have lost squares that are below the range of float64."""


class ClassSums:
    """Class sums of the features in float64, under several labelings at once.

    Args:
        num_classes: K.
        labelings: B; all but the first are permutations of the first.

    Raises:
        InvalidInputError: if K is above a million.
    """

    def __init__(self, num_classes: int, labelings: int = 1) -> None:
        check_class_count(num_classes)
        self.num_classes = num_classes
        self._labelings = labelings
        self._sums: Tensor | None = None
        self._counts = torch.zeros(num_classes, dtype=torch.float64)
        self._epsilon = 0.0
        self._norm = 0.0
        self._squares = torch.zeros((), dtype=torch.float64)
        self._origin: Tensor | None = None

    def update(self, features: Tensor, *labelings: Tensor) -> None:
        """Add a batch.

        Args:
            features: (n, ...) of any floating dtype on any device.
            labelings: labels (n,) in 0..K-1, one tensor for each labeling.

        Raises:
            InvalidInputError: if the width is unlike the first batch's, or a label is too large.
        """
        features = flattened(features)
        if self._sums is None:
            shape = (self._labelings, self.num_classes, features.shape[1])
            self._sums = torch.zeros(shape, dtype=torch.float64, device=features.device)
            self._origin = origin_of(features)
            self._squares = self._sums.new_zeros(())
        if features.shape[1] != self._sums.shape[2]:
            raise InvalidInputError(
                f"Expected features of width {self._sums.shape[2]} as in the first batch, "
                f"got {features.shape[1]}."
            )
        counts = torch.bincount(labelings[0].cpu(), minlength=self.num_classes)
        if len(counts) > self.num_classes:
            raise InvalidInputError(
                f"Expected labels below {self.num_classes}, got {len(counts) - 1}."
            )
        self._counts += counts
        placed = [labels.to(features.device).long() for labels in labelings]
        squares = self._squares.new_zeros(())
        for rows, wide in float64_chunks(features, self._origin):
            numbers = wide.reshape(-1)
            squares += numbers.dot(numbers)
            for sums, labels in zip(self._sums, placed, strict=True):
                sums.index_add_(0, labels[rows], wide)
        if features.dtype == torch.float64:
            self._norm = math.hypot(self._norm, self._root(float(squares), features))
        else:  # these squares stay in range, and to read them would keep a GPU waiting
            self._squares += squares
        self._epsilon = max(self._epsilon, epsilon_of(features.dtype))

    @property
    def samples(self) -> int:
        """Number of samples that were added."""
        return int(self._counts.sum())

    def _root(self, squares: float, features: Tensor) -> float:
        """Return the root of a sum of squares of x - c, without what leaves the range of float64.

        Only features in float64 can leave it.
        """
        if SMALLEST < squares < math.inf:
            return math.sqrt(squares)
        norms = [norm_of(wide) for _, wide in float64_chunks(features, self._origin)]
        if bool(features.isfinite().all()):
            norms = [min(norm, sys.float_info.max) for norm in norms]
        return math.hypot(*norms)

    def directions(self) -> ClassDirections:
        """Return class means and whitened class directions under the first labeling.

        Raises:
            InvalidInputError: if no batch was added, or fewer than two classes have samples.
        """
        sums, counts = self._totals()
        return ClassDirections(decompose(sums[0], counts, self._size()))

    def permuted(self) -> PermutedScatter:
        """Return the second pass under all labelings but the first.

        Raises:
            InvalidInputError: as ``directions``.
        """
        sums, counts = self._totals()
        return PermutedScatter(decompose(sums[1:], counts, self._size()))

    def _size(self) -> FeatureSize:
        squares = float(self._squares)
        norm = math.hypot(self._norm, math.sqrt(squares) if squares >= 0 else math.nan)
        return FeatureSize(self._epsilon, norm / math.sqrt(self.samples), self._origin)

    def _totals(self) -> tuple[Tensor, Tensor]:
        if self._sums is None:
            raise InvalidInputError("Expected at least one batch of features, got none.")
        return self._sums, self._counts.to(self._sums.device)
