"""Write a report to the terminal or to a file, in any format."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from rich.console import Console

from designer.cli.options import Format
from designer.cli.progress import make_console, print_status
from designer.errors import InvalidInputError
from designer.folders import (
    HTML_FILE,
    MARKDOWN_FILE,
    REPORT_FILE,
    write_all,
    write_bytes,
)
from designer.report.markdown import markdown_report
from designer.report.terminal import print_report
from designer.report.views.dispatch import view_of
from designer.report.views.page import ReportView
from designer.results.serialisation import Report, report_to_json

FILE_WIDTH = 100
"""Columns of a terminal report that goes to a file."""

PICTURES = frozenset({Format.SVG, Format.PNG})


def write_report(
    folder: Path, report: Report, more: Mapping[Path, bytes] = MappingProxyType({})
) -> ReportView:
    """Write a report to a folder as JSON, as Markdown and as a page, and return its view.

    Args:
        folder: the folder.
        report: the report.
        more: files that belong to it, by their paths: all are written, or none.

    Raises:
        RunFolderError, StorageError: if they cannot be written.
    """
    view = view_of(report)
    json_file = {folder / REPORT_FILE: report_to_json(report).encode()}
    write_all({**more, **json_file, **_views(folder, view)})
    return view


def write_views(folder: Path, report: Report) -> ReportView:
    """Write a report as Markdown and as a page beside its JSON, and return its view.

    Raises:
        RunFolderError: if the folder cannot be written.
    """
    view = view_of(report)
    write_all(_views(folder, view))
    return view


def _views(folder: Path, view: ReportView) -> dict[Path, bytes]:
    """Return the Markdown and the page of a report by the paths to write them to."""
    from designer.report.html import html_report

    return {
        folder / MARKDOWN_FILE: markdown_report(view).encode(),
        folder / HTML_FILE: html_report(view).encode(),
    }


def show_report(view: ReportView, report: Report, form: Format, output: Path | None = None) -> None:
    """Print a report to stdout, or write it to a file or a folder of charts.

    Raises:
        InvalidInputError: if a PNG would go to a terminal.
        RunFolderError: if the output cannot be written.
    """
    if output is None and form is Format.TERMINAL:
        print_report(view, make_console())
    elif output is None:
        _write_out(_rendered(view, report, form))
    elif form in PICTURES and (output.is_dir() or not output.suffix):
        from designer.report.pictures import PictureFormat, pictures

        charts = pictures(view, PictureFormat(form))
        write_all({output / name: content for name, content in charts.items()})
        print_status(f"Written to {output}: {', '.join(sorted(p.name for p in output.iterdir()))}")
    else:
        write_bytes(output, _rendered(view, report, form))
        print_status(f"Written to {output}.")


def _rendered(view: ReportView, report: Report, form: Format) -> bytes:
    """Return the report as bytes, in UTF-8 where it is text."""
    if form in PICTURES:
        from designer.report.pictures import PictureFormat, picture

        return picture(view, PictureFormat(form))
    if form is Format.TERMINAL:
        file = io.StringIO()
        print_report(view, Console(file=file, width=FILE_WIDTH))
        return file.getvalue().encode()
    if form is Format.HTML:
        from designer.report.html import html_report

        return html_report(view).encode()
    return (report_to_json(report) if form is Format.JSON else markdown_report(view)).encode()


def _write_out(content: bytes) -> None:
    """Write bytes to stdout unchanged, whatever encoding the terminal has."""
    if b"\0" in content and sys.stdout.isatty():
        raise InvalidInputError(
            "A PNG cannot be shown on a terminal; name a file with --output, or use a pipe."
        )
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
    else:
        sys.stdout.write(content.decode())
