"""The singular value decomposition of the class means, for any number of labelings at once.

======  ==========================================================  =============
symbol  meaning                                                     shape
======  ==========================================================  =============
w_k     class weight n_k / n                                        (K,)
m_k     class mean; m is the mean of all samples                    (..., K, p)
M       rows sqrt(w_k) (m_k - m), so that SS_b = M'M                (..., K, p)
c       origin that features are measured from                      (p,)
s, V    singular values and right singular vectors of M             (..., K), (..., p, K)
r       rank: singular values above the tolerance, at most K - 1    (...)
======  ==========================================================  =============

The rank is decided on the singular values of M.  Those of SS_b are their squares and would lose
the weaker half of the class directions.

What counts as a direction depends on how large the features are, not on their means: these may
coincide, and what is left of them is then rounding alone.  Two errors matter.  The first grows
with the spread of the features: networks and sums round at every step.  The second grows with
their distance from 0: each number is rounded by itself, so that it averages out over the samples
of a class.

Reference: He & Su, "A law of data separation in deep learning", PNAS 120(36), 2023.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from designer.errors import InvalidInputError
from designer.measures.precision import DOUBLE, SINGLE, norm_of, power_of_two, relative_error


@dataclass(frozen=True, eq=False)
class FeatureSize:
    """How large the features are, and how they are rounded."""

    epsilon: float
    """Relative rounding of their dtype."""
    norm: float
    """Root mean square of ||x - c||; not finite if the features are not."""
    origin: Tensor | None
    """(p,) c; None for 0."""


@dataclass(frozen=True, eq=False)
class Decomposition:
    """Class means and class directions under one labeling, or under any number (...) of them."""

    weights: Tensor
    """(K,) w."""
    full_rank: int
    """K - 1 for the K classes present."""
    origin: Tensor | None
    """(p,) c; None for 0."""
    means: Tensor
    """(..., K, p) class means less c, zero for a class without samples."""
    singular_values: Tensor
    """(..., K) of M, descending."""
    rank: Tensor
    """(...) r."""
    basis: Tensor
    """(..., p, K) V diag(1/s), zero beyond the rank."""
    rounding: Tensor
    """(...) A D of at most this is rounding alone; nan if the sums are not finite."""
    too_large: bool = False
    """True if the features are finite, but their sums are not."""


def decompose(sums: Tensor, counts: Tensor, size: FeatureSize) -> Decomposition:
    """Decompose class sums of features.

    Args:
        sums: (..., K, p) sums of x - c over each class, float64.
        counts: (K,) samples of each class, the same under all labelings, float64.
        size: how large the features are.

    Returns:
        The decomposition; it has no directions if the sums of any labeling are not finite.

    Raises:
        InvalidInputError: if fewer than two classes have samples.
    """
    present = int(torch.count_nonzero(counts))
    if present < 2:
        raise InvalidInputError(
            f"Expected samples of at least 2 classes, got {present}: there is no "
            f"between-class scatter to measure against."
        )
    full_rank, n = present - 1, float(counts.sum())
    weights = counts / n
    means = sums / counts.clamp(min=1).unsqueeze(1)
    if not (math.isfinite(size.norm) and bool(means.isfinite().all())):
        return _without_directions(weights, full_rank, size, means)
    unit = power_of_two(size.norm)  # squares of what is multiplied by it stay in range
    of_means, of_samples = _rounding_errors(means, weights, n, size, unit)
    centred = means - (weights @ means).unsqueeze(-2)
    weighted = centred.mul_((weights.sqrt() * unit).unsqueeze(1))
    # QR first: the SVD of the tall (p, K) matrix gives the same at a greater cost.
    q, upper = torch.linalg.qr(weighted.mT)
    u, s, _ = torch.linalg.svd(upper, full_matrices=False)
    kept = s > of_means.unsqueeze(-1)
    kept[..., full_rank:] = False
    inverse = torch.where(kept, s.reciprocal(), 0.0)
    rounding = (of_samples.unsqueeze(-1) * inverse).square().sum(-1)
    basis = q @ (u * (inverse * unit).unsqueeze(-2))
    return Decomposition(
        weights, full_rank, size.origin, means, s / unit, kept.sum(-1), basis, rounding
    )


def _rounding_errors(
    means: Tensor, weights: Tensor, n: float, size: FeatureSize, unit: float
) -> tuple[Tensor, Tensor]:
    """Return what rounding alone may do to class means, and to a sample, along any direction.

    Args:
        means: (..., K, p) class means less c.
        weights: (K,) w.
        n: samples.
        size: how large the features are.
        unit: what the errors are multiplied by.

    Returns:
        (...) error of M, and (...) error of a sample.
    """
    per_class = n / int(torch.count_nonzero(weights))
    total = size.norm * unit
    mean = torch.linalg.vector_norm(weights @ means * unit, dim=-1)
    spread = (total**2 - mean.square()).clamp(min=0).sqrt()
    offset, largest_offset = 0.0, 0.0
    if size.origin is not None:
        offset = norm_of(size.origin) * unit
        largest_offset = float(size.origin.abs().max()) * unit
    # sums of n numbers take up to n roundings, which cancel in part unless the numbers are equal
    computed = math.hypot(relative_error(size.epsilon), math.sqrt(n) * DOUBLE) * spread
    of_means = computed.square() + (size.epsilon * math.hypot(total, offset)) ** 2 / per_class
    largest = torch.linalg.vector_norm(means, math.inf, dim=(-2, -1)) * unit + largest_offset
    of_samples = (size.epsilon / 2 * largest).square()
    if size.epsilon <= SINGLE:  # in half precision no direction collects the errors of all numbers
        equal = per_class * DOUBLE
        of_samples += (math.hypot(relative_error(size.epsilon), equal) * spread).square()
    return of_means.sqrt(), of_samples.sqrt()


def _without_directions(
    weights: Tensor, full_rank: int, size: FeatureSize, means: Tensor
) -> Decomposition:
    none = means.new_zeros(means.shape[:-2])
    basis = means.mT[..., :0]
    rank = none.long()
    return Decomposition(
        weights,
        full_rank,
        size.origin,
        means,
        basis[..., 0, :],
        rank,
        basis,
        rounding=none + torch.nan,
        too_large=math.isfinite(size.norm),
    )
