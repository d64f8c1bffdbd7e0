"""What a statement of the evidence is, and on which pages the full tables are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Page(StrEnum):
    """The pages with the full tables, by the names of their files."""

    LAW = "law"
    SCORE = "score"
    SEARCH = "search"
    ADVICE = "advice"
    BLOCKS = "blocks"
    PRUNING = "pruning"
    COSTS = "costs"
    SCALING = "scaling"


@dataclass(frozen=True)
class Statement:
    """One claim, and what was measured of it."""

    sentence: str
    """The claim."""
    figure: str
    """The figures that decide, those of the rivals beside ours."""
    verdict: str
    """If it holds."""
    program: str
    """The program of ``benchmarks.claims`` that measured it."""
    page: Page
    """Where the full table is."""
    picture: str = ""
    """Name of a picture that shows it."""


def holds(is_so: bool) -> str:
    """Return the verdict on a claim that is so or is not."""
    return "holds" if is_so else "does not hold"
