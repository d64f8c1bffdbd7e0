"""One view of a result, many renderers: terminal, Markdown, HTML, pictures.

Those that draw charts, ``html`` and ``pictures``, are imported where they are used: what they draw
with loads slowly, and most commands draw nothing.
"""

from designer.report.markdown import markdown_report
from designer.report.terminal import print_report
from designer.report.views.analysis import analysis_view
from designer.report.views.any_report import view_of
from designer.report.views.comparison import comparison_view
from designer.report.views.page import ReportView
from designer.report.views.pruning import pruning_view
from designer.report.views.search import report_view
from designer.report.words import one_line

__all__ = [
    "ReportView",
    "analysis_view",
    "comparison_view",
    "markdown_report",
    "one_line",
    "print_report",
    "pruning_view",
    "report_view",
    "view_of",
]
