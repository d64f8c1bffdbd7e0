"""Features of any dtype in float64: flat, chunk by chunk, and in products that keep the digits.

======  ==============================================  ==========
symbol  meaning                                         shape
======  ==============================================  ==========
x       features of n samples                           (n, p)
A       directions to project onto                      (p, r)
b       offsets of the projections                      (r, n)
eps     relative rounding of the dtype of x             scalar
======  ==============================================  ==========
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

CHUNK_ELEMENTS = 1 << 20
"""Features are converted to float64 this many at a time, so that a chunk stays in the cache."""

SINGLE = float(torch.finfo(torch.float32).eps)
"""Relative rounding of single precision."""

WIDE = 4096
"""From this width on, float32 features are projected in float32 where that is exact enough."""


def epsilon_of(dtype: torch.dtype) -> float:
    """Return the relative rounding of a floating dtype."""
    return float(torch.finfo(dtype).eps)


def relative_error(epsilon: float) -> float:
    """Return the relative error of features from their rounding eps.

    Errors of matrix products add up over a layer. In half precision they do not: sums are kept in
    single precision and rounded once.
    """
    return 0.5 * epsilon if epsilon > SINGLE else 10 * epsilon


def flattened(features: Tensor) -> Tensor:
    """Return features (n, ...) as (n, p), without a gradient.

    They stay on their device, except on Apple's GPUs, which have no float64.
    """
    flat = features.detach().reshape(len(features), -1)
    return flat.cpu() if flat.device.type == "mps" else flat


def float64_chunks(features: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield features (n, p) in float64, chunk by chunk, with the rows of each chunk.

    Each chunk overwrites the one before: fresh memory would cost more than the sums themselves.
    """
    step = max(1, CHUNK_ELEMENTS // features.shape[1])
    if features.dtype == torch.float64 or step >= len(features):
        yield slice(None), features.double()
        return
    chunk = torch.empty(step, features.shape[1], dtype=torch.float64, device=features.device)
    for start in range(0, len(features), step):
        rows = slice(start, min(start + step, len(features)))
        yield rows, chunk[: rows.stop - start].copy_(features[rows])


def projected(features: Tensor, onto: Tensor) -> Tensor:
    """Return A'x' (r, n) in float64 for features x (n, p) and directions A (p, r).

    BLAS is twice as fast on this short and wide product as on its transpose.
    """
    transposed = onto.T.contiguous()
    parts = [transposed @ wide.T for _, wide in float64_chunks(features)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def projected_residuals(features: Tensor, onto: Tensor, offsets: Tensor) -> Tensor:
    """Return A'x' - b (r, n) in float64.

    Args:
        features: x (n, p).
        onto: A (p, r) float64.
        offsets: b (r, n) float64.
    """
    if features.dtype == torch.float32 and features.shape[1] >= WIDE:
        quick = _float32_residuals(features, onto, offsets)
        if quick is not None:
            return quick
    return projected(features, onto).sub_(offsets)


def _float32_residuals(features: Tensor, onto: Tensor, offsets: Tensor) -> Tensor | None:
    """Return the residuals by one float32 product; None if its rounding would show in D.

    The columns are padded to a multiple of 16, for which BLAS has a faster kernel.
    """
    rank = onto.shape[1]
    padded = torch.nn.functional.pad(onto.float(), (0, -rank % 16))
    z = (features @ padded)[:, :rank].double().T - offsets
    sample = features[:: max(1, len(features) // 64)]  # all would cost as much as the product
    magnitude = float(torch.linalg.vector_norm(sample)) / math.sqrt(sample.numel())
    products = magnitude * torch.linalg.vector_norm(onto, dim=0)
    rounding = 4 * SINGLE * (products + 1)
    return z if bool((rounding.square() < 1e-7 * z.square().mean(1)).all()) else None
