"""The whole search: trials, confirmation, recommendations and report."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from designer.choices import Engine
from designer.data.augmentation import check_augmentable
from designer.data.dataset import Dataset
from designer.data.loading import load_with_options
from designer.errors import InvalidInputError
from designer.folders import STORAGE_FILE, check_writable
from designer.importing import typed
from designer.interrupts import StopRequest, stop_on_signals
from designer.models.spaces import find_space
from designer.results.search import REPORT_SCHEMA, SearchResult
from designer.results.serialisation import check_free
from designer.search.command import search_call, without_passwords
from designer.search.job import Job
from designer.search.options import DEFAULT_DATA, DEFAULT_SPACE, SearchOptions
from designer.search.progress import Phase, ProgressCallback
from designer.search.recommended_models import check_best
from designer.search.session import Session
from designer.search.space_parameters import try_out
from designer.search.storage.artifacts import Artifacts, check_store, make_store
from designer.search.storage.location import StudyLocation, parse_address
from designer.search.storage.opening import open_storage, quiet_optuna
from designer.search.storage.run_folder import hold_run_folder
from designer.search.study.claims import study_of
from designer.search.workers.handshake import write_handshake
from designer.search.workers.leader import leadership
from designer.search.workers.ray_cluster import check_ray
from designer.training.devices import usable_device
from search_spaces import SPACES, Space

LONGEST_PART = 80
"""Most letters that the names of data and space each have in the name of a run folder."""


def search(
    space: str | Space[Any] = DEFAULT_SPACE,
    data: str | Dataset = DEFAULT_DATA,
    *,
    trials: int = SearchOptions.trials,
    epochs: int = SearchOptions.epochs,
    objective: str = SearchOptions.objective,
    seed: int = SearchOptions.seed,
    workers: int | None = SearchOptions.workers,
    confirm: int = SearchOptions.confirm,
    confirm_epochs: int | None = SearchOptions.confirm_epochs,
    confirm_seeds: int = SearchOptions.confirm_seeds,
    edits: int = SearchOptions.edits,
    max_params: int | None = SearchOptions.max_params,
    max_flops: int | None = SearchOptions.max_flops,
    train_size: int | None = SearchOptions.train_size,
    image_size: int | None = SearchOptions.image_size,
    validation_fraction: float = SearchOptions.validation_fraction,
    shuffle_labels: bool = SearchOptions.shuffle_labels,
    split_duplicates: bool = SearchOptions.split_duplicates,
    input: str | None = SearchOptions.input,  # noqa: A002 - as in ``load_dataset``
    batch_size: int = SearchOptions.batch_size,
    prune: bool = SearchOptions.prune,
    augment: str = SearchOptions.augment,
    device: str = SearchOptions.device,
    devices: Sequence[str] | None = SearchOptions.devices,
    engine: str = SearchOptions.engine,
    address: str | None = SearchOptions.address,
    gpus_per_worker: float = SearchOptions.gpus_per_worker,
    storage: str | None = SearchOptions.storage,
    study: str | None = SearchOptions.study,
    artifacts: str | None = SearchOptions.artifacts,
    heartbeat: int = SearchOptions.heartbeat,
    out: str | Path | None = SearchOptions.out,
    progress: ProgressCallback | None = None,
    command: str = "",
) -> SearchResult:
    """Search a space for architectures that separate the classes well, layer by layer.

    Args:
        space: a name, ``package.module:Name`` or a ``Space``.
        data: one of the sources in ``designer.data.sources.SOURCES`` or a ``Dataset``.
        trials: finished trials (complete or pruned) that the study has in the end.
        epochs: epochs of each short training run.
        objective: ``design``, ``law``, ``accuracy`` or ``pareto``.
        seed: seed of splits, weights, batches and proposals. With one worker it fixes the result.
        workers: processes on this machine, or in the Ray cluster; by default one per device. More
            than one import the script that calls this: let it do so under
            ``if __name__ == "__main__":``.
        confirm: candidates to train again, with ``confirm_seeds`` fresh seeds each.
        confirm_epochs: epochs of each confirmation run, by default three times ``epochs``.
        confirm_seeds: fresh seeds for each confirmed candidate.
        edits: training runs spent on edits of the recommended networks, such as half the blocks or
            another learning rate; 0 for none.
        max_params: leave out architectures with more parameters.
        max_flops: leave out architectures with more floating-point operations per sample.
        train_size, image_size, validation_fraction, shuffle_labels, split_duplicates, input: see
            ``load_dataset``; they are used only if ``data`` is a name.
        batch_size: samples per training step.
        prune: compare candidates after every epoch, and stop those below the median. ``law`` is
            compared at half of the epochs alone, and ``pareto`` never.
        augment: how training images are varied: ``none``, ``shift``, ``flip`` or ``flip-shift``.
        device: torch device to train on.
        devices: several torch devices, which the workers use in turn.
        engine: what starts the workers: ``processes`` on this machine, or ``ray``.
        address: address of a Ray cluster such as ``auto`` or ``host:6379``; by default Ray runs on
            this machine for as long as the search. Where Ray runs in this process already, the
            workers go there.
        gpus_per_worker: GPUs, or the fraction of one, that Ray gives each worker.
        storage: address of a storage that several machines share, for ``designer worker`` to join
            (``postgresql+psycopg://...`` or ``grpc://...``); by default SQLite in the run folder.
        study: name of the study in the storage, by default that of the run folder.
        artifacts: folder or ``s3://BUCKET[/PREFIX]`` for profiles and weights, which all machines
            must reach; by default in the run folder.
        heartbeat: seconds between two heartbeats of a worker on a shared storage; a worker without
            any for six times as long counts as gone, and its trial is done again.
        out: run folder, by default ``runs/DATA-SPACE``. The same call again continues it.
        progress: called after every trial.
        command: text that the report shows as the command that made it, by default this call;
            passwords inside addresses are replaced by ``***``.

    Returns:
        The result, which is also written to ``report.json`` in the run folder; the recommended
        models are written to ``best/``.

    Raises:
        InvalidInputError: if an argument is not what it must be; nothing is written.
        StorageError: if the storage does not answer or takes no more; finished trials are kept.
    """
    options = SearchOptions.of(
        trials=trials,
        epochs=epochs,
        objective=objective,
        seed=seed,
        workers=workers,
        confirm=confirm,
        confirm_epochs=confirm_epochs,
        confirm_seeds=confirm_seeds,
        edits=edits,
        max_params=max_params,
        max_flops=max_flops,
        train_size=train_size,
        image_size=image_size,
        validation_fraction=validation_fraction,
        shuffle_labels=shuffle_labels,
        split_duplicates=split_duplicates,
        input=input,
        batch_size=batch_size,
        prune=prune,
        augment=augment,
        device=device,
        devices=devices,
        engine=engine,
        address=address,
        gpus_per_worker=gpus_per_worker,
        storage=storage,
        study=study,
        artifacts=artifacts,
        heartbeat=heartbeat,
        out=out,
    )
    return search_with(space, data, options, progress, command)


def search_with(
    space: str | Space[Any],
    data: str | Dataset,
    options: SearchOptions,
    progress: ProgressCallback | None = None,
    command: str = "",
    stop: StopRequest | None = None,
) -> SearchResult:
    """Search as ``search`` does, with its options as one object.

    Args:
        space: a name, ``package.module:Name`` or a ``Space``.
        data: a source or a ``Dataset``.
        options: all other options.
        progress: called after every trial.
        command: text that the report shows as the command that made it; if empty, the call of
            ``designer.search`` is shown.
        stop: what answers signals, if anything does already; from the first trial on, also after
            the search has returned, they are deferred.

    Raises:
        InvalidInputError: if an argument is not what it must be; nothing is written.
        StorageError: if the storage does not answer or takes no more; finished trials are kept.
    """
    _check_not_imported_by_a_worker()
    job = _prepare(space, data, options)
    text = without_passwords(command) or search_call(space, data, options)
    with hold_run_folder(job.location.folder), quiet_optuna():
        return run(job, progress or (lambda _: None), text, stop)


def _check_not_imported_by_a_worker() -> None:
    """Raise ``InvalidInputError`` in a worker that imports the script which starts the search."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise InvalidInputError(
            "Expected a script that searches with several workers, which import it, to call "
            'designer.search under `if __name__ == "__main__":`, got a call outside of it.'
        )


