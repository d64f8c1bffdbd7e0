"""What is written from the result files: documents are up to date, and verdicts follow figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.claim import CLAIMS
from benchmarks.evidence.__main__ import (
    EVIDENCE,
    MANY_MACHINES,
    PAGES,
    README,
    TABLES,
    as_text,
    document,
    tables,
)
from benchmarks.evidence.criterion import verdict_words
from benchmarks.evidence.markdown import (
    BEGIN,
    END,
    difference,
    replace_between_marks,
    spread,
    table,
    verdict,
    with_interval,
)
from benchmarks.evidence.scaling import workers
from benchmarks.evidence.statement import Page, Verdict, verdict_of
from benchmarks.evidence.statements import statements, summary, tally


def between_marks(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return text.split(f"{BEGIN}\n")[1].split(f"\n{END}")[0].splitlines()


def test_documents_show_the_committed_results() -> None:
    assert EVIDENCE.read_text(encoding="utf-8") == as_text(document())
    for page in PAGES:
        assert (TABLES / f"{page}.md").read_text(encoding="utf-8") == as_text(tables(page))
    assert between_marks(README) == list(summary())
    assert between_marks(MANY_MACHINES) == list(workers())


def test_the_summary_is_a_table_of_at_most_twelve_claims() -> None:
    rows = [line for line in summary() if line.startswith("|")]
    assert rows[0] == "| claim | figure | verdict |"
    assert len(rows) - 2 == len(statements()) <= 12
    assert all(row.count(" | ") == 2 for row in rows[2:])


def test_every_statement_names_a_program_and_a_page_and_every_page_is_named() -> None:
    named = {program.split()[0] for statement in statements() for program in statement.programs}
    assert named <= set(CLAIMS)
    assert {page for statement in statements() for page in statement.pages} == set(Page)
    assert set(Page) == set(PAGES)
    assert {path.stem for path in TABLES.glob("*.md")} == set(PAGES)


def test_the_page_of_statements_is_read_in_minutes() -> None:
    read = [line for line in document() if not line.startswith("Tables: ")]
    words = [word for word in " ".join(read).split() if any(map(str.isalnum, word))]
    assert len(words) < 1500


def test_the_page_begins_with_which_claims_hold() -> None:
    lines = list(tally())
    assert [line.split("**")[1] for line in lines] == [str(verdict) for verdict in Verdict]
    assert sum(line.count(statement.topic) for line in lines for statement in statements()) == len(
        statements()
    )


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ((True, True), Verdict.HOLDS),
        ((True, False), Verdict.PARTLY),
        ((False, False), Verdict.FAILS),
    ],
)
def test_a_claim_of_several_parts_holds_in_part_where_some_are_so(
    parts: tuple[bool, ...], verdict: Verdict
) -> None:
    assert verdict_of(*parts) is verdict


def test_a_claim_with_a_missed_figure_does_not_hold_as_a_whole() -> None:
    for statement in statements():
        missed = [figure for figure in statement.figures if figure.endswith("(**missed**)")]
        assert not missed or statement.verdict is not Verdict.HOLDS


def test_a_table_aligns_numbers_to_the_right() -> None:
    lines = list(table(("order", "data", "gone"), [["a", "b", "1"]], text_columns=2))
    assert lines == ["", "| order | data | gone |", "|---|---|---:|", "| a | b | 1 |"]


def test_only_what_is_between_the_marks_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    replace_between_marks(path, ["new", "lines"])
    assert path.read_text(encoding="utf-8") == f"before\n{BEGIN}\nnew\nlines\n{END}\nafter\n"


def test_numbers_are_written_with_their_uncertainty() -> None:
    assert spread({"mean": 0.5, "sd": 0.123}, 100, 1) == "50.0 ± 12.3"
    assert spread({"mean": None, "sd": None}) == "-"
    assert with_interval({"mean": 1.0, "interval": [0.5, 2.0]}) == "1.00 (0.50 to 2.00)"
    assert with_interval({"mean": None, "interval": [None, None]}) == "-"
    assert difference({"mean": 0.01, "interval": [-0.02, 0.03]}, 100, 1) == "+1.0 (-2.0 to +3.0)"


@pytest.mark.parametrize(
    ("interval", "word"),
    [
        ([0.1, 0.2], "ahead"),
        ([-0.1, 0.2], "level"),
        ([0.0, 0.2], "level"),
        ([-0.2, -0.1], "behind"),
    ],
)
def test_a_verdict_needs_an_interval_without_zero(interval: list[float], word: str) -> None:
    assert verdict({"interval": interval}) == word


@pytest.mark.parametrize(("lead", "word"), [(0.2, "ahead"), (0.05, "level"), (-0.2, "behind")])
def test_leads_of_independent_pools_are_averaged(lead: float, word: str) -> None:
    row = {"lead": lead, "lead_interval": [lead - 0.14, lead + 0.14]}
    pool = {"design_score": dict.fromkeys(("5", "10", "20"), row)}
    # half of the interval of the mean of two pools is 0.14 / sqrt(2), about 0.1
    assert verdict_words([pool, pool]) == [word] * 3
