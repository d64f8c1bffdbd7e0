"""The documentation site builds without a warning, and needs nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.browser import chromium, open_tab
from tests.support.paths import ROOT

WIDTHS = (1280, 390)
"""Widths of a desk and of a telephone, in pixels."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. Building it fails on any warning."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert built.stderr == ""
    return folder


def test_every_page_is_there(site: Path) -> None:
    pages = {
        path.relative_to(ROOT / "docs").with_suffix(".html")
        for path in (ROOT / "docs").rglob("*.md")
    }
    assert pages
    assert pages <= {path.relative_to(site) for path in site.rglob("*.html")}


def test_the_reference_shows_functions_and_classes_and_no_room_of_the_same_name(site: Path) -> None:
    html = (site / "reference" / "api.html").read_text(encoding="utf-8")
    assert "doc-symbol-function" in html
    assert "doc-symbol-module" not in html


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loads = re.compile(
        r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(?:https?:)?//"
        r"|<link\b[^>]*rel=[\"']?(?:stylesheet|preconnect|icon)\b[^>]*href=[\"']?(?:https?:)?//"
    )
    for path in site.rglob("*.html"):
        assert not loads.search(path.read_text(encoding="utf-8")), path


def test_pages_fit_a_desk_and_a_telephone(site: Path) -> None:
    pages = ("start.html", "tutorials/prune.html", "reference/report.html", "evidence.html")
    with chromium() as browser:
        for width in WIDTHS:
            for name in pages:
                with open_tab(browser, site / name, width=width) as tab:
                    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width, name
                    assert all(url.startswith(("file:", "data:")) for url in tab.requests), name
