"""Text for numbers, intervals and architectures: how many digits, and what stands for none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from designer.results.layers import MeanSd
from designer.results.ranges import Interval, Measured

MISSING = "-"
"""Stands for a number that could not be measured."""


def spec_label(spec: dict[str, Any]) -> str:
    """Return a spec in a few words, such as ``64-64-32, batch, relu, lr 0.001``."""
    parts = []
    for name, value in spec.items():
        if name == "widths" and isinstance(value, list | tuple):
            parts.append(_widths(value))
        elif isinstance(value, list | tuple):
            parts.append(f"{name} {'-'.join(map(str, value))}")
        elif isinstance(value, float):
            parts.append(f"{'lr' if name == 'learning_rate' else name} {value:g}")
        elif isinstance(value, str):
            parts.append(f"no {name}" if value == "none" else value)
        else:
            parts.append(f"{name} {value}")
    return ", ".join(parts)


def number(value: Measured, digits: int = 2) -> str:
    """Return a number as text.

    Args:
        value: None, NaN and infinities become ``MISSING``.
        digits: decimal places.  A number that they would show as zero gets two significant digits
            instead; one below 1e-4 or from 1e5 on is written with an exponent.
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if value != 0 and not 1e-4 <= abs(value) < 1e5:
        return f"{value:.1e}"
    if 0 < abs(value) < 10**-digits:
        return f"{value:.2g}"
    return f"{value:.{digits}f}"


def percent(value: MeanSd | None) -> str:
    """Return a share in percent as mean ± sd, such as ``97.0 ± 0.4``; no sd for a single seed."""
    if value is None or not math.isfinite(value.mean):
        return MISSING
    spread = f" ± {100 * value.sd:.1f}" if value.sd is not None else ""
    return f"{100 * value.mean:.1f}{spread}"


def interval_text(interval: Interval | None) -> str:
    """Return an interval such as ``0.75 to 1.25``; ``MISSING`` unless both ends are finite."""
    if interval is None or not all(map(math.isfinite, interval)):
        return MISSING
    low, high = (f"{bound:.2f}".replace("-0.00", "0.00") for bound in interval)
    return f"{low} to {high}"


def _widths(widths: Sequence[int]) -> str:
    """Return widths in order; a run of more than two equal ones is written like ``4x64``."""
    runs = [(width, len(list(group))) for width, group in groupby(widths)]
    return "-".join(f"{n}x{width}" if n > 2 else "-".join([str(width)] * n) for width, n in runs)
