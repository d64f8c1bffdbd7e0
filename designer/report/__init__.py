"""One view of a result, many renderers: terminal, Markdown, JSON."""

from designer.report.markdown import markdown_report
from designer.report.terminal import print_report
from designer.report.view import (
    ReportView,
    analysis_view,
    one_line,
    pruning_view,
    report_view,
)

__all__ = [
    "ReportView",
    "analysis_view",
    "markdown_report",
    "one_line",
    "print_report",
    "pruning_view",
    "report_view",
]
