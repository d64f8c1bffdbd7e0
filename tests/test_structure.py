"""Every figure of the code's structure stays at zero."""

from __future__ import annotations

import pytest

from tests.structure import figures

FIGURES = figures()
"""The places that each figure lists, by its title."""


@pytest.mark.parametrize("title", FIGURES)
def test_a_figure_is_zero(title: str) -> None:
    places = FIGURES[title]
    assert not places, "\n    ".join([f"{title}: {len(places)}", *places])