def default_folder(data: str, space: str) -> Path:
    """Return ``runs/DATA-SPACE``, with ``_`` for what is not safe in a file name."""
    name = f"{data[-LONGEST_PART:]}-{space[-LONGEST_PART:]}"
    return Path("runs") / "".join(c if c.isalnum() or c in "-_.@" else "_" for c in name)


def run(
    job: Job, progress: ProgressCallback, command: str = "", stop: StopRequest | None = None
) -> SearchResult:
    """Search, confirm, recommend and write the report; the caller holds the run folder.

    Args:
        job: space, data and options.
        progress: called after every trial.
        command: text that the report shows as the command that made it.
        stop: see ``search_with``.

    Returns:
        The result as it was written.
    """
    if stop is None:
        with stop_on_signals() as request:
            return run(job, progress, command, request)
    stop.defer()
    make_store(job.location.artifacts)
    with open_storage(job.location, stop) as storage:
        study = study_of(job, storage, Phase.SEARCH)
        with leadership(job, study, storage, stop):
            write_handshake(job, study)
            confirmation, edits = (
                study_of(job, storage, phase) for phase in (Phase.CONFIRMATION, Phase.EDITS)
            )
            artifacts = Artifacts(job.location.artifacts, storage)
            session = Session(job, storage, study, confirmation, edits, artifacts, stop)
            return session.report(session.train(progress), command)


