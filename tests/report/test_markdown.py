"""The report as Markdown: its tables, and names that are no markup."""

from __future__ import annotations

import html
import re

import pytest
from markdown_it import MarkdownIt

from designer.errors import one_line
from designer.results.search import SearchResult
from tests.report.rendered import every_sample, markdown, markdown_tables
from tests.support.sample_reports import HOSTILE, deep, named, typical


class TestMarkdown:
    @pytest.mark.parametrize("result", [typical(), deep()], ids=["typical", "deep"])
    def test_every_layer_has_its_row(self, result: SearchResult) -> None:
        text = markdown(result)
        rows = [row for table in markdown_tables(text) for row in table]
        for network in result.recommendations:
            for layer in network.layers:
                ends = [layer.verdict, layer.advice.partition(":")[0]]
                assert any(row[0] == layer.name and row[-2:] == ends for row in rows)
                if layer.advice != "keep":
                    reason = re.escape(layer.advice.partition(": ")[2])
                    blocks = rf"\b{re.escape(layer.name)}\b[^()]* \({layer.verdict}\)"
                    assert re.search(rf"^- .*{blocks}[^:]*: {reason}\.$", text, re.MULTILINE)

    @pytest.mark.parametrize("name", HOSTILE)
    def test_names_are_plain_text(self, name: str) -> None:
        text = markdown(named(name))
        plain = one_line(name)
        rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)
        shown = html.unescape(re.sub(r"<[^>]*>", "", rendered))
        assert f"Design report: {plain}, space {plain}" in shown
        assert f"\nNarrow {plain} (low): it" in shown
        assert f"Warning: {plain}" in shown
        for tag in ("<script", "<code", "<em", "<s>", "<img", "<a "):
            assert tag not in rendered
        assert rendered.count("<h1") == 1
        assert rendered.count("<ul>") == 2  # facts and advice
        assert "<ol" not in rendered

    @pytest.mark.parametrize("name", HOSTILE)
    def test_tables_keep_their_columns(self, name: str) -> None:
        text = markdown(named(name))
        tables = markdown_tables(text)
        assert len(tables) == 5
        for table in tables:
            assert len({len(row) for row in table}) == 1
        assert one_line(name) in [row[0] for row in tables[1]]
        for line in text.splitlines():
            if line.startswith("|"):
                cells = len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) - 1
                assert cells in {len(table[0]) for table in tables}

    @every_sample
    def test_is_all_a_reader_needs(self, result: SearchResult) -> None:
        text = markdown(result)
        assert text.startswith("# Design report: digits, space mlp\n")
        assert text.endswith(".\n")
        assert not re.search(r"\b(nan|inf|None)\b", text)
