"""Prediction residual 1 - R^2 of one layer's features: what a linear map leaves unexplained.

======  ==========================================================  ========
symbol  meaning                                                     shape
======  ==========================================================  ========
x       features of n samples, less a shift near their mean         (n, p)
y       targets; the one-hot code where they are classes            (n, q)
C       covariance of the features                                  (p, p)
R       C scaled to unit diagonal, S C S with S = diag(C)^(-1/2)    (p, p)
s, V    eigenvalues and eigenvectors of R above rounding            (r,), (p, r)
W       whitening S V diag(s)^(-1/2), so that W'CW = I              (p, r)
G       cross-covariance of targets and features                    (q, p)
B       coefficients G W W'                                         (q, p)
======  ==========================================================  ========

    1 - R^2 = sum_i ||y_i - yhat_i||^2 / sum_i ||y_i - ybar||^2 = 1 - ||G W||^2 / Tr cov(y)

This is the least-squares fit with an intercept by its normal equations: one pass over the
data in batches of any size (``PredictionSums``), O(p^2 + p q) memory, sums in float64.  A code
of K classes is never spelt out: its cross-products are class sums.  The shift keeps digits
where means are large against the spread; the scaling makes the fit blind to the units of the
features; directions that are rounding alone are left out, so constant and repeated features do
no harm.

The published program regresses the index of the next token as one number.  Give such targets
as real numbers to have its value; the one-hot code asks the same of each token without depending
on how the vocabulary is numbered, and serves any classes.

Reference: He & Su, "A law of next-token prediction in large language models",
arXiv:2408.13442, 2024; Physical Review E 112, 035317, 2025.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from designer.errors import InvalidInputError
from designer.results.measured import FloatArray, Separation, SeparationStatus

CHUNK_ELEMENTS = 1 << 22
"""Features and predictions are held in float64 this many at a time (32 MiB)."""


WIDEST = 1 << 14
"""Features per sample that the p x p covariance can be held for (2 GiB)."""


ACCUMULATED = 16
"""Times epsilon of float32: what layer upon layer adds to the rounding of the last one.  Measured:
from 16 on, 50 linear layers in a row seem no wider than the narrowest."""


ROUNDING = 16 * torch.finfo(torch.float64).eps
"""Times p: the share of a variance that sums and eigenvalues may lose in float64."""


class PredictionSums:
    """First and only pass: sums of features, targets and their products, in float64.

    Args:
        num_classes: K, where targets are classes 0 .. K-1; None, where they are real numbers.
    """

    def __init__(self, num_classes: int | None) -> None:
        if num_classes is not None and num_classes < 1:
            raise InvalidInputError(f"Expected `num_classes` of at least 1, got {num_classes}.")
        self.num_classes = num_classes
        self._totals: _Totals | None = None
        self._epsilon = 0.0

    def update(self, features: Tensor, targets: Tensor) -> None:
        """Add a batch.

        Args:
            features: (n, ...) of any floating dtype on any device; flattened to (n, p).
            targets: (n,) integers in 0 .. K-1; else (n,) or (n, q) floating and finite.

        Raises:
            InvalidInputError: on wrong shapes or dtypes, or widths unlike the first batch's.
        """
        check_targets(features, targets, self.num_classes)
        x, y = _flat(features), _columns(targets)
        q = self.num_classes or y.shape[1]
        for rows in _chunks(len(x), x.shape[1] + y[0].numel()):
            if self._totals is None:
                self._totals = _Totals(x[rows], y[rows], q)
            self._totals.check(x.shape[1], q)
            self._totals.add(x[rows], y[rows])
        self._epsilon = max(self._epsilon, torch.finfo(features.dtype).eps)

    @property
    def samples(self) -> int:
        """How many were added."""
        return 0 if self._totals is None else self._totals.n

    def fit(self) -> LinearPrediction:
        """The least-squares fit to everything that was added."""
        if self._totals is None:
            raise InvalidInputError("Expected at least one batch of features, got none.")
        return LinearPrediction(self._totals, self.num_classes, self._epsilon)


class _Totals:
    """Sums over n samples of x, y and their products, both less a mean of the first samples."""

    def __init__(self, features: Tensor, targets: Tensor, q: int) -> None:
        p = features.shape[1]
        if p > WIDEST:
            raise InvalidInputError(
                f"Expected at most {WIDEST} features per sample, got {p}, for which the fit would "
                f"need a p x p matrix; pool or project them first."
            )
        self.n = 0
        self.shift = features.double().mean(0)
        zeros = self.shift.new_zeros
        self.target_shift = targets.double().mean(0) if targets.ndim == 2 else zeros(q)
        self.x, self.xx = zeros(p), zeros(p, p)
        self.y, self.yy, self.yx = zeros(q), zeros(q), zeros(q, p)

    def check(self, p: int, q: int) -> None:
        """Raise ``InvalidInputError`` unless a batch is as wide as the first."""
        for name, first, width in (("features", len(self.x), p), ("targets", len(self.y), q)):
            if width != first:
                raise InvalidInputError(
                    f"Expected {name} of width {first} as in the first batch, got {width}."
                )

    def add(self, features: Tensor, targets: Tensor) -> None:
        """Features (n, p), and targets (n, q) or labels (n,)."""
        self.n += len(features)
        x = features.to(self.shift) - self.shift
        self.x += x.sum(0)
        self.xx.addmm_(x.T, x)
        if targets.ndim == 1:
            labels = targets.to(x.device)
            counts = torch.bincount(labels, minlength=len(self.y))
            self.y += counts
            self.yy += counts
            self.yx.index_add_(0, labels, x)
        else:
            y = targets.to(self.shift) - self.target_shift
            self.y += y.sum(0)
            self.yy += y.square().sum(0)
            self.yx.addmm_(y.T, x)

    @property
    def finite(self) -> bool:
        """Whether the features were."""
        return bool(torch.isfinite(self.xx).all())

    @property
    def mean(self) -> Tensor:
        """(p,) of the features."""
        return self.shift + self.x / self.n

    @property
    def target_mean(self) -> Tensor:
        """(q,) of the targets."""
        return self.target_shift + self.y / self.n

    @property
    def squares(self) -> Tensor:
        """(p,) mean squares of x: what rounding in sums and products is relative to."""
        return self.xx.diagonal() / self.n

    def covariance(self) -> Tensor:
        """C (p, p)."""
        mean = self.x / self.n
        return (self.xx / self.n).addr_(mean, mean, alpha=-1)

    def cross_covariance(self) -> Tensor:
        """G (q, p)."""
        return (self.yx / self.n).addr_(self.y / self.n, self.x / self.n, alpha=-1)

    def target_variance(self) -> Tensor:
        """(q,), zero where targets differ by their rounding alone."""
        variance = (self.yy - self.y.square() / self.n) / self.n
        return torch.where(variance > (ROUNDING * self.target_mean).square(), variance, 0)

    def noise(self, epsilon: float) -> Tensor:
        """(p,) variance of each feature that may be rounding alone.

        Features are summed up in float32 at the best, layer upon layer, rounded to their dtype,
        and here summed in float64.
        """
        variance = self.squares - (self.x / self.n).square()
        rounded = epsilon**2 * (variance + self.mean.square())
        accumulated = (ACCUMULATED * min(epsilon, torch.finfo(torch.float32).eps)) ** 2 * variance
        return rounded + accumulated + ROUNDING * len(self.x) * self.squares


class LinearPrediction:
    """The least-squares fit, with an intercept, from features to targets.

    Features that are constant or collinear are harmless: of all equally good fits this is the
    one with the smallest coefficients of the standardised features.

    Attributes:
        width: p, features per sample.
        rank: of the centred features, in directions above rounding.
        full_rank: min(p, n - 1).
        null: 1 - rank / (n - 1), the mean of 1 - R^2 over all permutations of the targets: what
            as many features give by chance.  Exact, whatever features and targets, since a
            random permutation of centred targets has covariance proportional to I - 11'/n.
        status: as in ``Separation``, as far as the fitting data can tell.
    """

    def __init__(self, totals: _Totals, num_classes: int | None, epsilon: float) -> None:
        n, self.width = totals.n, len(totals.x)
        self.full_rank = min(self.width, n - 1)
        self._num_classes = num_classes
        self._mean, self._target_mean = totals.mean, totals.target_mean
        self._deviation = float(totals.target_variance().sum())
        self.status = SeparationStatus.OK if self._deviation else SeparationStatus.NO_SIGNAL
        cross = totals.cross_covariance()
        if totals.finite:
            whitening = _whitening(totals.covariance(), totals.noise(epsilon), self.full_rank)
        else:
            self.status = SeparationStatus.NON_FINITE
            whitening = cross.new_zeros(self.width, 0)
        loadings = cross @ whitening
        self._coefficients = loadings @ whitening.T
        self._error = max(0.0, self._deviation - float(loadings.square().sum()))
        self.rank = whitening.shape[1]
        self.null = 1 - self.rank / (n - 1) if n > 1 and totals.finite else math.nan
        self._interpolates = self.rank == n - 1
        # 1 - R^2 is a quadratic form of B, and errs as the products of x and y do
        products = self._deviation + float((self._coefficients.square() @ totals.squares).sum())
        self._rounding = ROUNDING * self.width * products

    def squared_errors(self, features: Tensor, targets: Tensor) -> Tensor:
        """(n,) float64 ||y_i - yhat_i||^2 for features (n, ...) and targets as in the fit."""
        check_targets(features, targets, self._num_classes)
        x, y = _flat(features), self._like_fitted(targets)
        if x.shape[1] != self.width:
            raise InvalidInputError(
                f"Expected features of width {self.width} as in the fit, got {x.shape[1]}."
            )
        squares = self._mean.new_empty(len(x))
        for rows in _chunks(len(x), self.width + len(self._target_mean)):
            error = (x[rows].to(self._mean) - self._mean) @ self._coefficients.T
            error += self._target_mean
            if y.ndim == 1:
                error[torch.arange(len(error), device=y.device), y[rows]] -= 1
            else:
                error -= y[rows]
            squares[rows] = error.square_().sum(1)
        return squares

    def squared_deviations(self, targets: Tensor) -> Tensor:
        """(n,) float64 ||y_i - ybar||^2, where ybar is the mean of the fitting data."""
        _check_kind(targets, self._num_classes)
        y, mean = self._like_fitted(targets), self._target_mean
        if y.ndim == 2:
            return (y - mean).square().sum(1)
        return (1 - 2 * mean + mean.square().sum()).clamp(min=0)[y]

    def separation(self) -> Separation:
        """1 - R^2 on the fitting data, in [0, 1]."""
        if self._interpolates and self.status is SeparationStatus.OK:
            return self._record(
                0.0,
                SeparationStatus.COLLAPSED,
                "There are as many features as samples: the fit is exact whatever the targets.",
            )
        return self.separation_of(self._error, self._deviation)

    def separation_of(self, error: float, deviation: float) -> Separation:
        """1 - R^2 on another set, from its sums of squared errors and of squared deviations.

        Above 1 where the fit predicts that set worse than the mean of the fitting data does.
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
        """(n,) influence of samples of the fitting data on log(1 - R^2); their mean is 0.

        The change per unit of weight is e_i^2 / mean(e^2) - s_i / mean(s) with errors e and
        deviations s: coefficients and means are at their optimum and, to first order, do not
        move (envelope theorem).  nan where the logarithm does not exist.
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
        """Labels (n,), or real targets (n, q) in float64, where the fit is."""
        columns = _columns(targets).to(self._mean.device)
        if columns.ndim == 1:
            return columns
        if columns.shape[1] != len(self._target_mean):
            raise InvalidInputError(
                f"Expected targets of width {len(self._target_mean)} as in the fit, "
                f"got {columns.shape[1]}."
            )
        return columns.double()

    def _record(self, value: float, status: SeparationStatus, reason: str) -> Separation:
        return Separation(value, self.rank, self.full_rank, status, reason)


def prediction_residual(
    features: Tensor, targets: Tensor, num_classes: int | None = None
) -> Separation:
    """1 - R^2 of the least-squares fit, with an intercept, from features in memory to targets.

    Args:
        features: (n, ...) tensor of any floating dtype on any device; flattened to (n, p).
        targets: (n,) integers in 0 .. K-1, for their one-hot code; else (n,) or (n, q) floating,
            whose columns share one sum of squares.
        num_classes: K; None for real targets.

    Returns:
        ``Separation`` whose value lies in [0, 1]; where 1 - R^2 does not exist it is nan, and
        where the fit is exact 0, and the status says why.  ``rank`` counts feature directions;
        where it is below ``full_rank`` features are constant or collinear, which does no harm.

    Raises:
        InvalidInputError: on wrong shapes or dtypes, labels out of range, targets that are not
            finite, or no samples.

    Reference: He & Su, 2024 (see the module).
    """
    return _fitted(features, targets, num_classes).separation()


def cross_fitted_residual(
    features: Tensor,
    targets: Tensor,
    heldout_features: Tensor,
    heldout_targets: Tensor,
    num_classes: int | None = None,
) -> Separation:
    """1 - R^2 on held-out data of the fit to other data.

    Deviations are from the mean of the fitting data too, so 1 is what a constant prediction
    gives, and more is worse than that.  Shapes and errors as in ``prediction_residual``.
    """
    fit = _fitted(features, targets, num_classes)
    errors = fit.squared_errors(heldout_features, heldout_targets)
    deviations = fit.squared_deviations(heldout_targets)
    return fit.separation_of(float(errors.sum()), float(deviations.sum()))


def check_targets(features: Tensor, targets: Tensor, num_classes: int | None) -> None:
    """Raise ``InvalidInputError`` unless features (n, ...) and targets fit together."""
    if not isinstance(features, Tensor) or not isinstance(targets, Tensor):
        raise InvalidInputError(
            f"Expected `features` and `targets` as torch tensors, got "
            f"{type(features).__name__} and {type(targets).__name__}; use torch.as_tensor."
        )
    if features.ndim < 2 or not features.is_floating_point():
        raise InvalidInputError(
            f"Expected `features` of shape (n, ...) and a floating dtype, got shape "
            f"{tuple(features.shape)} and {features.dtype}."
        )
    if features.numel() == 0:
        raise InvalidInputError(
            f"Expected at least one sample and one feature, got shape {tuple(features.shape)}."
        )
    _check_kind(targets, num_classes)
    if len(features) != len(targets):
        raise InvalidInputError(
            f"Expected one target per sample, got {len(features)} samples and "
            f"{len(targets)} targets."
        )


def _check_kind(targets: Tensor, num_classes: int | None) -> None:
    """Class labels, or real numbers where there are no classes."""
    if num_classes is None:
        _check_real(targets)
    else:
        _check_labels(targets, num_classes)


def _check_real(targets: Tensor) -> None:
    if not targets.is_floating_point():
        raise InvalidInputError(
            f"Expected `targets` of a floating dtype, got {targets.dtype}; give `num_classes` "
            f"where they are class labels."
        )
    if targets.ndim not in (1, 2) or targets.numel() == 0:
        raise InvalidInputError(
            f"Expected `targets` of shape (n,) or (n, q), got shape {tuple(targets.shape)}."
        )
    if not bool(torch.isfinite(targets).all()):
        raise InvalidInputError(
            "Expected finite `targets`, got NaN or infinity; leave out samples without a target."
        )


def _check_labels(targets: Tensor, num_classes: int) -> None:
    if targets.is_floating_point():
        raise InvalidInputError(
            f"Expected `targets` of an integer dtype for {num_classes} classes, got "
            f"{targets.dtype}; leave out `num_classes` where they are real numbers."
        )
    if targets.ndim != 1 or targets.dtype == torch.bool or targets.numel() == 0:
        raise InvalidInputError(
            f"Expected `targets` of shape (n,) and an integer dtype, got shape "
            f"{tuple(targets.shape)} and {targets.dtype}."
        )
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= num_classes:
        raise InvalidInputError(
            f"Expected labels from 0 to {num_classes - 1}, got {low if low < 0 else high}."
        )


def _fitted(features: Tensor, targets: Tensor, num_classes: int | None) -> LinearPrediction:
    sums = PredictionSums(num_classes)
    sums.update(features, targets)
    return sums.fit()


def _whitening(covariance: Tensor, noise: Tensor, full_rank: int) -> Tensor:
    """W (p, r) with W'CW = I over the directions that are more than noise.

    Args:
        covariance: C (p, p); overwritten.
        noise: (p,) variance of each feature that is rounding alone.
        full_rank: keep no more directions than this.

    A unit direction v of R holds rounding noise of variance sum_j v_j^2 noise_j / C_jj, if
    features are rounded independently of each other.  To invert a direction whose variance is not
    above that would fit the targets to rounding.
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


def _flat(features: Tensor) -> Tensor:
    flat = features.detach().reshape(len(features), -1)
    # float64 does not exist on Apple's GPUs
    return flat.cpu() if flat.device.type == "mps" else flat


def _columns(targets: Tensor) -> Tensor:
    """Labels (n,) as they index, real targets as (n, q)."""
    if targets.device.type == "mps":
        targets = targets.cpu()
    return _flat(targets) if targets.is_floating_point() else targets.long()


def _chunks(samples: int, width: int) -> Iterator[slice]:
    """Rows of a batch, so many at a time that they fit in a chunk."""
    step = max(1, CHUNK_ELEMENTS // width)
    for start in range(0, samples, step):
        yield slice(start, min(start + step, samples))
