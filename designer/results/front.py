"""The front of two goals that pull apart: few parameters and a high accuracy or score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

Key = TypeVar("Key", bound=Any)


def pareto_front(sizes: Mapping[Key, tuple[int, float]]) -> list[Key]:
    """Return the keys that are better than all others with at most as many parameters.

    Args:
        sizes: (parameters, accuracy or score) by key.  Of several keys that are equal in both, the
            least is on the front.

    Returns:
        The keys in order of their parameters, the smallest network first.
    """
    front, highest = [], -math.inf
    for key, (_, value) in sorted(
        sizes.items(), key=lambda item: (item[1][0], -item[1][1], item[0])
    ):
        if value > highest:
            front.append(key)
            highest = value
    return front


def knee(points: Sequence[tuple[int, float]]) -> int | None:
    """Return the place of the knee of a front: where less size begins to cost much accuracy.

    It is the point that lies highest above the line between both ends, with the logarithm of the
    parameters and the accuracy each scaled to 0..1 (Satopaa et al., "Finding a 'kneedle' in a
    haystack", ICDCS Workshops 2011).

    Args:
        points: (parameters, accuracy) of the members of a front, the smallest network first.

    Returns:
        The place; None where no point lies above the line.
    """
    if len(points) < 3:
        return None
    (small, low), (large, high) = points[0], points[-1]
    width, height = math.log(large / small), high - low
    heights = [
        (value - low) / height - math.log(parameters / small) / width
        for parameters, value in points
    ]
    best = max(range(len(points)), key=heights.__getitem__)
    return best if heights[best] > 0 else None
