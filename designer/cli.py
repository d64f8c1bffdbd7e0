"""The command line: arguments, wiring, exit codes.  The only place that prints or exits.

Results go to stdout, progress and errors to stderr.  Exit codes: 0 done, 1 the run failed,
2 wrong use, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    contextmanager,
    nullcontext,
    redirect_stdout,
    suppress,
)
from dataclasses import asdict, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text
from torch import nn

from designer.analysis import analyze, list_candidates, named
from designer.augmentation import Augmentation
from designer.blocks import Candidate
from designer.comparison import compare
from designer.datasets import SOURCES, Dataset, Streams
from designer.devices import usable_device
from designer.errors import DataError, DesignerError, InvalidInputError
from designer.features import Reduction
from designer.material import Part, data_for, doubts, material_for
from designer.measures import Measure
from designer.models import (
    BEST_FOLDER,
    PRUNED_FILE,
    WEIGHTS_FILE,
    LoadedModel,
    check_folder,
    check_writable,
    load_model,
    write_pruned,
    writing_to,
)
from designer.pruning import Criterion, PruningResult, prune
from designer.pruning.options import Recovery
from designer.report import (
    ReportView,
    markdown_report,
    one_line,
    print_report,
    view_of,
)
from designer.results import ANALYSIS_SCHEMA, ReportWarning, SearchResult
from designer.search import (
    Objective,
    Phase,
    default_folder,
    parameters_of,
    search,
    serve_proxy,
    work,
)
from designer.search import Progress as SearchProgress
from designer.search.join import IDLE_SECONDS, JOIN_SECONDS
from designer.search.storage import STORAGE_FILE
from designer.serialisation import (
    REPORT_FILE,
    Report,
    check_free,
    read_report,
    report_schema,
    report_to_json,
)
from designer.spaces import description, find_space, listed_spaces
from designer.trainer import single_threaded
from designer.version import VERSION
from search_spaces import Space

OK, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

MARKDOWN_FILE, HTML_FILE = "report.md", "report.html"

UNWATCHED = 100
"""Columns of a terminal's report in a file."""

SMALL = 1_000_000
"""Parameters below which a network gains nothing from several threads."""

app = typer.Typer(
    name="designer",
    help="Design neural architectures with the law of equi-separation.",
    add_completion=False,
    rich_markup_mode=None,
)


class Format(StrEnum):
    """How a report is shown."""

    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"
    SVG = "svg"
    PNG = "png"


