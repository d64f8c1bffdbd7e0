"""Fonts, sizes and colours of the charts."""

from __future__ import annotations

from typing import Any

import altair as alt

from designer.report.charts.palette import Palette

Layers = alt.LayerChart


FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def for_page(layers: Layers, palette: Palette) -> dict[str, Any]:
    """A specification that is as wide as the place where it is put."""
    fitted = {"type": "fit-x", "contains": "padding"}
    return finished(layers, palette, width="container", autosize=fitted)


def sequence(count: int, palette: Palette) -> list[str]:
    """Colours from early to late, as many."""
    stops = (palette.early, palette.middle, palette.late)
    if count == 1:
        return [stops[-1]]
    places = [2 * i / (count - 1) for i in range(count)]
    return [
        _between(
            stops[min(int(place), 1)], stops[min(int(place), 1) + 1], place - min(int(place), 1)
        )
        for place in places
    ]


def _between(first: str, second: str, share: float) -> str:
    """A mixture in sRGB; the browser mixes what only it knows."""
    if first.startswith("var("):
        return f"color-mix(in srgb, {second} {100 * share:.0f}%, {first})"
    parts = [(int(first[i : i + 2], 16), int(second[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in parts)


def finished(charts: Any, palette: Palette, **properties: Any) -> dict[str, Any]:
    """The specification of a whole, with its type, grid and colours, which are the same for all.

    Properties of the whole are added here: Altair copies all data each time it is asked to.
    """
    return {**charts.to_dict(), **properties, "config": _config(palette).to_dict()}


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
