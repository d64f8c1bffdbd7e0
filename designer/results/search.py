"""Records of `designer search`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from designer.results.layers import (
    Curve,
    InputReport,
    LawSummary,
    LayerReport,
    MeanSd,
    ReportWarning,
    StageLaw,
)
from designer.results.measured import Interval, Measured

REPORT_SCHEMA = "designer.report/1"


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
class SearchResult:
    """Everything that a search found; ``report.json`` is this record as JSON."""

    schema: str
    study: StudySummary
    recommendations: tuple[Recommendation, ...]
    criterion: dict[str, RankAgreement]
    trials: tuple[TrialRow, ...]
    warnings: tuple[ReportWarning, ...]
