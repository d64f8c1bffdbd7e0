"""Records of what was measured inside a network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from designer.results.ranges import Measured

FloatArray = NDArray[np.float64]
"""An array of float64 numbers of any shape."""

Draws = tuple[tuple[float, ...], ...]
"""Bootstrap draws, one row per resample."""

LARGEST_LOSS = 700.0
"""The largest cross-entropy, in nats, whose perplexity is still a number of float64."""

LOW_SHARE, HIGH_SHARE = 0.5, 2.0
"""A share below the first bound is too small a contribution, one above the second too large."""


class SeparationStatus(StrEnum):
    """What a separation fuzziness means, or why it means nothing."""

    OK = "ok"
    """All class directions are there."""
    RANK_DEFICIENT = "rank deficient"
    """The class means span fewer than K - 1 directions; D covers those that are left."""
    COLLAPSED = "collapsed"
    """There is no scatter within the classes: D = 0, and its logarithm does not exist."""
    NO_SIGNAL = "no class signal"
    """All class means coincide: D does not exist."""
    NON_FINITE = "non-finite features"
    """The features contain NaN or infinity: D does not exist."""


class LawStatus(StrEnum):
    """How well the law of equi-separation describes a network."""

    HOLDS = "holds"
    """The steps are nearly equal."""
    DOES_NOT_HOLD = "does not hold"
    """D falls in unequal steps."""
    TOO_FEW_LAYERS = "too few layers"
    """One or two steps nearly fit any line."""
    NOT_DECREASING = "not decreasing"
    """D does not fall from the input to the last layer."""
    DEGENERATE = "degenerate"
    """Some D has no logarithm."""


class Verdict(StrEnum):
    """What a layer does: what it is needed for, where that was measured, else what it shows."""

    OK = "ok"
    """The share lies within the bounds."""
    LOW = "low"
    """The whole interval of the share lies below ``LOW_SHARE``."""
    HIGH = "high"
    """The whole interval of the share lies above ``HIGH_SHARE``."""
    NEGATIVE = "negative"
    """The whole interval lies at or below 0: the layer undoes separation."""
    DEGENERATE = "degenerate"
    """A class direction is missing before or behind the layer, or D has no logarithm there."""
    UNCERTAIN = "uncertain"
    """The share lies outside the bounds, but its interval reaches inside; or there is no share."""
    PREPARES = "prepares"
    """The step is low or negative, but the network gets worse without the layer: its contribution
    is above zero by its whole interval."""
    IDLE = "idle"
    """The network does as well without the layer: its contribution is zero or below."""


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
    """What ``value`` means, or why it means nothing."""
    reason: str = ""
    """One sentence if ``status`` is not ok, else empty."""
    terms: tuple[float, ...] = ()
    """(rank,) What each kept class direction adds to ``value``, strongest direction first."""


@dataclass(frozen=True)
class LawFit:
    """How well D_0..D_L follow the law of equi-separation, D_l = rho^l D_0."""

    status: LawStatus
    """How well the law describes the network."""
    reason: str
    """One sentence that explains ``status``."""
    rho: float
    """Decay ratio per layer: exp of the least-squares slope of log D_l on l. It cannot be compared
    between networks of different depth."""
    half_life: float
    """Layers in which D halves, ln 2 / -ln rho; inf where D does not fall."""
    r: float
    """Pearson correlation of log D_l with l (-1 where the law holds)."""
    r_squared: float
    """Square of ``r``."""
    uniformity: float
    """mean(g) / rms(g) of the steps g: 1 where the law holds exactly, below 0 where D rises."""
    curvature: float
    """Least-squares rise of the shares from first to last layer; above 0 late layers do more."""
    total_reduction: float
    """log(D_0 / D_L) in nats."""
    robustness_ratio: float
    """sum(1 / rho_l) / (L (prod rho_l)^(-1/L)) >= 1; 1 where all steps are equal."""
    steps: tuple[float, ...]
    """(L,) g_l = log D_{l-1} - log D_l for l = 1..L, in nats."""
    shares: tuple[float, ...]
    """(L,) g_l / mean(g); nan if D does not fall in total."""
    residuals: tuple[float, ...]
    """(L + 1,) log D_l minus the fitted line, l = 0..L, in nats."""


@dataclass(frozen=True)
class LayerSeparation:
    """Measurements at one tap: the input, which comes first, or the output of a block."""

    name: str
    """Path of the block in the model; ``input`` for the input."""
    width: int
    """Features per sample."""
    train: Separation
    """D on training data."""
    heldout: Separation | None = None
    """Cross-fitted D: means and directions from training data, scatter from held-out data."""
    null: float = float("nan")
    """Mean D of the same training features with permuted labels."""
    nearest_class_mean_accuracy: float = float("nan")
    """Held-out accuracy of the nearest class mean of training data; nan without held-out data."""
    kind: str = ""
    """Class of the block; empty for the input."""
    nulls: tuple[float, ...] = ()
    """D with each permutation of the labels; their mean is ``null``."""
    parameters: int | None = None
    """Parameters that no other part of the model uses; None for the input, or if not counted."""
    positions: int | None = None
    """Pixels of maps or tokens of sequences that a sample has here, 1 for vectors; None in profiles
    of earlier versions."""


@dataclass(frozen=True)
class BypassedParts:
    """Parts that a reader may take for the blocks, though part of the input flows past them."""

    kind: str
    """Class name of the parts, or of the most of them."""
    count: int
    """Number of parts."""
    within_blocks: bool
    """True if they lie within the blocks; False if they lie beside blocks of the same class."""
    patterns: tuple[str, ...]
    """Names of the parts, with ``*`` in the place of numbers."""


@dataclass(frozen=True)
class SeparationProfile:
    """Separation through a network, input first, then every block in running order."""

    layers: tuple[LayerSeparation, ...]
    """(L + 1) taps."""
    law: LawFit
    """The law on training data."""
    law_heldout: LawFit | None
    """The law on held-out data; None without held-out data."""
    num_classes: int
    """K; 0 for real targets."""
    chance: float
    """Share of the largest class in the held-out data; without these, in the training data."""
    samples: int
    """Training samples; tokens where every token has a target."""
    samples_heldout: int
    """Held-out samples; 0 for none."""
    resampled: Draws = ()
    """(B, L + 1) bootstrap values of D on training data."""
    resampled_heldout: Draws = ()
    """(B, L + 1) bootstrap values of the cross-fitted D."""
    measure: str = "separation"
    """What the numbers called D are: ``separation``, or ``residual`` for 1 - R^2 of a linear
    prediction."""
    classes_present: int = 0
    """How many classes have training samples, which need not be all that labels leave room for."""
    features: str = "flatten"
    """How outputs became feature vectors, for example ``project 2048``."""
    accuracy: float = float("nan")
    """Accuracy of the model's own predictions on training data; nan if it gives no logits."""
    accuracy_heldout: float = float("nan")
    """The same on held-out data."""
    accuracy_by_chance: float = float("nan")
    """Accuracy on training data if these predictions did not depend on the labels; nan likewise."""
    accuracy_by_chance_heldout: float = float("nan")
    """The same on held-out data."""
    chance_train: float = float("nan")
    """Share of the largest class in the training data."""
    notes: tuple[str, ...] = ()
    """Sentences about how this was measured that the reader should know."""
    parameters: int | None = None
    """Number of parameters of the model; None if not counted."""
    embedding_parameters: int = 0
    """How many of them lie in embeddings, which turn tokens into vectors and are no layers."""
    coverage: float | None = None
    """Share of the parameters outside of embeddings that lie in blocks, from 0 to 1; None if not
    known."""
    bypassed: BypassedParts | None = None
    """Parts that a reader may take for the blocks, though part of the input flows past them; None
    if there are none or the blocks are named."""
    unseen_block: str | None = None
    """A last part that is like the blocks, and is none since no module receives what it gives."""
    logits: int | None = None
    """Number of logits that the model gives; None if it gives none."""
    blocks_named: bool = False
    """True if the caller or the model named the blocks, so that none were looked for."""
    loss: float = float("nan")
    """Mean cross-entropy of a language model's predictions on training data, in nats; nan for other
    models."""
    loss_heldout: float = float("nan")
    """The same on held-out data."""

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
        """(L + 1,) null of each layer: the mean D over permutations of the labels."""
        return np.array([layer.null for layer in self.layers])


@dataclass(frozen=True)
class DesignScore:
    """The number that a search maximises, with its parts visibly apart."""

    value: float
    """Higher is better, at most 1."""
    heldout_separation: float
    """Held-out nearest-class-mean accuracy over the later two thirds of the depth; 0 is chance,
    1 is perfect."""
    accuracy_above_chance: float
    """Held-out accuracy of the network over its last epochs; 0 is chance, 1 is perfect, NaN where
    it gives no logits."""
    adherence: float
    """How equal the blocks' steps are beyond the label-permutation null, -1..1."""
    explanation: str
    """One sentence with the numbers filled in."""


def perplexity_of(loss: float) -> float:
    """Return exp(loss), with which a language model's mean cross-entropy in nats is reported.

    It is nan for nan, and infinite where the number is too large.
    """
    return math.exp(loss) if not loss > LARGEST_LOSS else math.inf


def measured(value: float) -> Measured:
    """Return a number, or None if it is nan or infinite."""
    return float(value) if np.isfinite(value) else None
