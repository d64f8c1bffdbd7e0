"""Values of options that are given by name, and how a name becomes one of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, TypeVar

from designer.errors import InvalidInputError

DEFAULT_BATCH_SIZE = 128
"""Samples per training step, unless the caller chooses another number."""


class Augmentation(StrEnum):
    """How training images are varied."""

    NONE = "none"
    """Images stay as they are."""
    SHIFT = "shift"
    """Images move by up to 1/8 of height and width, in whole pixels. Pixels that come in from
    outside are 0, the mean of scaled images."""
    FLIP = "flip"
    """Each image is mirrored left to right with probability 1/2."""
    FLIP_SHIFT = "flip-shift"
    """Images are mirrored and moved."""

    @property
    def flips(self) -> bool:
        """True if images are mirrored."""
        return self in {Augmentation.FLIP, Augmentation.FLIP_SHIFT}

    @property
    def shifts(self) -> bool:
        """True if images are moved."""
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
    """Design score, validation accuracy and few parameters: three goals of equal rank."""

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        """Optuna's directions, one for each value that a trial returns."""
        if self is Objective.PARETO:
            return ["maximize", "maximize", "minimize"]
        return ["maximize"]


class Engine(StrEnum):
    """What starts the workers of a search, and starts them again when they die."""

    PROCESSES = "processes"
    """The search itself: processes on its machine."""
    RAY = "ray"
    """Ray: actors on the machines of a cluster."""


class Scaling(StrEnum):
    """How inputs are scaled."""

    STANDARD = "standard"
    """Scale to mean 0 and standard deviation 1 per channel or feature of the training inputs."""
    NONE = "none"
    """Do not scale: numbers stay as they come, and bytes become fractions of 255, as torchvision's
    ``ToTensor`` makes them."""
    UNIT = "0..1"
    """Give pixel values from 0 to 1: values of 0 to 255 are divided by 255."""
    BYTES = "0..255"
    """Give pixel values from 0 to 255: bytes keep their values, values of 0 to 1 are multiplied."""
    IMAGENET = "imagenet"
    """Scale pixel values from 0 to 1 by the mean and standard deviation of ImageNet's colours."""
    GIVEN = "given"
    """Scale with a stored ``mean`` and ``scale``, as for a model that was trained earlier."""


class InputKind(StrEnum):
    """What an array of inputs holds."""

    IMAGE = "image"
    """Images (n, height, width), or with channels first or last."""
    SERIES = "series"
    """Series (n, channels, time), which stay of that shape."""
    TOKENS = "tokens"
    """Whole numbers (n, length) that stand for words and the like: neither scaled nor rounded."""
    TABULAR = "tabular"
    """Numbers (n, features)."""


class Reduction(StrEnum):
    """How the output (n, ...) of a block becomes features (n, p)."""

    FLATTEN = "flatten"
    """All numbers of a sample, side by side."""
    POOL = "pool"
    """The mean over the positions of a map (n, channels, height, width) or over the tokens of a
    sequence (n, tokens, features)."""
    PROJECT = "project"
    """All numbers of a sample, projected at random to fewer dimensions where there are more."""


class Criterion(StrEnum):
    """Which blocks a pruning removes first."""

    BEST = "best"
    """``CONTRIBUTION``, ``HELDOUT`` or ``BLOCK_INFLUENCE``, whichever keeps most validation
    accuracy when as many blocks are removed and what is left is repaired."""
    CONTRIBUTION = "contribution"
    """The rise of held-out cross-entropy without the block, measured again after each removal; a
    linear map takes the place of a block if what is left will be fitted or repaired."""
    HELDOUT = "heldout"
    """The step of the cross-fitted D: directions from training data, scatter from held-out."""
    TRAIN = "train"
    """The step on training data."""
    BLOCK_INFLUENCE = "block-influence"
    """1 - cosine of a block's input and output (Men et al., "ShortGPT", 2024)."""
    ABLATION = "ablation"
    """Validation loss without the block, after the layers behind it were fitted again."""
    LAST = "last"
    """The last blocks first."""
    RANDOM = "random"
    """A random order."""


class DataPart(StrEnum):
    """The part of a data set that is held out."""

    VALIDATION = "validation"
    """Samples that choices were made with."""
    TEST = "test"
    """Samples that no choice was made with."""


class Measure(StrEnum):
    """What is measured behind every layer: D, or what stands in its place."""

    SEPARATION = "separation"
    """D = Tr(SS_w SS_b+): He & Su, PNAS 120(36), 2023."""
    RESIDUAL = "residual"
    """1 - R^2 of a linear prediction: He & Su, "A law of next-token prediction", 2024."""


Choice = TypeVar("Choice", bound=StrEnum)


def choice(kind: type[Choice], name: str, what: str) -> Choice:
    """Return the member of an enumeration that has a name.

    Args:
        kind: the enumeration.
        name: the name that the caller gave.
        what: what the name stands for, in the words of the message, for example "a measure".

    Raises:
        InvalidInputError: if no member has that name.
    """
    try:
        return kind(name)
    except ValueError as error:
        raise InvalidInputError(
            f"Expected {what} among {', '.join(kind)}, got '{name}'."
        ) from error
