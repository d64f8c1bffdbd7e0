"""Feature vectors of a block's output: flat, pooled, or randomly projected.

======  ==========================================================  ========
symbol  meaning                                                     shape
======  ==========================================================  ========
x       features of n samples                                       (n, p)
d       dimension of the projection                                 scalar
======  ==========================================================  ========

Separation needs K x p numbers per block for K classes.  If flat features are too many for that, a
sparse random projection to d dimensions keeps distances, and with them the scatter within and
between classes; a spatial mean is smaller still but loses where things are.  The projection adds
about Tr(SS_w) Tr(SS_b+) / d to D.  That is little if the scatter within classes lies in few
directions, as it does in networks: a few per cent at d = 2048.

Reference: Li, Hastie & Church, "Very sparse random projections", KDD 2006.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from math import prod

import numpy as np
import torch
from torch import Tensor

from designer.choices import Reduction, choice
from designer.errors import InvalidInputError


@dataclass(frozen=True, eq=False)
class Reducer:
    """Reduces the output of a block to features."""

    reduction: Reduction
    """How to reduce."""
    dimension: int = 0
    """d; used by projections alone."""
    seed: int = 0
    """Seed of the projections."""
    tokens: bool = False
    """True if every token of (n, tokens, features) is a sample of its own."""
    _matrices: dict[tuple[int, torch.device], Tensor] = field(default_factory=dict)

    def __call__(self, output: Tensor) -> Tensor:
        """Return features (n, p) of an output (n, ...); (n * tokens, p) if tokens are samples.

        Raises:
            InvalidInputError: if tokens are samples and the output has none.
        """
        if self.tokens:
            output = _by_token(output)
        if self.reduction is Reduction.POOL:
            return pooled(output)
        flat = output.flatten(1)
        if self.reduction is Reduction.PROJECT and flat.shape[1] > self.dimension:
            return self._projected(flat)
        return flat

    def width(self, shape: tuple[int, ...]) -> int:
        """Return p for an output of a shape (n, ...)."""
        shape = shape[1:] if self.tokens else shape
        if self.reduction is Reduction.POOL and len(shape) > 2:
            return shape[1] if len(shape) > 3 else shape[2]
        flat = prod(shape[1:])
        return min(flat, self.dimension) if self.reduction is Reduction.PROJECT else flat

    def positions(self, shape: tuple[int, ...]) -> int:
        """Return how many pixels or tokens a sample has in an output of a shape (n, ...)."""
        shape = shape[1:] if self.tokens else shape
        if len(shape) > 3:
            return prod(shape[2:])
        return shape[1] if len(shape) == 3 else 1

    def _projected(self, flat: Tensor) -> Tensor:
        key = (flat.shape[1], flat.device)
        if key not in self._matrices:
            matrix = projection(flat.shape[1], self.dimension, self.seed)
            self._matrices[key] = matrix.to(flat.device)
        matrix = self._matrices[key]
        return (matrix @ flat.to(matrix.dtype).T).T


def _by_token(output: Tensor) -> Tensor:
    if output.ndim < 3:
        raise InvalidInputError(
            f"Expected blocks to give (n, tokens, features) for labels (n, tokens), got shape "
            f"{tuple(output.shape)}; name other blocks, or give one label per sample."
        )
    return output.flatten(0, 1)


def pooled(output: Tensor) -> Tensor:
    """Return the mean over the positions of maps or the tokens of sequences.

    Args:
        output: maps (n, channels, ...) of two or more spatial axes, sequences (n, tokens,
            features), or vectors (n, features), which stay as they are.

    Returns:
        (n, channels) or (n, features).
    """
    if output.ndim > 3:
        return output.flatten(2).mean(2)
    return output.mean(1) if output.ndim == 3 else output.flatten(1)


def projection(width: int, dimension: int, seed: int) -> Tensor:
    """Return a random projection: a sparse float32 matrix (dimension, width).

    One in sqrt(width) numbers is not 0; their signs are random.
    """
    from sklearn.random_projection import SparseRandomProjection

    fitted = SparseRandomProjection(n_components=dimension, random_state=seed).fit(
        np.zeros((1, width), dtype=np.float32)
    )
    rows = fitted.components_.tocsr()
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # "CSR is in beta"
        return torch.sparse_csr_tensor(
            torch.from_numpy(rows.indptr).long(),
            torch.from_numpy(rows.indices).long(),
            torch.from_numpy(rows.data).float(),
            size=(dimension, width),
        )


def reduction_of(name: str) -> Reduction:
    """Return the reduction that has a name.

    Raises:
        InvalidInputError: if no reduction has that name.
    """
    return choice(Reduction, name, "`features`")
