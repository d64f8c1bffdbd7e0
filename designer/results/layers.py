"""Records of one layer and of the law over all layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from designer.results.contribution import Contribution
from designer.results.measured import (
    LawFit,
    LawStatus,
    SeparationProfile,
    Verdict,
    measured,
)
from designer.results.ranges import (
    Cosine,
    Count,
    CountFrom1,
    Difference,
    Fraction,
    FractionInterval,
    Interval,
    Measured,
    Positive,
)


@dataclass(frozen=True)
class MeanSd:
    """Mean and sample standard deviation over training seeds."""

    mean: Fraction
    """Mean over the seeds."""
    sd: Fraction | None
    """None for a single seed."""
    seeds: CountFrom1
    """Number of seeds."""

    @classmethod
    def of(cls, values: Sequence[float]) -> MeanSd:
        """Return the mean and sample standard deviation of values (n,), n >= 1, one per seed."""
        n = len(values)
        mean = sum(values) / n
        variance = sum((value - mean) ** 2 for value in values) / (n - 1) if n > 1 else float("nan")
        return cls(mean, measured(variance**0.5), n)


@dataclass(frozen=True)
class LawSummary:
    """The law in a few numbers, as the report shows it; for each number see ``LawFit``."""

    rho: Positive | None
    """Decay ratio of D per block; smaller separates faster."""
    half_life: Positive | None
    """Blocks in which D halves; None where D does not fall."""
    r: Cosine | None
    """Pearson correlation of log D with the index of the block; -1 where the law holds exactly."""
    uniformity: Cosine | None
    """1 where all steps are equal, below 0 where D rises."""
    total_reduction: Measured
    """log D of the input minus log D of the last block, in nats."""
    status: LawStatus
    """How well the law describes the network."""
    r_squared: Fraction | None = None
    """Square of ``r``."""
    curvature: Measured = None
    """Rise of the shares from the first to the last block; above 0 late blocks do more."""
    robustness_ratio: Positive | None = None
    """At least 1; 1 where all steps are equal."""
    reason: str = ""
    """One sentence that explains ``status``."""

    @classmethod
    def of(cls, law: LawFit) -> LawSummary:
        """Return the summary of a fit."""
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


@dataclass(frozen=True)
class Curve:
    """D through one network, the input first, rounded to four significant digits to save space."""

    blocks: tuple[str, ...]
    """Names of all taps, the input first."""
    separation: tuple[Positive | None, ...]
    """(L + 1,) D on training data."""
    separation_heldout: tuple[Positive | None, ...] = ()
    """(L + 1,) cross-fitted D; empty without held-out data."""
    epoch: Count | None = None
    """Training epoch after which D was measured; None for the end of training."""

    def __post_init__(self) -> None:
        for values in (self.separation, self.separation_heldout or self.separation):
            if len(values) != len(self.blocks):
                raise ValueError(f"{len(self.blocks)} blocks have {len(values)} values of D")

    @classmethod
    def of(cls, profile: SeparationProfile, epoch: int | None = None) -> Curve:
        """Return the curve of a profile that was measured after an epoch."""
        heldout = profile.values_heldout if profile.law_heldout else ()
        return cls(
            blocks=tuple(layer.name for layer in profile.layers),
            separation=tuple(map(_rounded, profile.values)),
            separation_heldout=tuple(map(_rounded, heldout)),
            epoch=epoch,
        )

    @classmethod
    def read(cls, stored: dict[str, Any]) -> Curve:
        """Return a curve that was stored as JSON values."""
        return cls(
            blocks=tuple(stored["blocks"]),
            separation=tuple(stored["separation"]),
            separation_heldout=tuple(stored["separation_heldout"]),
            epoch=stored["epoch"],
        )


def _rounded(value: float) -> Measured:
    number = measured(value)
    return None if number is None else float(f"{number:.4g}")


@dataclass(frozen=True)
class LawRow:
    """The law at one moment of a training run."""

    epoch: int
    """Number of the epoch, as the caller counts."""
    blocks: tuple[str, ...]
    """Names of all taps, the input first."""
    separation: tuple[Measured, ...]
    """(L + 1,) D on training data."""
    separation_heldout: tuple[Measured, ...] | None
    """(L + 1,) cross-fitted D; None without held-out data."""
    law: LawSummary
    """The law on training data."""
    law_heldout: LawSummary | None
    """The law on held-out data; None without held-out data."""
    design_score: Measured
    """The design score; None without held-out data."""
    accuracy: Measured
    """Accuracy on training data; None if the model gives no logits."""
    accuracy_heldout: Measured
    """Accuracy on held-out data; None without held-out data, or if the model gives no logits."""


@dataclass(frozen=True)
class LayerReport:
    """One block: how it changes the separation, and what to do about it."""

    name: str
    """Path of the block in the model."""
    width: CountFrom1
    """Features per sample."""
    separation: Positive | None
    """D on training data, geometric mean over the seeds."""
    separation_heldout: Positive | None
    """The same of the cross-fitted D."""
    separation_null: Positive | None
    """The same of D with permuted labels."""
    step: Measured
    """log D before this block minus log D after it, training data, in nats."""
    share: Measured
    """``step`` over the mean step."""
    interval: Interval | None
    """95 % interval of ``share`` over resamples of the data and seeds."""
    verdict: Verdict
    """What the block does, judged on ``contribution`` first and then on ``interval``."""
    advice: str
    """What to do, and why: ``keep``, ``remove: ...``, ``widen: ...``."""
    step_interval: Interval | None = None
    """95 % interval of ``step``."""
    step_heldout: Measured = None
    """The same step in the cross-fitted D."""
    step_heldout_interval: Interval | None = None
    """95 % interval of ``step_heldout``."""
    nearest_class_mean_accuracy: Fraction | None = None
    """Held-out accuracy of the nearest class mean of training data; mean over the seeds."""
    rank: Count = 0
    """Class directions kept, in the seed that keeps the fewest."""
    full_rank: Count = 0
    """K - 1 for the K classes present."""
    kind: str = ""
    """Class of the block."""
    null_range: tuple[Positive, Positive] | None = None
    """Least and largest D with permuted labels, over permutations and seeds."""
    parameters: Count | None = None
    """Parameters that no other part of the model uses; None in reports of earlier versions."""
    contribution: Contribution | None = None
    """What the network loses on held-out data without the block; mean over the seeds, with
    intervals that cover samples and seeds. None if it was not measured."""
    outcome: str = ""
    """What came of trying the advice; empty where it names no edit, or none was tried."""
    contribution_reason: str = ""
    """Why there is no contribution, in a sentence; empty if there is one, and in reports of earlier
    versions."""


@dataclass(frozen=True)
class StageLaw:
    """The law within one stage: consecutive blocks of one kind in one part of the network."""

    name: str
    """The part of the network, for example ``layer1``."""
    kind: str
    """Class of its blocks."""
    blocks: tuple[str, ...]
    """Paths of its blocks in running order."""
    law: LawSummary
    """The law from the input of the first block to the output of the last."""


@dataclass(frozen=True)
class InputReport:
    """D_0: separation of the data before the first block."""

    width: CountFrom1
    """Features per sample."""
    separation: Positive | None
    """D on training data."""
    separation_heldout: Positive | None
    """Cross-fitted D."""
    separation_null: Positive | None
    """D with permuted labels."""
    nearest_class_mean_accuracy: Fraction | None
    """Held-out accuracy of the nearest class mean of training data."""
    null_range: tuple[Positive, Positive] | None = None
    """As in ``LayerReport``."""


@dataclass(frozen=True)
class ReportWarning:
    """Something that the reader should know before trusting the numbers."""

    code: str
    """A fixed word for machines, for example ``too_few_layers``."""
    message: str
    """One or two sentences."""


FEWEST_RUNS = 3
"""Two seeds that happen to change by the same amount give an interval without any width."""


@dataclass(frozen=True)
class PairedChange:
    """Change of an accuracy between two networks that were trained with the same seeds."""

    mean: Difference
    """Mean over the seeds; above zero where the second is more accurate."""
    interval: Interval | None
    """95 % interval of the mean, within the changes that the first accuracy allows; None with a
    single seed."""
    runs: CountFrom1
    """Number of seeds."""

    @property
    def surely_positive(self) -> bool:
        """True if the whole interval lies above zero, and covers at least ``FEWEST_RUNS`` seeds."""
        return self.interval is not None and self.interval[0] > 0 and self.runs >= FEWEST_RUNS


@dataclass(frozen=True)
class Proportion:
    """A share of samples with its 95 % interval."""

    value: Fraction
    """The share, 0..1."""
    interval: FractionInterval
    """95 % interval of the share."""
    samples: CountFrom1
    """Number of samples that it is a share of."""
