"""The command `prune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from designer.choices import Criterion, Measure, choice
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
    chosen_data_options,
    count_or_names,
    folder_name_for,
    named_path,
    split_names,
)
from designer.cli.progress import pass_progress, print_status, prints_to_stderr
from designer.cli.stopping import importing, interruptible
from designer.pruning.options import PruningOptions, RecoveryOptions, RemovalRequest


@app.command(
    "prune",
    short_help="Make a trained model smaller by removing blocks.",
    epilog="Example: designer prune runs/a/best/1 --max-drop 0.01 --out small",
)
def _prune(
    context: typer.Context,
    model: ModelName,
    model_args: ModelArguments = None,
    weights: WeightsFile = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Data that the model was trained on; see `designer datasets`. [default for a "
            "folder: the data named in it]"
        ),
    ] = None,
    remove: Annotated[
        str | None,
        typer.Option(
            help='Number of blocks to remove, or their names, such as "blocks.3,blocks.4".'
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="Remove as many blocks as possible while validation accuracy drops by no more "
            "than this, with 95 % confidence; 0.01 is one point. For a language model: while "
            "perplexity rises by no more than this share; 0.05 is 5 %."
        ),
    ] = None,
    target_params: Annotated[
        float | None,
        typer.Option(
            help="Remove the fewest blocks that leave at most this share of the parameters, such "
            "as 0.5."
        ),
    ] = None,
    criterion: Annotated[
        str, typer.Option(help=f"Which blocks are removed first: {', '.join(Criterion)}.")
    ] = Criterion.BEST,
    measure: Annotated[
        str | None,
        typer.Option(
            help=f"What to measure behind every block: {', '.join(Measure)}. [default: residual "
            "for language models, else separation]"
        ),
    ] = None,
    blocks: Annotated[
        str | None,
        typer.Option(
            help='Names of the parts that are blocks, such as "layer1.*,layer2.*". [default: they '
            "are found]"
        ),
    ] = None,
    narrow: Annotated[
        bool,
        typer.Option("--narrow", help="Also narrow layers that contribute little for their width."),
    ] = False,
    epochs: Annotated[
        int, typer.Option(help="Largest number of recovery epochs; 0 for none.")
    ] = RecoveryOptions.epochs,
    recover_every: Annotated[
        int | None,
        typer.Option(
            help="Recover after this many removals, each time. [default: once, after all of them]"
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Learning rate of the recovery. [default: that of the model's training, where it "
            "is known, else 0.001]"
        ),
    ] = None,
    soft_targets: Annotated[
        bool,
        typer.Option(
            "--soft-targets", help="In the recovery, also learn from the outputs of the original."
        ),
    ] = False,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines/--no-baselines",
            help="For comparison, also train the same size from scratch, and remove greedily.",
        ),
    ] = True,
    scratch_epochs: Annotated[
        int, typer.Option(help="Epochs of the network that is trained from scratch.")
    ] = RecoveryOptions.scratch_epochs,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=named_path,
            metavar="PATH",
            help="Folder for the smaller model. [default: pruned/MODEL]",
        ),
    ] = None,
    scaling: InputScaling = None,
    train_size: TrainSize = None,
    image_size: ImageSize = None,
    input: KindOfInput = None,  # noqa: A002 - the name of the option
    context_length: ContextLength = None,
    validation_fraction: HeldoutShare = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the split and of all training. [default: 0]")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(help="Samples per training step.")
    ] = RecoveryOptions.batch_size,
    max_data_gib: MaxDataGib = None,
    device: Device = "cpu",
    trust: TrustedNames = None,
    form: ReportFormat = Format.TERMINAL,
    as_json: AsJson = False,
) -> int:
    """Remove the blocks that a trained model does not need, and write the smaller model.

    Say how much to remove with one of --remove, --max-drop and --target-params. Blocks are removed
    for real, what is left is fitted, trained and verified on held-out data, and a network of the
    same size from scratch and greedy ablation stand beside it for comparison.
    """
    folder = out or Path("pruned") / folder_name_for(model)
    options = PruningOptions(
        RemovalRequest(count_or_names(remove), max_drop, target_params),
        choice(Criterion, criterion, "a criterion"),
        RecoveryOptions(
            epochs,
            RecoveryOptions.learning_rate if learning_rate is None else learning_rate,
            batch_size,
            soft_targets=soft_targets,
            seed=seed or 0,
            scratch_epochs=scratch_epochs,
            every=recover_every,
        ),
        split_names(blocks),
        narrower=narrow,
        measure=measure,
    )
    with importing():
        from designer.cli.pruned_folder import PrunedFolder, few_threads
        from designer.pruning.prune import prune_with
    kept = f"Stopped; the smaller model is in {folder}"
    with interruptible("Stopped."), prints_to_stderr():
        data_options = chosen_data_options(context)
        source = load_named_model(model, weights, model_args, data, trust, data_options)
        target = PrunedFolder.prepare(folder, source, weights, data, data_options, device)
        net, command = target.source.model, str(context.obj)
        with few_threads(net), pass_progress(lines=True) as bars:
            pruned = prune_with(net, target.data, target.completed(options, learning_rate), bars)
            with interruptible(f"{kept}, without baselines.") as stop:
                with stop.deferred():  # written before the baselines, which may be stopped
                    result = target.write(pruned, command)
                if baselines:
                    pruned = pruned.with_baselines(bars)
            if baselines:
                with interruptible(f"{kept}.") as stop, stop.deferred():
                    result = target.write(pruned, command)
    with interruptible(f"{kept}."):
        target.show(result, Format.JSON if as_json else form)
        print_status(f"Written to {folder}: {', '.join(target.written)}")
    return OK
