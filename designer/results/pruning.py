"""Records of `designer prune`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from designer.results.analysis import DataUsed, ModelSummary
from designer.results.contribution import Contribution
from designer.results.layers import Curve, LawSummary, Proportion, ReportWarning
from designer.results.ranges import (
    Count,
    CountFrom1,
    Difference,
    Fraction,
    Interval,
    Measured,
    Number,
    Positive,
)

PRUNING_SCHEMA = "designer.pruning/1"
"""Name and version of the records in this file."""


class Decision(StrEnum):
    """What is proposed for one block, before anything is removed."""

    SAFE = "safe"
    """The network was measured to do as well without it: remove it first."""
    DOUBTFUL = "doubtful"
    """What it contributes was not measured, or too few samples leave it open."""
    KEEP = "keep"
    """The network surely loses something without it, until what is left is repaired."""
    FIXED = "fixed"
    """It cannot be removed, whatever it contributes."""


@dataclass(frozen=True)
class BlockProposal:
    """One block of the model that is pruned."""

    name: str
    """Path of the block in the model."""
    kind: str
    """Class of the block."""
    decision: Decision
    """What is proposed for the block."""
    order: CountFrom1 | None
    """1 for the block that is removed first; None for a block that cannot be removed."""
    value: Measured
    """Its value by the criterion; the block of the least value is removed first."""
    step: Measured
    """log D before the block minus log D after it, on training data, in nats."""
    step_heldout: Measured
    """The same of the cross-fitted D on held-out data."""
    step_heldout_interval: Interval | None
    """95 % interval of ``step_heldout``."""
    removed: bool
    """True if the block was removed in the end."""
    reason: str
    """How it can be removed, or why it cannot."""
    contribution: Contribution | None = None
    """What the original network loses on validation data without it; None if not measured."""
    contribution_reason: str = ""
    """Why there is no contribution; empty if there is one."""


@dataclass(frozen=True)
class NetworkFigures:
    """The figures of one network: the original, or one that is compared with it."""

    name: str
    """``original``, ``pruned``, ``from scratch`` or ``greedy ablation``."""
    blocks: Count
    """Number of blocks."""
    parameters: Count
    """Number of parameters."""
    flops: Count
    """Floating-point operations of one forward pass on one sample."""
    latency: Positive | None
    """Time of a forward pass divided by that of the original, median of interleaved runs."""
    validation_accuracy: Proportion
    """Accuracy on validation data."""
    test_accuracy: Proportion | None
    """Accuracy on test data; None if it was not measured."""
    drop: Difference | None
    """Validation accuracy of the original minus its own."""
    drop_bound: Number | None
    """Upper 95 % confidence bound on ``drop`` (paired)."""
    epochs: Count
    """Epochs that it was trained for in this pruning."""
    law: LawSummary | None
    """The law on training data; None if it was not measured."""
    removed: tuple[str, ...] = ()
    """Blocks of the original that it lacks."""
    curve: Curve | None = None
    """D through the network; None if it was not measured."""
    validation_perplexity: Measured = None
    """Perplexity of a language model on validation data; None for other models, and in reports of
    earlier versions."""
    test_perplexity: Measured = None
    """The same on test data."""
    perplexity_rise: Measured = None
    """Validation perplexity divided by that of the original, minus 1."""
    perplexity_rise_bound: Measured = None
    """Upper 95 % confidence bound on ``perplexity_rise`` (paired by sequence)."""


@dataclass(frozen=True)
class RemovalTrial:
    """A removal that was tried to see what it costs."""

    removed: tuple[str, ...]
    """Blocks that were removed."""
    recovered: bool
    """True if the network was trained afterwards, False if layers were only fitted again."""
    validation_accuracy: Fraction
    """Accuracy on validation data after the removal."""
    drop: Difference
    """Validation accuracy of the original minus that of this network."""
    drop_bound: Number
    """Upper 95 % confidence bound on ``drop`` (paired)."""
    within: bool | None
    """True if ``drop_bound``, or ``perplexity_rise_bound`` of a language model, is at most
    ``max_drop``; None if no ``max_drop`` was set."""
    perplexity: Measured = None
    """Perplexity of a language model on validation data after the removal; None for other models,
    and in reports of earlier versions."""
    perplexity_rise: Measured = None
    """That perplexity divided by the original's, minus 1."""
    perplexity_rise_bound: Measured = None
    """Upper 95 % confidence bound on ``perplexity_rise`` (paired by sequence)."""
    narrower: bool = False
    """True if layers became narrower, too; False in reports of earlier versions."""


@dataclass(frozen=True)
class PruningReport:
    """What was removed, why, and what it cost; ``OUT/report.json`` is this record as JSON."""

    schema: str
    """Name and version of this record."""
    model: ModelSummary
    """The model that was pruned."""
    data: DataUsed
    """The data that it was pruned with."""
    criterion: str
    """What decided which block goes first, see ``designer.choices.Criterion``."""
    request: dict[str, Any]
    """The one of ``remove``, ``max_drop`` and ``target_params`` that was set."""
    blocks: tuple[BlockProposal, ...]
    """All blocks in running order."""
    removed: tuple[str, ...]
    """Blocks that were removed."""
    fitted: tuple[str, ...]
    """Layers that were fitted again to their new input."""
    narrowed: dict[str, tuple[Count, Count]]
    """Layers that lost output units: the number before and after."""
    networks: tuple[NetworkFigures, ...]
    """The original, the pruned network and the baselines."""
    trials: tuple[RemovalTrial, ...]
    """Removals that were tried on the way."""
    conclusion: str
    """The result in a few sentences."""
    warnings: tuple[ReportWarning, ...]
    """What the reader should know before trusting the numbers."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Options of the pruning by name."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of Python and of the packages that can change the numbers."""
    command: str = ""
    """As in ``AnalysisResult``."""
