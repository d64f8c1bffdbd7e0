"""The documentation is true: its code runs as it stands, and prints what the pages show.

``make pages`` runs this file; ``make test`` does not, because each page makes whole searches.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from tests.docs.pages import PAGES, PageRun, run_page, without_numbers
from tests.support.paths import ROOT
from tests.support.postgres import postgres

ALIKE = 0.6
"""Share of the shown lines that must be printed again, numbers aside. On another processor a search
may end with another architecture, and then some lines differ."""


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PageRun]:
    """What runs a page in an empty folder, from which Python blocks may import."""
    monkeypatch.syspath_prepend(str(folder))
    modules, verbosity = set(sys.modules), optuna.logging.get_verbosity()
    page_run = PageRun(folder, {"DESIGNER": str(ROOT)})
    yield page_run
    page_run.end()
    optuna.logging.set_verbosity(verbosity)
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_and_prints_what_it_shows(page: Path, run: PageRun) -> None:
    if page.stem == "many_machines":
        with postgres() as server:
            run.environment = {"DESIGNER_STORAGE": server.address}
            check(page, run)
            run.end()
    else:
        check(page, run)


def check(page: Path, run: PageRun) -> None:
    """Run a page; compare what it shows with what was printed."""
    shown: list[str] = []
    missing: list[str] = []
    for block, printed in run_page(page, run):
        lines = {without_numbers(line) for line in printed.splitlines()}
        shown += block.shown
        missing += [line for line in block.shown if without_numbers(line) not in lines]
    assert shown, f"{page.name} shows no output"
    assert len(missing) <= (1 - ALIKE) * len(shown), "\n".join(missing)
