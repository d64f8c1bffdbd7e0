"""The phases of a search, and how far each has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """The parts of a run that train networks."""

    SEARCH = "search"
    CONFIRMATION = "confirmation"
    EDITS = "edits"


@dataclass(frozen=True)
class Progress:
    """How far a phase has come."""

    phase: Phase
    """The phase."""
    finished: int
    """Trials that are complete or pruned."""
    total: int
    """Trials that will be finished in the end."""
    failed: int
    """Trials that failed by their own fault."""
    best: float | None
    """Best value so far: of the objective, or of the design score for ``pareto``."""


ProgressCallback = Callable[[Progress], None]
"""Called after each trial with how far its phase has come."""
