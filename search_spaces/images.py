"""Read image shapes and suggest stages, for all families of networks on images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from search_spaces.base import Trial
from search_spaces.edits import Edit, EditKind, rate_edits

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


def stage_parameters(depths: Sequence[int], widths: Sequence[int]) -> dict[str, Any]:
    """Return what a trial must suggest to propose stages of these depths and widths."""
    return {
        "stages": len(depths),
        **{f"depth_{stage}": depth for stage, depth in enumerate(depths)},
        "width": widths[0],
        "growth": "constant" if widths[-1] == widths[0] else "doubling",
    }


def stage_edits(depths: Sequence[int], params: Mapping[str, Any]) -> Iterator[Edit]:
    """Return edits of depth, width and learning rate of a network that is made of stages.

    Args:
        depths: number of blocks of each stage.
        params: all parameters of the network.
    """
    for kind, edited in (
        (EditKind.HALF_DEPTH, [-(-depth // 2) for depth in depths]),
        (EditKind.ONE_BLOCK_FEWER, _changed(depths, -1)),
        (EditKind.ONE_BLOCK_MORE, _changed(depths, 1)),
    ):
        own = {f"depth_{stage}": depth for stage, depth in enumerate(edited)}
        yield Edit(kind, {**params, **own})
    yield from width_edits(params)
    yield from rate_edits(params)
    for stage, depth in enumerate(depths):
        shallower = {**params, f"depth_{stage}": depth - 1}
        for block in range(depth):
            yield Edit(EditKind.REMOVE_BLOCK, shallower, f"stages.{stage}.{block}")


def width_edits(params: Mapping[str, Any]) -> Iterator[Edit]:
    """Return edits that halve and double the width of a network with these parameters."""
    width = params["width"]
    yield Edit(EditKind.HALF_WIDTH, {**params, "width": round(width / 2)})
    yield Edit(EditKind.DOUBLE_WIDTH, {**params, "width": 2 * width})


def _changed(depths: Sequence[int], by: int) -> list[int]:
    """Return depths with one block fewer in the deepest stage, or one more in the shallowest."""
    place = depths.index(max(depths)) if by < 0 else depths.index(min(depths))
    return [depth + by * (stage == place) for stage, depth in enumerate(depths)]
