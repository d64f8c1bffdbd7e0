"""Phases of a search and how far they have come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """The two parts of a run that train networks."""

    SEARCH = "search"
    CONFIRMATION = "confirmation"


@dataclass(frozen=True)
class Progress:
    """How far a phase is."""

    phase: Phase
    finished: int
    total: int
    failed: int
    best: float | None
    """Best value so far; of the design score for the pareto objective."""


ProgressCallback = Callable[[Progress], None]
