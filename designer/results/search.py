"""Records of `designer search`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from designer.results.diagnosis import Finding
from designer.results.layers import (
    Curve,
    InputReport,
    LawSummary,
    LayerReport,
    MeanSd,
    PairedChange,
    ReportWarning,
    StageLaw,
)
from designer.results.ranges import (
    Cosine,
    Count,
    CountFrom1,
    Fraction,
    Interval,
    Number,
    Positive,
    Score,
)

REPORT_SCHEMA = "designer.report/1"
"""Name and version of the records in this file."""


@dataclass(frozen=True)
class Recommendation:
    """One architecture that was retrained with fresh seeds, and why it is recommended."""

    rank: CountFrom1
    """1 for the best."""
    spec: dict[str, Any]
    """The architecture as its search space describes it."""
    parameters: Count
    """Number of trainable parameters."""
    flops: Count
    """Floating-point operations of one forward pass on one sample."""
    learning_rate: Positive
    """Learning rate that it was trained with."""
    score: Score | None
    """Design score, mean over the confirmation seeds."""
    validation_accuracy: MeanSd
    """Accuracy on validation data over the confirmation seeds."""
    test_accuracy: MeanSd | None
    """Accuracy on test data over the confirmation seeds; None without test data."""
    law: LawSummary
    """The law on training data, over the confirmation seeds."""
    layers: tuple[LayerReport, ...]
    """The blocks in running order."""
    reason: str
    """One sentence that says why it is recommended."""
    roles: tuple[str, ...] = ()
    """Any of ``most accurate``, ``smallest``, ``best follower`` and ``knee``; empty for a
    runner-up."""
    input: InputReport | None = None
    """Separation of the data before the first block."""
    trial: Annotated[int, Field(ge=-1, le=2**63 - 1)] = -1
    """Number of the search trial that found it, or that it is an edit of."""
    edits: tuple[str, ...] = ()
    """Edits that were tried and kept, and led from the trial's architecture to this one."""
    score_parts: dict[str, Score | None] = field(default_factory=dict)
    """Parts of the design score by name, mean over the confirmation seeds."""
    train_accuracy: Fraction | None = None
    """Accuracy on training data, mean over the confirmation seeds."""
    stages: tuple[StageLaw, ...] = ()
    """One per stage; empty if there is only one."""
    emergence: tuple[Curve, ...] = ()
    """D on training data after some epochs of the first confirmation run."""
    diagnosis: tuple[Finding, ...] = ()
    """What is wrong with the network as a whole; empty if nothing was found, and in reports of
    earlier versions."""
    coverage: Fraction | None = None
    """Share of the parameters outside of embeddings that lie in blocks, from 0 to 1; None if not
    known, and in reports of earlier versions."""
    features: str = ""
    """How outputs became features; empty in reports of earlier versions."""


@dataclass(frozen=True)
class ConfirmedRow:
    """One network that was trained with all confirmation seeds: a candidate, or a kept edit."""

    trial: Count
    """Number of the search trial that found it, or that it is an edit of."""
    edits: tuple[str, ...]
    """Edits that led from the trial's architecture to this one."""
    spec: dict[str, Any]
    """The architecture as its search space describes it."""
    parameters: Count
    """Number of trainable parameters."""
    flops: Count | None
    """Floating-point operations of one forward pass on one sample."""
    score: Score | None
    """Design score, mean over the seeds."""
    validation_accuracy: MeanSd
    """Accuracy on validation data over the seeds."""


@dataclass(frozen=True)
class TriedEdit:
    """One edit of a recommended network, and what came of it."""

    trial: Count
    """Number of the search trial whose network was edited."""
    before: tuple[str, ...]
    """Edits of it that had been kept before, in order."""
    edit: str
    """What was changed, in a few words."""
    kind: str
    """The kind of the edit, the same for all blocks."""
    block: str | None
    """Name of the block that was changed; None for the whole network."""
    parameters_before: Count
    """Number of trainable parameters before the edit."""
    parameters: Count | None = None
    """Number of trainable parameters after it; None if it was not trained."""
    flops: Count | None = None
    """Floating-point operations after it, of one forward pass on one sample."""
    accuracy: MeanSd | None = None
    """Validation accuracy after it over the seeds; None if no run came to its end."""
    change: PairedChange | None = None
    """Change of the validation accuracy, paired by seed; None if no run came to its end."""
    runs: Count = 0
    """Number of training runs that it took."""
    kept: bool = False
    """True if the edited network took the place of the one before."""
    reason: str = ""
    """Why it was kept, not kept or not trained: a clause without a capital letter."""


