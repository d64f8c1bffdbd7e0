"""Values that options take by name, and how a name becomes one of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, TypeVar

from designer.errors import InvalidInputError

DEFAULT_BATCH_SIZE = 128
"""Samples per training step where nobody says otherwise."""


class Augmentation(StrEnum):
    """How training images are varied."""

    NONE = "none"
    """Not at all."""
    SHIFT = "shift"
    """Moved by up to 1/8 of height and width in whole pixels; what comes in from outside is 0,
    which is the mean of scaled images."""
    FLIP = "flip"
    """Every other one mirrored, left for right."""
    FLIP_SHIFT = "flip-shift"
    """Both."""

    @property
    def flips(self) -> bool:
        """Whether images are mirrored."""
        return self in {Augmentation.FLIP, Augmentation.FLIP_SHIFT}

    @property
    def shifts(self) -> bool:
        """Whether images are moved."""
        return self in {Augmentation.SHIFT, Augmentation.FLIP_SHIFT}


class Objective(StrEnum):
    """What the search maximises."""

    DESIGN = "design"
    """The design score."""
    LAW = "law"
    """Adherence to equi-separation alone."""
    ACCURACY = "accuracy"
    """Validation accuracy."""
    PARETO = "pareto"
    """Design score, validation accuracy and fewness of parameters, none above the others."""

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        """Optuna's directions, one per value."""
        if self is Objective.PARETO:
            return ["maximize", "maximize", "minimize"]
        return ["maximize"]


class Scaling(StrEnum):
    """How inputs are scaled."""

    STANDARD = "standard"
    """To mean 0 and sd 1 per channel or feature of the training inputs."""
    NONE = "none"
    """Not at all; bytes are fractions of 255 all the same."""
    GIVEN = "given"
    """With the ``mean`` and ``scale`` of a mapping, as for a model trained earlier."""


class Reduction(StrEnum):
    """How the output (n, ...) of a block becomes features (n, p)."""

    FLATTEN = "flatten"
    """All numbers of a sample, side by side."""
    POOL = "pool"
    """Mean over the positions of a map (n, channels, height, width) or over the tokens of a
    sequence (n, tokens, features)."""
    PROJECT = "project"
    """Flat, then projected to fewer dimensions where there are more."""


class Criterion(StrEnum):
    """What says which blocks go first."""

    BEST = "best"
    """Held-out steps or Block Influence, whichever leaves more validation accuracy where as many
    blocks go: the first knows plain networks, the second residual ones."""
    HELDOUT = "heldout"
    """The step on held-out data, with class means from training data."""
    TRAIN = "train"
    """The step on training data."""
    BLOCK_INFLUENCE = "block-influence"
    """1 - cosine of what a block receives and gives (Men et al., "ShortGPT", 2024)."""
    ABLATION = "ablation"
    """Validation loss without the block, what follows fitted again."""
    LAST = "last"
    """The last blocks first."""
    RANDOM = "random"


Choice = TypeVar("Choice", bound=StrEnum)


def choice(kind: type[Choice], name: str, what: str) -> Choice:
    """The member of an enumeration that a name stands for.

    Args:
        kind: which enumeration.
        name: as the caller gave it.
        what: it chooses, such as "a measure".

    Raises:
        InvalidInputError: where there is none of that name.
    """
    try:
        return kind(name)
    except ValueError as error:
        raise InvalidInputError(
            f"Expected {what} among {', '.join(kind)}, got '{name}'."
        ) from error


class DataPart(StrEnum):
    """Which part of a data set is held out."""

    VALIDATION = "validation"
    TEST = "test"


class Measure(StrEnum):
    """The ruler."""

    SEPARATION = "separation"
    """D = Tr(SS_w SS_b+): He & Su, PNAS 2023."""
    RESIDUAL = "residual"
    """1 - R^2 of a linear prediction: He & Su, "A law of next-token prediction", 2024."""
