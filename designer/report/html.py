"""The report as one HTML page that needs nothing else: no network, no files beside it.

Its policy forbids every request, and every script but those that it was written with: their
digests are in it.  Whatever comes from outside is text, in the page and in the charts.
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

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from designer.report.charts.marks import TRIAL_CURVE_NAME, chart, sparse, trial_curve_chart
from designer.report.charts.palette import DARK, LIGHT, SIGNS, VARIABLES, variables
from designer.report.charts.theme import for_page
from designer.report.figures.figure import Figure
from designer.report.figures.trials import TrialsFigure
from designer.report.views.page import ReportView, figures_of

WIDE = frozenset({"CurveFigure", "TrialsFigure", "OverlayFigure"})
"""Charts that take the whole width of the page."""


MANY_BARS = 24
"""From more on, a chart of bars does so, too: beside it, others would look lost."""


@dataclass(frozen=True)
class Script:
    """A script of the page."""

    text: Markup

    @property
    def digest(self) -> str:
        """For the page's policy."""
        digest = hashlib.sha256(self.text.encode()).digest()
        return f"sha256-{base64.b64encode(digest).decode()}"


def html_report(view: ReportView) -> str:
    """The whole view as one page."""
    figures = list(figures_of(view))
    scripts = (_vega(), _own()) if figures else ()
    page = _environment().get_template("page.html.j2")
    return page.render(
        view=view,
        scripts=scripts,
        style=Markup(_file("page.css")),  # noqa: S704 - our own file
        light=variables(LIGHT),
        dark=variables(DARK),
        charts=_embedded(figures),
        figures=figures,
        signs=SIGNS,
        wide=_wide,
    )


def _wide(figure: Figure) -> bool:
    return type(figure).__name__ in WIDE or len(getattr(figure, "bars", ())) > MANY_BARS


def _embedded(figures: Sequence[Figure]) -> Markup:
    """The charts and the curves of the trials, as JSON that no HTML can be read into."""
    charts = [
        {"name": one.name, "spec": for_page(chart(one, VARIABLES), VARIABLES)} for one in figures
    ]
    curves: list[dict[str, Any]] = []
    for one in figures:
        if isinstance(one, TrialsFigure) and one.curves:
            spec = for_page(trial_curve_chart(one.curves, VARIABLES), VARIABLES)
            charts.append({"name": TRIAL_CURVE_NAME, "spec": spec})
            curves += [
                {
                    "trial": curve.trial,
                    "figures": curve.figures,
                    "taps": [sparse(asdict(tap)) for tap in curve.taps],
                }
                for curve in one.curves
            ]
    return script_json({"charts": charts, "curves": curves})


def script_json(values: Any) -> Markup:
    """JSON for a script element: what HTML might read in it is escaped.

    Every other character beyond ASCII is, too, and with them the line ends of Unicode.
    """
    text = json.dumps(values, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped above


@cache
def _vega() -> Script:
    """Vega, Vega-Lite and Vega-Embed."""
    return _script(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


@cache
def _own() -> Script:
    return _script(_file("page.js"))


def _script(text: str) -> Script:
    if "</script" in text.lower() or "<!--" in text:
        text = text.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    return Script(Markup(text))  # noqa: S704 - no text from outside


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
