"""Features of any dtype in float64: flat, chunk by chunk, and in products that keep the digits.

======  ==============================================  ==========
symbol  meaning                                         shape
======  ==============================================  ==========
x       features of n samples                           (n, p)
c       origin that features are measured from          (p,)
A       directions to project onto                      (p, r)
b       offsets of the projections                      (r, n)
eps     relative rounding of the dtype of x             scalar
======  ==============================================  ==========

Sums in float64 hold more digits than narrower dtypes have, wherever the features lie.  Features in
float64 have none to spare: they are measured from an origin near them, so that sums lose nothing to
a large offset.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

CHUNK_ELEMENTS = 1 << 20
"""Features are converted to float64 this many at a time, so that a chunk stays in the cache."""

DEVICE_CHUNK_ELEMENTS = 1 << 25
"""The same on other devices than the CPU, where each chunk costs launches (256 MiB)."""

SINGLE = float(torch.finfo(torch.float32).eps)
"""Relative rounding of single precision."""

DOUBLE = float(torch.finfo(torch.float64).eps)
"""Relative rounding of double precision, in which everything is summed."""

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


def origin_of(features: Tensor) -> Tensor | None:
    """Return the origin c (p,) to measure features (n, p) from: the first sample.

    None if their dtype has fewer digits than float64, in which they are summed.
    """
    return features[0].clone() if features.dtype == torch.float64 else None


def norm_of(values: Tensor) -> float:
    """Return the root of the sum of all squares, also where squares leave the range of float64.

    It is infinite or nan only if one of the values is, or if it leaves that range itself.
    """
    peak = float(values.abs().max())
    if peak == 0 or not math.isfinite(peak):
        return peak
    return peak * float(torch.linalg.vector_norm(values.double() / peak))


def power_of_two(size: float) -> float:
    """Return the power of two that brings a size to between 0.5 and 1, as near as float64 allows.

    To multiply by it rounds nothing.  It is 1 for a size of 0.
    """
    _, exponent = math.frexp(size)
    return math.ldexp(1.0, min(-exponent, 1000))


def float64_chunks(
    features: Tensor, origin: Tensor | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """Yield x - c in float64, chunk by chunk, with the rows of each chunk.

    Each chunk overwrites the one before: fresh memory would cost more than the sums themselves.

    Args:
        features: x (n, p).
        origin: c (p,) float64; None for 0.
    """
    elements = CHUNK_ELEMENTS if features.device.type == "cpu" else DEVICE_CHUNK_ELEMENTS
    step = max(1, elements // features.shape[1])
    if origin is None and (features.dtype == torch.float64 or step >= len(features)):
        yield slice(None), features.double()
        return
    step = min(step, len(features))
    chunk = torch.empty(step, features.shape[1], dtype=torch.float64, device=features.device)
    for start in range(0, len(features), step):
        rows = slice(start, min(start + step, len(features)))
        wide = chunk[: rows.stop - start].copy_(features[rows])
        yield rows, wide if origin is None else wide.sub_(origin)


def projected(features: Tensor, onto: Tensor, origin: Tensor | None = None) -> Tensor:
    """Return A'(x - c)' (r, n) in float64.

    BLAS is twice as fast on this short and wide product as on its transpose.

    Args:
        features: x (n, p).
        onto: A (p, r) float64.
        origin: c (p,) float64; None for 0.
    """
    transposed = onto.T.contiguous()
    parts = [transposed @ wide.T for _, wide in float64_chunks(features, origin)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def projected_residuals(
    features: Tensor, onto: Tensor, offsets: Tensor, origin: Tensor | None = None
) -> Tensor:
    """Return A'(x - c)' - b (r, n) in float64.

    Args:
        features: x (n, p).
        onto: A (p, r) float64.
        offsets: b (r, n) float64.
        origin: c (p,) float64; None for 0.
    """
    exact = features.dtype == torch.float32 and not _rounds_products(features.device)
    if exact and features.shape[1] >= WIDE and origin is None:
        quick = _float32_residuals(features, onto, offsets)
        if quick is not None:
            return quick
    return projected(features, onto, origin).sub_(offsets)


def _float32_residuals(features: Tensor, onto: Tensor, offsets: Tensor) -> Tensor | None:
    """Return the residuals by one float32 product; None if its rounding would show in D.

    The columns are padded to a multiple of 16, for which BLAS has a faster kernel.
    """
    rank = onto.shape[1]
    padded = torch.nn.functional.pad(onto.float(), (0, -rank % 16))
    with torch.autocast(features.device.type, enabled=False):
        z = (features @ padded)[:, :rank].double().T - offsets
    sample = features[:: max(1, len(features) // 64)]  # all would cost as much as the product
    magnitude = float(torch.linalg.vector_norm(sample)) / math.sqrt(sample.numel())
    products = magnitude * torch.linalg.vector_norm(onto, dim=0)
    rounding = 4 * SINGLE * (products + 1)
    return z if bool((rounding.square() < 1e-7 * z.square().mean(1)).all()) else None


def _rounds_products(device: torch.device) -> bool:
    """True if torch may round the factors of float32 products on a device to TF32."""
    if device.type != "cuda":
        return False
    try:
        return bool(torch.backends.cuda.matmul.allow_tf32)
    except RuntimeError:  # torch refuses to answer if its older and its newer setting disagree
        return True
