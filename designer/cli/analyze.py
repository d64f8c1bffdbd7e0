"""The command `analyze`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from designer.choices import DataPart, Measure, Reduction, choice
from designer.cli.app import OK, app
from designer.cli.models import load_named_model
from designer.cli.options import (
    AsJson,
    ContextLength,
    Device,
    Format,
    HeldoutShare,
    ImageSize,
    InputScaling,
    KindOfInput,
    MaxDataGib,
    ModelArguments,
    ModelName,
    ReportFormat,
    TrainSize,
    TrustedNames,
    WeightsFile,
    chosen,
    chosen_data_options,
    folder_name_for,
    named_path,
    split_names,
)
from designer.cli.progress import (
    make_console,
    pass_progress,
    print_status,
    prints_to_stderr,
)
from designer.cli.stopping import importing, interruptible
from designer.errors import one_line

if TYPE_CHECKING:
    from designer.probing.blocks import BlockCandidate
    from designer.results.analysis import AnalysisResult


MEASURING = ("measure", "features", "dimension", "contribution_samples", "batch_size")
"""Options that go to ``designer.analyze`` as they are."""


@app.command(
    "analyze",
    short_help="Show what each block of a trained model shows and is needed for.",
    epilog="Example: designer analyze mynets:resnet --weights resnet.safetensors --data cifar.npz",
)
def _analyze(
    context: typer.Context,
    model: ModelName,
    model_args: ModelArguments = None,
    weights: WeightsFile = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Data to measure with; see `designer datasets`. [default for a folder: the data "
            "that the model was trained on]"
        ),
    ] = None,
    blocks: Annotated[
        str | None,
        typer.Option(
            help='Names of the parts that are blocks, such as "layer1.*,layer2.*". [default: they '
            "are found]"
        ),
    ] = None,
    list_blocks: Annotated[
        bool,
        typer.Option(
            "--list-blocks",
            help="List every part that may be a block, with the reason for or against it.",
        ),
    ] = False,
    measure: Annotated[
        str | None,
        typer.Option(
            help=f"What to measure: {', '.join(Measure)}. The residual is for many classes, tokens "
            "and regression. [default: residual for language models, else separation]"
        ),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            help=f"How outputs become features: {', '.join(Reduction)}. [default: flatten, or "
            f"project where that does not fit in memory]"
        ),
    ] = None,
    dimension: Annotated[
        int | None, typer.Option(help="Number of features to project to; implies project.")
    ] = None,
    contribution_samples: Annotated[
        int | None,
        typer.Option(
            help="Training samples, and held-out samples, to leave out each block on; 0 to leave "
            "none out. [default: 1024]"
        ),
    ] = None,
    heldout: Annotated[
        str | None,
        typer.Option(
            help=f"Data that count as held out: {' or '.join(DataPart)}. [default: test, or "
            "validation for a folder]"
        ),
    ] = None,
    scaling: InputScaling = None,
    train_size: TrainSize = None,
    image_size: ImageSize = None,
    input: KindOfInput = None,  # noqa: A002 - the name of the option
    context_length: ContextLength = None,
    validation_fraction: HeldoutShare = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the split, the permutations and the resamples. [default: 0]"),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Samples per forward pass. [default: up to 4096]")
    ] = None,
    max_data_gib: MaxDataGib = None,
    device: Device = "cpu",
    trust: TrustedNames = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=named_path,
            metavar="PATH",
            help="Folder for the report. [default: analyses/MODEL]",
        ),
    ] = None,
    form: ReportFormat = Format.TERMINAL,
    as_json: AsJson = False,
) -> int:
    """Look inside a trained model: what each block shows, what it is needed for, what to change.

    Shows the separation of the classes at the input and after every block, on training and on
    held-out data, with intervals. Leaves out one block after the other and shows what the network
    loses on held-out data without it. Gives a verdict and advice for each block, and says where
    separation stops improving on held-out data.
    """
    _check_names(measure, features, heldout)
    folder = out or Path("analyses") / folder_name_for(model)
    data_options = chosen_data_options(context)
    measuring = chosen(context, MEASURING)
    with importing():
        from designer.analysis.analyze import analyze, list_candidates, with_origin
        from designer.analysis.data_for_model import data_for_model
        from designer.training.devices import usable_device
    with interruptible("Stopped."), prints_to_stderr():
        loaded = load_named_model(model, weights, model_args, data, trust, data_options)
        if not list_blocks:
            _check_report_folder(folder)
        net = loaded.model.to(usable_device(device))
        model_data = data_for_model(loaded, data, heldout, **data_options)
        candidates = list_candidates(net, model_data.train) if list_blocks else []
        inputs = (model_data.train, model_data.heldout, split_names(blocks))
        with pass_progress() as bars:
            result = (
                None
                if list_blocks
                else analyze(net, *inputs, **measuring, seed=seed or 0, progress=bars)
            )
    if result is None:
        _show_candidates(candidates, as_json=as_json)
        return OK
    result = with_origin(result, loaded, weights, model_data)
    result = replace(result, command=str(context.obj))
    _write_and_show(folder, result, Format.JSON if as_json else form)
    return OK


def _check_names(measure: str | None, features: str | None, heldout: str | None) -> None:
    """Refuse names that no option has, before anything heavy is loaded."""
    if measure is not None:
        choice(Measure, measure, "a measure")
    if features is not None:
        choice(Reduction, features, "features")
    if heldout is not None:
        choice(DataPart, heldout, "held-out data")


def _check_report_folder(folder: Path) -> None:
    from designer.folders import check_writable
    from designer.results.analysis import ANALYSIS_SCHEMA
    from designer.results.serialisation import check_free

    check_writable(folder)
    check_free(folder, ANALYSIS_SCHEMA)


def _write_and_show(folder: Path, result: AnalysisResult, form: Format) -> None:
    with importing():
        from designer.cli.output import show_report, write_report
        from designer.folders import HTML_FILE, MARKDOWN_FILE, REPORT_FILE
    with interruptible(f"Stopped; the report is in {folder}.") as stop:
        with stop.deferred():
            view = write_report(folder, result)
        show_report(view, result, form)
        print_status(f"Written to {folder}: {REPORT_FILE}, {MARKDOWN_FILE}, {HTML_FILE}")


def _show_candidates(candidates: Sequence[BlockCandidate], *, as_json: bool) -> None:
    if as_json:
        content = [asdict(candidate) for candidate in candidates]
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("part", "class", "gives", "block", "why"):
        table.add_column(Text(title, style="dim"), overflow="fold")
    for candidate in candidates:
        shape = "-" if candidate.shape is None else "x".join(map(str, candidate.shape))
        style = "bold" if candidate.chosen else "dim"
        chosen = "yes" if candidate.chosen else "no"
        row = (candidate.name, candidate.kind, shape, chosen, candidate.reason)
        table.add_row(*(Text(one_line(cell), style=style) for cell in row))
    make_console().print(table)
