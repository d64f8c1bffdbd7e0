"""Fonts, sizes and colours that all charts share."""

from __future__ import annotations

from typing import Any

import altair as alt

from designer.report.charts.palette import Palette

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def responsive_specification(chart: alt.LayerChart, palette: Palette) -> dict[str, Any]:
    """Return a Vega-Lite specification that is as wide as its place in the page."""
    autosize = {"type": "fit-x", "contains": "padding"}
    return themed_specification(chart, palette, width="container", autosize=autosize)


def colour_ramp(count: int, palette: Palette) -> list[str]:
    """Return ``count`` colours from early to late, as CSS writes them."""
    stops = (palette.early, palette.middle, palette.late)
    if count == 1:
        return [stops[-1]]
    places = [2 * i / (count - 1) for i in range(count)]
    starts = [min(int(place), 1) for place in places]
    return [
        _mixture(stops[start], stops[start + 1], place - start)
        for place, start in zip(places, starts, strict=True)
    ]


def _mixture(first: str, second: str, share: float) -> str:
    """Mix two colours in sRGB, the second with ``share``; the browser mixes CSS variables."""
    if first.startswith("var("):
        return f"color-mix(in srgb, {second} {100 * share:.0f}%, {first})"
    parts = [(int(first[i : i + 2], 16), int(second[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in parts)


def themed_specification(chart: Any, palette: Palette, **properties: Any) -> dict[str, Any]:
    """Return the Vega-Lite specification of a chart, with the fonts and colours of all charts.

    Args:
        chart: an Altair chart of any kind.
        palette: colours.
        **properties: top-level properties.  They are added here and not to the chart, because
            Altair copies all data at every change of a chart.
    """
    specification = chart.to_dict(validate=False)  # the tests do that
    return {**specification, **properties, "config": _config(palette).to_dict()}


def _config(palette: Palette) -> alt.Config:
    lines: dict[str, Any] = dict.fromkeys(
        ("gridColor", "domainColor", "tickColor"), palette.hairline
    )
    words: dict[str, Any] = {
        "labelColor": palette.muted,
        "titleColor": palette.muted,
        "titleFontWeight": "normal",
        "titleFontSize": 12,
        "labelFontSize": 11,
    }
    return alt.Config(
        background="transparent",
        font=FONT,
        padding={"left": 4, "right": 8, "top": 8, "bottom": 4},
        aria=False,
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(**lines, **words),
        legend=alt.LegendConfig(**words),
        title=alt.TitleConfig(
            color=palette.ink, subtitleColor=palette.muted, fontSize=14, anchor="start"
        ),
    )
