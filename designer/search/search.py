"""The whole search: trials, confirmation, recommendations, and what is written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage
from optuna.study import Study
from safetensors.torch import load as load_tensors

from designer.choices import Augmentation, Objective, choice
from designer.data.augmentation import check_augmentable
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.errors import InvalidInputError, RunFolderError
from designer.folders import BEST_FOLDER, REPORT_FILE, STORAGE_FILE, write_text
from designer.models.loaded import rebuild
from designer.models.spaces import find_space
from designer.results.layers import MeanSd, ReportWarning
from designer.results.search import REPORT_SCHEMA, Recommendation, SearchResult
from designer.results.serialisation import check_free, read_result, report_to_json
from designer.search.confirmation import Confirmed, collect, enqueue
from designer.search.job import Job
from designer.search.progress import Phase, ProgressCallback
from designer.search.recommend import chosen, recommend, shortlist
from designer.search.recommended_models import check_best, write_best
from designer.search.settings import Effort, StudySettings
from designer.search.space_parameters import try_out
from designer.search.stopping import StopRequest, stop_on_signals
from designer.search.storage.artifacts import Artifacts, store_at
from designer.search.storage.location import StudyLocation, checked_address
from designer.search.storage.opening import open_storage, quiet_optuna
from designer.search.storage.run_folder import run_folder
from designer.search.study.claims import drop_waiting, release_running, study_of
from designer.search.study.trials import last_rejection, trials_of
from designer.search.summary import agreements, at_chance, study_summary, trial_rows, warnings
from designer.search.workers.handshake import DONE, STAGE, write_plan
from designer.search.workers.leader import leading
from designer.search.workers.processes import crew_for
from designer.training.devices import usable_device
from designer.training.trainer import accuracy
from search_spaces import SPACES, Space

CONFIRMATION_ROUNDS = 2


EARLIER = ReportWarning(
    "earlier_recommendations",
    "The recommendations are those of before: this run was stopped before its best trials were "
    "all confirmed.",
)


def search(
    space: str | Space[Any] = "mlp",
    data: str | Dataset = "digits",
    *,
    trials: int = 30,
    epochs: int = 10,
    objective: str = "design",
    seed: int = 0,
    workers: int | None = None,
    confirm: int = 5,
    confirm_epochs: int | None = None,
    confirm_seeds: int = 3,
    max_params: int | None = None,
    max_flops: int | None = None,
    train_size: int | None = None,
    image_size: int | None = None,
    validation_fraction: float = 0.25,
    shuffle_labels: bool = False,
    batch_size: int = 128,
    prune: bool = False,
    augment: str = "none",
    device: str = "cpu",
    devices: Sequence[str] | None = None,
    storage: str | None = None,
    study: str | None = None,
    artifacts: str | None = None,
    heartbeat: int = 10,
    out: str | Path | None = None,
    progress: ProgressCallback | None = None,
) -> SearchResult:
    """Search a space for architectures that separate the classes well, layer by layer.

    Args:
        space: a name, ``package.module:Name`` or a ``Space``.
        data: one of ``designer.datasets.SOURCES`` or a ``Dataset``.
        trials: finished trials (complete or pruned) that the study shall have in the end.
        epochs: of each short training run.
        objective: ``design``, ``law``, ``accuracy`` or ``pareto``.
        seed: of splits, weights, batches and proposals. With one worker it fixes the result.
        workers: processes on this machine; by default one per device.
        confirm: candidates to train again, with ``confirm_seeds`` fresh seeds each, for
            ``confirm_epochs`` epochs (three times ``epochs`` by default).
        max_params: leave out architectures with more parameters.
        max_flops: leave out those with more floating-point operations per sample.
        train_size, image_size, validation_fraction, shuffle_labels: see ``load_dataset``; only
            where ``data`` is a name.
        batch_size: of training.
        prune: stop candidates at half of their epochs where they fall behind the median. Pays
            for networks whose training costs much more than looking inside.
        augment: how training images are varied: ``none``, ``shift``, ``flip`` or ``flip-shift``.
        device: torch device to train on.
        devices: several, of the workers in turn.
        storage: address of a storage that several machines share, for ``designer worker`` to join
            (``postgresql+psycopg://...`` or ``grpc://...``); by default SQLite in the run folder.
        study: its name there, by default that of the run folder.
        artifacts: folder or ``s3://BUCKET[/PREFIX]`` for profiles and weights, which all machines
            must reach; by default in the run folder.
        heartbeat: seconds between two signs of life of a worker on a shared storage; one that
            gives none for six times as long is taken for gone, and its trial done again.
        out: run folder, by default ``runs/DATA-SPACE``. The same call again continues it.
        progress: called after every trial.

    Returns:
        What was found; it is also written to ``report.json`` in the run folder, and the
        recommended models to ``best/``.

    Raises:
        InvalidInputError: on any argument that is not what it must be; nothing is written.
        StorageError: where the storage does not answer or takes no more; what was done is kept.
    """
    settings = StudySettings(
        objective=choice(Objective, objective, "an objective"),
        epochs=epochs,
        seed=seed,
        batch_size=batch_size,
        max_params=max_params,
        max_flops=max_flops,
        prune=prune,
        augment=choice(Augmentation, augment, "an augmentation"),
    )
    chosen_devices = (device,) if devices is None else tuple(devices)
    effort = Effort(
        trials=trials,
        workers=len(chosen_devices) if workers is None else workers,
        confirm=confirm,
        confirm_epochs=_confirm_epochs(confirm_epochs, epochs),
        confirm_seeds=confirm_seeds,
        devices=tuple(str(usable_device(one)) for one in chosen_devices),
        heartbeat=heartbeat,
    )
    if storage is not None:
        checked_address(storage)
    elif study is not None:
        raise InvalidInputError(
            "Expected --storage beside --study: in a run folder there is one study only."
        )
    found = find_space(space) if isinstance(space, str) else space
    if isinstance(data, str):
        data = load_dataset(
            data,
            train_size=train_size,
            image_size=image_size,
            validation_fraction=validation_fraction,
            seed=seed,
            shuffle_labels=shuffle_labels,
        )
    check_augmentable(settings.augment, data.input_shape)
    folder = Path(out) if out is not None else default_folder(data.name, found.name)
    source = space if isinstance(space, str) else _importable_name(found)
    try_out(found, data.input_shape, data.num_classes)
    location = StudyLocation(
        folder, storage, (study or folder.name) if storage else None, artifacts
    )
    store_at(location.artifacts)
    job = Job(found, source, data, settings, effort, location)
    check_best(folder)
    if not (folder / STORAGE_FILE).exists():  # whose report it is
        check_free(folder, REPORT_SCHEMA)
    with run_folder(folder), quiet_optuna():
        return run(job, progress or (lambda _: None))


def default_folder(data: str, space: str) -> Path:
    """``runs/DATA-SPACE``, with anything that is no good in a file name replaced."""
    name = f"{data}-{space}"
    return Path("runs") / "".join(c if c.isalnum() or c in "-_.@" else "_" for c in name)


def run(job: Job, progress: ProgressCallback) -> SearchResult:
    """Search, confirm, summarise, write; the run folder is held by the caller."""
    with stop_on_signals() as stop, open_storage(job.location, stop) as storage:
        study = study_of(job, storage, Phase.SEARCH)
        with leading(job, study, stop):
            return _run(job, storage, study, stop, progress)


def _run(
    job: Job,
    storage: BaseStorage,
    study: Study,
    stop: StopRequest,
    progress: ProgressCallback,
) -> SearchResult:
    write_plan(job, study)
    confirmation = study_of(job, storage, Phase.CONFIRMATION)
    artifacts = Artifacts(job.location.artifacts, storage)
    if not job.location.shared:  # elsewhere others may be at work
        for one in (study, confirmation):
            release_running(one, "The run that started it was killed.")
    drop_waiting(confirmation)
    with crew_for(job, storage) as crew:
        study.set_user_attr(STAGE, Phase.SEARCH)
        crew.run(Phase.SEARCH, stop, progress)
        candidates = shortlist(job, study)
        for _ in range(CONFIRMATION_ROUNDS):  # a second one for what a killed worker left
            if stop() or not enqueue(job, confirmation, candidates, artifacts):
                break
            study.set_user_attr(STAGE, Phase.CONFIRMATION)
            crew.run(Phase.CONFIRMATION, stop, progress)
    if not stop():
        drop_waiting(study)
        study.set_user_attr(STAGE, DONE)
    collected = collect(job, confirmation, candidates, artifacts)
    confirmed = chosen(collected)
    result = _result(job, study, confirmation, confirmed, artifacts, stop)
    earlier = _recommended_before(job.location.folder)
    runs = sum(len(one.runs) for one in collected)
    missing = len(candidates) * job.effort.confirm_seeds - runs
    if earlier and stop() and (missing or not collected):  # better ones are not known yet
        result = replace(
            result,
            recommendations=earlier,
            warnings=(*result.warnings, EARLIER),
        )
    else:
        write_best(job, confirmed, artifacts)
    write_text(job.location.folder / REPORT_FILE, report_to_json(result))
    return result


def _recommended_before(folder: Path) -> tuple[Recommendation, ...]:
    """What an earlier run in this folder recommends, whose models are there."""
    try:
        return read_result(folder).recommendations if (folder / BEST_FOLDER).exists() else ()
    except RunFolderError:  # it was killed while it wrote
        return ()


def _result(
    job: Job,
    study: Study,
    confirmation: Study,
    confirmed: Sequence[Confirmed],
    artifacts: Artifacts,
    stop: StopRequest,
) -> SearchResult:
    hopeless = at_chance(confirmed, job.data.chance)
    tests = [_test_accuracy(job, one, artifacts) for one in confirmed]
    recommendations = recommend(confirmed, tests, job.data.chance, hopeless)
    rows = trial_rows(study)
    return SearchResult(
        schema=REPORT_SCHEMA,
        study=study_summary(job, study, confirmation),
        recommendations=recommendations,
        criterion=agreements(rows),
        trials=rows,
        warnings=warnings(
            job,
            rows,
            confirmed,
            recommendations,
            stop.signal,
            last_rejection(trials_of(study)),
            confirmation,
        ),
    )


def _test_accuracy(job: Job, one: Confirmed, artifacts: Artifacts) -> MeanSd:
    """Over the confirmation seeds: the only look at the test set."""
    model = rebuild(job.space, one.trial.params, job.data.input_shape, job.data.num_classes)
    correct = []
    for trained in one.runs:
        model.load_state_dict(load_tensors(artifacts.read(trained, "model.safetensors")))
        correct.append(accuracy(model, job.data.test))
    return MeanSd.of(correct)


def _confirm_epochs(asked: int | None, epochs: int) -> int:
    return 3 * epochs if asked is None else asked


def _importable_name(space: Space[Any]) -> str:
    kind = type(space)
    known = space.name in SPACES and space == SPACES[space.name]()
    return space.name if known else f"{kind.__module__}:{kind.__qualname__}"
