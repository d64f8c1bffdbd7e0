"""Training and held-out data as batches, with the measure that suits them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn

from designer.analysis.options import AnalysisOptions
from designer.choices import Measure
from designer.data.batches import Batches, LabelledData, batches_of, check_heldout
from designer.data.language import data_for


@dataclass(frozen=True, eq=False)
class DataParts:
    """The data that a model is measured with, and how."""

    train: Batches
    """Training data."""
    heldout: Batches | None
    """Held-out data, if there are any."""
    options: AnalysisOptions
    """What was asked for, with a measure."""
    chosen: bool
    """True if nobody asked for a measure, so that it was chosen here."""

    @classmethod
    def of(
        cls,
        model: nn.Module,
        train: LabelledData,
        heldout: LabelledData | None,
        options: AnalysisOptions,
    ) -> DataParts:
        """Return both parts as batches, after checking that they fit each other.

        Args:
            model: the model that is measured.
            train: training data in any form.
            heldout: held-out data in any form, if there are any.
            options: what was asked for.

        Raises:
            InvalidInputError: if data are malformed, or the parts do not fit each other.
        """
        data = batches_of(data_for(model, train), options.batch_size)
        measuring = options.for_data(model, data)
        held = None
        if heldout is not None:
            held = batches_of(data_for(model, heldout), options.batch_size)
            residual = measuring.measure == Measure.RESIDUAL
            if residual and data.tokens and held.tokens:  # text may hold tokens that are new
                data = replace(data, least_classes=held.num_classes)
            check_heldout(held, data, allow_unseen=residual)
        return cls(data, held, measuring, chosen=options.measure is None)

    @property
    def language(self) -> bool:
        """True if tokens are predicted, so that perplexity says how well the model does."""
        return self.train.tokens and self.options.measure == Measure.RESIDUAL

    @property
    def notes(self) -> Iterator[str]:
        """Yield what the reader of a report should know about the choice of the measure."""
        if self.chosen and self.language:
            yield (
                "The labels are tokens, so the residual of a linear prediction of the token stands "
                "in the place of D, which needs many samples of every class; --measure separation "
                "asks for D."
            )
