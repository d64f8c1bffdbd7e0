"""Records of what was measured inside a network."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


Interval = tuple[float, float]


Measured = float | None
"""A reported number; None where it could not be measured."""


Draws = tuple[tuple[float, ...], ...]
"""Bootstrap draws, one row per resample."""


class SeparationStatus(StrEnum):
    """Whether a separation fuzziness means anything, and if not, why."""

    OK = "ok"
    RANK_DEFICIENT = "rank deficient"
    """The class means span fewer than K - 1 directions; D covers those that are left."""
    COLLAPSED = "collapsed"
    """No scatter within the classes: D = 0, its logarithm does not exist."""
    NO_SIGNAL = "no class signal"
    """All class means coincide: D does not exist."""
    NON_FINITE = "non-finite features"


class LawStatus(StrEnum):
    """Whether the law of equi-separation describes a network."""

    HOLDS = "holds"
    DOES_NOT_HOLD = "does not hold"
    TOO_FEW_LAYERS = "too few layers"
    NOT_DECREASING = "not decreasing"
    DEGENERATE = "degenerate"


class Verdict(StrEnum):
    """What a layer contributes, judged on its share and the interval of that share."""

    OK = "ok"
    LOW = "low"
    HIGH = "high"
    NEGATIVE = "negative"
    DEGENERATE = "degenerate"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True)
class Separation:
    """Separation fuzziness of one layer's features."""

    value: float
    """D = Tr(SS_w SS_b+); smaller is better separated; nan where it does not exist."""
    rank: int
    """Class directions kept, at most ``full_rank``."""
    full_rank: int
    """K - 1 for the K classes present."""
    status: SeparationStatus
    reason: str = ""
    """One sentence where ``status`` is not ok, else empty."""
    terms: tuple[float, ...] = ()
    """What each kept class direction adds to ``value``, strongest direction first."""


@dataclass(frozen=True)
class LawFit:
    """How well D_0..D_L follow the law of equi-separation, D_l = rho^l D_0."""

    status: LawStatus
    reason: str
    """One sentence that says why ``status``."""
    rho: float
    """Decay ratio per layer from least squares of log D_l on l. Not comparable across depths."""
    half_life: float
    """Layers in which D halves, ln 2 / -ln rho; inf where D does not fall."""
    r: float
    """Pearson correlation of log D_l with l (-1 where the law holds)."""
    r_squared: float
    uniformity: float
    """mean(g) / rms(g) of the steps g: 1 where the law holds exactly, below 0 where D rises."""
    curvature: float
    """Least-squares rise of the shares from first to last layer; above 0 late layers do more."""
    total_reduction: float
    """log(D_0 / D_L) in nats."""
    robustness_ratio: float
    """sum(1 / rho_l) / (L (prod rho_l)^(-1/L)) >= 1; 1 where all steps are equal."""
    steps: tuple[float, ...]
    """g_l = log D_{l-1} - log D_l for l = 1..L, in nats."""
    shares: tuple[float, ...]
    """g_l / mean(g); nan where D does not fall in total."""
    residuals: tuple[float, ...]
    """log D_l minus the fitted line, l = 0..L, in nats."""


@dataclass(frozen=True)
class LayerSeparation:
    """What was measured at one tap: the input (first) or the output of a block."""

    name: str
    width: int
    """Features per sample."""
    train: Separation
    heldout: Separation | None = None
    """Cross-fitted: means and directions from training data, scatter from held-out data."""
    null: float = float("nan")
    """Mean D of the same training features with permuted labels."""
    nearest_class_mean_accuracy: float = float("nan")
    """On held-out data, class means from training data."""
    kind: str = ""
    """Class of the block; empty for the input."""
    nulls: tuple[float, ...] = ()
    """D with each of the permuted labels, whose mean is ``null``."""


@dataclass(frozen=True)
class SeparationProfile:
    """Separation through a network, input first, then every block in running order."""

    layers: tuple[LayerSeparation, ...]
    law: LawFit
    """Of the training values."""
    law_heldout: LawFit | None
    """Of the cross-fitted values."""
    num_classes: int
    chance: float
    """Share of the largest class in the held-out (else training) data."""
    samples: int
    samples_heldout: int
    resampled: Draws = ()
    """(B, L + 1) bootstrap values of D on training data."""
    resampled_heldout: Draws = ()
    """(B, L + 1) bootstrap values of the cross-fitted D."""
    measure: str = "separation"
    """What stands for D: ``separation``, or ``residual`` for 1 - R^2 of a linear prediction."""
    features: str = "flatten"
    """How outputs became feature vectors, such as ``project 2048``."""
    accuracy: float = float("nan")
    """Of the model's own predictions on training data; nan where it gives no logits."""
    accuracy_heldout: float = float("nan")
    chance_train: float = float("nan")
    """Share of the largest class in the training data."""
    notes: tuple[str, ...] = ()
    """What the reader should know of how this was measured."""

    @property
    def values(self) -> FloatArray:
        """(L + 1,) D on training data."""
        return np.array([layer.train.value for layer in self.layers])

    @property
    def values_heldout(self) -> FloatArray:
        """(L + 1,) cross-fitted D; nan without held-out data."""
        return np.array([layer.heldout.value if layer.heldout else np.nan for layer in self.layers])

    @property
    def nulls(self) -> FloatArray:
        """(L + 1,) label-permutation null of D."""
        return np.array([layer.null for layer in self.layers])


@dataclass(frozen=True)
class DesignScore:
    """The number that a search maximises, with its parts visibly apart."""

    value: float
    heldout_separation: float
    """Held-out nearest-class-mean accuracy over the later two thirds of the depth; 0 is chance,
    1 is perfect."""
    adherence: float
    """How equal the blocks' steps are beyond the label-permutation null, -1..1."""
    explanation: str
    """One sentence with the numbers filled in."""


def measured(value: float) -> Measured:
    """``value``, or None where it is nan or infinite."""
    return float(value) if np.isfinite(value) else None