@dataclass(frozen=True)
class TrialRow:
    """One trial of the search."""

    number: Count
    """Number of the trial in the study."""
    state: str
    """``complete``, ``pruned`` or ``failed``."""
    spec: dict[str, Any]
    """The architecture as its search space describes it."""
    parameters: Count | None
    """Number of trainable parameters; None if the trial failed before it was known."""
    flops: Count | None
    """Floating-point operations of one forward pass on one sample."""
    learning_rate: Positive | None
    """Learning rate of the training."""
    score: Score | None
    """Design score."""
    heldout_separation: Score | None
    """Part of the design score: held-out separation."""
    adherence: Cosine | None
    """Part of the design score: how equal the steps of the blocks are, -1..1."""
    validation_accuracy: Fraction | None
    """Accuracy on validation data after the short training."""
    train_accuracy: Fraction | None
    """Accuracy on training data after the short training."""
    training_loss: Number | None
    """Mean training loss summed over the epochs."""
    law: LawSummary | None
    """The law on training data; None if it was not measured."""
    epochs: Count
    """Epochs that the trial trained."""
    seconds: Positive
    """Time that the trial took, in seconds."""
    reason: str = ""
    """Why the trial failed or was pruned; else empty."""
    depth: Count | None = None
    """Number of blocks."""
    curve: Curve | None = None
    """D through the network; None for all but the best trials."""
    accuracy_above_chance: Score | None = None
    """Part of the design score: validation accuracy over the last epochs, 0 being chance."""


@dataclass(frozen=True)
class TrialCounts:
    """Finished trials by how they ended."""

    complete: Count
    """Trials that ran to their end."""
    pruned: Count
    """Trials that were stopped half-way."""
    failed: Count
    """Trials that failed."""
    retried: Count = 0
    """How many of these trials repeat one whose worker was killed or cut off."""


@dataclass(frozen=True)
class DataSummary:
    """The data as the search used it."""

    name: str
    """Name of the data."""
    fingerprint: str
    """SHA-256 of the arrays after splitting, before scaling."""
    input_shape: tuple[CountFrom1, ...]
    """Shape of one sample."""
    num_classes: Count
    """Number of classes."""
    train: CountFrom1
    """Number of training samples."""
    validation: Count
    """Number of validation samples."""
    test: Count
    """Number of test samples."""
    chance: Fraction
    """Share of the largest class in the validation data."""
    shuffled_labels: bool = False
    """True if the labels were permuted, as a control."""


@dataclass(frozen=True)
class StudySummary:
    """What was searched, how, and how long it took."""

    space: str
    """Name of the search space."""
    data: str
    """The data as they were named on the command line."""
    seed: Count
    """Seed of the search."""
    trials: TrialCounts
    """Number of trials by how they ended."""
    epochs: Count
    """Training epochs per trial."""
    objective: str
    """What was maximised."""
    seconds: Positive
    """Sum of the time spent in trials and confirmation runs, over all workers."""
    dataset: DataSummary | None = None
    """The data as the search used them."""
    confirmation: dict[str, Count] = field(default_factory=dict)
    """``candidates``, ``epochs`` and ``seeds`` of the confirmation."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Options of the search by name."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of Python and of the packages that can change the numbers."""
    score_explanation: str = ""
    """One sentence about the design score."""


@dataclass(frozen=True)
class RankAgreement:
    """How one criterion agrees with validation accuracy over the trials."""

    spearman: Cosine | None
    """Spearman's correlation, -1..1; None with too few trials, or if one side is constant."""
    n: Count
    """Number of trials that were compared."""
    interval: Interval | None
    """95 % bootstrap interval over the trials."""


@dataclass(frozen=True)
class SearchResult:
    """Everything that a search found; ``report.json`` is this record as JSON."""

    schema: str
    """Name and version of this record."""
    study: StudySummary
    """What was searched, and how."""
    recommendations: tuple[Recommendation, ...]
    """Recommended architectures, the best first; empty if none can be recommended."""
    criterion: dict[str, RankAgreement]
    """Agreement of each criterion with validation accuracy, by its name."""
    trials: tuple[TrialRow, ...]
    """All trials of the search."""
    warnings: tuple[ReportWarning, ...]
    """What the reader should know before trusting the numbers."""
    confirmed: tuple[ConfirmedRow, ...] = ()
    """All networks that were trained with the confirmation seeds; empty in reports of earlier
    versions."""
    tried: tuple[TriedEdit, ...] = ()
    """Edits of the recommended networks in the order in which they were tried; empty in reports of
    earlier versions."""
    command: str = ""
    """The command that made the report, or the call of ``designer.search``, without passwords.
    It is empty in reports of earlier versions."""
