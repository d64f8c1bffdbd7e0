"""Records of `designer compare`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from designer.results.layers import InputReport, LawSummary, LayerReport, Proportion, ReportWarning
from designer.results.measured import Measured

COMPARISON_SCHEMA = "designer.comparison/1"


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
