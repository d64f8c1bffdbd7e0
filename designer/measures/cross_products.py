"""Sums of features, targets and their products: all that a least-squares fit needs of the data.

======  ==========================================================  ========
symbol  meaning                                                     shape
======  ==========================================================  ========
x       features of n samples, less a shift near their mean         (n, p)
y       targets, less a shift near their mean; the one-hot code,    (n, q)
        without a shift, if they are classes
C       covariance of the features                                  (p, p)
G       cross-covariance of targets and features                    (q, p)
======  ==========================================================  ========

The shift keeps digits if means are large against the spread.  Numbers so large or small that their
products would leave the range of float64 are first multiplied by a power of two.  A code of K
classes is never spelt out: its products are class sums.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from designer.errors import InvalidInputError
from designer.measures.precision import SINGLE, flattened, power_of_two

CHUNK_ELEMENTS = 1 << 22
"""Features and predictions are held in float64 this many at a time (32 MiB)."""

WIDEST = 1 << 14
"""The most features per sample that are accepted; their p x p covariance takes 2 GiB."""

ACCUMULATED = 16
"""The rounding that all earlier layers add to that of the last one, as a multiple of the rounding
of float32.  With 16 or more, the output of 50 linear layers in a row was measured to have no more
directions than the narrowest of them."""

ROUNDING = 16 * torch.finfo(torch.float64).eps
"""``ROUNDING`` times p is the share of a variance that sums and eigenvalues may lose in float64."""

LARGEST = 1e100
"""Values in float64 whose products are sure to stay in range are below this, and above 1 / this."""


class CrossProducts:
    """Sums over n samples of x, y and their products, in float64.

    Args:
        features: (n_0, p) first samples, whose mean is the shift of x; they are not added.
        targets: (n_0, q) their targets, whose mean is the shift of y, or class labels (n_0,).
        q: columns of the targets, or K.

    Attributes:
        unit: what features are multiplied by before anything else.
        target_unit: the same for targets; 1 for class labels.

    Raises:
        InvalidInputError: if there are more than ``WIDEST`` features.
    """

    def __init__(self, features: Tensor, targets: Tensor, q: int) -> None:
        p = features.shape[1]
        if p > WIDEST:
            raise InvalidInputError(
                f"Expected at most {WIDEST} features per sample, got {p}, for which the fit would "
                f"need a p x p matrix; pool or project them first."
            )
        self.n = 0
        self.unit = _unit_of(features)
        self.shift = (features.double() * self.unit).mean(0)
        zeros = self.shift.new_zeros
        self.target_unit, self.target_shift = 1.0, zeros(q)
        if targets.ndim == 2:
            self.target_unit = _unit_of(targets)
            self.target_shift = (targets.double() * self.target_unit).mean(0)
        self.x, self.xx = zeros(p), zeros(p, p)
        self.y, self.yy, self.yx = zeros(q), zeros(q), zeros(q, p)

    def check(self, p: int, q: int) -> None:
        """Check that a batch is as wide as the first.

        Raises:
            InvalidInputError: if it is not.
        """
        for name, first, width in (("features", len(self.x), p), ("targets", len(self.y), q)):
            if width != first:
                raise InvalidInputError(
                    f"Expected {name} of width {first} as in the first batch, got {width}."
                )

    def add(self, features: Tensor, targets: Tensor) -> None:
        """Add features (n, p), and targets (n, q) or class labels (n,)."""
        self.n += len(features)
        x = features.to(self.shift) * self.unit - self.shift
        self.x += x.sum(0)
        self.xx.addmm_(x.T, x)
        if targets.ndim == 1:
            labels = targets.to(x.device)
            counts = torch.bincount(labels, minlength=len(self.y))
            self.y += counts
            self.yy += counts
            self.yx.index_add_(0, labels, x)
        else:
            y = targets.to(self.shift) * self.target_unit - self.target_shift
            self.y += y.sum(0)
            self.yy += y.square().sum(0)
            self.yx.addmm_(y.T, x)

    @property
    def finite(self) -> bool:
        """True if all features were finite."""
        return bool(torch.isfinite(self.xx).all())

    @property
    def mean(self) -> Tensor:
        """(p,) mean of the features, in units."""
        return self.shift + self.x / self.n

    @property
    def target_mean(self) -> Tensor:
        """(q,) mean of the targets, in units."""
        return self.target_shift + self.y / self.n

    @property
    def squares(self) -> Tensor:
        """(p,) mean squares of x, which the rounding of sums and products is relative to."""
        return self.xx.diagonal() / self.n

    def covariance(self) -> Tensor:
        """Return C (p, p)."""
        mean = self.x / self.n
        return (self.xx / self.n).addr_(mean, mean, alpha=-1)

    def cross_covariance(self) -> Tensor:
        """Return G (q, p)."""
        return (self.yx / self.n).addr_(self.y / self.n, self.x / self.n, alpha=-1)

    def target_variance(self) -> Tensor:
        """Return the variance (q,) of the targets, 0 if they differ by their rounding alone."""
        variance = (self.yy - self.y.square() / self.n) / self.n
        return torch.where(variance > (ROUNDING * self.target_mean).square(), variance, 0)

    def noise(self, epsilon: float) -> Tensor:
        """Return the variance (p,) of each feature that may be rounding alone.

        A network sums its features layer upon layer, in float32 unless it computes in float64, and
        rounds them to their dtype; the sums here are in float64.

        Args:
            epsilon: relative rounding of the dtype of the features.
        """
        variance = self.squares - (self.x / self.n).square()
        rounded = epsilon**2 * (variance + self.mean.square())
        accumulated = (ACCUMULATED * min(epsilon, SINGLE)) ** 2 * variance
        return rounded + accumulated + ROUNDING * len(self.x) * self.squares


def _unit_of(values: Tensor) -> float:
    """Return the power of two that keeps products of these values in range; 1 for most values."""
    peak = float(values.abs().max()) if values.dtype == torch.float64 else 0.0
    if peak == 0 or 1 / LARGEST < peak < LARGEST:
        return 1.0
    return power_of_two(peak)


def target_columns(targets: Tensor) -> Tensor:
    """Return class labels (n,) as indices, and real targets as columns (n, q)."""
    if targets.is_floating_point():
        return flattened(targets)
    return (targets.cpu() if targets.device.type == "mps" else targets).long()


def row_chunks(samples: int, width: int) -> Iterator[slice]:
    """Yield slices of n samples of a width, as many at a time as a chunk holds."""
    step = max(1, CHUNK_ELEMENTS // width)
    for start in range(0, samples, step):
        yield slice(start, min(start + step, samples))
