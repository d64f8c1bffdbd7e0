"""Colours of the charts and the page, and the signs that stand beside them.

The hues follow Okabe & Ito, Color Universal Design (2008); readers with any kind of colour vision
can tell them apart.  Colour is never the only cue: every verdict also has a sign and its word.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from designer.results.measured import Verdict
from designer.results.pruning import Decision


@dataclass(frozen=True)
class Palette:
    """Colours by their role, as CSS writes them."""

    paper: str
    """Background of the page."""
    raised: str
    """Background of charts and tables."""
    ink: str
    """Main text."""
    muted: str
    """Text of less importance."""
    hairline: str
    """Borders and grids."""
    training: str
    """D on training data; the first of several networks."""
    heldout: str
    """D on held-out data; the second of several networks."""
    null: str
    """D with permuted labels."""
    ok: str
    """Verdict ``ok``; the third of several networks."""
    low: str
    """Verdict ``low``."""
    high: str
    """Verdict ``high``."""
    negative: str
    """Verdict ``negative``."""
    degenerate: str
    """Verdict ``degenerate``."""
    uncertain: str
    """Verdict ``uncertain``."""
    prepares: str
    """Verdict ``prepares``."""
    idle: str
    """Verdict ``idle``."""
    early: str
    """Start of a colour ramp."""
    middle: str
    """Middle of a colour ramp."""
    late: str
    """End of a colour ramp."""
    fourth: str
    """The fourth of several networks."""


LIGHT = Palette(
    paper="#f7f7f5",
    raised="#ffffff",
    ink="#1b1f24",
    muted="#57606a",
    hairline="#dcdfe3",
    training="#0072b2",
    heldout="#c14f00",
    null="#9aa3ad",
    ok="#009e73",
    low="#e69f00",
    high="#cc79a7",
    negative="#d55e00",
    degenerate="#4d545c",
    uncertain="#56b4e9",
    prepares="#0072b2",
    idle="#f0e442",
    early="#f0c35e",
    middle="#2ba58a",
    late="#27408b",
    fourth="#a05195",
)


DARK = Palette(
    paper="#12161b",
    raised="#1a2027",
    ink="#e8eaed",
    muted="#a3adb8",
    hairline="#333c46",
    training="#56b4e9",
    heldout="#ff9a4d",
    null="#6f7a86",
    ok="#1fc298",
    low="#f0b429",
    high="#e09cc4",
    negative="#ff7f3f",
    degenerate="#aab4bf",
    uncertain="#7cc7f2",
    prepares="#3d8fd1",
    idle="#f5ea6b",
    early="#f0c35e",
    middle="#2ba58a",
    late="#8a9ff0",
    fourth="#d08ac4",
)


VARIABLES = Palette(**{field.name: f"var(--{field.name})" for field in fields(Palette)})
"""Names of CSS variables: the page sets them to its light, dark or printed colours."""


SIGNS = {
    Verdict.OK: "●",
    Verdict.LOW: "▼",
    Verdict.HIGH: "▲",
    Verdict.NEGATIVE: "✖",
    Verdict.DEGENERATE: "■",
    Verdict.UNCERTAIN: "◆",
    Verdict.PREPARES: "✚",
    Verdict.IDLE: "□",
    Decision.SAFE: "▼",
    Decision.DOUBTFUL: "◆",
    Decision.KEEP: "●",
    Decision.FIXED: "■",
    "input": "○",
    "criterion": "●",
}
"""Signs by the kind of a mark: a verdict, a decision, the input or a criterion."""


def kind_colours(palette: Palette) -> dict[str, str]:
    """Return colours by the kind of a mark: a verdict, a decision, the input or a criterion."""
    return {
        **{str(verdict): getattr(palette, verdict) for verdict in Verdict},
        str(Decision.SAFE): palette.low,
        str(Decision.DOUBTFUL): palette.uncertain,
        str(Decision.KEEP): palette.ok,
        str(Decision.FIXED): palette.degenerate,
        "input": palette.null,
        "criterion": palette.training,
    }


def variables(palette: Palette) -> dict[str, str]:
    """Return the colours of a palette by the name of their CSS variable."""
    return {f"--{field.name}": getattr(palette, field.name) for field in fields(palette)}
