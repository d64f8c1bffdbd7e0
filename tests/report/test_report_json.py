"""The file report.json: its schema, what is refused, and reports of earlier versions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from designer.errors import RunFolderError
from designer.report.html import html_report
from designer.report.views.page import figures_of
from designer.report.views.search import search_view
from designer.results.search import Recommendation, SearchResult
from designer.results.serialisation import read_result, report_schema, report_to_json
from tests.support.paths import FILES
from tests.support.sample_reports import HOSTILE, SAMPLES, named, numberless, typical


class TestJson:
    def test_schema_is_valid_and_names_itself(self) -> None:
        schema = report_schema()
        Draft202012Validator.check_schema(schema)
        assert schema["properties"]["schema"]["const"] == "designer.report/1"

    @pytest.mark.parametrize("name", sorted(set(SAMPLES) - {"numberless"}))
    def test_keeps_to_the_schema_and_comes_back(self, name: str, tmp_path: Path) -> None:
        result = SAMPLES[name]()
        text = report_to_json(result)
        Draft202012Validator(report_schema()).validate(json.loads(text))
        (tmp_path / "report.json").write_text(text, encoding="utf-8")
        assert read_result(tmp_path) == result
        assert report_to_json(read_result(tmp_path)) == text

    @pytest.mark.parametrize("name", HOSTILE)
    def test_names_come_back_as_they_were(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "report.json").write_text(report_to_json(named(name)), encoding="utf-8")
        assert read_result(tmp_path) == named(name)

    def test_not_a_number_is_refused_rather_than_written(self) -> None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            report_to_json(numberless())

    @pytest.mark.parametrize(
        ("spoil", "path"),
        [
            (lambda r: r.pop("trials"), "trials"),
            (lambda r: r["study"].update(seed="zero"), "study.seed"),
            (lambda r: r["study"]["trials"].pop("failed"), "study.trials.failed"),
            (lambda r: r["recommendations"][0].update(layers=7), "recommendations.0.layers"),
            (
                lambda r: r["recommendations"][0]["layers"][1].update(verdict="fine"),
                "recommendations.0.layers.1.verdict",
            ),
        ],
    )
    def test_wrong_types_are_named(
        self, spoil: Callable[[dict[str, Any]], object], path: str, tmp_path: Path
    ) -> None:
        values = json.loads(report_to_json(typical()))
        spoil(values)
        assert not Draft202012Validator(report_schema()).is_valid(values)
        (tmp_path / "report.json").write_text(json.dumps(values))
        with pytest.raises(RunFolderError, match=rf"{re.escape(path)}: "):
            read_result(tmp_path)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (
                None,
                "Expected a run folder with report.json, as `designer search --out` writes",
            ),
            ("", "Expected JSON in"),
            ("{", "Expected JSON in"),
            ("[]", "Expected schema designer.report/1 .* got None"),
            ('"text"', "Expected schema designer.report/1 .* got None"),
            ("{}", "Expected schema designer.report/1 .* got None"),
            ('{"schema": "designer.report/2"}', "got designer.report/2"),
            ('{"schema": ["designer.report/1"]}', "Expected schema designer.report/1"),
        ],
    )
    def test_a_file_that_is_no_report_is_refused(
        self, content: str | None, message: str, tmp_path: Path
    ) -> None:
        if content is not None:
            (tmp_path / "report.json").write_text(content)
        with pytest.raises(RunFolderError, match=message):
            read_result(tmp_path)

    def test_bytes_that_are_no_text_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "report.json").write_bytes(b"\xff\xfe{")
        with pytest.raises(RunFolderError, match="Expected JSON in"):
            read_result(tmp_path)

    def test_additions_are_allowed(self, tmp_path: Path) -> None:
        values = {**json.loads(report_to_json(typical())), "novelty": 1}
        Draft202012Validator(report_schema()).validate(values)
        (tmp_path / "report.json").write_text(json.dumps(values))
        assert read_result(tmp_path) == typical()


def advised_actions(result: SearchResult) -> list[str]:
    """Return what each block is advised to do, without the reason, whose wording may change."""
    layers = [layer for network in result.recommendations for layer in network.layers]
    return [layer.advice.partition(":")[0] for layer in layers]


def without_advice(result: SearchResult) -> list[Recommendation]:
    return [
        replace(network, layers=tuple(replace(layer, advice="") for layer in network.layers))
        for network in result.recommendations
    ]


def test_a_report_of_the_previous_version_opens(tmp_path: Path) -> None:
    """Its numbers are shown, and parts that it lacks are left out."""
    old = (FILES / "report_0.1.0.json").read_text(encoding="utf-8")
    (tmp_path / "report.json").write_text(old, encoding="utf-8")
    result = read_result(tmp_path)
    Draft202012Validator(report_schema()).validate(json.loads(old))
    now = typical()
    assert advised_actions(result) == advised_actions(now)
    assert without_advice(result) == without_advice(now)
    assert result.trials == tuple(replace(r, accuracy_above_chance=None) for r in now.trials)
    view = search_view(result)
    assert view.command == ""
    assert [f.name for f in figures_of(view)] == [f.name for f in figures_of(search_view(now))]
    page = html_report(view)
    assert view.headline in page
    assert "20,000" in page
    assert "97.0 ± 0.4" in page
