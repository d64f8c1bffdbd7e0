"""D under permuted labels: what the width of a layer gives by chance.

======  ==========================================================  ========
symbol  meaning                                                     shape
======  ==========================================================  ========
B       permutations of the labels                                  scalar
z       whitened residuals under each of them (see                  (B, r, n)
        ``class_directions``)
======  ==========================================================  ========

Without any class signal, isotropic features have D near (n - K)(K - 1) / (p - K): the wider a
layer, the smaller its D.
"""

from __future__ import annotations

import torch
from torch import Tensor

from designer.measures.decomposition import Decomposition
from designer.measures.precision import flattened, projected_residuals


class PermutedScatter:
    """Second pass under B permuted labelings at once: one product projects for all of them.

    Each D is the value that ``ClassDirections`` would give under that labeling.

    Args:
        decomposition: the class means under the B labelings.
    """

    def __init__(self, decomposition: Decomposition) -> None:
        self._rounding, self._rank = decomposition.rounding, decomposition.rank
        self._origin = decomposition.origin
        basis = decomposition.basis[..., : int(self._rank.max())]
        self._projected_means = (decomposition.means @ basis).mT  # (B, r, K)
        self._basis = basis.movedim(1, 0).flatten(1)  # (p, B r)
        self._squares = torch.zeros_like(decomposition.rounding)
        self._n = 0

    def update(self, features: Tensor, *labelings: Tensor) -> None:
        """Add a batch: features (n, ...), and labels (n,) for each labeling."""
        flat = flattened(features)
        labels = torch.stack(labelings).to(flat.device).long().unsqueeze(1)
        size = (-1, self._projected_means.shape[1], -1)
        offsets = self._projected_means.gather(2, labels.expand(size))  # (B, r, n)
        z = projected_residuals(flat, self._basis, offsets.flatten(0, 1), self._origin)
        self._squares += z.view_as(offsets).square_().sum((1, 2))
        self._n += len(flat)

    def values(self) -> list[float]:
        """Return D (B,) of all samples; 0 within rounding, nan if it does not exist."""
        values = self._squares / self._n
        values = torch.where(values <= self._rounding, 0.0, values)
        exists = (self._rank > 0) & self._rounding.isfinite()
        numbers: list[float] = torch.where(exists, values, torch.nan).tolist()
        return numbers


def permuted_labels(labels: Tensor, permutations: int, seed: int) -> list[Tensor]:
    """Return B seeded shuffles of labels (n,); they are the same on every device.

    Args:
        labels: (n,) on any device.
        permutations: B; may be 0.
        seed: seed of the shuffles; torch's own generator is left alone.
    """
    generator = torch.Generator().manual_seed(seed)
    return [
        labels[torch.randperm(len(labels), generator=generator).to(labels.device)]
        for _ in range(permutations)
    ]
