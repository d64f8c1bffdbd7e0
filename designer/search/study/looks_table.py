"""What was seen of complete trials between epochs, sorted for their medians."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class LooksTable:
    """The looks at all complete trials, one column for each look.

    Args:
        rows: the looks at some trials, see ``add``.

    Attributes:
        trials: number of trials that were looked at.
    """

    def __init__(self, rows: Iterable[Sequence[float]] = ()) -> None:
        self.trials = 0
        self._columns: list[list[float]] = []
        for row in rows:
            self.add(row)

    def add(self, scores: Sequence[float]) -> None:
        """Take in the looks at one trial, in order; nothing happens where there are none."""
        self.trials += bool(scores)
        self._columns += [[] for _ in range(len(scores) - len(self._columns))]
        for column, score in zip(self._columns, scores, strict=False):
            column.append(score)

    def median(self, look: int) -> float | None:
        """Return the median over the trials of their look number ``look``, from 1; None without.

        Of two in the middle it is the mean.
        """
        column = self._columns[look - 1] if look <= len(self._columns) else []
        if not column:
            return None
        column.sort()  # it was sorted before but for the latest trials, so this takes little time
        middle = len(column) // 2
        return column[middle] if len(column) % 2 else (column[middle - 1] + column[middle]) / 2
