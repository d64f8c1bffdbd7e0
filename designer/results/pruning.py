"""Records of `designer prune`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from designer.results.analysis import DataUsed, ModelSummary
from designer.results.layers import Curve, LawSummary, Proportion, ReportWarning
from designer.results.measured import Interval, Measured

PRUNING_SCHEMA = "designer.pruning/1"


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
