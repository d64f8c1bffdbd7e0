"""The best complete trials of a study: those best for each goal, and the Pareto front."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence

import numpy as np
from optuna.study import StudyDirection

from designer.results.measured import FloatArray

BEST = 50
"""How many of the best trials for each goal are kept. TPE takes at most 25 for good."""

FRONT = 200
"""How many trials of the Pareto front are kept; of a longer front they are evenly spread."""


class Ranking:
    """Keep the best trials while trials are added in any order.

    Args:
        directions: the direction of each goal.
    """

    def __init__(self, directions: Sequence[StudyDirection]) -> None:
        self._signs = np.array([-1 if d is StudyDirection.MAXIMIZE else 1 for d in directions])
        self._best: list[list[tuple[float, int]]] = [[] for _ in directions]
        self._front: list[tuple[FloatArray, int]] = []
        self._new: list[tuple[FloatArray, int]] = []

    def add(self, number: int, values: Sequence[float]) -> None:
        """Take in a complete trial with its value for each goal."""
        costs: FloatArray = self._signs * np.asarray(values, dtype=np.float64)
        for best, cost in zip(self._best, costs.tolist(), strict=True):
            if len(best) < BEST or (cost, number) < best[-1]:
                insort(best, (cost, number))
                del best[BEST:]
        if len(costs) > 1:
            self._new.append((costs, number))

    def best(self) -> set[int]:
        """Return the numbers of the best trials for each goal, of equal ones the earlier.

        With several goals the Pareto front is among them.
        """
        front = self.front()
        if len(front) > FRONT:
            front = [front[i * (len(front) - 1) // (FRONT - 1)] for i in range(FRONT)]
        return {number for best in self._best for _, number in best}.union(front)

    def front(self) -> list[int]:
        """Return the numbers of the trials on the Pareto front, the best for the first goal first.

        Of trials that are equal in all goals the earlier is on the front. It is empty for a single
        goal.
        """
        if self._new:
            self._front = _not_dominated([*self._front, *self._new])
            self._new = []
        return [number for _, number in self._front]


def _not_dominated(points: Sequence[tuple[FloatArray, int]]) -> list[tuple[FloatArray, int]]:
    """Return the points, costs with a number each, that none is as good as in all goals."""
    numbers = np.array([number for _, number in points])
    costs = np.array([costs for costs, _ in points])
    order = np.lexsort((numbers, *costs.T[::-1]))
    front = []
    while len(order):
        first, order = order[0], order[1:]
        front.append(points[first])  # what is before it in order does not dominate it
        order = order[(costs[order] < costs[first]).any(axis=1)]
    return front
