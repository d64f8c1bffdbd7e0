"""Decide how the outputs of blocks become feature vectors, so that they fit into memory."""

from __future__ import annotations

from torch import Tensor, nn

from designer.analysis.options import AnalysisOptions
from designer.choices import Reduction
from designer.data.batches import Batches
from designer.measures.features import Reducer
from designer.measures.rulers import bytes_needed

MEMORY = 3 << 29
"""Bytes that rulers may hold, 1.5 GiB; flat features that need more are projected."""


DIMENSION = 2048
"""Number of features that a projection gives, unless memory asks for fewer."""


def suitable_reduction(
    options: AnalysisOptions, model: nn.Module, *data: Batches | None
) -> Reduction | None:
    """Return the reduction that the caller, the model or the data ask for; None if none does.

    Data ask for means if their samples have different shapes: flat features would, too.

    Args:
        options: what the caller asks for.
        model: may ask, see ``AnalysisOptions.reduction_for``.
        data: all data that are measured; None for data that are not there.
    """
    reduction = options.reduction_for(model)
    shapes = {shape for batches in data if batches is not None for shape in batches.input_shapes}
    by_token = any(batches is not None and batches.tokens for batches in data)
    return Reduction.POOL if reduction is None and len(shapes) > 1 and not by_token else reduction


class FeatureChoice:
    """Decides on the first batch how outputs become features, and applies that to all batches.

    Args:
        options: all options of the analysis.
        reduction: the reduction that the caller or the model asks for; None takes flat features
            if they fit into memory, else projections.
        data: training data.
        num_labelings: number of labelings that are measured: the true one and every permutation.

    Attributes:
        notes: what the reader of a report should know about the choice, in whole sentences.
    """

    def __init__(
        self,
        options: AnalysisOptions,
        reduction: Reduction | None,
        data: Batches,
        num_labelings: int,
    ) -> None:
        self._options = options
        self._reduction = reduction
        self._data = data
        self._num_labelings = num_labelings
        self._reducer: Reducer | None = None
        self.notes: list[str] = []
        self.positions: list[int] = []

    @property
    def tokens(self) -> bool:
        """True if every token of a sequence is a row of its own."""
        return self._data.tokens

    @property
    def description(self) -> str:
        """The choice in words, for example "project 2048"; empty before the first batch."""
        if self._reducer is None:
            return ""
        return f"{self._reducer.reduction} {self._reducer.dimension or ''}".strip()

    def reduce(self, outputs: list[Tensor], mask: Tensor | None = None) -> list[Tensor]:
        """Return features (rows, p) of the outputs (n, ...) of every tap.

        Args:
            outputs: what every tap saw.
            mask: (n, tokens), true for the tokens that count; None if all do.
        """
        if self._reducer is None:
            shapes = [tuple(output.shape) for output in outputs]
            self._reducer = self._choose(shapes)
            self.positions = [self._reducer.positions(shape) for shape in shapes]
        return [self._reducer(output, mask) for output in outputs]

    def _choose(self, shapes: list[tuple[int, ...]]) -> Reducer:
        if self._reduction is Reduction.PROJECT:
            return self._projection(shapes)
        if self._reduction is not None:
            return self._reducer_for(self._reduction)
        flat = self._reducer_for(Reduction.FLATTEN)
        needed = self._bytes_needed(flat, shapes)
        if needed <= MEMORY:
            return flat
        projection = self._projection(shapes)
        self.notes.append(
            f"Flat features would need {needed / 2**30:.1f} GiB to measure, so seeded random "
            f"projections of them to {projection.dimension} dimensions were measured; --features "
            f"chooses another form."
        )
        return projection

    def _projection(self, shapes: list[tuple[int, ...]]) -> Reducer:
        """Project to the dimension that was asked for, or to the default, halved until it fits."""
        dimension = self._options.dimension
        if dimension is not None:
            return self._reducer_for(Reduction.PROJECT, dimension)
        reducer = self._reducer_for(Reduction.PROJECT, DIMENSION)
        while reducer.dimension > 1 and self._bytes_needed(reducer, shapes) > MEMORY:
            reducer = self._reducer_for(Reduction.PROJECT, reducer.dimension // 2)
        return reducer

    def _reducer_for(self, reduction: Reduction, dimension: int = 0) -> Reducer:
        return Reducer(reduction, dimension, self._options.seed, self._data.tokens)

    def _bytes_needed(self, reducer: Reducer, shapes: list[tuple[int, ...]]) -> int:
        """Return the bytes that rulers hold for outputs of these shapes."""
        widths = [reducer.width(shape) for shape in shapes]
        measure = self._options.measured
        return bytes_needed(measure, widths, self._data.outputs, self._num_labelings)
