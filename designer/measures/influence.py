"""Block Influence and the scatter between a block's input and output."""

from __future__ import annotations

import torch
from torch import Tensor

from designer.measures.separation import ClassDirections, flattened, float64_chunks, projected
from designer.results.measured import FloatArray


class ScatterCrossing:
    """Second pass, optional: X'z / n, from which follows how D depends on each sample."""

    def __init__(self, directions: ClassDirections) -> None:
        self._directions = directions
        self._sum = torch.zeros_like(directions.basis)
        self._n = 0

    def update(self, features: Tensor, z: Tensor) -> None:
        """Add a batch: features (n, ...) and their whitened residuals z (n, r)."""
        for rows, wide in float64_chunks(flattened(features)):
            self._sum.addmm_(wide.T, z[rows])
        self._n += len(z)

    def influence(self) -> Influence:
        """Influence of samples on the D of everything that was added."""
        return Influence(self._directions, self._sum / self._n)


class Influence:
    """Third pass, optional: the influence of each sample on log D (infinitesimal jackknife).

    With u_k = diag(1/s) V'(m_k - m), C = diag(1/s) V' SS_w V diag(1/s), P = VV' and
    E = (I - P) SS_w V diag(1/s)^3, a sample x of class k with residual r and whitened residual
    z changes D, per unit of weight, by

        ||z||^2 - 2 z'Cu_k - u_k'Cu_k + 2 r'E u_k.

    The first term is the scatter, the next two the length of the class directions, the last
    one their turning (derivative of the pseudo-inverse: Golub & Pereyra, SIAM J. Numer. Anal.
    10(2), 1973).  Without the last three the spread of D comes out at about half its size.
    """

    def __init__(self, directions: ClassDirections, crossing: Tensor) -> None:
        basis, s = directions.basis, directions.singular_values
        self._directions = directions
        self._class_means = directions.centred_means @ basis
        self._inner = basis.T @ crossing
        self._outer = (crossing - basis * s.square() @ self._inner) / s.square()
        self._outer_means = directions.means @ self._outer
        self._value = self._inner.trace()

    def on_log_separation(self, features: Tensor, labels: Tensor) -> FloatArray:
        """(n,) influences of the training samples features (n, ...); their mean is 0."""
        z = self._directions.whitened_residuals(features, labels)
        labels = labels.to(z.device)
        u = self._class_means[labels]
        turning = projected(flattened(features), self._outer).T - self._outer_means[labels]
        change = (
            z.square().sum(1) - ((2 * z + u) @ self._inner * u).sum(1) + 2 * (turning * u).sum(1)
        )
        array: FloatArray = (change / self._value).cpu().numpy()
        return array


def heldout_influence(squares: Tensor) -> FloatArray:
    """(n,) influence of each held-out sample on the log of the cross-fitted D.

    ``squares`` (n,) are the squared norms of all whitened residuals: means and directions do
    not depend on held-out samples.
    """
    array: FloatArray = (squares / squares.mean() - 1).cpu().numpy()
    return array
