"""Records of `designer analyze`."""

from __future__ import annotations

from dataclasses import dataclass, field

from designer.results.diagnosis import Finding
from designer.results.layers import InputReport, LawSummary, LayerReport, ReportWarning, StageLaw
from designer.results.ranges import Count, CountFrom1, Fraction, Measured

ANALYSIS_SCHEMA = "designer.analysis/1"
"""Name and version of the records in this file."""


@dataclass(frozen=True)
class ModelSummary:
    """The model that was analysed."""

    name: str
    """The name it was given by, for example ``package.module:callable``."""
    weights: str | None
    """File that the weights came from; None for those that the model was built with."""
    kind: str
    """Class of the model."""
    parameters: Count
    """Number of parameters."""
    accuracy: Fraction | None
    """Accuracy of its own predictions on training data; None if it gives no logits."""
    accuracy_heldout: Fraction | None
    """The same on held-out data."""
    coverage: Fraction | None = None
    """Share of the parameters outside of embeddings that lie in blocks, from 0 to 1; None if not
    known, and in reports of earlier versions."""
    embedding_parameters: int = 0
    """How many parameters lie in embeddings, which turn tokens into vectors and are no layers; 0 in
    reports of earlier versions."""
    perplexity: Measured = None
    """exp of the mean cross-entropy of a language model's predictions of tokens, on training data;
    None for other models, and in reports of earlier versions."""
    perplexity_heldout: Measured = None
    """The same on held-out data."""


@dataclass(frozen=True)
class DataUsed:
    """The data that a model was analysed with."""

    name: str
    """Name of the data."""
    train: CountFrom1
    """Number of training samples; of tokens where every token has a target."""
    heldout: Count
    """Number of held-out samples; 0 for none."""
    heldout_part: str
    """The part of the data that was held out, for example ``test``."""
    num_classes: Count
    """0 for real targets."""
    chance: Fraction | None
    """Share of the largest class."""
    fingerprint: str = ""
    """SHA-256 of the arrays after splitting, before scaling; empty if not known."""
    scaling: str = ""
    """How inputs were scaled, a value of ``Scaling``, such as ``none`` for data as they come; empty
    for batches and for data in memory."""


@dataclass(frozen=True)
class Tunnel:
    """The blocks that separate held-out data no further (Masarczyk et al., NeurIPS 2023)."""

    entrance: str
    """The last block that improves D on held-out data; ``input`` if none does."""
    blocks: tuple[str, ...]
    """The blocks behind it, which do not improve D. They may be needed all the same."""
    reason: str
    """One or two sentences that explain the tunnel."""


@dataclass(frozen=True)
class AnalysisResult:
    """What the blocks of a model do; ``designer analyze --json`` prints this record as JSON."""

    schema: str
    """Name and version of this record."""
    model: ModelSummary
    """The model that was analysed."""
    data: DataUsed
    """The data that it was analysed with."""
    measure: str
    """What D is in all fields below: ``separation``, or ``residual`` in its place."""
    features: str
    """How outputs became feature vectors."""
    law: LawSummary
    """The law on training data."""
    law_heldout: LawSummary | None
    """The law on held-out data; None without held-out data."""
    input: InputReport
    """Separation of the data before the first block."""
    layers: tuple[LayerReport, ...]
    """The blocks in running order."""
    stages: tuple[StageLaw, ...]
    """One per stage; empty if there is only one."""
    tunnel: Tunnel | None
    """None without held-out data, or if D does not exist somewhere."""
    warnings: tuple[ReportWarning, ...]
    """What the reader should know before trusting the numbers."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of Python and of the packages that can change the numbers."""
    command: str = ""
    """The command that made the report; empty if it was made from Python."""
    diagnosis: tuple[Finding, ...] = ()
    """What is wrong with the network as a whole; empty if nothing was found, and in reports of
    earlier versions."""
