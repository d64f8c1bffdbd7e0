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


class Verdict(StrEnum):
    """If a claim holds."""

    HOLDS = "holds"
    PARTLY = "holds in part"
    FAILS = "does not hold"


@dataclass(frozen=True)
class Statement:
    """One claim, and what was measured of it."""

    topic: str
    """What it is about, in a few words."""
    sentence: str
    """The claim."""
    figures: tuple[str, ...]
    """The figures that decide, those of the rivals beside ours; the first is that of the README."""
    verdict: Verdict
    """If it holds."""
    programs: tuple[str, ...]
    """The programs of ``benchmarks.claims`` that measured it."""
    pages: tuple[Page, ...]
    """Where the full tables are."""
    picture: str = ""
    """Name of a picture that shows it."""


def verdict_of(*parts: bool) -> Verdict:
    """Return the verdict on a claim of several parts, each of which is so or is not."""
    if all(parts):
        return Verdict.HOLDS
    return Verdict.PARTLY if any(parts) else Verdict.FAILS


def marked(figure: str, *, met: bool) -> str:
    """Return a figure, with a mark where it is not as claimed."""
    return figure if met else f"{figure} (**missed**)"


def holds(is_so: bool) -> Verdict:
    """Return the verdict on what is so or is not."""
    return verdict_of(is_so)