def _prepare(space: str | Space[Any], data: str | Dataset, options: SearchOptions) -> Job:
    """Load and check what the options name, before anything is written.

    Raises:
        InvalidInputError: if anything is not what it must be.
    """
    if options.storage is not None:
        parse_address(options.storage)
    if options.engine is Engine.RAY:
        check_ray(options.address)
    devices = tuple(str(usable_device(device)) for device in options.worker_devices)
    found_space = find_space(space, typed(space)) if isinstance(space, str) else space
    dataset = (
        load_with_options(data, options.data_options, typed(data))
        if isinstance(data, str)
        else data
    )
    _check_inputs(dataset)
    check_augmentable(options.augment, dataset.input_shape)
    try_out(found_space, dataset.input_shape, dataset.num_classes)
    location = _location(options, dataset, found_space)
    if options.artifacts is not None:
        check_store(options.artifacts)
    check_writable(location.folder)
    check_best(location.folder)
    if not (location.folder / STORAGE_FILE).exists():  # else the report there is ours
        check_free(location.folder, REPORT_SCHEMA)
    return Job(
        space=found_space,
        space_source=space if isinstance(space, str) else _importable_name(space),
        data=dataset,
        options=replace(options, devices=devices),
        location=location,
    )


def _check_inputs(data: Dataset) -> None:
    """Raise ``InvalidInputError`` for inputs that the networks of a space do not take."""
    if not data.is_scaled:
        kind = "tokens" if isinstance(data.train.inputs, torch.Tensor) else "several inputs"
        raise InvalidInputError(
            f"Expected images, series or tabular data for a search, got {kind}, which the networks "
            f"of a space do not take; analyze and prune take them."
        )


def _location(options: SearchOptions, data: Dataset, space: Space[Any]) -> StudyLocation:
    """Return where the study is kept; on a shared storage it is named after the run folder."""
    folder = options.out or default_folder(data.name, space.name)
    study = (options.study or folder.name) if options.storage else None
    return StudyLocation(folder, options.storage, study, options.artifacts)


def _importable_name(space: Space[Any]) -> str:
    """Return the name under which the command line finds the class of a space."""
    kind = type(space)
    registered = space.name in SPACES and space == SPACES[space.name]()
    return space.name if registered else f"{kind.__module__}:{kind.__qualname__}"
