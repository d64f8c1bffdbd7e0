"""The command `prune`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from torch import nn

from designer.analysis.data_for_model import all_data_for_model, data_warnings
from designer.choices import Criterion, DataPart
from designer.cli.analyze import folder_name_for
from designer.cli.app import OK, app
from designer.cli.options import (
    AsJson,
    Format,
    HeldoutShare,
    ImageSize,
    InputScaling,
    ReportFormat,
    WeightsFile,
    count_or_names,
    split_names,
)
from designer.cli.output import show_report, write_views
from designer.cli.progress import interruptible, pass_progress, print_status, prints_to_stderr
from designer.data.dataset import BatchedData, Dataset
from designer.errors import DataError
from designer.folders import (
    HTML_FILE,
    MARKDOWN_FILE,
    PRUNED_FILE,
    REPORT_FILE,
    WEIGHTS_FILE,
    writing_to,
)
from designer.models.loaded import LoadedModel
from designer.models.loading import load_model
from designer.models.pruned import check_folder, write_pruned
from designer.pruning.options import RecoveryOptions
from designer.pruning.prune import PruningResult, prune
from designer.report.views.any_report import view_of
from designer.results.layers import ReportWarning
from designer.results.serialisation import report_to_json
from designer.training.devices import usable_device
from designer.training.trainer import single_threaded

SMALL = 1_000_000
"""Parameters below which a network gains nothing from several threads."""


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
    ] = RecoveryOptions.epochs,
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
    ] = RecoveryOptions.scratch_epochs,
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
    ] = RecoveryOptions.batch_size,
    device: Annotated[str, typer.Option(help="Torch device to run on.")] = "cpu",
    form: ReportFormat = Format.TERMINAL,
    as_json: AsJson = False,
) -> int:
    """Remove the blocks that a trained model does not need, and write the smaller model.

    Proposes blocks by their held-out steps, removes them for real, fits and trains what is left,
    verifies on held-out data, and shows beside it what the same size from scratch and greedy
    ablation would have given.
    """
    with interruptible("Stopped at once."), prints_to_stderr():
        loaded = load_model(model, weights, seed=seed or 0)
        folder = out or Path("pruned") / folder_name_for(model)
        check_folder(folder, loaded)
        loaded_data = all_data_for_model(
            loaded,
            data,
            scaling=scaling,
            train_size=train_size,
            image_size=image_size,
            validation_fraction=validation_fraction,
            seed=seed,
        )
        net, arrays = loaded.model.to(usable_device(device)), _arrays(loaded_data)
        said = tuple(data_warnings(loaded, arrays, DataPart.VALIDATION, scaling=scaling))
        rates = (learning_rate, loaded.learning_rate, RecoveryOptions.learning_rate)
        with _few_threads(net), pass_progress(lines=True) as bars:
            pruned = prune(
                net,
                arrays,
                remove=count_or_names(remove),
                max_drop=max_drop,
                target_params=target_params,
                criterion=criterion,
                blocks=split_names(blocks),
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
            with interruptible(f"Stopped; the smaller model is in {folder}, without baselines."):
                result = write(pruned.with_baselines(bars)) if baselines else result
    show_report(view_of(result.report), result.report, Format.JSON if as_json else form)
    print_status(
        f"Written to {folder}: {WEIGHTS_FILE}, {PRUNED_FILE}, {REPORT_FILE}, {MARKDOWN_FILE}, "
        f"{HTML_FILE}"
    )
    return OK


def _arrays(data: Dataset | BatchedData) -> Dataset:
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
        write_views(folder, result.report)
    return result


def _few_threads(model: nn.Module) -> AbstractContextManager[None]:
    """One thread for a small network, whose threads would only wait for each other."""
    small = sum(p.numel() for p in model.parameters()) < SMALL
    return single_threaded() if small else nullcontext()
