"""What a block gives, as one feature vector per sample: flat, pooled, or randomly projected.

Separation needs K x p numbers per block for K classes and p features.  Where flat features are
too many for that, a sparse random projection to fewer dimensions keeps distances and with them
the scatter within and between classes (Li, Hastie & Church, "Very sparse random projections",
KDD 2006); a spatial mean is smaller still but throws away where things are.  To D a projection to
d dimensions adds about Tr(SS_w) Tr(SS_b+) / d, which is little where the scatter within classes
lies in few directions, as it does in networks: a few per cent at d = 2048.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np
import torch
from torch import Tensor

from designer.choices import Reduction, choice
from designer.errors import InvalidInputError


@dataclass(frozen=True, eq=False)
class Reducer:
    """Applies a reduction to what the taps gave."""

    reduction: Reduction
    dimension: int = 0
    """To project to."""
    seed: int = 0
    """Of the projections."""
    tokens: bool = False
    """Whether every token (n, tokens, features) is a sample of its own."""
    _matrices: dict[tuple[int, torch.device], Tensor] = field(default_factory=dict)

    def __call__(self, output: Tensor) -> Tensor:
        """(n, p) features of an output (n, ...); (n * tokens, p) where tokens are samples."""
        if self.tokens:
            output = _by_token(output)
        if self.reduction is Reduction.POOL:
            return pooled(output)
        flat = output.flatten(1)
        if self.reduction is Reduction.PROJECT and flat.shape[1] > self.dimension:
            return self._projected(flat)
        return flat

    def width(self, shape: tuple[int, ...]) -> int:
        """p for an output of ``shape`` (n, ...)."""
        shape = shape[1:] if self.tokens else shape
        if self.reduction is Reduction.POOL and len(shape) > 2:
            return shape[1] if len(shape) > 3 else shape[2]
        flat = prod(shape[1:])
        return min(flat, self.dimension) if self.reduction is Reduction.PROJECT else flat

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
    """(n, channels) means over the positions of maps (n, channels, ...) of two or more spatial
    axes, (n, features) means over the tokens of sequences (n, tokens, features)."""
    if output.ndim > 3:
        return output.flatten(2).mean(2)
    return output.mean(1) if output.ndim == 3 else output.flatten(1)


def projection(width: int, dimension: int, seed: int) -> Tensor:
    """(dimension, width) sparse float32 matrix with random signs, one in sqrt(width) not zero."""
    import warnings

    from sklearn.random_projection import SparseRandomProjection

    made = SparseRandomProjection(n_components=dimension, random_state=seed)
    rows = made.fit(np.zeros((1, width), dtype=np.float32)).components_.tocsr()
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # "CSR is in beta"
        return torch.sparse_csr_tensor(
            torch.from_numpy(rows.indptr).long(),
            torch.from_numpy(rows.indices).long(),
            torch.from_numpy(rows.data).float(),
            size=(dimension, width),
        )


def reduction_of(name: str) -> Reduction:
    """The reduction of that name.

    Raises:
        InvalidInputError: where there is none.
    """
    return choice(Reduction, name, "features")
