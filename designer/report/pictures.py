"""Charts as SVG and PNG, drawn without a browser: one by one, or composed into one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any

import altair as alt
import vl_convert

from designer.errors import InvalidInputError
from designer.report.charts.dispatch import chart_of
from designer.report.charts.palette import LIGHT
from designer.report.charts.theme import themed_specification
from designer.report.figures.figure import Figure
from designer.report.figures.trials import TrialsFigure
from designer.report.views.page import ReportView, figures_of

WIDTH = 460
"""Width of a chart in pixels."""


COLUMNS = 2
"""Columns of a composed picture."""


GAP = 138
"""Pixels between two charts in a column, which hold the title of the lower and the axis of both."""


SHARPNESS = 2
"""Pixels of a PNG per pixel of the chart."""


class PictureFormat(StrEnum):
    """File format of a picture."""

    SVG = "svg"
    """Vector graphics."""
    PNG = "png"
    """Pixels."""


def picture(view: ReportView, form: PictureFormat) -> bytes:
    """Draw the first chart of each class of figure into one picture.

    Args:
        view: the report; of several networks only the first is drawn.
        form: file format.

    Returns:
        The content of the picture file.

    Raises:
        InvalidInputError: The report has no chart.
    """
    figures = _first_figures(view)
    if not figures:
        raise InvalidInputError(
            f"The report '{view.title}' has nothing to draw, because nothing was measured. "
            f"Use another --format."
        )
    return _converted(_composed(view, figures), form)


def pictures(view: ReportView, form: PictureFormat) -> Mapping[str, bytes]:
    """Draw every chart of the report into a picture of its own.

    Args:
        view: the report.
        form: file format.

    Returns:
        The content of the picture files, by file name; empty for a report without charts.
    """
    return {
        f"{figure.name}.{form}": _converted(themed_specification(_titled(figure), LIGHT), form)
        for figure in figures_of(view)
    }


def _first_figures(view: ReportView) -> list[Figure]:
    """Return the first figure of each class, since every network repeats the same classes."""
    first: dict[type[Figure], Figure] = {}
    for figure in figures_of(view):
        first.setdefault(type(figure), figure)
    return list(first.values())


def _titled(figure: Figure) -> alt.LayerChart:
    shown = replace(figure, curves=()) if isinstance(figure, TrialsFigure) else figure
    return chart_of(shown, LIGHT).properties(title=figure.title, width=WIDTH)


def _composed(view: ReportView, figures: Sequence[Figure]) -> dict[str, Any]:
    """Return the specification of one picture: each chart goes to the shortest column so far."""
    heights = [0] * COLUMNS
    columns: list[list[alt.LayerChart]] = [[] for _ in range(COLUMNS)]
    for figure in figures:
        shortest = heights.index(min(heights))
        columns[shortest].append(_titled(figure))
        heights[shortest] += columns[shortest][-1].height + GAP
    stacks = [
        _own_scales(alt.VConcatChart(vconcat=column, bounds="flush", spacing=GAP))
        for column in columns
        if column
    ]
    title = alt.TitleParams(text=view.title, subtitle=view.headline, fontSize=17, offset=18)
    whole = alt.HConcatChart(hconcat=stacks, title=title, spacing=56)
    return themed_specification(_own_scales(whole), LIGHT)


def _own_scales(charts: Any) -> Any:
    return charts.resolve_scale(color="independent", shape="independent", strokeDash="independent")


def _converted(drawing: dict[str, Any], form: PictureFormat) -> bytes:
    shown = {**drawing, "background": LIGHT.raised}
    if form is PictureFormat.SVG:
        return vl_convert.vegalite_to_svg(shown, allowed_base_urls=[]).encode()
    return vl_convert.vegalite_to_png(shown, scale=SHARPNESS, allowed_base_urls=[])
