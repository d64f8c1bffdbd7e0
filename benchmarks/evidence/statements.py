"""What the product claims: for each claim figures, a verdict, the commands and the full tables.

They make the table of the README, and the page of the evidence.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.evidence.design_statements import diagnosing, editing, ranking, searching
from benchmarks.evidence.markdown import table
from benchmarks.evidence.other_statements import costs, speed, the_law
from benchmarks.evidence.pruning_statements import (
    bounding,
    contributing,
    models,
    removing,
    transformers,
)
from benchmarks.evidence.statement import Statement, Verdict

CLAIMED = (
    ranking,
    searching,
    diagnosing,
    editing,
    contributing,
    removing,
    bounding,
    transformers,
    models,
    costs,
    speed,
    the_law,
)
"""What returns each claim, those that matter most first."""


def statements() -> list[Statement]:
    """Return all claims."""
    return [statement() for statement in CLAIMED]


def summary() -> Iterator[str]:
    """Yield the lines between the README's marks."""
    rows = [(s.sentence, s.figures[0], s.verdict) for s in statements()]
    yield from list(table(("claim", "figure", "verdict"), rows, text_columns=3))[1:]
    yield from (
        "",
        "Everything that was measured, also where we lose: [the evidence](docs/evidence.md).",
    )


def tally() -> Iterator[str]:
    """Yield which claims hold, which hold in part, and which do not."""
    for verdict in Verdict:
        topics = [s.topic for s in statements() if s.verdict is verdict]
        yield f"- **{verdict}**: {', '.join(topics) or 'none'}"
