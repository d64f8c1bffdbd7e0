"""Class means, and the whitened class directions that D is measured along.

======  ==========================================================  ========
symbol  meaning                                                     shape
======  ==========================================================  ========
x       features of n samples                                       (n, p)
y       their labels, 0..K-1                                        (n,)
c       origin that features are measured from (see ``precision``)  (p,)
m_k     class mean; m is the mean of all samples                    (K, p)
s, V    singular values and right singular vectors of M, the        (r,), (p, r)
        weighted class means (see ``decomposition``)
z       whitened residuals diag(1/s) V' (x_i - m_{y_i})             (n, r)
======  ==========================================================  ========

    D = (1/n) sum_i ||z_i||^2

Reference: He & Su, "A law of data separation in deep learning", PNAS 120(36), 2023.
"""

from __future__ import annotations

import math

from torch import Tensor

from designer.measures.decomposition import Decomposition
from designer.measures.precision import flattened, projected_residuals
from designer.results.measured import Separation, SeparationStatus

NON_FINITE_REASON = "The features contain NaN or infinity."
TOO_LARGE_REASON = "The features are too large to be summed: divide them by a power of ten."


class ClassDirections:
    """Class means, and the class directions scaled so that the between-class scatter is one.

    Attributes:
        origin: (p,) float64, c; None for 0.
        means: (K, p) float64, m_k - c, zero for a class without samples.
        weights: (K,) float64, n_k / n.
        singular_values: (r,) float64, those above the tolerance, descending.
        basis: (p, r) float64, V diag(1/s).
        full_rank: K - 1 for the K classes present.
        status: as in ``Separation``, as far as the means alone can tell.
        reason: one sentence if ``status`` is not ok, else empty.
    """

    def __init__(self, decomposition: Decomposition) -> None:
        rank = int(decomposition.rank)
        self.origin = decomposition.origin
        self.means = decomposition.means
        self.weights = decomposition.weights
        self.singular_values = decomposition.singular_values[:rank]
        self.basis = decomposition.basis[:, :rank]
        self.full_rank = decomposition.full_rank
        self._rounding = float(decomposition.rounding)
        self._projected_means = self.means @ self.basis
        if math.isfinite(self._rounding):
            self.status, self.reason = _rank_status(rank, self.full_rank)
        else:
            self.status = SeparationStatus.NON_FINITE
            self.reason = TOO_LARGE_REASON if decomposition.too_large else NON_FINITE_REASON

    @property
    def centred_means(self) -> Tensor:
        """(K, p) float64, m_k - m."""
        return self.means - self.weights @ self.means

    def whitened_residuals(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return z (n, r) float64 of features (n, ...) and their labels (n,): the second pass."""
        flat = flattened(features)
        offsets = self._projected_means.T.index_select(1, labels.to(flat.device).long())
        return projected_residuals(flat, self.basis, offsets, self.origin).T

    def separation(self, z: Tensor) -> Separation:
        """Return D from the whitened residuals z (n, r) of all samples."""
        return self.separation_of_terms(z.square().mean(0))

    def separation_of_terms(self, terms: Tensor) -> Separation:
        """Return D from its terms (r,): the mean square of each column of z."""
        rank = self.basis.shape[1]
        if self.status in (SeparationStatus.NON_FINITE, SeparationStatus.NO_SIGNAL):
            return Separation(math.nan, rank, self.full_rank, self.status, self.reason)
        value = float(terms.sum())
        status, reason = self._status_of(value)
        return Separation(
            value={
                SeparationStatus.NON_FINITE: math.nan,
                SeparationStatus.COLLAPSED: 0.0,
            }.get(status, value),
            rank=rank,
            full_rank=self.full_rank,
            status=status,
            reason=reason,
            terms=tuple(terms.tolist()),
        )

    def _status_of(self, value: float) -> tuple[SeparationStatus, str]:
        if not math.isfinite(value):
            return SeparationStatus.NON_FINITE, NON_FINITE_REASON
        if value <= self._rounding:
            return (
                SeparationStatus.COLLAPSED,
                "There is no scatter within the classes beyond rounding, so D means nothing.",
            )
        return self.status, self.reason


def _rank_status(rank: int, full_rank: int) -> tuple[SeparationStatus, str]:
    if rank == 0:
        return (
            SeparationStatus.NO_SIGNAL,
            "All class means coincide within the rounding of the features, so there is no "
            "between-class scatter to divide by.",
        )
    if rank < full_rank:
        return (
            SeparationStatus.RANK_DEFICIENT,
            f"Only {rank} of {full_rank} class directions are left.",
        )
    return SeparationStatus.OK, ""
