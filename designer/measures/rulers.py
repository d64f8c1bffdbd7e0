"""Rulers: the measurements at one tap, in passes over batches of features and targets.

======  ==========================================================  ========
symbol  meaning                                                     shape
======  ==========================================================  ========
x       features of n samples                                       (n, p)
y       targets: the true ones, then those of each permutation      (n, ...)
e_i     squared error of a held-out sample                          (m,)
s_i     scale of a held-out sample: 1 for separation, its squared   (m,)
        deviation for the residual
======  ==========================================================  ========

Both rulers give a number per layer that the law says falls by the same factor from layer to layer:
separation fuzziness for up to about a hundred classes, the prediction residual for more classes,
next tokens and real targets.  On held-out data that number is sum_i e_i / sum_i s_i, and the
influence of a sample on its logarithm is e_i / mean(e) - s_i / mean(s).

The training data pass once for each of ``PASSES``, with the true targets and, for the null of
separation, with permuted ones; held-out data pass once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from designer.choices import Measure, choice
from designer.errors import InvalidInputError
from designer.measures.class_directions import ClassDirections
from designer.measures.class_sums import ClassSums
from designer.measures.influence import Influence, ScatterCrossing
from designer.measures.linear_prediction import LinearPrediction
from designer.measures.nearest_class_mean import nearest_class
from designer.measures.permutations import PermutedScatter
from designer.measures.residual import PredictionSums
from designer.results.measured import FloatArray, Separation, SeparationStatus

PASSES = {
    Measure.SEPARATION: ("class means", "scatter"),
    Measure.RESIDUAL: ("linear prediction",),
}
"""Names of the passes over the training data."""


class Ruler(ABC):
    """Measures one tap on training data.

    Attributes:
        width: p, known after the first pass.
    """

    width = 0

    @abstractmethod
    def add(self, features: Tensor, targets: Sequence[Tensor]) -> None:
        """Add a batch to the current pass: features (n, p), targets (n, ...), true ones first."""

    @abstractmethod
    def end_pass(self) -> None:
        """End the current pass; every sample has been added once."""

    @abstractmethod
    def train(self) -> Separation:
        """Return the measurement with the true targets."""

    @abstractmethod
    def nulls(self) -> list[float]:
        """Return the measurement with each of the permuted targets."""

    @abstractmethod
    def influence(self, features: Tensor, targets: Tensor) -> FloatArray:
        """Return the influence (n,) of training samples on the logarithm of ``train``."""

    @abstractmethod
    def heldout(self) -> HeldoutRuler:
        """Return the ruler for held-out data, fitted to the training data."""


class HeldoutRuler(ABC):
    """Measures one tap on held-out data."""

    def __init__(self) -> None:
        # sums stay on the device: to read one after every batch would keep a GPU waiting
        self._error: Tensor | float = 0.0
        self._scale: Tensor | float = 0.0
        self._n = 0
        self._hits: Tensor | int = 0
        self._errors: list[Tensor] = []
        self._scales: list[Tensor] = []

    @abstractmethod
    def add(self, features: Tensor, targets: Tensor, kept: Tensor) -> None:
        """Add a batch: features (n, p), targets, and a mask (n,) of those kept for intervals."""

    @abstractmethod
    def separation(self) -> Separation:
        """Return the measurement on all samples that were added."""

    def influence(self) -> FloatArray:
        """Return the influence (kept,) of the kept samples on the logarithm of ``separation``."""
        errors, scales = torch.cat(self._errors), torch.cat(self._scales)
        error, scale = self._error / self._n, self._scale / self._n
        array: FloatArray = (errors / error - scales / scale).cpu().numpy()
        return array

    def accuracy(self) -> float:
        """Return the accuracy of the nearest class mean; nan without class means."""
        return float("nan")

    def _take(self, errors: Tensor, scales: Tensor, kept: Tensor) -> None:
        self._error = self._error + errors.sum()
        self._scale = self._scale + scales.sum()
        self._n += len(errors)
        rows = kept.nonzero().flatten().to(errors.device)
        self._errors.append(errors[rows])
        self._scales.append(scales[rows])


class SeparationRuler(Ruler):
    """Class means in the first pass, scatter along the class directions in the second.

    Args:
        num_classes: K.
        labelings: 1 plus the number of permutations.
        crossing: True if influences will be asked for.
    """

    def __init__(self, num_classes: int, labelings: int, *, crossing: bool) -> None:
        self._sums: ClassSums | None = ClassSums(num_classes, labelings)
        self._permuted: PermutedScatter | None = None
        self._permuting = labelings > 1
        self._crossed = crossing
        self._crossing: ScatterCrossing | None = None
        self._influence: Influence | None = None
        self._n = 0

    def add(self, features: Tensor, targets: Sequence[Tensor]) -> None:
        if self._sums is not None:
            self._sums.update(features, *targets)
            return
        z = self._directions.whitened_residuals(features, targets[0])
        self._squares += z.square().sum(0)
        if self._permuted is not None:
            self._permuted.update(features, *targets[1:])
        if self._crossing is not None:
            self._crossing.update(features, z)
        self._n += len(features)

    def end_pass(self) -> None:
        if self._sums is None:
            self._influence = None if self._crossing is None else self._crossing.influence()
            self._crossing = None
            return
        self._directions = self._sums.directions()
        self._permuted = self._sums.permuted() if self._permuting else None
        self._sums = None
        self._squares = self._directions.basis.new_zeros(self._directions.basis.shape[1])
        self._crossing = ScatterCrossing(self._directions) if self._crossed else None
        self.width = self._directions.means.shape[1]

    def train(self) -> Separation:
        return self._directions.separation_of_terms(self._squares / self._n)

    def nulls(self) -> list[float]:
        return [] if self._permuted is None else self._permuted.values()

    def influence(self, features: Tensor, targets: Tensor) -> FloatArray:
        if self._influence is None:
            raise InvalidInputError("Expected a ruler made with `crossing=True`, got one without.")
        return self._influence.on_log_separation(features, targets)

    def heldout(self) -> HeldoutSeparation:
        return HeldoutSeparation(self._directions)


class HeldoutSeparation(HeldoutRuler):
    """Cross-fitted D: class means and directions are those of the training data."""

    def __init__(self, directions: ClassDirections) -> None:
        super().__init__()
        self._directions = directions
        self._squares = directions.basis.new_zeros(directions.basis.shape[1])

    def add(self, features: Tensor, targets: Tensor, kept: Tensor) -> None:
        z = self._directions.whitened_residuals(features, targets)
        self._squares += z.square().sum(0)
        nearest = nearest_class(self._directions, features)
        self._hits = self._hits + (nearest == targets.to(nearest.device)).sum()
        errors = z.square().sum(1)
        self._take(errors, torch.ones_like(errors), kept)

    def separation(self) -> Separation:
        return self._directions.separation_of_terms(self._squares / self._n)

    def accuracy(self) -> float:
        broken = self._directions.status is SeparationStatus.NON_FINITE
        return float("nan") if broken else float(self._hits) / self._n


class ResidualRuler(Ruler):
    """1 - R^2 in one pass, by the normal equations; its null is known without permutations.

    Args:
        num_classes: K; None for real targets.
    """

    def __init__(self, num_classes: int | None) -> None:
        self._sums = PredictionSums(num_classes)
        self._fit: LinearPrediction | None = None

    @property
    def fit(self) -> LinearPrediction:
        """The prediction; ask for it only after the pass has ended."""
        if self._fit is None:
            self._fit = self._sums.fit()
        return self._fit

    def add(self, features: Tensor, targets: Sequence[Tensor]) -> None:
        self._sums.update(features, targets[0])

    def end_pass(self) -> None:
        self.width = self.fit.width

    def train(self) -> Separation:
        return self.fit.separation()

    def nulls(self) -> list[float]:
        return [self.fit.null]

    def influence(self, features: Tensor, targets: Tensor) -> FloatArray:
        return self.fit.influence(features, targets)

    def heldout(self) -> HeldoutResidual:
        return HeldoutResidual(self.fit)


class HeldoutResidual(HeldoutRuler):
    """1 - R^2 of the prediction that was fitted to the training data."""

    def __init__(self, fit: LinearPrediction) -> None:
        super().__init__()
        self._fit = fit

    def add(self, features: Tensor, targets: Tensor, kept: Tensor) -> None:
        errors = self._fit.squared_errors(features, targets)
        self._take(errors, self._fit.squared_deviations(targets), kept)

    def separation(self) -> Separation:
        return self._fit.separation_of(float(self._error), float(self._scale))


def ruler_of(measure: Measure, num_classes: int | None, labelings: int, *, crossing: bool) -> Ruler:
    """Return a ruler for one tap.

    Args:
        measure: which ruler.
        num_classes: K; None for real targets.
        labelings: 1 plus the number of permutations.
        crossing: True if influences will be asked for.

    Raises:
        InvalidInputError: if separation is asked for with real targets.
    """
    if measure is Measure.RESIDUAL:
        return ResidualRuler(num_classes)
    if num_classes is None:
        raise InvalidInputError(
            "Expected class labels for separation, got real targets; measure the residual."
        )
    return SeparationRuler(num_classes, labelings, crossing=crossing)


def bytes_needed(measure: Measure, widths: Sequence[int], outputs: int, labelings: int) -> int:
    """Return the memory, in bytes, that the rulers of several taps hold at the most.

    Args:
        measure: which ruler.
        widths: p of each tap.
        outputs: K, or the number of real targets.
        labelings: as in ``ruler_of``.
    """
    if measure is Measure.RESIDUAL:  # the covariance, its factors, and the products with targets
        return 8 * sum(width * (2 * width + 2 * outputs) for width in widths)
    # every labeling needs sums or directions, the true one also means and what influences take;
    # besides, the arrays of the decomposition of one tap are held at a time
    decomposing = max(3, 4 * (labelings - 1))
    return 8 * outputs * (sum(widths) * (labelings + 3) + decomposing * max(widths, default=0))


def measure_of(name: str) -> Measure:
    """Return the measure that has a name.

    Raises:
        InvalidInputError: if no measure has that name.
    """
    return choice(Measure, name, "a measure")


def mean_null(values: Sequence[float]) -> float:
    """Return the mean over permutations; nan without any."""
    return float(np.mean(values)) if values else float("nan")
