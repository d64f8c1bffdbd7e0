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

import math
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

    def __call__(self, output: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return features (n, p) of an output (n, ...); (rows, p) if tokens are samples.

        Args:
            output: what a block gives.
            mask: (n, tokens), true for the tokens that count; None if all do. Tokens that do not
                count are no rows, are left out of means, and are 0 in flat features.

        Raises:
            InvalidInputError: if tokens are samples and the output has none.
        """
        if self.tokens:
            output, mask = _by_token(output, mask), None
        if self.reduction is Reduction.POOL:
            return pooled(output, mask)
        flat = _without_padding(output, mask).flatten(1)
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
        columns = flat.to(matrix.dtype).T
        if flat.device.type == "cuda":  # a number of the matrix then reads one piece of memory
            columns = columns.contiguous()
        with torch.autocast(flat.device.type, enabled=False):
            return (matrix @ columns).T


def token_rows(output: Tensor, mask: Tensor | None) -> Tensor:
    """Return (rows, ...) of an output (n, tokens, ...): its tokens, or those under a mask.

    Args:
        output: (n, tokens, ...).
        mask: (n, tokens) on any device; None for all tokens.

    Raises:
        InvalidInputError: if the output has another number of tokens than the mask.
    """
    if mask is None:
        return output.flatten(0, 1)
    if output.shape[:2] != mask.shape:
        raise InvalidInputError(
            f"Expected blocks to give {mask.shape[1]} tokens per sample, as many as there are "
            f"labels, got shape {tuple(output.shape)}; name other blocks."
        )
    return output[mask.to(output.device)]


def check_token_rows(features: Tensor, targets: Tensor) -> None:
    """Check that a block gave a row of features for every labelled token, or for every sample.

    Raises:
        InvalidInputError: if it gave more or fewer.
    """
    if len(features) != len(targets):
        raise InvalidInputError(
            f"Expected blocks to give (n, tokens, features) with {len(targets)} labelled tokens in "
            f"all, got {len(features)} rows: name other blocks, or give one label per sample."
        )


def _without_padding(output: Tensor, mask: Tensor | None) -> Tensor:
    """Return an output with 0 in the place of tokens that do not count, if it has these tokens."""
    if mask is None or output.ndim != 3 or output.shape[:2] != mask.shape:
        return output
    return output.masked_fill(~mask.to(output.device).unsqueeze(2), 0)


def _by_token(output: Tensor, mask: Tensor | None) -> Tensor:
    if output.ndim < 3:
        raise InvalidInputError(
            f"Expected blocks to give (n, tokens, features) for labels (n, tokens), got shape "
            f"{tuple(output.shape)}; name other blocks, or give one label per sample, which "
            f"labels.argmax(1) does for one-hot labels."
        )
    return token_rows(output, mask)


def pooled(output: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean over the positions of maps or the tokens of sequences.

    Args:
        output: maps (n, channels, ...) of two or more spatial axes, sequences (n, tokens,
            features), or vectors (n, features), which stay as they are.
        mask: (n, tokens), true for the tokens of sequences that count; None if all do. The mean is
            0 where none does.

    Returns:
        (n, channels) or (n, features).
    """
    if output.ndim > 3:
        return output.flatten(2).mean(2)
    if output.ndim != 3:
        return output.flatten(1)
    if mask is None or output.shape[:2] != mask.shape:
        return output.mean(1)
    counts = mask.sum(1, keepdim=True).clamp(min=1).to(output)
    return _without_padding(output, mask).sum(1) / counts


def projection(width: int, dimension: int, seed: int) -> Tensor:
    """Return a random projection: a sparse float32 matrix (dimension, width).

    Each number is not 0 with probability 1 / sqrt(width), independently of all others; their signs
    are random.  So the gaps from one such number to the next, row after row, are geometric, and
    only these are drawn.

    Reference: Li, Hastie & Church, "Very sparse random projections", KDD 2006.
    """
    generator = np.random.default_rng(seed)
    share, size = 1 / math.sqrt(width), dimension * width
    expected = share * size
    enough = round(expected + 10 * math.sqrt(expected)) + 10  # ten standard deviations more
    places = generator.geometric(share, enough).cumsum() - 1
    places = places[places < size]
    signs = 2 * generator.integers(2, size=len(places)) - 1
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # "CSR is in beta"
        return torch.sparse_csr_tensor(
            torch.from_numpy(places.searchsorted(np.arange(dimension + 1) * width)),
            torch.from_numpy(places % width),
            torch.from_numpy(signs).float() * math.sqrt(1 / share / dimension),
            size=(dimension, width),
        )


def reduction_of(name: str) -> Reduction:
    """Return the reduction that has a name.

    Raises:
        InvalidInputError: if no reduction has that name.
    """
    return choice(Reduction, name, "`features`")
