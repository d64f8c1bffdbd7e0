"""The command `analyze`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from designer.analysis.analyze import analyze, list_candidates, with_origin
from designer.analysis.data_for_model import data_for_model
from designer.choices import Measure, Reduction
from designer.cli.app import OK, app
from designer.cli.options import (
    AsJson,
    Format,
    HeldoutShare,
    ImageSize,
    InputScaling,
    ReportFormat,
    WeightsFile,
    split_names,
)
from designer.cli.output import show_report, write_views
from designer.cli.progress import (
    interruptible,
    make_console,
    pass_progress,
    print_status,
    prints_to_stderr,
)
from designer.folders import HTML_FILE, MARKDOWN_FILE, REPORT_FILE, check_writable, writing_to
from designer.models.loading import load_model
from designer.probing.blocks import Candidate
from designer.report.words import one_line
from designer.results.analysis import ANALYSIS_SCHEMA
from designer.results.serialisation import check_free, report_to_json
from designer.training.devices import usable_device


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
    folder = out or Path("analyses") / folder_name_for(model)
    with interruptible("Stopped at once."), prints_to_stderr():
        loaded = load_model(model, weights, seed=seed or 0)
        if not list_blocks:
            check_writable(folder)
            check_free(folder, ANALYSIS_SCHEMA)
        model_data = data_for_model(
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
        candidates = list_candidates(net, model_data.train) if list_blocks else []
        with pass_progress() as bars:
            look = partial(
                analyze,
                net,
                model_data.train,
                model_data.heldout,
                split_names(blocks),
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
    result = replace(with_origin(seen, loaded, weights, model_data), command=str(context.obj))
    with writing_to(folder):
        (folder / REPORT_FILE).write_text(report_to_json(result), encoding="utf-8")
        view = write_views(folder, result)
    show_report(view, result, Format.JSON if as_json else form)
    print_status(f"Written to {folder}: {REPORT_FILE}, {MARKDOWN_FILE}, {HTML_FILE}")
    return OK


def folder_name_for(source: str) -> str:
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
    make_console().print(table)
