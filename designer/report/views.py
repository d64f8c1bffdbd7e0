"""The view of any report."""

from __future__ import annotations

from functools import singledispatch

from designer.report.comparison_view import comparison_view
from designer.report.view import ReportView, analysis_view, pruning_view, report_view
from designer.results import AnalysisResult, ComparisonReport, PruningReport, SearchResult


@singledispatch
def view_of(report: object) -> ReportView:
    """What a report says, whichever kind it is of."""
    raise NotImplementedError(type(report).__name__)


view_of.register(SearchResult, report_view)
view_of.register(AnalysisResult, analysis_view)
view_of.register(PruningReport, pruning_view)
view_of.register(ComparisonReport, comparison_view)
