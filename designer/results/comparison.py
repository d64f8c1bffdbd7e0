"""Records of `designer compare`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from designer.results.layers import InputReport, LawSummary, LayerReport, Proportion, ReportWarning
from designer.results.ranges import Count, Fraction, Measured

COMPARISON_SCHEMA = "designer.comparison/1"
"""Name and version of the records in this file."""


@dataclass(frozen=True)
class ComparedNetwork:
    """One network among those that are compared."""

    name: str
    """The name it was given by."""
    kind: str
    """Class of the model, or name of the search space."""
    spec: dict[str, Any]
    """The architecture, if a search recommended it; else empty."""
    data: str
    """Name of the data."""
    fingerprint: str
    """SHA-256 of the data; empty if not known."""
    parameters: Count
    """Number of parameters."""
    flops: Count | None
    """Floating-point operations of one forward pass on one sample."""
    accuracy: Proportion | None
    """Accuracy on held-out data."""
    accuracy_part: str
    """The part of the data that was held out, for example ``validation``."""
    law: LawSummary
    """The law on training data."""
    input: InputReport | None
    """Separation of the data before the first block; None if the source does not have it."""
    layers: tuple[LayerReport, ...]
    """The blocks in running order."""
    coverage: Fraction | None = None
    """Share of the parameters outside of embeddings that lie in blocks, from 0 to 1; None if not
    known, and in reports of earlier versions."""
    num_classes: Count | None = None
    """Classes that the network tells apart; None if not known."""
    measure: str = "separation"
    """What D is: ``separation``, or ``residual`` in its place."""
    features: str = ""
    """How outputs became features; empty if not known, and in reports of earlier versions."""
    perplexity: Measured = None
    """Perplexity of a language model on held-out text; None for other models, and in reports of
    earlier versions."""


@dataclass(frozen=True)
class LayerDifference:
    """The layers at one place in several networks."""

    index: Count
    """Number of the layer from the input on; 0 for the input itself."""
    layers: tuple[str | None, ...]
    """One name per network; None if it has no layer at this place."""
    separation: tuple[Measured, ...]
    """log D minus log D of the first network, training data, in nats; below 0 is better."""
    separation_heldout: tuple[Measured, ...]
    """The same of the cross-fitted D."""


@dataclass(frozen=True)
class Advantage:
    """The better network in one aspect."""

    what: str
    """Name of the aspect."""
    values: tuple[Measured, ...]
    """One value per network."""
    best: str
    """Name of the best network; empty if it cannot be told from another."""
    reason: str
    """One sentence that says why the network is the best, or why none is named."""


@dataclass(frozen=True)
class ComparisonReport:
    """Networks side by side; ``designer compare --format json`` prints this record as JSON."""

    schema: str
    """Name and version of this record."""
    networks: Annotated[tuple[ComparedNetwork, ...], Field(min_length=2)]
    """The networks that are compared, in the order in which they were named."""
    aligned_by: str
    """How layers were matched: by ``name`` or ``position``."""
    differences: tuple[LayerDifference, ...]
    """Differences of D, one record for each place."""
    advantages: tuple[Advantage, ...]
    """The better network, one record for each aspect."""
    conclusion: str
    """The result in a few sentences."""
    warnings: tuple[ReportWarning, ...]
    """What the reader should know before trusting the numbers."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of Python and of the packages that can change the numbers."""
    command: str = ""
    """As in ``AnalysisResult``."""

    def __post_init__(self) -> None:
        rows = [
            *(row.layers for row in self.differences),
            *(row.separation for row in self.differences),
            *(row.separation_heldout for row in self.differences),
            *(advantage.values for advantage in self.advantages),
        ]
        if any(len(row) != len(self.networks) for row in rows):
            raise ValueError(f"a row has not one value for each of {len(self.networks)} networks")