Workers = Annotated[
    int | None, typer.Option(help="Processes on this machine. [default: one per device]")
]
Devices = Annotated[
    str | None,
    typer.Option(help="Torch devices of the workers in turn, such as cuda:0,cuda:1."),
]
Storage = Annotated[
    str | None,
    typer.Option(
        envvar="DESIGNER_STORAGE",
        show_envvar=True,
        help="Address that several machines share: postgresql+psycopg://user@host/database or "
        "grpc://host:port. [default: SQLite in the run folder]",
    ),
]
WeightsFile = Annotated[
    Path | None, typer.Option(help="File with its state dict: safetensors or torch.save.")
]
InputScaling = Annotated[
    str | None,
    typer.Option(help="Of inputs: standard or none. [default: standard, or as it was trained]"),
]
ImageSize = Annotated[int | None, typer.Option(help="Resize images to this, in pixels.")]
HeldoutShare = Annotated[
    float | None, typer.Option(help="Share of the samples in use that is held out.")
]
ReportFormat = Annotated[Format, typer.Option("--format", help="How to show it.")]
Output = Annotated[
    Path | None,
    typer.Option(
        help="File to write it to, not stdout; for svg and png also a folder, for every chart on "
        "its own."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
"""Options that several commands take."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the ``designer`` command; exits with one of the codes above."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    sys.exit(_run([a for a in given if a != "--debug"] or ["--help"], debug=debug))


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        code = app(arguments, standalone_mode=False, obj=shlex.join(["designer", *arguments]))
        sys.stdout.flush()
    except typer.TyperException as error:
        _complain(error.format_message())
        return WRONG_USE
    except InvalidInputError as error:
        if debug:
            raise
        _complain(str(error))
        return WRONG_USE
    except DesignerError as error:
        if debug:
            raise
        _complain(str(error))
        return FAILED
    except (KeyboardInterrupt, typer.Abort) as stop:
        _complain(str(stop) or "Stopped at once.")
        return INTERRUPTED
    except BrokenPipeError:  # nobody reads on; Python shall not complain of that at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if debug:
            raise
        _complain(f"{type(error).__name__}: {error} (run again with --debug for the traceback)")
        return FAILED
    return code if isinstance(code, int) else OK


def _show_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"{VERSION}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    pass


@app.command("search", epilog="Example: designer search --data digits --trials 20 --out runs/a")
def _search(
    data: Annotated[str, typer.Option(help="What to learn; see `designer datasets`.")] = "digits",
    space: Annotated[str, typer.Option(help="What to search; see `designer spaces`.")] = "mlp",
    trials: Annotated[int, typer.Option(help="Finished trials that the study shall have.")] = 30,
    epochs: Annotated[int, typer.Option(help="Epochs of each short training run.")] = 10,
    objective: Annotated[
        str, typer.Option(help=f"What to maximise: {', '.join(Objective)}.")
    ] = Objective.DESIGN,
    seed: Annotated[int, typer.Option(help="Of splits, weights, batches and proposals.")] = 0,
    workers: Workers = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder; the same command continues it. [default: runs/DATA-SPACE]"),
    ] = None,
    storage: Storage = None,
    study: Annotated[
        str | None,
        typer.Option(help="Name of the study in the storage. [default: as the run folder]"),
    ] = None,
    artifacts: Annotated[
        str | None,
        typer.Option(
            help="Folder or s3://BUCKET[/PREFIX] for profiles and weights, which all machines "
            "reach. [default: in the run folder]"
        ),
    ] = None,
    heartbeat: Annotated[
        int, typer.Option(help="Seconds between two signs of life of a worker on a storage.")
    ] = 10,
    confirm: Annotated[int, typer.Option(help="Candidates to train again, longer.")] = 5,
    confirm_epochs: Annotated[
        int | None, typer.Option(help="Epochs of that. [default: 3 x epochs]")
    ] = None,
    confirm_seeds: Annotated[int, typer.Option(help="Fresh seeds for each candidate.")] = 3,
    max_params: Annotated[int | None, typer.Option(help="Largest number of parameters.")] = None,
    max_flops: Annotated[
        int | None, typer.Option(help="Most floating-point operations per sample.")
    ] = None,
    train_size: Annotated[int | None, typer.Option(help="Samples to train on.")] = None,
    image_size: ImageSize = None,
    validation_fraction: Annotated[
        float, typer.Option(help="Share of the samples in use that is held out.")
    ] = 0.25,
    shuffle_labels: Annotated[
        bool, typer.Option("--shuffle-labels", help="Control: destroy what there is to learn.")
    ] = False,
    batch_size: Annotated[int, typer.Option(help="Samples per training step.")] = 128,
    prune: Annotated[
        bool, typer.Option("--prune", help="Stop candidates half-way that fall behind.")
    ] = False,
    augment: Annotated[
        str, typer.Option(help=f"Vary training images: {', '.join(Augmentation)}.")
    ] = Augmentation.NONE,
    device: Annotated[str, typer.Option(help="Torch device to train on.")] = "cpu",
    devices: Devices = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print report.json to stdout.")] = False,
) -> int:
    """Search for architectures, confirm the best and recommend.

    Proposes depths and widths, trains each briefly, looks inside layer by layer, scores it,
    trains the best again with fresh seeds, and says which to take and which layers contribute
    too little or too much.
    """
    with _stoppable(), _prints_on_stderr(), _progress_on_stderr() as display:
        result = search(
            space,
            data,
            trials=trials,
            epochs=epochs,
            objective=objective,
            seed=seed,
            workers=workers,
            confirm=confirm,
            confirm_epochs=confirm_epochs,
            confirm_seeds=confirm_seeds,
            max_params=max_params,
            max_flops=max_flops,
            train_size=train_size,
            image_size=image_size,
            validation_fraction=validation_fraction,
            shuffle_labels=shuffle_labels,
            batch_size=batch_size,
            prune=prune,
            augment=augment,
            device=device,
            devices=_listed(devices),
            storage=storage,
            study=study,
            artifacts=artifacts,
            heartbeat=heartbeat,
            out=out,
            progress=display.update,
        )
    folder = out or default_folder(result.study.data, result.study.space)
    view = _write_views(folder, result)
    _show(view, result, Format.JSON if as_json else Format.TERMINAL)
    _say(display.conclusion())
    written = [REPORT_FILE, MARKDOWN_FILE, HTML_FILE]
    written += [f"{BEST_FOLDER}/"] if (folder / BEST_FOLDER).exists() else []
    written += [STORAGE_FILE] if storage is None else []
    _say(f"Written to {folder}: {', '.join(written)}")
    return _exit_code(result)


@app.command(
    "worker",
    epilog="Example: DESIGNER_STORAGE=postgresql+psycopg://user@host/db designer worker --study a",
)
def _worker(
    study: Annotated[str, typer.Option(help="Name of the study to join.")],
    storage: Storage = None,
    data: Annotated[
        str | None,
        typer.Option(help="Where the data are on this machine. [default: as on the leader's]"),
    ] = None,
    workers: Workers = None,
    devices: Devices = None,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for a study that nobody has begun yet.")
    ] = JOIN_SECONDS,
    idle: Annotated[
        float, typer.Option(help="Seconds without anything to do after which it leaves.")
    ] = IDLE_SECONDS,
) -> int:
    """Join a search that runs elsewhere, and work for it until it is done.

    Space, data, budget and seeds come from the study. Join and leave at any time: SIGTERM or
    Ctrl-C hands the trial back, and what a killed worker leaves is done again by others.
    """
    with _stoppable(), _prints_on_stderr(), _progress_on_stderr() as display:
        work(
            _given(storage),
            study,
            data=data,
            workers=workers,
            devices=_listed(devices) or ("cpu",),
            wait=wait,
            idle=idle,
            progress=display.update,
        )
    return OK


@app.command(
    "storage-proxy",
    epilog="Example: DESIGNER_STORAGE=postgresql+psycopg://user@host/db designer storage-proxy",
)
def _storage_proxy(
    storage: Storage = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "localhost",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 13000,
) -> int:
    """Stand between a database and hundreds of workers, which use grpc://HOST:PORT then.

    It has no passwords and no encryption of its own: let it listen where only workers can reach it.
    """
    with _stoppable("Stopped."):
        address = f"grpc://{host}:{port}"
        serve_proxy(
            _given(storage), host, port, lambda: _say(f"Workers use {address}; Ctrl-C stops.")
        )
    return OK


@app.command(
    "analyze",
    epilog="Example: designer analyze mynets:resnet --weights resnet.safetensors --data cifar.npz",
)
def _analyze(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            help="package.module:callable that returns a model, or a folder that search wrote, "
            "such as runs/a/best/1."
        ),
    ],
    weights: WeightsFile = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="What to look at it with; see `designer datasets`. [default for a folder: what "
            "it was trained on]"
        ),
    ] = None,
    blocks: Annotated[
        str | None, typer.Option(help='Where to look, such as "layer1.*,layer2.*".')
    ] = None,
    list_blocks: Annotated[
        bool, typer.Option("--list-blocks", help="Show what might be a block, and why not.")
    ] = False,
    measure: Annotated[
        str, typer.Option(help=f"What to measure: {', '.join(Measure)}.")
    ] = Measure.SEPARATION,
    features: Annotated[
        str | None,
        typer.Option(
            help=f"How outputs become features: {', '.join(Reduction)}. [default: flatten, or "
            f"project where that would not fit]"
        ),
    ] = None,
    dimension: Annotated[int | None, typer.Option(help="Features to project to.")] = None,
    heldout: Annotated[
        str | None,
        typer.Option(help="Held-out part: test or validation. [default for a folder: validation]"),
    ] = None,
    scaling: InputScaling = None,
    train_size: Annotated[int | None, typer.Option(help="Training samples to use.")] = None,
    image_size: ImageSize = None,
    validation_fraction: HeldoutShare = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the split, permutations and resamples. [default: 0]")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Samples per forward pass. [default: up to 1024]")
    ] = None,
    device: Annotated[str, typer.Option(help="Torch device to run on.")] = "cpu",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report. [default: analyses/MODEL]")
    ] = None,
    form: ReportFormat = Format.TERMINAL,
    as_json: AsJson = False,
) -> int:
    """Look inside a model that you have: what each block contributes, and what to change.

    Shows the separation of the classes at the input and after every block, on training and on
    held-out data, with intervals, a verdict and advice for each block, and where the network
    stops improving on held-out data.
    """
    folder = out or Path("analyses") / _file_name(model)
    with _stoppable("Stopped at once."), _prints_on_stderr():
        loaded = load_model(model, weights, seed=seed or 0)
        if not list_blocks:
            check_writable(folder)
            check_free(folder, ANALYSIS_SCHEMA)
        material = material_for(
            loaded,
            data,
            heldout,
            scaling=scaling,
            train_size=train_size,
            image_size=image_size,
            validation_fraction=validation_fraction,
            seed=seed,
        )
        net = loaded.model.to(usable_device(device))
        candidates = list_candidates(net, material.train) if list_blocks else []
        with _passes_on_stderr() as bars:
            look = partial(
                analyze,
                net,
                material.train,
                material.heldout,
                _listed(blocks),
                measure=measure,
                features=features,
                dimension=dimension,
                batch_size=batch_size,
                seed=seed or 0,
                progress=bars,
            )
            seen = None if list_blocks else look()
    if seen is None:
        _show_candidates(candidates, as_json=as_json)
        return OK
    result = replace(named(seen, loaded, weights, material), command=str(context.obj))
    with writing_to(folder):
        (folder / REPORT_FILE).write_text(report_to_json(result), encoding="utf-8")
        view = _write_views(folder, result)
    _show(view, result, Format.JSON if as_json else form)
    _say(f"Written to {folder}: {REPORT_FILE}, {MARKDOWN_FILE}, {HTML_FILE}")
    return OK


@app.command("prune", epilog="Example: designer prune runs/a/best/1 --max-drop 0.01 --out small")
def _prune(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            help="package.module:callable that returns a model, or a folder that search or prune "
            "wrote, such as runs/a/best/1."
        ),
    ],
    weights: WeightsFile = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="What it was trained on; see `designer datasets`. [default for a folder: that]"
        ),
    ] = None,
    remove: Annotated[
        str | None, typer.Option(help='How many blocks, or which, such as "blocks.3,blocks.4".')
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(help="Remove as many as cost no more accuracy than this, such as 0.01."),
    ] = None,
    target_params: Annotated[
        float | None, typer.Option(help="Share of the parameters to get down to, such as 0.5.")
    ] = None,
    criterion: Annotated[
        str, typer.Option(help=f"Which blocks go first: {', '.join(Criterion)}.")
    ] = Criterion.BEST,
    blocks: Annotated[
        str | None, typer.Option(help='Which parts are blocks, such as "layer1.*,layer2.*".')
    ] = None,
    narrow: Annotated[
        bool, typer.Option("--narrow", help="Narrow layers that do little for their width, too.")
    ] = False,
    epochs: Annotated[
        int, typer.Option(help="Epochs of recovery at the most; 0 for none.")
    ] = Recovery.epochs,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Of recovery. [default: as it was trained with, else 0.001]"),
    ] = None,
    soft_targets: Annotated[
        bool, typer.Option("--soft-targets", help="Learn from the whole network's outputs, too.")
    ] = False,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines/--no-baselines",
            help="Train the same size from scratch and remove greedily, for comparison.",
        ),
    ] = True,
    scratch_epochs: Annotated[
        int, typer.Option(help="Epochs of the network from scratch.")
    ] = Recovery.scratch_epochs,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the smaller model. [default: pruned/MODEL]")
    ] = None,
    scaling: InputScaling = None,
    train_size: Annotated[int | None, typer.Option(help="Training samples to use.")] = None,
    image_size: ImageSize = None,
    validation_fraction: HeldoutShare = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the split and of training. [default: 0]")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(help="Samples per training step.")
    ] = Recovery.batch_size,
    device: Annotated[str, typer.Option(help="Torch device to run on.")] = "cpu",
    form: ReportFormat = Format.TERMINAL,
    as_json: AsJson = False,
) -> int:
    """Remove the blocks that a trained model does not need, and write the smaller model.

    Proposes blocks by their held-out steps, removes them for real, fits and trains what is left,
    verifies on held-out data, and shows beside it what the same size from scratch and greedy
    ablation would have given.
    """
    with _stoppable("Stopped at once."), _prints_on_stderr():
        loaded = load_model(model, weights, seed=seed or 0)
        folder = out or Path("pruned") / _file_name(model)
        check_folder(folder, loaded)
        loaded_data = data_for(
            loaded,
            data,
            scaling=scaling,
            train_size=train_size,
            image_size=image_size,
            validation_fraction=validation_fraction,
            seed=seed,
        )
        net, arrays = loaded.model.to(usable_device(device)), _arrays(loaded_data)
        said = tuple(doubts(loaded, arrays, Part.VALIDATION, scaling=scaling))
        rates = (learning_rate, loaded.learning_rate, Recovery.learning_rate)
        with _few_threads(net), _passes_on_stderr(lines=True) as bars:
            pruned = prune(
                net,
                arrays,
                remove=_count_or_names(remove),
                max_drop=max_drop,
                target_params=target_params,
                criterion=criterion,
                blocks=_listed(blocks),
                narrower=narrow,
                epochs=epochs,
                learning_rate=next(rate for rate in rates if rate is not None),
                batch_size=batch_size,
                soft_targets=soft_targets,
                scratch_epochs=scratch_epochs,
                build=loaded.again,
                seed=seed or 0,
                progress=bars,
            )
            command = str(context.obj)
            write = partial(_write_pruned, folder, loaded, weights, arrays, said, command)
            result = write(pruned)  # before the baselines, which may be stopped
            with _stoppable(f"Stopped; the smaller model is in {folder}, without baselines."):
                result = write(pruned.with_baselines(bars)) if baselines else result
    _show(view_of(result.report), result.report, Format.JSON if as_json else form)
    _say(
        f"Written to {folder}: {WEIGHTS_FILE}, {PRUNED_FILE}, {REPORT_FILE}, {MARKDOWN_FILE}, "
        f"{HTML_FILE}"
    )
    return OK


@app.command("report", epilog="Example: designer report runs/a --format html --output a.html")
def _report(
    run: Annotated[
        Path | None,
        typer.Argument(help="Folder that search, analyze or prune wrote, or its report.json."),
    ] = None,
    form: ReportFormat = Format.TERMINAL,
    output: Output = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of report.json instead.")
    ] = False,
) -> int:
    """Show the report of a search, an analysis or a pruning again, or draw it.

    As svg and png it draws the charts of the first recommendation and of the whole in one
    picture, or with a folder as --output every chart on its own.
    """
    if schema:
        sys.stdout.write(json.dumps(report_schema(), indent=2) + "\n")
        return OK
    if run is None:
        raise InvalidInputError("Expected a run folder, got none; for example runs/a.")
    report = read_report(run)
    _show(view_of(report), report, form, output)
    return OK


@app.command("compare", epilog="Example: designer compare runs/a runs/b small --format html")
def _compare(
    context: typer.Context,
    networks: Annotated[
        list[str],
        typer.Argument(
            help="At least two of: folders of a search, of an analysis, of a model that search or "
            "prune wrote."
        ),
    ],
    form: ReportFormat = Format.TERMINAL,
    output: Output = None,
) -> int:
    """Compare networks: curves, differences layer by layer, and which is better at what.

    Of a search its first recommendation is taken. Models are looked into with the data that they
    were trained on.
    """
    with _stoppable("Stopped at once."), _prints_on_stderr(), _passes_on_stderr() as bars:
        report = compare(networks, command=str(context.obj), progress=bars)
    _show(view_of(report), report, form, output)
    return OK


@app.command("dashboard", epilog="Example: designer dashboard runs/a")
def _dashboard(
    run: Annotated[Path, typer.Argument(help="Run folder of a search.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any.")] = 8080,
) -> int:
    """Open Optuna's dashboard on a run, with our charts as artifacts and our report as its note.

    Needs the extra: pip install 'equisep-designer[dashboard]'.
    """
    from designer.dashboard import dashboard

    with dashboard(run, host, port) as server:
        _say(f"Optuna's dashboard is on http://{host}:{server.server_port}; Ctrl-C ends it.")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    return OK


@app.command("spaces", epilog="Example: designer spaces mlp")
def _spaces(
    space: Annotated[
        str | None, typer.Argument(help="Name or package.module:Name. [default: list all]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> int:
    """List the search spaces, or show what one of them lets a trial choose."""
    if space is not None:
        _show_space(find_space(space), as_json=as_json)
        return OK
    _list("space", listed_spaces(), as_json=as_json)
    if not as_json:
        _console().print(Text("package.module:Name takes a space of your own.", style="dim"))
    return OK


@app.command("datasets", epilog="Example: designer datasets --json")
def _datasets(
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> int:
    """List what --data accepts."""
    _list("--data", SOURCES, as_json=as_json)
    return OK


def _write_views(folder: Path, report: Report) -> ReportView:
    """The report as Markdown and as a page beside its JSON."""
    from designer.report.html import html_report

    view = view_of(report)
    (folder / MARKDOWN_FILE).write_text(markdown_report(view), encoding="utf-8")
    (folder / HTML_FILE).write_text(html_report(view), encoding="utf-8")
    return view


def _show(view: ReportView, report: Report, form: Format, output: Path | None = None) -> None:
    if output is None and form is Format.TERMINAL:
        print_report(view, _console())
    elif output is None:
        _write_out(_rendered(view, report, form))
    elif form in PICTURES and (output.is_dir() or not output.suffix):
        from designer.report.pictures import Kind, pictures

        with writing_to(output):
            for name, content in pictures(view, Kind(form)).items():
                (output / name).write_bytes(content)
        _say(f"Written to {output}: {', '.join(sorted(p.name for p in output.iterdir()))}")
    else:
        with writing_to(output.parent):
            output.write_bytes(_rendered(view, report, form))
        _say(f"Written to {output}.")


PICTURES = frozenset({Format.SVG, Format.PNG})


def _rendered(view: ReportView, report: Report, form: Format) -> bytes:
    """The report in a form that can be written to a file, in UTF-8 where it is text."""
    if form in PICTURES:
        from designer.report.pictures import Kind, picture

        return picture(view, Kind(form))
    if form is Format.TERMINAL:
        file = io.StringIO()
        print_report(view, Console(file=file, width=UNWATCHED))
        return file.getvalue().encode()
    if form is Format.HTML:
        from designer.report.html import html_report

        return html_report(view).encode()
    return (report_to_json(report) if form is Format.JSON else markdown_report(view)).encode()


def _write_out(content: bytes) -> None:
    """To stdout as it is, whatever encoding the terminal has."""
    if b"\0" in content and sys.stdout.isatty():
        raise InvalidInputError(
            "Expected a file for a PNG, got a terminal; name one as --output, or use a pipe."
        )
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
    else:
        sys.stdout.write(content.decode())


def _given(storage: str | None) -> str:
    if storage is None:
        raise InvalidInputError(
            "Expected --storage or the environment variable DESIGNER_STORAGE, got neither."
        )
    return storage


def _file_name(source: str) -> str:
    """A name for a folder, after what a model was given as."""
    return re.sub(r"[^\w.]+", "-", source).strip("-.")


def _show_candidates(candidates: Sequence[Candidate], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps([asdict(one) for one in candidates], indent=2) + "\n")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("part", "class", "gives", "block", "why"):
        table.add_column(Text(title, style="dim"), overflow="fold")
    for one in candidates:
        shape = "-" if one.shape is None else "x".join(map(str, one.shape))
        style = "bold" if one.chosen else "dim"
        row = (one.name, one.kind, shape, "yes" if one.chosen else "no", one.reason)
        table.add_row(*(Text(one_line(cell), style=style) for cell in row))
    _console().print(table)


def _listed(names: str | None) -> list[str] | None:
    """Names between commas."""
    return None if names is None else [one.strip() for one in names.split(",")]


def _count_or_names(remove: str | None) -> int | list[str] | None:
    """What --remove says."""
    if remove is not None and re.fullmatch(r"-?\d+", remove.strip()):
        return int(remove)
    return _listed(remove)


def _arrays(data: Dataset | Streams) -> Dataset:
    if isinstance(data, Dataset):
        return data
    raise DataError(
        f"Expected arrays from '{data.name}', got batches; pruning trains what is left, so return "
        f"x_train and y_train."
    )


def _write_pruned(
    folder: Path,
    source: LoadedModel,
    weights: Path | None,
    data: Dataset,
    said: tuple[ReportWarning, ...],
    command: str,
    result: PruningResult,
) -> PruningResult:
    """Model and report into a folder; the result with the model's name in it."""
    summary = replace(
        result.report.model, name=source.name, weights=None if weights is None else weights.name
    )
    used = replace(result.report.data, scaling=str(data.options.get("scaling", "")))
    warnings = (*data.warnings, *said, *result.report.warnings)
    report = replace(result.report, model=summary, data=used, warnings=warnings, command=command)
    result = replace(result, report=report)
    write_pruned(folder, result.model, source, result.removals, data)
    with writing_to(folder):
        (folder / REPORT_FILE).write_text(report_to_json(result.report), encoding="utf-8")
        _write_views(folder, result.report)
    return result


def _exit_code(result: SearchResult) -> int:
    codes = {warning.code for warning in result.warnings}
    if "interrupted" in codes:
        return INTERRUPTED
    if "terminated" in codes:  # a scheduler asked for it: that is no failure
        return OK
    return OK if result.study.trials.complete else FAILED


def _list(title: str, described: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(described, indent=2) + "\n")
        return
    table = Table(title, "", box=None, padding=(0, 2, 0, 0))
    for name, text in described.items():
        table.add_row(Text(name, style="bold"), Text(text))
    _console().print(table)


def _show_space(space: Space[Any], *, as_json: bool) -> None:
    about, parameters = description(space), parameters_of(space)
    if as_json:
        shown = {
            "name": space.name,
            "description": about,
            "parameters": [asdict(one) for one in parameters],
        }
        sys.stdout.write(json.dumps(shown, indent=2, default=str) + "\n")
        return
    table = Table("parameter", "kind", "range", box=None, padding=(0, 2, 0, 0))
    for one in parameters:
        table.add_row(Text(one.name, style="bold"), Text(one.kind), Text(one.range))
    console = _console()
    console.print(Text(space.name, style="bold"))
    console.print(Text(about), end="\n\n", soft_wrap=True)
    console.print(table)


def _complain(message: str) -> None:
    text = Text(f"error: {one_line(message)}", style="bold red")
    _console(stderr=True).print(text, soft_wrap=True)


def _say(message: str) -> None:
    _console(stderr=True).print(Text(one_line(message)), soft_wrap=True)


def _console(*, stderr: bool = False) -> Console:
    """Styled on a terminal only, and nowhere under NO_COLOR."""
    plain = bool(os.environ.get("NO_COLOR"))
    return Console(stderr=stderr, color_system=None if plain else "auto")


class _Display:
    """Progress of a run: bars on a terminal, now and then a line elsewhere."""

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars
        self._tasks: dict[Phase, TaskID] = {}
        self._first: dict[Phase, SearchProgress] = {}
        self._last: dict[Phase, SearchProgress] = {}

    def update(self, progress: SearchProgress) -> None:
        """Take note of a finished trial."""
        before = self._last.get(progress.phase)
        self._first.setdefault(progress.phase, progress)
        self._last[progress.phase] = progress
        if self._bars is not None:
            self._draw(self._bars, progress)
        elif before is None or _tenth(progress) != _tenth(before):
            _say(f"{progress.phase}: {progress.finished}/{progress.total}{_best(progress)}")

    def conclusion(self) -> str:
        """How many trials were new."""
        if Phase.SEARCH not in self._last:
            return "Nothing was run."
        first, last = self._first[Phase.SEARCH], self._last[Phase.SEARCH]
        new = last.finished - first.finished
        if not last.finished:
            return "No trial was finished."
        if not new:
            return f"No new trial: all {last.finished} were there already."
        return f"{new} new {'trial' if new == 1 else 'trials'}, {last.finished} in all."

    def _draw(self, bars: Progress, progress: SearchProgress) -> None:
        if progress.phase not in self._tasks:
            self._tasks[progress.phase] = bars.add_task(
                str(progress.phase), total=progress.total, best=""
            )
        bars.update(
            self._tasks[progress.phase],
            completed=progress.finished,
            total=progress.total,
            best=_best(progress),
        )


@contextmanager
def _stoppable(said: str = "Stopped at once; the same command continues.") -> Iterator[None]:
    """Ctrl-C as ``typer.Abort``, for typer would make a silent exit of it."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise typer.Abort(said) from stop


def _few_threads(model: nn.Module) -> AbstractContextManager[None]:
    """One thread for a small network, whose threads would only wait for each other."""
    small = sum(p.numel() for p in model.parameters()) < SMALL
    return single_threaded() if small else nullcontext()


@contextmanager
def _prints_on_stderr() -> Iterator[None]:
    """What a user's model or data print, which would spoil what is written to stdout."""
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def _progress_on_stderr() -> Iterator[_Display]:
    console = _console(stderr=True)
    if not console.is_terminal:
        yield _Display(None)
        return
    columns = (
        TextColumn("{task.description:>12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[best]}"),
    )
    with Progress(*columns, console=console) as bars:
        yield _Display(bars)


@contextmanager
def _passes_on_stderr(*, lines: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each thing that takes long, on a terminal; elsewhere a line where it begins, or
    none for what is over too soon."""
    console = _console(stderr=True)
    if not console.is_terminal:
        yield _begun() if lines else lambda *_: None
        return
    columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def update(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        yield update


def _begun() -> Callable[[str, int, int], None]:
    """Says what is being done whenever that is something else than before."""
    last = ""

    def update(what: str, _done: int, _total: int) -> None:
        nonlocal last
        if what != last:
            _say(f"{what} ...")
        last = what

    return update


def _tenth(progress: SearchProgress) -> int:
    return 10 * progress.finished // max(progress.total, 1)


def _best(progress: SearchProgress) -> str:
    failures = f", {progress.failed} failed" if progress.failed else ""
    return (f"  best {progress.best:.3f}" if progress.best is not None else "") + failures


if __name__ == "__main__":
    main()
