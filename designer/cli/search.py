"""The commands that run a search: `search`, `worker` and `storage-proxy`."""

from __future__ import annotations

import signal
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from designer.choices import Augmentation, Engine, Objective
from designer.cli.app import FAILED, INTERRUPTED, OK, app
from designer.cli.options import (
    Devices,
    Format,
    ImageSize,
    KindOfInput,
    MaxDataGib,
    SharedStorage,
    Storage,
    TrainSize,
    Workers,
    chosen,
    named_path,
    required_storage,
    split_names,
)
from designer.cli.progress import print_error, print_status, prints_to_stderr, search_progress
from designer.cli.stopping import importing, interruptible
from designer.folders import BEST_FOLDER, HTML_FILE, MARKDOWN_FILE, REPORT_FILE, STORAGE_FILE
from designer.search.options import (
    DEFAULT_DATA,
    DEFAULT_SPACE,
    IDLE_SECONDS,
    JOIN_SECONDS,
    SearchOptions,
)

if TYPE_CHECKING:
    from designer.interrupts import StopRequest
    from designer.results.search import SearchResult


@app.command(
    "search",
    short_help="Search for an architecture, and say which to take.",
    epilog="Example: designer search --data digits --trials 20 --out runs/a",
)
def _search(
    context: typer.Context,
    data: Annotated[
        str, typer.Option(help="Data to learn from; see `designer datasets`.")
    ] = DEFAULT_DATA,
    space: Annotated[
        str, typer.Option(help="Search space; see `designer spaces`.")
    ] = DEFAULT_SPACE,
    trials: Annotated[
        int,
        typer.Option(
            help="Trials that the run has in the end, those of earlier commands included."
        ),
    ] = SearchOptions.trials,
    epochs: Annotated[
        int, typer.Option(help="Epochs of training in each trial.")
    ] = SearchOptions.epochs,
    objective: Annotated[
        str, typer.Option(help=f"What to maximise: {', '.join(Objective)}.")
    ] = SearchOptions.objective,
    seed: Annotated[
        int, typer.Option(help="Seed of the split, the weights, the batches and the proposals.")
    ] = SearchOptions.seed,
    workers: Workers = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=named_path,
            metavar="PATH",
            help="Run folder; the same command continues it. [default: runs/DATA-SPACE]",
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option(help=f"What starts the workers: {', '.join(Engine)}.")
    ] = SearchOptions.engine,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster, only with --engine ray: auto, or host:port. [default: Ray runs on "
            "this machine for as long as the command]"
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float,
        typer.Option(
            help="GPUs, or the fraction of one, that Ray gives each worker, only with --engine ray."
        ),
    ] = SearchOptions.gpus_per_worker,
    storage: Storage = None,
    study: Annotated[
        str | None,
        typer.Option(
            help="Name of the study, only with --storage. [default: the name of the run folder]"
        ),
    ] = None,
    artifacts: Annotated[
        str | None,
        typer.Option(
            help="Where profiles and weights are kept: a folder or s3://BUCKET[/PREFIX] that all "
            "machines reach. [default: in the run folder]"
        ),
    ] = None,
    heartbeat: Annotated[
        int, typer.Option(help="Seconds between two heartbeats of a worker on a shared storage.")
    ] = SearchOptions.heartbeat,
    confirm: Annotated[
        int, typer.Option(help="Number of the best candidates that are trained again for longer.")
    ] = SearchOptions.confirm,
    confirm_epochs: Annotated[
        int | None, typer.Option(help="Epochs of each longer training. [default: 3 x epochs]")
    ] = None,
    confirm_seeds: Annotated[
        int, typer.Option(help="Number of longer trainings per candidate, each with a fresh seed.")
    ] = SearchOptions.confirm_seeds,
    edits: Annotated[
        int,
        typer.Option(
            help="Number of trainings spent on edits of the recommended networks; 0 for none."
        ),
    ] = SearchOptions.edits,
    max_params: Annotated[
        int | None, typer.Option(help="Leave out architectures with more parameters than this.")
    ] = None,
    max_flops: Annotated[
        int | None,
        typer.Option(
            help="Leave out architectures with more floating-point operations per sample than this."
        ),
    ] = None,
    train_size: TrainSize = None,
    image_size: ImageSize = None,
    input: KindOfInput = None,  # noqa: A002 - the name of the option
    validation_fraction: Annotated[
        float,
        typer.Option(
            help="Share of the samples, those for testing aside, to hold out for validation."
        ),
    ] = SearchOptions.validation_fraction,
    shuffle_labels: Annotated[
        bool,
        typer.Option(
            "--shuffle-labels",
            help="Permute the labels, as a control in which there is nothing to learn.",
        ),
    ] = False,
    split_duplicates: Annotated[
        bool,
        typer.Option(
            "--split-duplicates",
            help="Split equal samples as if they differed. [default: they stay together, so that "
            "none is held out that is trained on]",
        ),
    ] = False,
    batch_size: Annotated[
        int, typer.Option(help="Samples per training step.")
    ] = SearchOptions.batch_size,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune/--no-prune", help="Stop trials between epochs if they fall behind the median."
        ),
    ] = SearchOptions.prune,
    augment: Annotated[
        str, typer.Option(help=f"How to augment training images: {', '.join(Augmentation)}.")
    ] = SearchOptions.augment,
    device: Annotated[str, typer.Option(help="Torch device to train on.")] = SearchOptions.device,
    devices: Devices = None,
    max_data_gib: MaxDataGib = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> int:
    """Search for architectures, confirm the best and recommend.

    Every trial proposes an architecture, trains it briefly, measures it layer by layer and scores
    it. The best are trained again, longer and with fresh seeds. The report says which to take, and
    which of their layers contribute too little or too much. The same command continues a run.
    """
    values = chosen(context, (field.name for field in fields(SearchOptions)))
    options = SearchOptions.of(**(values | {"devices": split_names(devices)}))
    with importing():
        from designer.cli.output import show_report, write_views
        from designer.search.search import default_folder, search_with
    with interruptible() as stop:
        with prints_to_stderr(), search_progress() as display:
            command = str(context.obj)
            result = search_with(space, data, options, display.update, command, stop)
        folder = out or default_folder(result.study.data, result.study.space)
        view = write_views(folder, result)  # signals are still deferred
        stop.resume()
    with interruptible(f"Stopped; the report is in {folder}."):
        show_report(view, result, Format.JSON if as_json else Format.TERMINAL)
        print_status(display.conclusion())
        written = [REPORT_FILE, MARKDOWN_FILE, HTML_FILE]
        written += [f"{BEST_FOLDER}/"] if (folder / BEST_FOLDER).exists() else []
        written += [STORAGE_FILE] if storage is None else []
        print_status(f"Written to {folder}: {', '.join(written)}")
    return _exit_code(result, stop)


