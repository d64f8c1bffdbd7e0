"""The front of size and accuracy, and its knee."""

from __future__ import annotations

import pytest

from designer.results.front import knee, pareto_front


@pytest.mark.parametrize(
    ("sizes", "front"),
    [
        ({}, []),
        ({0: (100, 0.9)}, [0]),
        ({0: (100, 0.9), 1: (50, 0.8), 2: (60, 0.7), 3: (200, 0.9)}, [1, 0]),
        ({3: (100, 0.9), 1: (100, 0.9), 2: (100, 0.8)}, [1]),
    ],
)
def test_pareto_front(sizes: dict[int, tuple[int, float]], front: list[int]) -> None:
    assert pareto_front(sizes) == front


@pytest.mark.parametrize(
    ("points", "place"),
    [
        ([], None),
        ([(10, 0.5), (1000, 0.9)], None),
        ([(10, 0.5), (100, 0.7), (1000, 0.9)], None),  # a straight line over log parameters
        ([(10, 0.5), (100, 0.71), (1000, 0.9)], 1),
        ([(10, 0.5), (20, 0.85), (100, 0.88), (1000, 0.9)], 1),
        ([(10, 0.5), (100, 0.55), (1000, 0.9)], None),  # it bends the other way
    ],
)
def test_the_knee_is_highest_above_the_line(
    points: list[tuple[int, float]], place: int | None
) -> None:
    assert knee(points) == place
