"""The report as one HTML page that needs no network and no other file.

The page's Content Security Policy forbids every request, and every script except those whose
digests it lists.  Names that come from outside are plain text, in the page and in the charts.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import altair as alt
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from designer.report.charts.dispatch import chart_of
from designer.report.charts.palette import DARK, LIGHT, SIGNS, VARIABLES, variables
from designer.report.charts.parts import without_empty
from designer.report.charts.theme import responsive_specification
from designer.report.charts.trials import TRIAL_CURVE_NAME, trial_curve_chart
from designer.report.figures.figure import Figure
from designer.report.figures.trials import TrialCurve, TrialsFigure
from designer.report.views.page import ReportView, figures_of

WIDE = frozenset({"CurveFigure", "NeedFigure", "TrialsFigure", "OverlayFigure"})
"""Classes of figures whose chart takes the whole width of the page."""


MANY_BARS = 24
"""A chart with more bars than this is so high that it takes the whole width of the page, too."""


@dataclass(frozen=True)
class Script:
    """A script that stands in the page."""

    text: Markup
    """Its source, escaped for a script element."""

    @property
    def digest(self) -> str:
        """Its SHA-256 digest, as the Content Security Policy lists it."""
        digest = hashlib.sha256(self.text.encode()).digest()
        return f"sha256-{base64.b64encode(digest).decode()}"


def html_report(view: ReportView) -> str:
    """Return the whole report as one HTML page, without scripts where it has no charts."""
    figures = list(figures_of(view))
    scripts = (_vega(), _page_script()) if figures else ()
    page = _environment().get_template("page.html.j2")
    return page.render(
        view=view,
        scripts=scripts,
        style=Markup(_file("page.css")),  # noqa: S704 - a file of this package
        light=variables(LIGHT),
        dark=variables(DARK),
        charts=_embedded(figures),
        figures=figures,
        signs=SIGNS,
        wide=_is_wide,
    )


def _is_wide(figure: Figure) -> bool:
    return type(figure).__name__ in WIDE or len(getattr(figure, "bars", ())) > MANY_BARS


def _embedded(figures: Sequence[Figure]) -> Markup:
    """Return all charts and the curves of the trials as JSON for the page's script."""
    charts = [_embedded_chart(figure.name, chart_of(figure, VARIABLES)) for figure in figures]
    curves: list[dict[str, Any]] = []
    for figure in figures:
        if isinstance(figure, TrialsFigure) and figure.curves:
            chart = trial_curve_chart(figure.curves, VARIABLES)
            charts.append(_embedded_chart(TRIAL_CURVE_NAME, chart))
            curves += map(_embedded_curve, figure.curves)
    return script_json({"charts": charts, "curves": curves})


def _embedded_chart(name: str, chart: alt.LayerChart) -> dict[str, Any]:
    return {"name": name, "spec": responsive_specification(chart, VARIABLES)}


def _embedded_curve(curve: TrialCurve) -> dict[str, Any]:
    return {
        "trial": curve.trial,
        "figures": curve.figures,
        "points": [without_empty(asdict(point)) for point in curve.points],
    }


def script_json(values: Any) -> Markup:
    """Return values as JSON that can stand in a script element.

    Characters that mean something in HTML are escaped, and all characters beyond ASCII, the line
    separators of Unicode among them.

    Args:
        values: lists, dicts, strings and finite numbers.

    Raises:
        ValueError: A number is NaN or infinite.
    """
    text = json.dumps(values, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped above


@cache
def _vega() -> Script:
    """Return Vega, Vega-Lite and Vega-Embed, which draw the charts."""
    return _script(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


@cache
def _page_script() -> Script:
    """Return the script that draws the charts of this page."""
    return _script(_file("page.js"))


def _script(text: str) -> Script:
    if "</script" in text.lower() or "<!--" in text:
        text = text.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    return Script(Markup(text))  # noqa: S704 - never holds text from outside


def _file(name: str) -> str:
    return (files("designer.report") / "page" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("designer.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
