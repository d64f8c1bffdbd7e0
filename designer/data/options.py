"""What `load_dataset` can be asked for besides the source, checked before anything is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from designer.choices import InputKind, Scaling
from designer.errors import DataError

NAMED_SCALINGS = tuple(scaling for scaling in Scaling if scaling is not Scaling.GIVEN)
"""Scalings that need no numbers beside their name."""


LARGEST_SEED = 2**31 - 1
"""NumPy and scikit-learn both accept seeds up to this one."""


@dataclass(frozen=True)
class DataOptions:
    """How the arrays of a source are split, resized and scaled; validates itself.

    Raises:
        DataError: if a value is out of its range.
    """

    train_size: int | None = None
    """Samples to train on; None for all that are left after validation and test."""
    image_size: int | None = None
    """Height and width in pixels that images are resized to; None keeps their size."""
    validation_fraction: float = 0.25
    """Share of training and validation samples together that is held out for validation."""
    seed: int = 0
    """Seed of the split and of the label permutation, from 0 to ``LARGEST_SEED``."""
    shuffle_labels: bool = False
    """True to permute all labels: a control in which a search should find nothing."""
    split_duplicates: bool = False
    """True to split equal samples as if they differed; by default they stay together, so that none
    is held out that stands in the training data, too."""
    scaling: str | Mapping[str, Sequence[float]] = Scaling.STANDARD
    """A value of ``Scaling`` other than ``given``; the ``mean`` and ``scale`` to apply, such as
    those of a ``Dataset``; or the ``mean`` and ``std`` of pixel values from 0 to 1."""

    input: str | None = None
    """What the arrays hold, a value of ``InputKind``; None where their shape says it."""
    context_length: int | None = None
    """Tokens in a block of text; None for a number that suits the model. For text alone."""

    def __post_init__(self) -> None:
        if not 0 < self.validation_fraction < 1:
            raise DataError(
                f"Expected a validation fraction between 0 and 1, got {self.validation_fraction:g}."
            )
        if not 0 <= self.seed <= LARGEST_SEED:
            raise DataError(f"Expected a seed from 0 to 2^31 - 1, got {self.seed}.")
        if not isinstance(self.scaling, Mapping) and self.scaling not in NAMED_SCALINGS:
            raise DataError(
                f"Expected a scaling among {', '.join(NAMED_SCALINGS)}, or a mapping with mean and "
                f"scale, got '{self.scaling}'."
            )

        if self.context_length is not None and self.context_length < 2:
            raise DataError(f"Expected a context of at least 2 tokens, got {self.context_length}.")
        if self.input is not None and self.input not in list(InputKind):
            raise DataError(
                f"Expected a kind of input among {', '.join(InputKind)}, got '{self.input}'."
            )

    def record(self) -> dict[str, Any]:
        """Return the options as JSON values; a scaling in numbers is recorded as ``given``."""
        in_numbers = isinstance(self.scaling, Mapping)
        known = {k: v for k, v in vars(self).items() if k != "context_length" or v is not None}
        return {**known, "scaling": str(Scaling.GIVEN if in_numbers else self.scaling)}
