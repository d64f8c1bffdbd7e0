"""Hooks of the documentation site: they write the reference from the program itself.

A page asks for a generated part with a line of its own, ``<!-- generated: NAME -->``, where NAME is
a key of ``GENERATORS``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import griffe
import typer
import typer.cli

from designer.cli.commands import app
from designer.results.serialisation import report_schema

MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
"""The line that a generated part replaces."""

WHOLE = 1000
"""Characters that no first sentence of a command has."""

RECORDS = ("search", "layers", "contribution", "measured", "provenance")
"""Modules of ``designer.results`` that hold the records of ``report.json``."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page with its generated parts filled in; MkDocs calls this for every page."""
    return MARK.sub(lambda mark: GENERATORS[mark[1]](), markdown)


def command_line() -> str:
    """Return the reference of all commands, as typer's own generator writes it."""
    group = typer.main.get_command(app)
    context = typer.Context(group, info_name="designer")
    text = typer.cli.get_docs_for_click(obj=group, ctx=context, name="designer", title="designer")
    for command in group.commands.values():  # the list of commands cuts their first sentence
        whole = command.get_short_help_str(limit=WHOLE)
        text = text.replace(f"`: {command.get_short_help_str()}\n", f"`: {whole}\n")
    body = text.split("\n", 1)[1]  # the page has a title of its own
    return re.sub(r"^Example: (.*)$", r"**Example**:\n\n```console\n$ \1\n```", body, flags=re.M)


def report() -> str:
    """Return a table of fields for ``report.json`` and every record in it."""
    schema = report_schema()
    documented = _documented_fields()
    records = {"The report": schema, **schema["$defs"]}
    return "\n".join(
        line for title, record in records.items() for line in _record(title, record, documented)
    )


def _record(
    title: str, record: dict[str, Any], documented: dict[str, dict[str, str]]
) -> Iterator[str]:
    """Yield the heading, the description and the table of one record."""
    yield from (f"## {title}", "", record.get("description", ""), "")
    if "enum" in record:
        yield from (f"One of {', '.join(f'`{value}`' for value in record['enum'])}.", "")
        return
    yield from ("| field | type | description |", "|---|---|---|")
    required = record.get("required", ())
    fields = documented[record["title"]]
    for name, field in record["properties"].items():
        form = _type(field) if name in required else f"{_type(field)}, optional"
        yield f"| `{name}` | {form} | {fields[name]} |"
    yield ""


def _type(field: dict[str, Any]) -> str:
    """Return the type of a field in words, records linked."""
    match field:
        case {"$ref": reference}:
            name = reference.rsplit("/", 1)[1]
            return f"[{name}](#{name.lower()})"
        case {"anyOf": choices}:
            return " or ".join(map(_type, choices))
        case {"const": value}:
            return f"`{value}`"
        case {"prefixItems": items}:
            return f"[{', '.join(map(_type, items))}]"
        case {"type": "array", "items": items}:
            return f"list of {_type(items)}"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"object of {_type(values)}"
        case {"type": name}:
            return str(name)
    return "anything"


def _documented_fields() -> dict[str, dict[str, str]]:
    """Return the text below every field of every record, by record and field."""
    return {
        record.name: {
            name: " ".join(field.docstring.value.split())
            for name, field in record.attributes.items()
            if field.docstring
        }
        for module in RECORDS
        for record in griffe.load(f"designer.results.{module}").classes.values()
    }


GENERATORS: dict[str, Callable[[], str]] = {"command_line": command_line, "report": report}
"""The generated parts by the name that a page uses."""
