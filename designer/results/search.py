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
"""Name and version of the records in this file."""


@dataclass(frozen=True)
class Recommendation:
    """One architecture that was retrained with fresh seeds, and why it is recommended."""

    rank: int
    """1 for the best."""
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
    """Parts of the design score by name, mean over the confirmation seeds."""
    train_accuracy: Measured = None
    stages: tuple[StageLaw, ...] = ()
    """One per stage; empty if there is only one."""
    emergence: tuple[Curve, ...] = ()
    """D on training data after some epochs of the first confirmation run."""


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
    """Why the trial failed or was pruned; else empty."""
    depth: int | None = None
    """Number of blocks."""
    curve: Curve | None = None
    """Stored for the best trials alone."""


@dataclass(frozen=True)
class TrialCounts:
    """Finished trials by how they ended."""

    complete: int
    pruned: int
    failed: int
    retried: int = 0
    """Those that repeat a trial whose worker was killed or cut off."""


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
    """Training epochs per trial."""
    objective: str
    seconds: float
    """Sum of the time spent in trials and confirmation runs, over all workers."""
    dataset: DataSummary | None = None
    confirmation: dict[str, int] = field(default_factory=dict)
    """``candidates``, ``epochs`` and ``seeds`` of the confirmation."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Options of the search by name."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of Python and of the packages that can change the numbers."""
    score_explanation: str = ""
    """One sentence about the design score."""


@dataclass(frozen=True)
class RankAgreement:
    """Spearman correlation of one criterion with validation accuracy over the trials."""

    spearman: Measured
    """-1..1; None with too few trials, or if one side is constant."""
    n: int
    """Trials compared."""
    interval: Interval | None
    """95 % bootstrap interval over the trials."""


@dataclass(frozen=True)
class SearchResult:
    """Everything that a search found; ``report.json`` is this record as JSON."""

    schema: str
    study: StudySummary
    recommendations: tuple[Recommendation, ...]
    criterion: dict[str, RankAgreement]
    """Agreement of each criterion with validation accuracy, by its name."""
    trials: tuple[TrialRow, ...]
    warnings: tuple[ReportWarning, ...]
    command: str = ""
    """The command that made the report, or the call of ``designer.search``, without passwords.
    It is empty in reports of earlier versions."""
