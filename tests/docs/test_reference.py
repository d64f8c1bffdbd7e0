"""The reference is complete: every public name, every command, every field of the report."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from types import ModuleType

import pytest
import typer

import designer
import designer.cli.commands  # it registers the commands
from designer.cli.app import app
from designer.results.serialisation import report_schema
from tests.support.paths import ROOT

DOCS = ROOT / "docs"


@cache
def hooks() -> ModuleType:
    """Return the hooks of the site, which no package holds."""
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def page(name: str) -> str:
    """Return a page of the reference with its generated parts."""
    text = (DOCS / "reference" / name).read_text(encoding="utf-8")
    return str(hooks().on_page_markdown(text))


def test_every_public_name_is_shown_once() -> None:
    shown = re.findall(r"^::: ([\w.]+)$", page("api.md"), re.MULTILINE)
    names = [path.rpartition(".")[2] for path in shown]
    assert sorted(names) == sorted(designer.__all__)
    for path, name in zip(shown, names, strict=True):
        value = getattr(designer, name)
        assert path in {f"designer.{name}", f"{value.__module__}.{name}"}


def test_every_command_is_shown_with_its_options_and_an_example() -> None:
    sections = re.split(r"^## ", page("cli.md"), flags=re.MULTILINE)[1:]
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert [section.split("\n")[0] for section in sections] == [
        f"`designer {name}`" for name in commands
    ]
    for section, command in zip(sections, commands.values(), strict=True):
        assert "**Example**:\n\n```console\n$ " in section
        options = [name for parameter in command.params for name in parameter.opts]
        assert all(f"`{name}" in section for name in options if name.startswith("--"))


def test_the_list_of_commands_holds_whole_sentences() -> None:
    listed = re.findall(r"^\* `[\w-]+`: (.*)$", page("cli.md").split("\n## ")[0], re.MULTILINE)
    assert listed
    assert all(sentence.endswith(".") and not sentence.endswith("...") for sentence in listed)


@pytest.mark.parametrize("name", ["The report", *report_schema()["$defs"]])
def test_every_field_of_the_report_has_a_type_and_a_description(name: str) -> None:
    schema = report_schema()
    record = schema if name == "The report" else schema["$defs"][name]
    (section,) = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", page("report.md"), re.M | re.S)
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+ \| .+) \|$", section, re.MULTILINE))
    assert list(rows) == list(record.get("properties", ()))
    assert all(row.split(" | ")[1].endswith((".", ")")) for row in rows.values())
    assert all(f"`{value}`" in section for value in record.get("enum", ()))


def test_an_unknown_generated_part_is_an_error() -> None:
    with pytest.raises(KeyError, match="nothing"):
        hooks().on_page_markdown("<!-- generated: nothing -->")