@app.command(
    "worker",
    short_help="Join a search that runs on another machine.",
    epilog="Example: DESIGNER_STORAGE=postgresql+psycopg://user@host/db designer worker --study a",
)
def _worker(
    study: Annotated[str, typer.Option(help="Name of the study to join.")],
    storage: SharedStorage = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Where the data are on this machine. [default: where the search found them]"
        ),
    ] = None,
    workers: Workers = None,
    devices: Devices = None,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for a study that nobody has started yet.")
    ] = JOIN_SECONDS,
    idle: Annotated[
        float, typer.Option(help="Seconds without work after which the worker leaves.")
    ] = IDLE_SECONDS,
    trust: Annotated[
        list[str] | None,
        typer.Option(
            help="package.module:name of a space or of data that the study names and that may be "
            "imported; repeat the option for several. [default: only what comes with Designer or "
            "an installed package]"
        ),
    ] = None,
    max_data_gib: MaxDataGib = None,
) -> int:
    """Join a search that runs elsewhere, and work for it until it is done.

    Space, data, budget and seeds come from the study. Code of yours that it names is imported only
    if you repeat its name with --trust, or as --data. A worker may join and leave at any time:
    SIGTERM or Ctrl-C hands its trial back, and others repeat the trial of a killed worker.
    """
    address = required_storage(storage)
    with importing():
        from designer.search.workers.join import work
    with interruptible("Stopped.") as stop, prints_to_stderr(), search_progress() as display:
        work(
            address,
            study,
            data=data,
            workers=workers,
            devices=split_names(devices) or ("cpu",),
            wait=wait,
            idle=idle,
            trust=trust or (),
            progress=display.update,
            stop=stop,
        )
    return _stopped(stop, "Stopped; what was not finished is handed back.") if stop() else OK


@app.command(
    "storage-proxy",
    short_help="Stand between a database and hundreds of workers.",
    epilog="Example: DESIGNER_STORAGE=postgresql+psycopg://user@host/db designer storage-proxy",
)
def _storage_proxy(
    storage: SharedStorage = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "localhost",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 13000,
) -> int:
    """Serve a gRPC proxy between a database and hundreds of workers, which use grpc://HOST:PORT.

    It has no passwords and no encryption: let it listen only where nobody but the workers can
    reach it.
    """
    address = required_storage(storage)
    with importing():
        from designer.search.storage.opening import serve_proxy
    with interruptible("Stopped."):
        serve_proxy(
            address,
            host,
            port,
            lambda: print_status(f"Workers use grpc://{host}:{port}; Ctrl-C stops it."),
        )
    return OK


def _exit_code(result: SearchResult, stop: StopRequest) -> int:
    """Return the exit code of a search from how it ended."""
    if stop():
        return _stopped(stop, "Stopped; what was finished is kept. The same command continues.")
    return OK if result.study.trials.complete else FAILED


def _stopped(stop: StopRequest, message: str) -> int:
    """Say that a signal stopped the command, and return the exit code.

    A scheduler that sends SIGTERM asks for it, and everything was kept: that is no failure.
    """
    print_error(message)
    return INTERRUPTED if stop.signal == signal.SIGINT else OK
