"""The view of a report, whatever kind of report it is."""

from __future__ import annotations

from functools import singledispatch

from designer.report.views.analysis import analysis_view
from designer.report.views.comparison import comparison_view
from designer.report.views.page import ReportView
from designer.report.views.pruning import pruning_view
from designer.report.views.search import search_view
from designer.results.analysis import AnalysisResult
from designer.results.comparison import ComparisonReport
from designer.results.pruning import PruningReport
from designer.results.search import SearchResult


@singledispatch
def view_of(report: object) -> ReportView:
    """Return what every renderer shows of a report.

    Args:
        report: the result of a search, an analysis, a pruning or a comparison.

    Raises:
        NotImplementedError: The report is of another class.
    """
    raise NotImplementedError(type(report).__name__)


view_of.register(SearchResult, search_view)
view_of.register(AnalysisResult, analysis_view)
view_of.register(PruningReport, pruning_view)
view_of.register(ComparisonReport, comparison_view)
