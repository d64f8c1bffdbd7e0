"""Prediction residual 1 - R^2 of one layer's features: what a linear map leaves unexplained.

======  ==========================================================  ========
symbol  meaning                                                     shape
======  ==========================================================  ========
x       features of n samples                                       (n, p)
y       targets; the one-hot code if they are classes               (n, q)
yhat    prediction of the least-squares fit with an intercept       (n, q)
ybar    mean of the targets                                         (q,)
======  ==========================================================  ========

    1 - R^2 = sum_i ||y_i - yhat_i||^2 / sum_i ||y_i - ybar||^2

One pass over the data in batches of any size suffices, with O(p^2 + p q) memory and sums in
float64: ``PredictionSums`` takes it, and ``LinearPrediction`` solves the normal equations.

The published program regresses the index of the next token as one number; token indices that are
given as real targets lead to its values.  The one-hot code asks the same of each token without
depending on how the vocabulary is numbered, and suits any classes.

Reference: He & Su, "A law of next-token prediction in large language models",
arXiv:2408.13442, 2024; Physical Review E 112, 035317, 2025.
"""

from __future__ import annotations

from torch import Tensor

from designer.errors import InvalidInputError
from designer.measures.checks import check_class_count, check_targets
from designer.measures.cross_products import CrossProducts, row_chunks, target_columns
from designer.measures.linear_prediction import LinearPrediction
from designer.measures.precision import epsilon_of, flattened
from designer.results.measured import Separation


class PredictionSums:
    """First and only pass: sums of features, targets and their products, in float64.

    Args:
        num_classes: K, if targets are classes 0..K-1; None, if they are real numbers.

    Raises:
        InvalidInputError: if K is less than 1, or above a million.
    """

    def __init__(self, num_classes: int | None) -> None:
        if num_classes is not None and num_classes < 1:
            raise InvalidInputError(f"Expected `num_classes` of at least 1, got {num_classes}.")
        check_class_count(num_classes or 0)
        self.num_classes = num_classes
        self._products: CrossProducts | None = None
        self._epsilon = 0.0

    def update(self, features: Tensor, targets: Tensor) -> None:
        """Add a batch.

        Args:
            features: (n, ...) of any floating dtype on any device; flattened to (n, p).
            targets: (n,) integers in 0..K-1; else (n,) or (n, q) floating and finite.

        Raises:
            InvalidInputError: on wrong shapes or dtypes, or widths unlike the first batch's.
        """
        check_targets(features, targets, self.num_classes)
        x, y = flattened(features), target_columns(targets)
        q = self.num_classes or y.shape[1]
        for rows in row_chunks(len(x), x.shape[1] + y[0].numel()):
            if self._products is None:
                self._products = CrossProducts(x[rows], y[rows], q)
            self._products.check(x.shape[1], q)
            self._products.add(x[rows], y[rows])
        self._epsilon = max(self._epsilon, epsilon_of(features.dtype))

    @property
    def samples(self) -> int:
        """Number of samples that were added."""
        return 0 if self._products is None else self._products.n

    def fit(self) -> LinearPrediction:
        """Return the least-squares fit to all samples that were added.

        Raises:
            InvalidInputError: if no batch was added.
        """
        if self._products is None:
            raise InvalidInputError("Expected at least one batch of features, got none.")
        return LinearPrediction(self._products, self.num_classes, self._epsilon)


def prediction_residual(
    features: Tensor, targets: Tensor, num_classes: int | None = None
) -> Separation:
    """Return 1 - R^2 of the least-squares fit, with an intercept, of features in memory.

    Args:
        features: (n, ...) tensor of any floating dtype on any device; flattened to (n, p).
        targets: (n,) integers in 0..K-1, for their one-hot code; else (n,) or (n, q) floating,
            whose columns share one sum of squares.
        num_classes: K; None for real targets.

    Returns:
        1 - R^2, 0..1: 0 if the fit is exact, nan if it does not exist; the status says why.
        ``rank`` counts feature directions; if it is below ``full_rank``, features are constant or
        collinear, which does no harm.

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
    """Return 1 - R^2 on held-out data of the fit to training data.

    Deviations are taken from the training mean, too: 1 is what predicting that mean gives, and
    more is worse.

    Args:
        features: (n, ...) training features.
        targets: training targets, as in ``prediction_residual``.
        heldout_features: (m, ...) held-out features of the same width.
        heldout_targets: held-out targets of the same kind.
        num_classes: K; None for real targets.

    Raises:
        InvalidInputError: as ``prediction_residual``.
    """
    fit = _fitted(features, targets, num_classes)
    errors = fit.squared_errors(heldout_features, heldout_targets)
    deviations = fit.squared_deviations(heldout_targets)
    return fit.separation_of(float(errors.sum()), float(deviations.sum()))


def _fitted(features: Tensor, targets: Tensor, num_classes: int | None) -> LinearPrediction:
    sums = PredictionSums(num_classes)
    sums.update(features, targets)
    return sums.fit()
