"""What the report says of a network as a whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from designer.analysis.analyze import analyze
from designer.report.html import html_report
from designer.report.views.analysis import analysis_view
from designer.report.views.diagnosis import diagnosis_in_short, diagnosis_lines
from designer.report.views.network import NOT_TRIED, advice_lines, advice_title
from designer.report.views.search import search_view
from designer.results.analysis import AnalysisResult
from designer.results.diagnosis import WHOLE_FIRST, Finding, FindingKind
from designer.results.measured import Verdict
from designer.results.serialisation import read_report, report_to_json
from tests.report.rendered import markdown, terminal
from tests.support.helpers import labelled, small_mlp
from tests.support.sample_reports import (
    OVER_DEEP,
    RATE_TOO_LOW,
    TOO_NARROW,
    contributing,
    network,
    typical,
)


@pytest.fixture(scope="module")
def analysed() -> AnalysisResult:
    """An analysis of two blocks that are not trained."""
    return analyze(small_mlp(), labelled(60), labelled(30, seed=1), resamples=20)


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_a_line_says_what_is_wrong_and_whether_the_advice_was_tried() -> None:
    low, narrow = diagnosis_lines((RATE_TOO_LOW, TOO_NARROW))
    assert low.startswith("Learning rate too low: After the first third of the epochs")
    assert low.endswith(f"Train with 3 times the learning rate. Tried: {RATE_TOO_LOW.outcome}.")
    assert narrow.startswith("Too narrow: Class directions are lost in block 'blocks.1'")
    assert narrow.endswith("and train anew. Not tried.")


@pytest.mark.parametrize("kind", FindingKind)
def test_every_kind_begins_its_line(kind: FindingKind) -> None:
    (line,) = diagnosis_lines((Finding(kind, "Evidence.", "Advice."),))
    assert line.casefold() == f"{kind}: evidence. advice. not tried."
    assert line[0].isupper()


@pytest.mark.parametrize("width", [80, 120])
def test_the_diagnosis_stands_above_the_layers(width: int) -> None:
    lines = terminal(contributing(), width).splitlines()
    stripped = [line.strip() for line in lines]
    assert stripped.count("Diagnosis") == 2
    (first, *_) = (i for i, line in enumerate(stripped) if line == "Diagnosis")
    (table, *_) = (i for i, line in enumerate(stripped) if line.startswith("block "))
    assert first < table
    assert stripped[first + 1].startswith("! Over-deep: Block 2 of 16")
    assert all(len(line) <= width for line in lines)


def test_every_form_shows_every_finding() -> None:
    result = contributing()
    page = html_report(search_view(result))
    texts = (squeezed(terminal(result)), markdown(result), page)
    for line in diagnosis_lines((OVER_DEEP, RATE_TOO_LOW, TOO_NARROW)):
        start = line.partition(",")[0]
        assert all(start in text.replace("&#39;", "'") for text in texts)
    assert markdown(result).count("#### Diagnosis") == page.count("<h3>Diagnosis</h3>") == 2


def test_without_findings_there_is_no_section() -> None:
    result = typical()
    page = html_report(search_view(result))
    for text in (terminal(result), markdown(result), page):
        assert "Diagnosis" not in text


def test_the_headline_of_a_search_says_what_is_wrong_with_the_best() -> None:
    assert "Diagnosis: over-deep; learning rate too low. The law holds." in (
        search_view(contributing()).headline
    )
    assert diagnosis_in_short(()) == ""


def test_the_headline_of_an_analysis_begins_with_the_diagnosis(analysed: AnalysisResult) -> None:
    sound = replace(analysed, warnings=(), diagnosis=(OVER_DEEP,), layers=LAYERS)
    assert analysis_view(sound).headline.startswith("Diagnosis: over-deep. The law ")
    assert analysis_view(replace(sound, diagnosis=())).headline.startswith("The law ")


LAYERS = network(1, {"blocks.0": (0.8, Verdict.OK), "blocks.1": (0.2, Verdict.LOW)}).layers


def test_the_headline_counts_no_changes_where_the_whole_comes_first(
    analysed: AnalysisResult,
) -> None:
    counted = replace(analysed, layers=LAYERS)
    assert "; 1 block needs a change" in analysis_view(counted).headline
    whole = tuple(replace(layer, advice=WHOLE_FIRST) for layer in LAYERS)
    assert "change" not in analysis_view(replace(analysed, layers=whole)).headline


def test_advice_that_changes_the_network_is_said_not_to_be_tried() -> None:
    assert advice_title(LAYERS) == NOT_TRIED
    assert "not tried" in NOT_TRIED
    kept = tuple(replace(layer, advice="keep") for layer in LAYERS)
    again = tuple(replace(layer, advice=WHOLE_FIRST) for layer in LAYERS)
    assert advice_title(kept) == advice_title(again) == ""
    assert NOT_TRIED in squeezed(terminal(typical()))
    assert NOT_TRIED in markdown(typical())
    assert NOT_TRIED in html_report(search_view(typical()))


def test_equal_advice_is_one_line_whatever_the_verdicts() -> None:
    again = tuple(replace(layer, advice=WHOLE_FIRST) for layer in LAYERS)
    assert list(advice_lines(again)) == [
        "Measure blocks.0 (ok), blocks.1 (low) again: the network as a whole comes first."
    ]


def test_reports_without_a_diagnosis_open(analysed: AnalysisResult, tmp_path: Path) -> None:
    assert analysed.diagnosis
    for report in (analysed, typical()):
        values = json.loads(report_to_json(report))
        for record in (values, *values.get("recommendations", ())):
            record.pop("diagnosis", None)
        (tmp_path / "report.json").write_text(json.dumps(values))
        opened = read_report(tmp_path)
        assert opened == (replace(report, diagnosis=()) if report is analysed else report)


def test_findings_are_kept_in_json(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(report_to_json(contributing()))
    assert read_report(tmp_path) == contributing()
    first = json.loads(report_to_json(contributing()))["recommendations"][0]["diagnosis"][0]
    assert first == {
        "kind": "over-deep",
        "evidence": OVER_DEEP.evidence,
        "advice": OVER_DEEP.advice,
        "tried": False,
        "outcome": "",
    }
