"""Read image shapes and suggest stages, for all families of networks on images."""

from __future__ import annotations

from search_spaces.base import Trial

GROWTHS = ("doubling", "constant")
"""How the number of channels goes from one stage to the next."""


def image_shape(input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return the channels, height and width of images.

    Raises:
        ValueError: if the inputs are no images.
    """
    if len(input_shape) != 3:
        raise ValueError(
            f"Expected images of shape (channels, height, width), "
            f"got inputs of shape {input_shape}."
        )
    channels, height, width = input_shape
    return channels, height, width


def suggest_depths(trial: Trial, stages: int, low: int, high: int) -> tuple[int, ...]:
    """Suggest the number of blocks of each stage, from ``low`` to ``high``."""
    return tuple(trial.suggest_int(f"depth_{stage}", low, high) for stage in range(stages))


def suggest_widths(trial: Trial, stages: int, low: int, high: int, step: int) -> tuple[int, ...]:
    """Suggest the number of channels of each stage: always the same, or doubling from the first.

    Args:
        trial: the trial, whose parameters are ``width`` and ``growth``.
        stages: number of stages.
        low: smallest width of the first stage.
        high: largest width of the first stage.
        step: the first width is a multiple of it.
    """
    first = suggest_width(trial, low, high, step)
    growth = trial.suggest_categorical("growth", GROWTHS)
    return tuple(first * 2**stage if growth == "doubling" else first for stage in range(stages))


def suggest_width(trial: Trial, low: int, high: int, step: int) -> int:
    """Suggest a width, rounded to a multiple of ``step``.

    Nearly equal architectures thus count as one candidate. The width stays between ``low`` and
    ``high`` if there is a multiple of ``step`` between them.
    """
    width = trial.suggest_int("width", low, high, log=True)
    return step * min(max(round(width / step), -(-low // step)), max(high // step, 1))
