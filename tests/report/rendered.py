"""Sample reports, rendered, and parts of them that the tests look for."""

from __future__ import annotations

import html
import io
import re
from typing import Any

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from designer.report.figures.figure import TableView
from designer.report.markdown import markdown_report
from designer.report.terminal import print_report
from designer.report.views.page import NetworkView
from designer.report.views.search import search_view
from designer.results.search import SearchResult
from tests.support.sample_reports import SAMPLES

every_sample = pytest.mark.parametrize("result", [make() for make in SAMPLES.values()], ids=SAMPLES)


def terminal(result: SearchResult, width: int = 120, **options: Any) -> str:
    """Return the report as a terminal of ``width`` columns shows it."""
    file = io.StringIO()
    print_report(search_view(result), Console(file=file, width=width, **options))
    return file.getvalue()


def markdown(result: SearchResult) -> str:
    """Return the report as Markdown."""
    return markdown_report(search_view(result))


def squeezed(text: str) -> str:
    """Return the text without white space, so that line breaks do not matter."""
    return "".join(text.split())


def markdown_tables(text: str) -> list[list[list[str]]]:
    """Return the text of each cell as a Markdown reader shows it: tables, rows, cells."""
    rendered = MarkdownIt("commonmark").enable("table").render(text)
    return [
        [
            [html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
            for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
        ]
        for table in re.findall(r"<table>(.*?)</table>", rendered, re.DOTALL)
    ]


def networks_of(result: SearchResult) -> list[NetworkView]:
    """Return the sections of the recommendations."""
    return [part for part in search_view(result).sections if isinstance(part, NetworkView)]


def table_of(result: SearchResult, first_column: str) -> TableView:
    """Return the table whose first column has this title."""
    tables = [part for part in search_view(result).sections if isinstance(part, TableView)]
    return next(table for table in tables if table.columns[0] == first_column)
