"""What families for images share: the inputs that they take, and how they choose stages."""

from __future__ import annotations

from search_spaces.base import Trial

GROWTHS = ("doubling", "constant")


def image_shape(input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of images.

    Raises:
        ValueError: where the inputs are no images.
    """
    if len(input_shape) != 3:
        raise ValueError(
            f"Expected images of shape (channels, height, width), "
            f"got inputs of shape {input_shape}."
        )
    channels, height, width = input_shape
    return channels, height, width


def suggest_depths(trial: Trial, stages: int, low: int, high: int) -> tuple[int, ...]:
    """Blocks per stage, a choice for each."""
    return tuple(trial.suggest_int(f"depth_{stage}", low, high) for stage in range(stages))


def suggest_widths(trial: Trial, stages: int, low: int, high: int, step: int) -> tuple[int, ...]:
    """Channels per stage: those of the first, the same or twice as many in each that follows."""
    first = suggest_width(trial, low, high, step)
    growth = trial.suggest_categorical("growth", GROWTHS)
    return tuple(first * 2**stage if growth == "doubling" else first for stage in range(stages))


def suggest_width(trial: Trial, low: int, high: int, step: int) -> int:
    """A multiple of ``step``, so that nearly equal architectures count as one."""
    width = trial.suggest_int("width", low, high, log=True)
    return step * min(max(round(width / step), -(-low // step)), max(high // step, 1))
