"""The commands in the documentation have the options that they are given."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import typer

import designer.cli.commands  # noqa: F401 - it registers the commands
from designer.cli.app import app
from tests.docs.pages import PAGES, blocks_of


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
