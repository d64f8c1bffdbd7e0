"""Write all tables and pictures from the result files: no figure is typed by hand.

    python -m benchmarks.evidence

The tables go to ``docs/evidence.md``, the pictures to ``docs/evidence/``, the figures that say most
to the README, and the table of workers to the tutorial about many machines.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.evidence import costs, law, pruning, scaling, search
from benchmarks.evidence.contribution import contribution
from benchmarks.evidence.criterion import criterion
from benchmarks.evidence.diagnosis import diagnosis
from benchmarks.evidence.edits import edits
from benchmarks.evidence.markdown import replace_between_marks
from benchmarks.evidence.payoff import payoff
from benchmarks.evidence.pictures import draw, embedded
from benchmarks.evidence.summary import summary

ROOT = Path(__file__).parents[2]
README, EVIDENCE = ROOT / "README.md", ROOT / "docs" / "evidence.md"
MANY_MACHINES = ROOT / "docs" / "tutorials" / "many_machines.md"


def main() -> None:
    """Write the tables and draw the pictures."""
    draw()
    EVIDENCE.write_text("\n".join(document()) + "\n", encoding="utf-8")
    replace_between_marks(README, summary())
    replace_between_marks(MANY_MACHINES, scaling.workers())


def document() -> Iterator[str]:
    """Yield all tables with a paragraph each."""
    yield from (
        "# The evidence",
        "",
        "Written by `python -m benchmarks.evidence` from the files in `benchmarks/results/`, each "
        "of which holds its command, seeds, versions and machine.",
        "",
    )
    yield from embedded("law")
    yield from law.paper()
    yield from embedded("leads")
    yield from criterion()
    yield from search.samplers()
    yield from embedded("payoff")
    yield from payoff()
    yield from diagnosis()
    yield from edits()
    yield from costs.separation()
    yield from costs.analysis()
    yield from costs.looks()
    yield from law.residual()
    yield from embedded("pruning")
    yield from pruning.pruning()
    yield from contribution()
    yield from scaling.scaling()


if __name__ == "__main__":
    main()
