"""The least-squares fit, with an intercept, from features to targets by its normal equations.

======  ==========================================================  ========
symbol  meaning                                                     shape
======  ==========================================================  ========
C       covariance of the features                                  (p, p)
Q       C scaled to unit diagonal, S C S with S = diag(C)^(-1/2)    (p, p)
s, V    eigenvalues and eigenvectors of Q above rounding            (r,), (p, r)
W       whitening S V diag(s)^(-1/2), so that W'CW = I              (p, r)
G       cross-covariance of targets and features                    (q, p)
B       coefficients G W W'                                         (q, p)
======  ==========================================================  ========

    1 - R^2 = sum_i ||y_i - yhat_i||^2 / sum_i ||y_i - ybar||^2 = 1 - ||G W||^2 / Tr cov(y)

The scaling makes the fit blind to the units of the features.  Directions that are rounding alone
are left out, so constant and repeated features do no harm.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from designer.errors import InvalidInputError
from designer.measures.checks import check_kind, check_targets
from designer.measures.cross_products import (
    ROUNDING,
    CrossProducts,
    row_chunks,
    target_columns,
)
from designer.measures.precision import flattened
from designer.results.measured import FloatArray, Separation, SeparationStatus


class LinearPrediction:
    """The least-squares fit, with an intercept, from features to targets.

    Features that are constant or collinear are harmless: of all equally good fits this is the
    one with the smallest coefficients of the standardised features.

    Args:
        products: sums over the fitting data.
        num_classes: K; None for real targets.
        epsilon: relative rounding of the features.

    Attributes:
        width: p, features per sample.
        rank: directions of the centred features above rounding.
        full_rank: min(p, n - 1).
        null: 1 - rank / (n - 1), the mean of 1 - R^2 over all permutations of the targets: what
            as many features give by chance.  It is exact for any features and targets, since a
            random permutation of centred targets has covariance proportional to I - 11'/n.
            nan for a single sample, or if the features are not finite.
        status: as in ``Separation``, as far as the fitting data can tell.
    """

    def __init__(self, products: CrossProducts, num_classes: int | None, epsilon: float) -> None:
        n, self.width = products.n, len(products.x)
        self.full_rank = min(self.width, n - 1)
        self._num_classes = num_classes
        self._mean, self._target_mean = products.mean, products.target_mean
        self._unit, self._target_unit = products.unit, products.target_unit
        self._deviation = float(products.target_variance().sum())
        self.status = SeparationStatus.OK if self._deviation else SeparationStatus.NO_SIGNAL
        cross = products.cross_covariance()
        if products.finite:
            whitening = _whitening(products.covariance(), products.noise(epsilon), self.full_rank)
        else:
            self.status = SeparationStatus.NON_FINITE
            whitening = cross.new_zeros(self.width, 0)
        loadings = cross @ whitening
        self._coefficients = loadings @ whitening.T
        self._error = max(0.0, self._deviation - float(loadings.square().sum()))
        self.rank = whitening.shape[1]
        self.null = 1 - self.rank / (n - 1) if n > 1 and products.finite else math.nan
        self._interpolates = self.rank == n - 1
        # 1 - R^2 is a quadratic form of B, and errs as the products of x and y do
        magnitude = self._deviation + float((self._coefficients.square() @ products.squares).sum())
        self._rounding = ROUNDING * self.width * magnitude

    def squared_errors(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return ||y_i - yhat_i||^2 (n,) in float64, in the units of the fit.

        Args:
            features: (n, ...) of the width of the fit.
            targets: as in the fit.

        Raises:
            InvalidInputError: if they are unlike those of the fit.
        """
        check_targets(features, targets, self._num_classes)
        x, y = flattened(features), self._like_fitted(targets)
        if x.shape[1] != self.width:
            raise InvalidInputError(
                f"Expected features of width {self.width} as in the fit, got {x.shape[1]}."
            )
        squares = self._mean.new_empty(len(x))
        for rows in row_chunks(len(x), self.width + len(self._target_mean)):
            centred = x[rows].to(self._mean) * self._unit - self._mean
            error = centred @ self._coefficients.T
            error += self._target_mean
            if y.ndim == 1:
                error[torch.arange(len(error), device=y.device), y[rows]] -= 1
            else:
                error -= y[rows]
            squares[rows] = error.square_().sum(1)
        return squares

    def squared_deviations(self, targets: Tensor) -> Tensor:
        """Return ||y_i - ybar||^2 (n,) in the units of the fit; ybar is the mean of its data.

        Args:
            targets: as in the fit.

        Raises:
            InvalidInputError: if they are unlike those of the fit.
        """
        check_kind(targets, self._num_classes)
        y, mean = self._like_fitted(targets), self._target_mean
        if y.ndim == 2:
            return (y - mean).square().sum(1)
        return (1 - 2 * mean + mean.square().sum()).clamp(min=0)[y]

    def separation(self) -> Separation:
        """Return 1 - R^2 on the fitting data, 0..1."""
        if self._interpolates and self.status is SeparationStatus.OK:
            return self._record(
                0.0,
                SeparationStatus.COLLAPSED,
                "There are as many features as samples: the fit is exact whatever the targets.",
            )
        return self.separation_of(self._error, self._deviation)

    def separation_of(self, error: float, deviation: float) -> Separation:
        """Return 1 - R^2 on another set; above 1 if the mean of the fitting data predicts better.

        Args:
            error: sum of squared errors.
            deviation: sum of squared deviations.
        """
        if self.status is SeparationStatus.NON_FINITE or not math.isfinite(error + deviation):
            return self._record(
                math.nan, SeparationStatus.NON_FINITE, "The features contain NaN or infinity."
            )
        if self.status is SeparationStatus.NO_SIGNAL or deviation <= 0:
            return self._record(
                math.nan,
                SeparationStatus.NO_SIGNAL,
                "The targets do not vary, so there is nothing to predict.",
            )
        value = error / deviation
        if value * self._deviation <= self._rounding:
            return self._record(
                0.0,
                SeparationStatus.COLLAPSED,
                "The targets are a linear function of the features, up to rounding.",
            )
        return self._record(value, SeparationStatus.OK, "")

    def influence(self, features: Tensor, targets: Tensor) -> FloatArray:
        """Return the influence (n,) of samples of the fitting data on log(1 - R^2).

        The change per unit of weight is e_i^2 / mean(e^2) - s_i / mean(s) with errors e and
        squared deviations s: coefficients and means are at their optimum and, to first order, do
        not move (envelope theorem).  The mean over all samples is 0; all are nan if the logarithm
        does not exist.

        Args:
            features: (n, ...) of the width of the fit.
            targets: as in the fit.
        """
        errors = self.squared_errors(features, targets)
        deviations = self.squared_deviations(targets)
        exists = self.separation().status is SeparationStatus.OK
        change = (
            errors / self._error - deviations / self._deviation if exists else errors * torch.nan
        )
        array: FloatArray = change.cpu().numpy()
        return array

    def _like_fitted(self, targets: Tensor) -> Tensor:
        """Return labels (n,), or real targets (n, q) in units, on the device of the fit."""
        columns = target_columns(targets).to(self._mean.device)
        if columns.ndim == 1:
            return columns
        if columns.shape[1] != len(self._target_mean):
            raise InvalidInputError(
                f"Expected targets of width {len(self._target_mean)} as in the fit, "
                f"got {columns.shape[1]}."
            )
        return columns.double() * self._target_unit

    def _record(self, value: float, status: SeparationStatus, reason: str) -> Separation:
        return Separation(value, self.rank, self.full_rank, status, reason)


def _whitening(covariance: Tensor, noise: Tensor, full_rank: int) -> Tensor:
    """Return W (p, r) with W'CW = I over the directions that are more than noise.

    A unit direction v of Q holds rounding noise of variance sum_j v_j^2 noise_j / C_jj, if
    features are rounded independently of each other.  A direction whose variance is not above
    that is left out: to invert it would fit the targets to rounding errors.

    Args:
        covariance: C (p, p); overwritten.
        noise: (p,) variance of each feature that is rounding alone.
        full_rank: no more directions than this are kept.
    """
    variance = covariance.diagonal().clone()
    varies = variance > noise
    scale = torch.where(varies, variance.rsqrt(), 0)
    share = torch.where(varies, noise / variance, 1)
    values, vectors = torch.linalg.eigh(covariance.mul_(scale).mul_(scale.unsqueeze(1)))
    kept = values > share @ vectors.square()
    kept[: len(kept) - full_rank] = False  # values ascend; no more than these can vary
    whitening: Tensor = scale.unsqueeze(1) * vectors[:, kept] / values[kept].sqrt()
    return whitening
