"""The chart of a figure, whatever it shows."""

from __future__ import annotations

from functools import singledispatch

import altair as alt

from designer.report.charts.comparison import (
    differences_chart,
    overlay_chart,
    sizes_chart,
)
from designer.report.charts.edits import edits_chart
from designer.report.charts.front import front_chart
from designer.report.charts.need import need_chart
from designer.report.charts.network import (
    architecture_chart,
    curve_chart,
    emergence_chart,
    residuals_chart,
    shares_chart,
)
from designer.report.charts.palette import Palette
from designer.report.charts.trials import agreement_chart, trials_chart
from designer.report.figures.comparison import (
    DifferencesFigure,
    OverlayFigure,
    SizesFigure,
)
from designer.report.figures.edits import EditsFigure
from designer.report.figures.figure import Figure
from designer.report.figures.front import FrontFigure
from designer.report.figures.need import NeedFigure
from designer.report.figures.network import (
    ArchitectureFigure,
    CurveFigure,
    EmergenceFigure,
    ResidualsFigure,
    SharesFigure,
)
from designer.report.figures.trials import AgreementFigure, TrialsFigure


@singledispatch
def chart_of(figure: Figure, palette: Palette) -> alt.LayerChart:
    """Return the chart that draws a figure in the colours of a palette.

    Raises:
        NotImplementedError: No chart is registered for this class of figure.
    """
    raise NotImplementedError(type(figure).__name__)


chart_of.register(CurveFigure, curve_chart)
chart_of.register(ResidualsFigure, residuals_chart)
chart_of.register(SharesFigure, shares_chart)
chart_of.register(NeedFigure, need_chart)
chart_of.register(ArchitectureFigure, architecture_chart)
chart_of.register(EmergenceFigure, emergence_chart)
chart_of.register(FrontFigure, front_chart)
chart_of.register(EditsFigure, edits_chart)
chart_of.register(TrialsFigure, trials_chart)
chart_of.register(AgreementFigure, agreement_chart)
chart_of.register(OverlayFigure, overlay_chart)
chart_of.register(DifferencesFigure, differences_chart)
chart_of.register(SizesFigure, sizes_chart)
