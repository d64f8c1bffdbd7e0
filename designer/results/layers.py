"""Records of one layer and of the law over all layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from designer.results.measured import (
    Interval,
    LawFit,
    LawStatus,
    Measured,
    SeparationProfile,
    Verdict,
    measured,
)


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
class ReportWarning:
    """Something that the reader should know before trusting the numbers."""

    code: str
    message: str


@dataclass(frozen=True)
class Proportion:
    """A share of samples with its 95 % interval."""

    value: float
    interval: Interval
    samples: int
