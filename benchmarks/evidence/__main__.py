"""Write all statements, tables and pictures from the result files: no figure is typed by hand.

    python -m benchmarks.evidence

The statements go to ``docs/evidence.md``, the tables and pictures to ``docs/evidence/``, the
statements that matter most to the README, and the table of workers to the tutorial about many
machines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.evidence import costs, law, scaling, search
from benchmarks.evidence.advice import advice
from benchmarks.evidence.alpha import alpha
from benchmarks.evidence.contribution import effects, removals
from benchmarks.evidence.contribution_gpu import removals_on_a_gpu
from benchmarks.evidence.criterion import criterion
from benchmarks.evidence.diagnosis import diagnosis
from benchmarks.evidence.edits import edits
from benchmarks.evidence.gpu import gpu
from benchmarks.evidence.language import language
from benchmarks.evidence.markdown import replace_between_marks
from benchmarks.evidence.max_drop import max_drop
from benchmarks.evidence.payoff import payoff
from benchmarks.evidence.peers import peers
from benchmarks.evidence.pictures import draw, embedded
from benchmarks.evidence.pretrained import pretrained
from benchmarks.evidence.receptive_field import receptive_field
from benchmarks.evidence.score_forms import score_forms
from benchmarks.evidence.statement import Page, Statement
from benchmarks.evidence.statements import statements, summary, tally
from benchmarks.evidence.terms import opening
from benchmarks.evidence.zoo import zoo

ROOT = Path(__file__).parents[2]
README, EVIDENCE = ROOT / "README.md", ROOT / "docs" / "evidence.md"
TABLES = ROOT / "docs" / "evidence"
MANY_MACHINES = ROOT / "docs" / "tutorials" / "many_machines.md"

Section = Callable[[], Iterator[str]]

PAGES: dict[Page, tuple[str, tuple[Section, ...]]] = {
    Page.LAW: ("The law", (law.paper, law.residual, pretrained)),
    Page.SCORE: ("The design score", (criterion, score_forms, alpha)),
    Page.SEARCH: ("The search", (search.samplers, payoff)),
    Page.ADVICE: ("Diagnosis and edits", (diagnosis, edits, advice, peers, receptive_field)),
    Page.BLOCKS: ("What a block contributes", (effects, zoo)),
    Page.PRUNING: ("Pruning", (removals, removals_on_a_gpu, max_drop, language)),
    Page.COSTS: ("Costs", (costs.separation, costs.analysis, costs.looks, gpu)),
    Page.SCALING: ("Scaling", (scaling.scaling,)),
}
"""Title and sections of each page of tables."""


def main() -> None:
    """Write the pages and draw the pictures."""
    draw()
    _write(EVIDENCE, document())
    for page in PAGES:
        _write(TABLES / f"{page}.md", tables(page))
    replace_between_marks(README, summary())
    replace_between_marks(MANY_MACHINES, scaling.workers())


def _write(path: Path, lines: Iterator[str]) -> None:
    path.write_text(as_text(lines), encoding="utf-8")


def as_text(lines: Iterator[str]) -> str:
    """Return what a file of these lines holds."""
    return "\n".join(lines).rstrip("\n") + "\n"


def document() -> Iterator[str]:
    """Yield the page of statements."""
    yield from (
        "# The evidence",
        "",
        *opening(tally()),
    )
    for statement in statements():
        yield from _section(statement)


def _section(statement: Statement) -> Iterator[str]:
    yield from ("", f"## {statement.sentence}", "", f"**{_sentence(statement.verdict)}**", "")
    yield from (f"- {_sentence(figure)}" for figure in statement.figures)
    if statement.picture:
        yield from embedded(statement.picture)
    else:
        yield ""
    tables = ", ".join(f"[{page}](evidence/{page}.md)" for page in statement.pages)
    commands = ", ".join(f"`python -m benchmarks.run {name}`" for name in statement.programs)
    yield f"Tables: {tables} · {commands}"


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def tables(page: Page) -> Iterator[str]:
    """Yield the tables of one page."""
    title, sections = PAGES[page]
    yield from (
        f"# {title}: all tables",
        "",
        "What they say in short: [the evidence](../evidence.md).",
        "",
    )
    for section in sections:
        yield from section()


if __name__ == "__main__":
    main()
