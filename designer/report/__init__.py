"""One view of a result, many renderers: terminal, Markdown, HTML, pictures."""

from designer.report.comparison_view import comparison_view
from designer.report.html import html_report
from designer.report.markdown import markdown_report
from designer.report.pictures import Kind, picture, pictures
from designer.report.terminal import print_report
from designer.report.view import (
    ReportView,
    analysis_view,
    pruning_view,
    report_view,
)
from designer.report.views import view_of
from designer.report.words import one_line

__all__ = [
    "Kind",
    "ReportView",
    "analysis_view",
    "comparison_view",
    "html_report",
    "markdown_report",
    "one_line",
    "picture",
    "pictures",
    "print_report",
    "pruning_view",
    "report_view",
    "view_of",
]
