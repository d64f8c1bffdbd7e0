"""Colours of the charts and the page, and the signs that stand beside them.

After Okabe & Ito, Color Universal Design (2008), whose hues are told apart with any kind of
colour vision.  A colour never says anything alone: every verdict has a sign and its word, too.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from designer.results.measured import Verdict
from designer.results.pruning import Decision


@dataclass(frozen=True)
class Palette:
    """Colours as CSS writes them."""

    paper: str
    """Behind everything."""
    raised: str
    """Behind charts and tables."""
    ink: str
    """Text."""
    muted: str
    """Text of less weight."""
    hairline: str
    """Borders and grids."""
    training: str
    heldout: str
    null: str
    ok: str
    low: str
    high: str
    negative: str
    degenerate: str
    uncertain: str
    early: str
    """The first of a sequence."""
    middle: str
    late: str
    fourth: str
    """Of four networks side by side; the others are ``training``, ``heldout`` and ``ok``."""


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
    early="#f0c35e",
    middle="#2ba58a",
    late="#8a9ff0",
    fourth="#d08ac4",
)


VARIABLES = Palette(**{field.name: f"var(--{field.name})" for field in fields(Palette)})
"""Whatever the page says at the moment: its light, its dark or its printed colours."""


SIGNS = {
    Verdict.OK: "●",
    Verdict.LOW: "▼",
    Verdict.HIGH: "▲",
    Verdict.NEGATIVE: "✖",
    Verdict.DEGENERATE: "■",
    Verdict.UNCERTAIN: "◆",
    Decision.SAFE: "▼",
    Decision.DOUBTFUL: "◆",
    Decision.KEEP: "●",
    Decision.FIXED: "■",
    "input": "○",
    "criterion": "●",
}
"""By verdict, decision or what else a mark stands for."""


def kind_colours(palette: Palette) -> dict[str, str]:
    """By verdict, decision or what else a mark stands for."""
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
    """By the name of the variable in CSS."""
    return {f"--{field.name}": getattr(palette, field.name) for field in fields(palette)}
