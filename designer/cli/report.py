"""The commands that show results: `report`, `compare`, `dashboard`, `spaces` and `datasets`."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from designer.cli.app import OK, app
from designer.cli.options import Format, JsonList, Output, ReportFormat, TrustedNames
from designer.cli.progress import (
    make_console,
    pass_progress,
    print_status,
    prints_to_stderr,
)
from designer.cli.stopping import importing, interruptible
from designer.errors import InvalidInputError

if TYPE_CHECKING:
    from search_spaces import Space


@app.command(
    "report",
    short_help="Show a report again, in any format, or draw its charts.",
    epilog="Example: designer report runs/a --format html --output a.html",
)
def _report(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="Folder that search, analyze, prune or compare wrote, or its report.json."
        ),
    ] = None,
    form: ReportFormat = Format.TERMINAL,
    output: Output = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of report.json instead.")
    ] = False,
) -> int:
    """Show the report of an earlier command again, in any format, or draw its charts.

    The formats svg and png draw the charts of the first recommendation and of the whole run in one
    picture. With a folder as --output each chart becomes a file of its own.
    """
    with importing():
        from designer.cli.output import show_report
        from designer.report.views.dispatch import view_of
        from designer.results.serialisation import read_report, report_schema
    if schema:
        sys.stdout.write(json.dumps(report_schema(), indent=2) + "\n")
        return OK
    if run is None:
        raise InvalidInputError("Expected a run folder, such as runs/a, got none.")
    report = read_report(run)
    show_report(view_of(report), report, form, output)
    return OK


@app.command(
    "compare",
    short_help="Compare networks, and say which is better at what.",
    epilog="Example: designer compare runs/a runs/b small --format html --output all.html",
)
def _compare(
    context: typer.Context,
    networks: Annotated[
        list[str],
        typer.Argument(
            help="At least two folders: of a search, of an analysis, or of a model that search or "
            "prune wrote."
        ),
    ],
    form: ReportFormat = Format.TERMINAL,
    output: Output = None,
    trust: TrustedNames = None,
) -> int:
    """Compare networks: curves, differences layer by layer, and which is better at what.

    A search takes part with its first recommendation. Models are measured with the data that they
    were trained on.
    """
    with importing():
        from designer.analysis.compare import compare
        from designer.cli.output import show_report
        from designer.report.views.dispatch import view_of
    with interruptible("Stopped."):
        with prints_to_stderr(), pass_progress() as bars:
            report = compare(networks, trust=trust or (), command=str(context.obj), progress=bars)
        if output is None:
            show_report(view_of(report), report, form)
            return OK
    with interruptible(f"Stopped; the report is in {output}.") as stop, stop.deferred():
        show_report(view_of(report), report, form, output)
    return OK


@app.command(
    "dashboard",
    short_help="Open Optuna's dashboard on a run, with our charts in it.",
    epilog="Example: designer dashboard runs/a",
)
def _dashboard(
    run: Annotated[Path, typer.Argument(help="Run folder of a search.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any.")] = 8080,
) -> int:
    """Open Optuna's dashboard on a run, with the charts as artifacts and the report as its note.

    It needs the extra `dashboard`: pip install 'equisep-designer[dashboard]'.
    """
    from designer.results.serialisation import read_result

    read_result(run)  # a folder without a run is refused before anything heavy is loaded
    with importing():
        from designer.cli.dashboard import dashboard
    with dashboard(run, host, port) as server:
        print_status(
            f"Optuna's dashboard is on http://{host}:{server.server_port}; Ctrl-C stops it."
        )
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    return OK


@app.command("spaces", epilog="Example: designer spaces mlp")
def _spaces(
    space: Annotated[
        str | None,
        typer.Argument(help="Name of a space, or package.module:Name. [default: list all]"),
    ] = None,
    as_json: JsonList = False,
) -> int:
    """List the search spaces, or show the parameters of one."""
    from designer.importing import typed
    from designer.models.spaces import find_space, listed_spaces

    if space is not None:
        _show_space(find_space(space, typed(space)), as_json=as_json)
        return OK
    _list("space", listed_spaces(), as_json=as_json)
    if not as_json:
        make_console().print(Text("Use package.module:Name for a space of your own.", style="dim"))
    return OK


@app.command("datasets", epilog="Example: designer datasets --json")
def _datasets(
    as_json: JsonList = False,
) -> int:
    """List the forms of data that --data accepts."""
    from designer.data.sources import SOURCES

    _list("--data", SOURCES, as_json=as_json)
    return OK


def _list(title: str, described: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(described, indent=2) + "\n")
        return
    table = Table(title, "", box=None, padding=(0, 2, 0, 0))
    for name, text in described.items():
        table.add_row(Text(name, style="bold"), Text(text))
    make_console().print(table)


def _show_space(space: Space[Any], *, as_json: bool) -> None:
    from designer.models.spaces import description
    from designer.search.space_parameters import parameters_of

    about, parameters = description(space), parameters_of(space)
    if as_json:
        content = {
            "name": space.name,
            "description": about,
            "parameters": [asdict(parameter) for parameter in parameters],
        }
        sys.stdout.write(json.dumps(content, indent=2, default=str) + "\n")
        return
    table = Table("parameter", "kind", "range", box=None, padding=(0, 2, 0, 0))
    for parameter in parameters:
        cells = (Text(parameter.kind), Text(parameter.range))
        table.add_row(Text(parameter.name, style="bold"), *cells)
    console = make_console()
    console.print(Text(space.name, style="bold"))
    console.print(Text(about), end="\n\n", soft_wrap=True)
    console.print(table)
