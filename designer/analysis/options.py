"""What `profile` and `analyze` can be asked for, checked before anything is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from designer.choices import Measure, Reduction
from designer.data.batches import Batches
from designer.data.language import is_language
from designer.errors import InvalidInputError
from designer.measures.features import reduction_of
from designer.measures.rulers import measure_of
from designer.probing.calling import unwrap

MANY_CLASSES = 100
"""Above this number of classes one permutation gives the null as precisely as three do with few
classes, and separation is the wrong measure."""


@dataclass(frozen=True)
class AnalysisOptions:
    """How a model is measured; validates itself.

    Raises:
        InvalidInputError: if a name is unknown, or a number out of its range.
    """

    measure: str | None = None
    """``separation``, or ``residual`` for many classes, next tokens and real targets; None for the
    one that suits the data, see ``for_data``."""
    features: str | None = None
    """``flatten``, ``pool`` or ``project``; None leaves the choice to the model and to memory."""
    dimension: int | None = None
    """Number of features to project to; None for the default."""
    permutations: int | None = None
    """Label permutations for the null of separation; None for a number that suits the classes."""
    resamples: int = 200
    """Bootstrap resamples for the intervals; 0 for none."""
    batch_size: int | None = None
    """Samples per forward pass for data in memory; None for a size that suits the samples."""
    seed: int = 0
    """Seed of permutations, resamples and projections."""

    def __post_init__(self) -> None:
        if self.measure is not None:
            measure_of(self.measure)
        if self.features is not None:
            reduction_of(self.features)
        _check_at_least(0, "`permutations`", self.permutations)
        _check_at_least(0, "`resamples`", self.resamples)
        _check_at_least(1, "a batch size", self.batch_size)
        _check_at_least(1, "a dimension", self.dimension)

    def for_data(self, model: nn.Module, data: Batches) -> AnalysisOptions:
        """Return the same options with a measure: the one asked for, else the one that suits.

        Language models get the residual, because D would need many samples of every token.

        Args:
            model: the model that is measured.
            data: its training data.
        """
        if self.measure is not None:
            return self
        language = is_language(model, data)
        return replace(self, measure=Measure.RESIDUAL if language else Measure.SEPARATION)

    @property
    def measured(self) -> Measure:
        """What is measured: separation, unless ``measure`` says something else."""
        return Measure(self.measure or Measure.SEPARATION)

    def permutations_for(self, outputs: int) -> int:
        """Return how many permutations the null needs; 0 for the residual, whose null is exact.

        Args:
            outputs: number of classes, or of real targets.
        """
        if self.measure == Measure.RESIDUAL:
            return 0
        if self.permutations is not None:
            return self.permutations
        return 3 if outputs <= MANY_CLASSES else 1

    def reduction_for(self, model: nn.Module) -> Reduction | None:
        """Return the reduction that the caller or the model asks for; None if neither does.

        A model asks with the attribute ``block_features``; a dimension asks for a projection.

        Raises:
            InvalidInputError: if a dimension comes with another reduction than a projection.
        """
        name = self.features or getattr(unwrap(model), "block_features", None)
        reduction = None if name is None else reduction_of(name)
        if self.dimension is None:
            return reduction
        if reduction not in (None, Reduction.PROJECT):
            raise InvalidInputError(
                f"Expected a dimension only together with features '{Reduction.PROJECT}', got "
                f"{self.dimension} with '{reduction}'."
            )
        return Reduction.PROJECT


def _check_at_least(least: int, name: str, value: int | None) -> None:
    if value is not None and value < least:
        raise InvalidInputError(f"Expected {name} of at least {least}, got {value}.")
