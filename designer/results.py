"""Frozen records that every part hands on: plain numbers, strings and small arrays.

Nothing here holds a tensor, a module or an open file, so each record can be kept,
compared and written down.  ``report.json`` is ``SearchResult`` as JSON.  In what is measured
a number that does not exist is ``nan``; in what is reported it is ``None``, JSON's ``null``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Interval = tuple[float, float]
Measured = float | None
"""A reported number; None where it could not be measured."""
Draws = tuple[tuple[float, ...], ...]
"""Bootstrap draws, one row per resample."""

REPORT_SCHEMA = "designer.report/1"
ANALYSIS_SCHEMA = "designer.analysis/1"
PRUNING_SCHEMA = "designer.pruning/1"
COMPARISON_SCHEMA = "designer.comparison/1"


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


@dataclass(frozen=True)
class MeanSd:
    """Mean and sample standard deviation over training seeds."""

    mean: float
    sd: Measured
    seeds: int


@dataclass(frozen=True)
class LawSummary:
    """The law in a few numbers, as the report shows it."""

    rho: Measured
    half_life: Measured
    r: Measured
    uniformity: Measured
    total_reduction: Measured
    status: LawStatus
    r_squared: Measured = None
    curvature: Measured = None
    robustness_ratio: Measured = None
    reason: str = ""

    @classmethod
    def of(cls, law: LawFit) -> LawSummary:
        """The summary of a fit."""
        return cls(
            rho=measured(law.rho),
            half_life=measured(law.half_life),
            r=measured(law.r),
            uniformity=measured(law.uniformity),
            total_reduction=measured(law.total_reduction),
            status=law.status,
            r_squared=measured(law.r_squared),
            curvature=measured(law.curvature),
            robustness_ratio=measured(law.robustness_ratio),
            reason=law.reason,
        )


def measured(value: float) -> Measured:
    """``value``, or None where it is nan or infinite."""
    return float(value) if np.isfinite(value) else None


@dataclass(frozen=True)
class Curve:
    """D through one network, the input first, to four significant digits: there are many."""

    blocks: tuple[str, ...]
    """Names of all taps, the input first."""
    separation: tuple[Measured, ...]
    """(L + 1,) D on training data."""
    separation_heldout: tuple[Measured, ...] = ()
    """(L + 1,) cross-fitted D; empty without held-out data."""
    epoch: int | None = None
    """Of training after which this was; None for its end."""

    @classmethod
    def of(cls, seen: SeparationProfile, epoch: int | None = None) -> Curve:
        """The curve of a profile."""
        return cls(
            blocks=tuple(layer.name for layer in seen.layers),
            separation=tuple(map(_rounded, seen.values)),
            separation_heldout=tuple(map(_rounded, seen.values_heldout))
            if seen.law_heldout
            else (),
            epoch=epoch,
        )

    @classmethod
    def read(cls, stored: dict[str, Any]) -> Curve:
        """A curve that was kept as JSON values."""
        return cls(
            blocks=tuple(stored["blocks"]),
            separation=tuple(stored["separation"]),
            separation_heldout=tuple(stored["separation_heldout"]),
            epoch=stored["epoch"],
        )


def _rounded(value: float) -> Measured:
    known = measured(value)
    return None if known is None else float(f"{known:.4g}")


@dataclass(frozen=True)
class LawRow:
    """The law at one moment of a training run."""

    epoch: int
    blocks: tuple[str, ...]
    """Names of all taps, the input first."""
    separation: tuple[Measured, ...]
    """(L + 1,) D on training data."""
    separation_heldout: tuple[Measured, ...] | None
    law: LawSummary
    law_heldout: LawSummary | None
    design_score: Measured
    """None without held-out data."""
    accuracy: Measured
    accuracy_heldout: Measured


@dataclass(frozen=True)
class LayerReport:
    """One block of a recommended architecture."""

    name: str
    width: int
    separation: Measured
    """D on training data, geometric mean over the seeds."""
    separation_heldout: Measured
    separation_null: Measured
    step: Measured
    """log D before this block minus log D after it, training data, in nats."""
    share: Measured
    """``step`` over the mean step."""
    interval: Interval | None
    """95 % interval of ``share`` over resamples of the data and seeds."""
    verdict: Verdict
    advice: str
    step_interval: Interval | None = None
    step_heldout: Measured = None
    """The same step in the cross-fitted D."""
    step_heldout_interval: Interval | None = None
    nearest_class_mean_accuracy: Measured = None
    rank: int = 0
    full_rank: int = 0
    kind: str = ""
    """Class of the block."""
    null_range: Interval | None = None
    """Least and largest D with permuted labels, over permutations and seeds."""


@dataclass(frozen=True)
class StageLaw:
    """The law within one stage: consecutive blocks of one kind in one part of the network."""

    name: str
    """Of the part, such as ``layer1``."""
    kind: str
    """Class of its blocks."""
    blocks: tuple[str, ...]
    law: LawSummary
    """From what the first of them receives to what the last one gives."""


@dataclass(frozen=True)
class InputReport:
    """D_0: separation of the data before the first block."""

    width: int
    separation: Measured
    separation_heldout: Measured
    separation_null: Measured
    nearest_class_mean_accuracy: Measured
    null_range: Interval | None = None
    """As of ``LayerReport``."""


@dataclass(frozen=True)
class Recommendation:
    """One architecture that was retrained with fresh seeds, and why it is shown."""

    rank: int
    spec: dict[str, Any]
    parameters: int
    flops: int
    """Floating-point operations of one forward pass on one sample."""
    learning_rate: float
    score: Measured
    """Design score, mean over the confirmation seeds."""
    validation_accuracy: MeanSd
    test_accuracy: MeanSd | None
    law: LawSummary
    layers: tuple[LayerReport, ...]
    reason: str
    roles: tuple[str, ...] = ()
    """Any of ``most accurate``, ``smallest``, ``best follower``; empty for a runner-up."""
    input: InputReport | None = None
    trial: int = -1
    """Number of the search trial that found it."""
    score_parts: dict[str, Measured] = field(default_factory=dict)
    train_accuracy: Measured = None
    stages: tuple[StageLaw, ...] = ()
    """Where there are several."""
    emergence: tuple[Curve, ...] = ()
    """D on training data after some epochs of its first confirmation run."""


@dataclass(frozen=True)
class TrialRow:
    """One trial of the search."""

    number: int
    state: str
    """``complete``, ``pruned`` or ``failed``."""
    spec: dict[str, Any]
    parameters: int | None
    flops: int | None
    learning_rate: float | None
    score: Measured
    heldout_separation: Measured
    adherence: Measured
    validation_accuracy: Measured
    train_accuracy: Measured
    training_loss: Measured
    """Mean training loss summed over the epochs."""
    law: LawSummary | None
    epochs: int
    seconds: float
    reason: str = ""
    """Why the trial failed or was pruned."""
    depth: int | None = None
    """Number of blocks."""
    curve: Curve | None = None
    """Kept for the best trials alone."""


@dataclass(frozen=True)
class TrialCounts:
    """Finished trials by how they ended."""

    complete: int
    pruned: int
    failed: int
    retried: int = 0
    """Those of them that were begun before, by a worker that was killed or cut off."""


@dataclass(frozen=True)
class DataSummary:
    """The data as the search used it."""

    name: str
    fingerprint: str
    """SHA-256 of the arrays after splitting, before scaling."""
    input_shape: tuple[int, ...]
    num_classes: int
    train: int
    validation: int
    test: int
    chance: float
    """Share of the largest class in the validation data."""
    shuffled_labels: bool = False


@dataclass(frozen=True)
class StudySummary:
    """What was searched, how, and how long it took."""

    space: str
    data: str
    seed: int
    trials: TrialCounts
    epochs: int
    objective: str
    seconds: float
    """Sum of the time spent in trials and confirmation runs, over all workers."""
    dataset: DataSummary | None = None
    confirmation: dict[str, int] = field(default_factory=dict)
    """``candidates``, ``epochs`` and ``seeds`` of the confirmation."""
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    score_explanation: str = ""


@dataclass(frozen=True)
class RankAgreement:
    """Spearman correlation of one criterion with validation accuracy over the trials."""

    spearman: Measured
    n: int
    interval: Interval | None
    """95 % bootstrap interval over the trials."""


@dataclass(frozen=True)
class ReportWarning:
    """Something that the reader should know before trusting the numbers."""

    code: str
    message: str


@dataclass(frozen=True)
class SearchResult:
    """Everything that a search found; ``report.json`` is this record as JSON."""

    schema: str
    study: StudySummary
    recommendations: tuple[Recommendation, ...]
    criterion: dict[str, RankAgreement]
    trials: tuple[TrialRow, ...]
    warnings: tuple[ReportWarning, ...]


@dataclass(frozen=True)
class ModelSummary:
    """The model that was looked at."""

    name: str
    """As given, such as ``package.module:callable``."""
    weights: str | None
    """File that they came from; None for those that the model was made with."""
    kind: str
    """Its class."""
    parameters: int
    accuracy: Measured
    """Of its own predictions on training data; None where it gives no logits."""
    accuracy_heldout: Measured


@dataclass(frozen=True)
class DataUsed:
    """What a model was looked at with."""

    name: str
    train: int
    """Samples; tokens where every token has a target."""
    heldout: int
    """0 for none."""
    heldout_part: str
    """Which part of the data that is, such as ``test``."""
    num_classes: int
    """0 for real targets."""
    chance: Measured
    fingerprint: str = ""
    scaling: str = ""
    """Of the inputs: ``standard``, ``none`` or ``given`` with the model; empty where they were
    taken as they came."""


@dataclass(frozen=True)
class Tunnel:
    """Where the network stops separating held-out data (Masarczyk et al., NeurIPS 2023)."""

    entrance: str
    """The last block that improves on held-out data; ``input`` where none does."""
    blocks: tuple[str, ...]
    """Those beyond, which do not."""
    reason: str


@dataclass(frozen=True)
class AnalysisResult:
    """What was seen inside a model; ``designer analyze --json`` is this record as JSON."""

    schema: str
    model: ModelSummary
    data: DataUsed
    measure: str
    """``separation`` or ``residual``: what stands for D in all that follows."""
    features: str
    """How outputs became feature vectors."""
    law: LawSummary
    law_heldout: LawSummary | None
    input: InputReport
    layers: tuple[LayerReport, ...]
    stages: tuple[StageLaw, ...]
    """Where there are several."""
    tunnel: Tunnel | None
    """None without held-out data, and where D does not exist."""
    warnings: tuple[ReportWarning, ...]
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    """That made it; empty where it was not a command."""


class Decision(StrEnum):
    """What is proposed for a block before anything has been removed."""

    SAFE = "safe"
    """Its held-out step is surely small: remove it first."""
    DOUBTFUL = "doubtful"
    """Its held-out step may be small: remove it and see."""
    KEEP = "keep"
    """Its held-out step is surely large."""
    FIXED = "fixed"
    """It cannot be removed, whatever it contributes."""


@dataclass(frozen=True)
class BlockProposal:
    """One block of the model that is pruned."""

    name: str
    kind: str
    decision: Decision
    order: int | None
    """1 for the block that goes first; None for one that cannot go."""
    value: Measured
    """By the criterion; the least goes first."""
    step: Measured
    """log D before the block minus log D after it, on training data."""
    step_heldout: Measured
    """The same of the cross-fitted D on held-out data."""
    step_heldout_interval: Interval | None
    removed: bool
    reason: str
    """How it goes, or why it cannot."""


@dataclass(frozen=True)
class Proportion:
    """A share of samples with its 95 % interval."""

    value: float
    interval: Interval
    samples: int


@dataclass(frozen=True)
class NetworkFigures:
    """One network beside the original."""

    name: str
    """``original``, ``pruned``, ``from scratch`` or ``greedy ablation``."""
    blocks: int
    parameters: int
    flops: int
    """Floating-point operations of one forward pass on one sample."""
    latency: Measured
    """Time of a forward pass over that of the original, median of interleaved runs."""
    validation_accuracy: Proportion
    test_accuracy: Proportion | None
    drop: Measured
    """Validation accuracy that it lacks to the original."""
    drop_bound: Measured
    """So much it lacks at the most, with 95 % confidence (paired)."""
    epochs: int
    """That it was trained for here."""
    law: LawSummary | None
    removed: tuple[str, ...] = ()
    curve: Curve | None = None


@dataclass(frozen=True)
class RemovalTrial:
    """Blocks that were removed to see what it costs."""

    removed: tuple[str, ...]
    recovered: bool
    """Whether it was trained afterwards, or only fitted."""
    validation_accuracy: float
    drop: float
    drop_bound: float
    within: bool | None
    """Whether the bound is within what was allowed; None where nothing was said."""


@dataclass(frozen=True)
class PruningReport:
    """What was removed, why, and what it cost; ``OUT/report.json`` is this record as JSON."""

    schema: str
    model: ModelSummary
    data: DataUsed
    criterion: str
    request: dict[str, Any]
    """``remove``, ``max_drop`` or ``target_params``."""
    blocks: tuple[BlockProposal, ...]
    """In running order."""
    removed: tuple[str, ...]
    fitted: tuple[str, ...]
    """Layers that were fitted to what they receive now."""
    narrowed: dict[str, tuple[int, int]]
    """Layers that lost output units: how many they had and have."""
    networks: tuple[NetworkFigures, ...]
    trials: tuple[RemovalTrial, ...]
    conclusion: str
    warnings: tuple[ReportWarning, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    """As of ``AnalysisResult``."""


@dataclass(frozen=True)
class ComparedNetwork:
    """One of the networks that are compared."""

    name: str
    """As it was given."""
    kind: str
    """Class of the model, or name of the search space."""
    spec: dict[str, Any]
    """Of a search's recommendation; empty for any other."""
    data: str
    fingerprint: str
    """Of the data; empty where that is not known."""
    parameters: int
    flops: int | None
    """Floating-point operations of one forward pass on one sample."""
    accuracy: Proportion | None
    """On held-out data."""
    accuracy_part: str
    """Which those are, such as ``validation``."""
    law: LawSummary
    input: InputReport | None
    layers: tuple[LayerReport, ...]
    num_classes: int | None = None
    """That it tells apart; None where that is not known."""


@dataclass(frozen=True)
class LayerDifference:
    """Layers of several networks that stand at the same place."""

    index: int
    """0 for the input."""
    layers: tuple[str | None, ...]
    """One for each network; None where it has none at this place."""
    separation: tuple[Measured, ...]
    """log D minus that of the first network, training data, in nats; below 0 it is better."""
    separation_heldout: tuple[Measured, ...]


@dataclass(frozen=True)
class Advantage:
    """Which network is better in one respect."""

    what: str
    values: tuple[Measured, ...]
    """One for each network."""
    best: str
    """Name of the network; empty where the best cannot be told from another."""
    reason: str


@dataclass(frozen=True)
class ComparisonReport:
    """Networks side by side; ``designer compare --format json`` is this record as JSON."""

    schema: str
    networks: tuple[ComparedNetwork, ...]
    aligned_by: str
    """How layers were brought together: ``name`` or ``position``."""
    differences: tuple[LayerDifference, ...]
    advantages: tuple[Advantage, ...]
    conclusion: str
    warnings: tuple[ReportWarning, ...]
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
