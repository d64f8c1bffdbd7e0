"""The documentation is true: its code runs as it stands, and prints what the pages show."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import typer

import designer.cli.commands  # noqa: F401 - it registers the commands
from designer.cli.app import app
from tests.docs.pages import PageRun, blocks_of, run_page, without_numbers
from tests.support.paths import ROOT
from tests.support.postgres import postgres

DOCS = ROOT / "docs"

PAGES = [DOCS / "start.md", *sorted((DOCS / "tutorials").glob("*.md"))]

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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_has_the_options_that_it_is_given(page: Path) -> None:
    group = typer.main.get_command(app)
    for block in blocks_of(page):
        for command in block.commands if block.language == "console" else []:
            words = shlex.split(command.replace("\\\n", ""), comments=True)
            if "designer" in words:
                arguments = arguments_of(words)
                if arguments:
                    check_options(group, arguments)


def arguments_of(words: list[str]) -> list[str]:
    """Return the words after ``designer`` up to a pipe, a redirection or the like."""
    start = words.index("designer") + 1
    ends = (i for i, word in enumerate(words) if i >= start and set(word) & set("|>&;"))
    return words[start : next(ends, len(words))]


def check_options(group: object, arguments: list[str]) -> None:
    """Parse a command without running it; typer raises if it has no such command or option."""
    name, *rest = arguments
    if name.startswith("--"):
        return
    commands = group.commands  # type: ignore[attr-defined]
    assert name in commands, name
    parser_context = typer.Context(commands[name], info_name=name)
    commands[name].parse_args(parser_context, rest)


def test_blocks_that_are_not_run_are_few_and_give_a_reason() -> None:
    reasons = {
        f"{page.stem}: {block.reason}"
        for page in PAGES
        for block in blocks_of(page)
        if block.reason
    }
    assert all(
        any(word in reason for word in ("install", "server", "machine")) for reason in reasons
    )
