"""Write a report to the terminal or to a file, in any format."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console

from designer.cli.options import Format
from designer.cli.progress import make_console, print_status
from designer.errors import InvalidInputError
from designer.folders import HTML_FILE, MARKDOWN_FILE, writing_to
from designer.report.markdown import markdown_report
from designer.report.terminal import print_report
from designer.report.views.any_report import view_of
from designer.report.views.page import ReportView
from designer.results.serialisation import Report, report_to_json

UNWATCHED = 100
"""Columns of a terminal's report in a file."""


def write_views(folder: Path, report: Report) -> ReportView:
    """The report as Markdown and as a page beside its JSON."""
    from designer.report.html import html_report

    view = view_of(report)
    (folder / MARKDOWN_FILE).write_text(markdown_report(view), encoding="utf-8")
    (folder / HTML_FILE).write_text(html_report(view), encoding="utf-8")
    return view


def show_report(view: ReportView, report: Report, form: Format, output: Path | None = None) -> None:
    if output is None and form is Format.TERMINAL:
        print_report(view, make_console())
    elif output is None:
        _write_out(_rendered(view, report, form))
    elif form in PICTURES and (output.is_dir() or not output.suffix):
        from designer.report.pictures import Kind, pictures

        with writing_to(output):
            for name, content in pictures(view, Kind(form)).items():
                (output / name).write_bytes(content)
        print_status(f"Written to {output}: {', '.join(sorted(p.name for p in output.iterdir()))}")
    else:
        with writing_to(output.parent):
            output.write_bytes(_rendered(view, report, form))
        print_status(f"Written to {output}.")


PICTURES = frozenset({Format.SVG, Format.PNG})


def _rendered(view: ReportView, report: Report, form: Format) -> bytes:
    """The report in a form that can be written to a file, in UTF-8 where it is text."""
    if form in PICTURES:
        from designer.report.pictures import Kind, picture

        return picture(view, Kind(form))
    if form is Format.TERMINAL:
        file = io.StringIO()
        print_report(view, Console(file=file, width=UNWATCHED))
        return file.getvalue().encode()
    if form is Format.HTML:
        from designer.report.html import html_report

        return html_report(view).encode()
    return (report_to_json(report) if form is Format.JSON else markdown_report(view)).encode()


def _write_out(content: bytes) -> None:
    """To stdout as it is, whatever encoding the terminal has."""
    if b"\0" in content and sys.stdout.isatty():
        raise InvalidInputError(
            "Expected a file for a PNG, got a terminal; name one as --output, or use a pipe."
        )
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
    else:
        sys.stdout.write(content.decode())
