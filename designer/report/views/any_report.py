"""The view of any report."""

from __future__ import annotations

from functools import singledispatch

from designer.report.views.analysis import analysis_view
from designer.report.views.comparison import comparison_view
from designer.report.views.page import ReportView
from designer.report.views.pruning import pruning_view
from designer.report.views.search import report_view
from designer.results.analysis import AnalysisResult
from designer.results.comparison import ComparisonReport
from designer.results.pruning import PruningReport
from designer.results.search import SearchResult


@singledispatch
def view_of(report: object) -> ReportView:
    """What a report says, whichever kind it is of."""
    raise NotImplementedError(type(report).__name__)


view_of.register(SearchResult, report_view)


view_of.register(AnalysisResult, analysis_view)


view_of.register(PruningReport, pruning_view)


view_of.register(ComparisonReport, comparison_view)
