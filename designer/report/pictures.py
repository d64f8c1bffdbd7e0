"""The charts as SVG and PNG, drawn without a browser: one by one, or composed into one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any

import altair as alt
import vl_convert

from designer.errors import InvalidInputError
from designer.report.charts.marks import chart
from designer.report.charts.palette import LIGHT
from designer.report.charts.theme import finished
from designer.report.figures.figure import Figure
from designer.report.figures.trials import TrialsFigure
from designer.report.views.page import ReportView, figures_of

WIDTH = 460
"""Pixels of a chart, in a picture of its own or beside another."""


COLUMNS, AROUND = 2, 138
"""Of a composed picture, and pixels between charts, with their titles and axes."""


SHARPNESS = 2
"""Pixels of a PNG per pixel of the chart."""


class Kind(StrEnum):
    """Of a picture file."""

    SVG = "svg"
    PNG = "png"


def picture(view: ReportView, kind: Kind) -> bytes:
    """The charts of the first network, and those of the whole, in one picture.

    Raises:
        InvalidInputError: where the report has no chart.
    """
    figures = _first(view)
    if not figures:
        raise InvalidInputError(
            f"Expected a report with something to draw, got '{view.title}', in which nothing was "
            f"measured; use another --format."
        )
    return _converted(_composed(view, figures), kind)


def pictures(view: ReportView, kind: Kind) -> Mapping[str, bytes]:
    """Every chart of the report as a picture of its own, by file name."""
    return {
        f"{figure.name}.{kind}": _converted(finished(_titled(figure), LIGHT), kind)
        for figure in figures_of(view)
    }


def _first(view: ReportView) -> list[Figure]:
    """Those of the first section of its kind: others like it have the same charts again."""
    found: dict[type[Figure], Figure] = {}
    for figure in figures_of(view):
        found.setdefault(type(figure), figure)
    return list(found.values())


def _titled(figure: Figure) -> alt.LayerChart:
    shown = replace(figure, curves=()) if isinstance(figure, TrialsFigure) else figure
    return chart(shown, LIGHT).properties(title=figure.title, width=WIDTH)


def _composed(view: ReportView, figures: Sequence[Figure]) -> dict[str, Any]:
    """Two columns, each chart in the one that is shorter so far."""
    heights = [0] * COLUMNS
    columns: list[list[alt.LayerChart]] = [[] for _ in range(COLUMNS)]
    for figure in figures:
        shortest = heights.index(min(heights))
        columns[shortest].append(_titled(figure))
        heights[shortest] += columns[shortest][-1].height + AROUND
    stacks = [
        _own_scales(alt.VConcatChart(vconcat=column, bounds="flush", spacing=AROUND))
        for column in columns
        if column
    ]
    title = alt.TitleParams(text=view.title, subtitle=view.headline, fontSize=17, offset=18)
    whole = alt.HConcatChart(hconcat=stacks, title=title, spacing=56)
    return finished(_own_scales(whole), LIGHT)


def _own_scales(charts: Any) -> Any:
    return charts.resolve_scale(color="independent", shape="independent", strokeDash="independent")


def _converted(specification: dict[str, Any], kind: Kind) -> bytes:
    shown = {**specification, "background": LIGHT.raised}
    if kind is Kind.SVG:
        return vl_convert.vegalite_to_svg(shown, allowed_base_urls=[]).encode()
    return vl_convert.vegalite_to_png(shown, scale=SHARPNESS, allowed_base_urls=[])
