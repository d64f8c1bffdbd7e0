"""The influence of each sample on log D: its derivative by the weight of the sample.

======  ==========================================================  ========
symbol  meaning                                                     shape
======  ==========================================================  ========
a       residual x - m_k of a sample x of class k                   (p,)
z       whitened residual diag(1/s) V' a (see                       (r,)
        ``class_directions``)
u_k     diag(1/s) V' (m_k - m)                                      (r,)
C       diag(1/s) V' SS_w V diag(1/s), whose trace is D             (r, r)
P       V V'                                                        (p, p)
E       (I - P) SS_w V diag(1/s)^3                                  (p, r)
======  ==========================================================  ========

A sample x of class k changes D, per unit of weight, by

    ||z||^2 - 2 z'Cu_k - u_k'Cu_k + 2 a'E u_k.

The first term comes from the scatter, the next two from the length of the class directions, the
last one from their turning (derivative of the pseudo-inverse: Golub & Pereyra, SIAM Journal on
Numerical Analysis 10(2), 1973).  Without the last three the spread of D comes out at about half its
size.

No p x p matrix is formed: C and E follow from the crossing X'z / n (p, r), in which X holds the
features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from designer.measures.class_directions import ClassDirections
from designer.measures.precision import flattened, float64_chunks, projected
from designer.results.measured import FloatArray


class ScatterCrossing:
    """Second pass, optional: the crossing X'z / n of the features with the whitened residuals."""

    def __init__(self, directions: ClassDirections) -> None:
        self._directions = directions
        self._sum = torch.zeros_like(directions.basis)
        self._n = 0

    def update(self, features: Tensor, z: Tensor) -> None:
        """Add a batch: features (n, ...) and their whitened residuals z (n, r)."""
        for rows, wide in float64_chunks(flattened(features), self._directions.origin):
            self._sum.addmm_(wide.T, z[rows])
        self._n += len(z)

    def influence(self) -> Influence:
        """Return the influence of samples on the D of all samples that were added."""
        return Influence(self._directions, self._sum / self._n)


class Influence:
    """Third pass, optional: the influence of each sample on log D (infinitesimal jackknife).

    Args:
        directions: the class directions.
        crossing: (p, r) X'z / n.
    """

    def __init__(self, directions: ClassDirections, crossing: Tensor) -> None:
        basis, s = directions.basis, directions.singular_values
        self._directions = directions
        self._class_means = directions.centred_means @ basis
        self._inner = basis.T @ crossing
        # V diag(s) is taken in two steps, and so is the division: squares of s may leave the range
        self._outer = (crossing - basis * s * s @ self._inner) / s / s
        self._outer_means = directions.means @ self._outer
        self._value = self._inner.trace()

    def on_log_separation(self, features: Tensor, labels: Tensor) -> FloatArray:
        """Return the influences (n,) of training samples; their mean over all samples is 0.

        Args:
            features: (n, ...).
            labels: (n,).
        """
        z = self._directions.whitened_residuals(features, labels)
        labels = labels.to(z.device)
        u = self._class_means[labels]
        products = projected(flattened(features), self._outer, self._directions.origin).T
        turning = products - self._outer_means[labels]
        change = (
            z.square().sum(1) - ((2 * z + u) @ self._inner * u).sum(1) + 2 * (turning * u).sum(1)
        )
        array: FloatArray = (change / self._value).cpu().numpy()
        return array
