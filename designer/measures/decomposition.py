"""The singular value decomposition of the class means, for any number of labelings at once.

======  ==========================================================  =============
symbol  meaning                                                     shape
======  ==========================================================  =============
w_k     class weight n_k / n                                        (K,)
m_k     class mean; m is the mean of all samples                    (..., K, p)
M       rows sqrt(w_k) (m_k - m), so that SS_b = M'M                (..., K, p)
s, V    singular values and right singular vectors of M             (..., K), (..., p, K)
r       rank: singular values above the tolerance, at most K - 1    (...)
======  ==========================================================  =============

The rank is decided on the singular values of M.  Those of SS_b are their squares and would lose
the weaker half of the class directions.

Reference: He & Su, "A law of data separation in deep learning", PNAS 120(36), 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from designer.errors import InvalidInputError
from designer.measures.precision import SINGLE, relative_error


@dataclass(frozen=True, eq=False)
class Decomposition:
    """Class means and class directions under one labeling, or under any number (...) of them."""

    weights: Tensor
    """(K,) w."""
    full_rank: int
    """K - 1 for the K classes present."""
    means: Tensor
    """(..., K, p) class means, zero for a class without samples."""
    singular_values: Tensor
    """(..., K) of M, descending."""
    rank: Tensor
    """(...) r."""
    basis: Tensor
    """(..., p, K) V diag(1/s), zero beyond the rank."""
    rounding: Tensor
    """(...) A D of at most this is rounding alone; nan if the features are not finite."""


def decompose(sums: Tensor, counts: Tensor, epsilon: float) -> Decomposition:
    """Decompose class sums of features.

    Args:
        sums: (..., K, p) sums of the features of each class, float64.
        counts: (K,) samples of each class, the same under all labelings, float64.
        epsilon: relative rounding of the features.

    Returns:
        The decomposition; it has no directions if the features of any labeling are not finite.

    Raises:
        InvalidInputError: if fewer than two classes have samples.
    """
    present = int(torch.count_nonzero(counts))
    if present < 2:
        raise InvalidInputError(
            f"Expected samples of at least 2 classes, got {present}: there is no "
            f"between-class scatter to measure against."
        )
    full_rank = present - 1
    weights = counts / counts.sum()
    means = sums / counts.clamp(min=1).unsqueeze(1)
    size = (torch.linalg.vector_norm(means, dim=-1).square() @ weights).sqrt()
    if not bool(size.isfinite().all()):
        return _without_directions(weights, full_rank, means, size)
    centred = means - (weights @ means).unsqueeze(-2)
    weighted = centred.mul_(weights.sqrt().unsqueeze(1))
    # QR first: the SVD of the tall (p, K) matrix gives the same at a greater cost.
    q, upper = torch.linalg.qr(weighted.mT)
    u, s, _ = torch.linalg.svd(upper, full_matrices=False)
    kept = s > (relative_error(epsilon) * size).unsqueeze(-1)
    kept[..., full_rank:] = False
    inverse = torch.where(kept, s.reciprocal(), 0.0)
    # in half precision each number is rounded by itself, and no direction collects these errors
    spread = means.abs().amax((-2, -1)) if epsilon > SINGLE else size
    rounding = (relative_error(epsilon) * spread).square() * inverse.square().sum(-1)
    basis = q @ (u * inverse.unsqueeze(-2))
    return Decomposition(weights, full_rank, means, s, kept.sum(-1), basis, rounding)


def _without_directions(
    weights: Tensor, full_rank: int, means: Tensor, size: Tensor
) -> Decomposition:
    rank = torch.zeros_like(size, dtype=torch.long)
    basis = means.mT[..., :0]
    return Decomposition(weights, full_rank, means, basis[..., 0, :], rank, basis, size * torch.nan)
