"""Figures and charts of reports, without a browser."""

from __future__ import annotations

import math
from typing import Any

import pytest

from designer.report.charts.dispatch import chart_of
from designer.report.charts.palette import LIGHT
from designer.report.charts.theme import colour_ramp
from designer.report.figures.comparison import DifferencesFigure, NetworkCurve, OverlayFigure
from designer.report.figures.figure import Figure, LayerPoint, TableView, log_level, unique_names

TABLE = TableView("", (), ())


def curves(*names: str) -> tuple[NetworkCurve, ...]:
    points = (LayerPoint(0, "input", 20.0, 21.0), LayerPoint(1, "blocks.0", 7.0, None))
    return tuple(NetworkCurve(name, points) for name in names)


def line_colours(figure: Figure) -> dict[str, str]:
    """Return the colour of each network in the chart of a figure."""
    layers: list[dict[str, Any]] = chart_of(figure, LIGHT).to_dict()["layer"]
    colour = next(layer["encoding"]["color"] for layer in layers if "color" in layer["encoding"])
    return dict(zip(colour["scale"]["domain"], colour["scale"]["range"], strict=True))


def test_a_network_has_the_same_colour_in_every_comparison() -> None:
    overlay = OverlayFigure("curves", "", "", TABLE, curves("a", "b", "c"))
    differences = DifferencesFigure("differences", "", "", TABLE, "a", curves("b", "c"))
    assert line_colours(differences) == line_colours(overlay)
    assert line_colours(overlay) == {"a": LIGHT.training, "b": LIGHT.heldout, "c": LIGHT.ok}


def test_a_figure_without_a_chart_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="Figure"):
        chart_of(Figure("", "", "", TABLE), LIGHT)


@pytest.mark.parametrize(
    ("value", "values", "level"),
    [
        (1.0, [1.0, math.e, math.e**4], 0.0),
        (math.e, [1.0, math.e, math.e**4], 0.25),
        (math.e**4, [1.0, math.e, math.e**4, None], 1.0),
        (3.0, [3.0, 3.0], 1.0),
        (0.0, [0.0, 5.0], 0.0),
        (None, [None, 5.0], None),
        (math.nan, [math.nan, 5.0], None),
    ],
)
def test_log_level(value: float | None, values: list[float | None], level: float | None) -> None:
    assert log_level(value, values) == (None if level is None else pytest.approx(level))


def test_unique_names() -> None:
    assert unique_names(["a", "b", "a", "a"]) == ["a", "b", "a (2)", "a (3)"]


def test_colour_ramp() -> None:
    assert colour_ramp(1, LIGHT) == [LIGHT.late]
    assert colour_ramp(3, LIGHT) == [LIGHT.early, LIGHT.middle, LIGHT.late]
    assert colour_ramp(5, LIGHT)[1] == "#8eb474"
