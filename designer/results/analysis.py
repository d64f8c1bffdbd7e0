"""Records of `designer analyze`."""

from __future__ import annotations

from dataclasses import dataclass, field

from designer.results.layers import InputReport, LawSummary, LayerReport, ReportWarning, StageLaw
from designer.results.measured import Measured

ANALYSIS_SCHEMA = "designer.analysis/1"


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
