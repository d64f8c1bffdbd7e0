"""Numbers, intervals and architectures as text."""

from __future__ import annotations

import math
from typing import Any

import pytest

from designer.errors import one_line
from designer.report.words import interval_text, number, percent, spec_label
from designer.results.layers import MeanSd
from designer.results.ranges import Interval


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ({}, ""),
        ({"widths": [64]}, "64"),
        ({"widths": [64, 64]}, "64-64"),
        ({"widths": (64, 64, 64, 32)}, "3x64-32"),
        ({"widths": [8, 16, 8]}, "8-16-8"),
        ({"widths": []}, ""),
        ({"widths": 7}, "widths 7"),
        ({"normalisation": "none"}, "no normalisation"),
        ({"normalisation": "batch", "activation": "relu"}, "batch, relu"),
        ({"learning_rate": 0.001}, "lr 0.001"),
        ({"learning_rate": 1.23456789e-05}, "lr 1.23457e-05"),
        ({"dropout": 0.002979278444686706, "depth": 3}, "dropout 0.00297928, depth 3"),
        ({"depth": 3, "skip": True, "dropout": None}, "depth 3, skip True, dropout None"),
    ],
)
def test_spec_label(spec: dict[str, Any], label: str) -> None:
    assert spec_label(spec) == label


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 2, "-"),
        (math.nan, 2, "-"),
        (math.inf, 2, "-"),
        (-math.inf, 2, "-"),
        (0.0, 2, "0.00"),
        (1.005, 1, "1.0"),
        (-2.5, 2, "-2.50"),
        (0.01, 2, "0.01"),
        (0.0099, 2, "0.0099"),
        (-0.0001, 2, "-0.0001"),
        (0.00009, 2, "9.0e-05"),
        (99_999.0, 2, "99999.00"),
        (1e5, 2, "1.0e+05"),
        (0.123456, 3, "0.123"),
        (7, 0, "7"),
    ],
)
def test_number(value: float | None, digits: int, text: str) -> None:
    assert number(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (MeanSd(math.nan, None, 1), "-"),
        (MeanSd(0.98765, None, 1), "98.8"),
        (MeanSd(0.98765, 0.00123, 3), "98.8 ± 0.1"),
        (MeanSd(1.0, 0.0, 3), "100.0 ± 0.0"),
        (MeanSd(0.0, None, 1), "0.0"),
    ],
)
def test_percent(value: MeanSd | None, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a  b\n\tc ", "a b c"),
        ("\x1b[31m\x07", r"\x1b[31m\x07"),
        ("größe 数 →", "größe 数 →"),
        ("\u202e\udcff", r"\u202e\udcff"),
    ],
)
def test_one_line(text: str, line: str) -> None:
    assert one_line(text) == line


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (None, "-"),
        ((math.nan, 1.0), "-"),
        ((0.0, math.inf), "-"),
        ((0.75, 1.25), "0.75 to 1.25"),
        ((-0.001, 0.126), "0.00 to 0.13"),
    ],
)
def test_interval_text(interval: Interval | None, text: str) -> None:
    assert interval_text(interval) == text
