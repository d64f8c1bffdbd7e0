"""The whole search: trials, confirmation, recommendations and report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.study import Study
from safetensors.torch import load as load_tensors

from designer.data.augmentation import check_augmentable
from designer.data.dataset import Dataset
from designer.data.loading import load_with_options
from designer.errors import RunFolderError
from designer.folders import BEST_FOLDER, REPORT_FILE, STORAGE_FILE, WEIGHTS_FILE, write_text
from designer.models.loaded import rebuild
from designer.models.spaces import find_space
from designer.results.layers import MeanSd, ReportWarning
from designer.results.search import REPORT_SCHEMA, Recommendation, SearchResult
from designer.results.serialisation import check_free, read_result, report_to_json
from designer.search.command import search_call, without_passwords
from designer.search.confirmation import (
    Candidate,
    ConfirmedCandidate,
    collect,
    enqueue,
    runs_of,
)
from designer.search.edits.outcomes import with_outcomes
from designer.search.edits.trials import EditOutcome, EditTrials
from designer.search.job import Job
from designer.search.options import DEFAULT_DATA, DEFAULT_SPACE, SearchOptions
from designer.search.progress import Phase, ProgressCallback
from designer.search.recommend import chosen, recommend, shortlist
from designer.search.recommended_models import check_best, write_best
from designer.search.space_parameters import try_out
from designer.search.stopping import StopRequest, stop_on_signals
from designer.search.storage.artifacts import Artifacts, open_store
from designer.search.storage.caching import CachingStorage
from designer.search.storage.location import StudyLocation, parse_address
from designer.search.storage.opening import open_storage, quiet_optuna
from designer.search.storage.run_folder import hold_run_folder
from designer.search.study.claims import TrialClaims, study_of
from designer.search.study.keys import STAGE, WANTED, WORKER
from designer.search.study.trials import last_rejection, trials_of
from designer.search.summary import agreements, at_chance, study_summary, trial_rows, warnings
from designer.search.workers.handshake import DONE, write_handshake
from designer.search.workers.leader import leadership
from designer.search.workers.processes import PhaseRunner, phase_runner
from designer.training.devices import usable_device
from designer.training.trainer import accuracy
from search_spaces import SPACES, Space

CONFIRMATION_ROUNDS = 2
"""Number of rounds; the second trains what a killed worker left undone in the first."""

EARLIER_RECOMMENDATIONS = ReportWarning(
    "earlier_recommendations",
    "The recommendations are those of an earlier run, because this run was stopped before all of "
    "its best trials were confirmed.",
)


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
    batch_size: int = SearchOptions.batch_size,
    prune: bool = SearchOptions.prune,
    augment: str = SearchOptions.augment,
    device: str = SearchOptions.device,
    devices: Sequence[str] | None = SearchOptions.devices,
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
        workers: processes on this machine; by default one per device.
        confirm: candidates to train again, with ``confirm_seeds`` fresh seeds each.
        confirm_epochs: epochs of each confirmation run, by default three times ``epochs``.
        confirm_seeds: fresh seeds for each confirmed candidate.
        edits: training runs spent on edits of the recommended networks, such as half the blocks or
            another learning rate; 0 for none.
        max_params: leave out architectures with more parameters.
        max_flops: leave out architectures with more floating-point operations per sample.
        train_size, image_size, validation_fraction, shuffle_labels: see ``load_dataset``; they
            are used only if ``data`` is a name.
        batch_size: samples per training step.
        prune: stop candidates at half of their epochs if they fall behind the median. It pays
            for networks whose training costs much more than measuring them.
        augment: how training images are varied: ``none``, ``shift``, ``flip`` or ``flip-shift``.
        device: torch device to train on.
        devices: several torch devices, which the workers use in turn.
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
        batch_size=batch_size,
        prune=prune,
        augment=augment,
        device=device,
        devices=devices,
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
) -> SearchResult:
    """Search as ``search`` does, with its options as one object.

    Args:
        space: a name, ``package.module:Name`` or a ``Space``.
        data: a source or a ``Dataset``.
        options: all other options.
        progress: called after every trial.
        command: text that the report shows as the command that made it; if empty, the call of
            ``designer.search`` is shown.

    Raises:
        InvalidInputError: if an argument is not what it must be; nothing is written.
        StorageError: if the storage does not answer or takes no more; finished trials are kept.
    """
    job = _prepare(space, data, options)
    text = without_passwords(command) or search_call(space, data, options)
    with hold_run_folder(job.location.folder), quiet_optuna():
        return run(job, progress or (lambda _: None), text)


def default_folder(data: str, space: str) -> Path:
    """Return ``runs/DATA-SPACE``, with ``_`` for what is not safe in a file name."""
    name = f"{data}-{space}"
    return Path("runs") / "".join(c if c.isalnum() or c in "-_.@" else "_" for c in name)


def run(job: Job, progress: ProgressCallback, command: str = "") -> SearchResult:
    """Search, confirm, recommend and write the report; the caller holds the run folder.

    Args:
        job: space, data and options.
        progress: called after every trial.
        command: text that the report shows as the command that made it.

    Returns:
        The result as it was written.
    """
    with stop_on_signals() as stop, open_storage(job.location, stop) as storage:
        study = study_of(job, storage, Phase.SEARCH)
        with leadership(job, study, storage, stop):
            write_handshake(job, study)
            confirmation, edits = (
                study_of(job, storage, phase) for phase in (Phase.CONFIRMATION, Phase.EDITS)
            )
            artifacts = Artifacts(job.location.artifacts, storage)
            session = _Session(job, storage, study, confirmation, edits, artifacts, stop)
            return session.report(session.train(progress), command)


@dataclass(frozen=True)
class _Trained:
    """All that was trained."""

    candidates: Sequence[Candidate]
    """What was to be confirmed."""
    confirmed: Sequence[ConfirmedCandidate]
    """What was confirmed."""
    edits: EditOutcome
    """What came of the edits of those that are recommended."""

    @property
    def recommended(self) -> list[ConfirmedCandidate]:
        """The networks to recommend, in rank order."""
        return chosen([*self.confirmed, *self.edits.kept], self.edits.replaced)

    def is_complete(self, seeds: int) -> bool:
        """Return True if every candidate has this many runs and all edits were tried."""
        runs = sum(len(candidate.runs) for candidate in self.confirmed)
        return self.edits.complete and runs == seeds * len(self.candidates)


@dataclass(frozen=True)
class _Session:
    """One run of the leader, with all that is open meanwhile."""

    job: Job
    storage: CachingStorage
    study: Study
    confirmation: Study
    edits: Study
    artifacts: Artifacts
    stop: StopRequest

    def train(self, progress: ProgressCallback) -> _Trained:
        """Run all phases and return what was trained."""
        claims = TrialClaims(self.study, self.storage)
        later_claims = [TrialClaims(s, self.storage) for s in (self.confirmation, self.edits)]
        if not self.job.location.shared:  # on a shared storage others may be at work
            for each in (claims, *later_claims):
                each.release_running("The run that started it was killed.")
        for each in later_claims:
            each.drop_waiting()
        with phase_runner(self.job, self.storage) as runner:
            self.study.set_user_attr(STAGE, Phase.SEARCH)
            runner.run(Phase.SEARCH, self.stop, progress)
            candidates = shortlist(self.job, self.study)
            wanted = [(c, record) for c in candidates for record in runs_of(self.job, c)]
            for _ in range(CONFIRMATION_ROUNDS):
                if self.stop() or not enqueue(self.confirmation, wanted, self.artifacts):
                    break
                self.study.set_user_attr(STAGE, Phase.CONFIRMATION)
                runner.run(Phase.CONFIRMATION, self.stop, progress)
            confirmed = collect(self.job, self.confirmation, candidates, self.artifacts)
            edits = self._try_edits(confirmed, runner, progress)
        if not self.stop():
            claims.drop_waiting()
            self.study.set_user_attr(STAGE, DONE)
        return _Trained(candidates, confirmed, edits)

    def _try_edits(
        self,
        confirmed: Sequence[ConfirmedCandidate],
        runner: PhaseRunner,
        progress: ProgressCallback,
    ) -> EditOutcome:
        """Try edits of the networks that would be recommended."""
        self.edits.set_user_attr(WANTED, self.job.options.edits)

        def run_enqueued() -> None:
            self.study.set_user_attr(STAGE, Phase.EDITS)
            runner.run(Phase.EDITS, self.stop, progress)

        workers = {trial.user_attrs.get(WORKER) for trial in trials_of(self.confirmation)}
        at_once = max(self.job.options.worker_count, len(workers))
        trials = EditTrials(self.job, self.edits, self.artifacts, run_enqueued, self.stop)
        recommended = chosen(confirmed)
        if at_chance(recommended, self.job.data.chance):
            recommended = []
        return trials.try_all(recommended, confirmed, at_once)

    def report(self, trained: _Trained, command: str) -> SearchResult:
        """Write the recommended models and the report.

        If the run was stopped before everything was confirmed and tried, better candidates may be
        among the rest. Then the recommendations of an earlier run stay, if there are any.
        """
        folder = self.job.location.folder
        recommended = trained.recommended
        result = replace(self._result(recommended, trained.edits), command=command)
        earlier = _recommended_before(folder)
        complete = trained.is_complete(self.job.options.confirm_seeds)
        if earlier and self.stop() and not (complete and recommended):
            result = replace(
                result,
                recommendations=earlier,
                warnings=(*result.warnings, EARLIER_RECOMMENDATIONS),
            )
        else:
            write_best(self.job, recommended, self.artifacts)
        write_text(folder / REPORT_FILE, report_to_json(result))
        return result

    def _result(
        self, recommended: Sequence[ConfirmedCandidate], edits: EditOutcome
    ) -> SearchResult:
        """Return the result without its command."""
        job, chance = self.job, self.job.data.chance
        test_accuracies = [
            _test_accuracy(job, candidate, self.artifacts) for candidate in recommended
        ]
        recommendations = recommend(
            recommended, test_accuracies, chance, at_chance(recommended, chance)
        )
        rows = trial_rows(self.study)
        return SearchResult(
            schema=REPORT_SCHEMA,
            study=study_summary(job, self.study, (self.confirmation, self.edits)),
            recommendations=tuple(with_outcomes(r, edits.tried) for r in recommendations),
            criterion=agreements(rows),
            trials=rows,
            warnings=(
                *warnings(
                    job,
                    rows,
                    recommended,
                    recommendations,
                    self.stop.signal,
                    last_rejection(trials_of(self.study)),
                    self.confirmation,
                ),
                *edits.warnings,
            ),
            tried=tuple(edits.tried),
        )


def _prepare(space: str | Space[Any], data: str | Dataset, options: SearchOptions) -> Job:
    """Load and check what the options name, before anything is written.

    Raises:
        InvalidInputError: if anything is not what it must be.
    """
    if options.storage is not None:
        parse_address(options.storage)
    devices = tuple(str(usable_device(device)) for device in options.worker_devices)
    found_space = find_space(space) if isinstance(space, str) else space
    dataset = load_with_options(data, options.data_options) if isinstance(data, str) else data
    check_augmentable(options.augment, dataset.input_shape)
    try_out(found_space, dataset.input_shape, dataset.num_classes)
    location = _location(options, dataset, found_space)
    open_store(location.artifacts)
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


def _location(options: SearchOptions, data: Dataset, space: Space[Any]) -> StudyLocation:
    """Return where the study is kept; on a shared storage it is named after the run folder."""
    folder = options.out or default_folder(data.name, space.name)
    study = (options.study or folder.name) if options.storage else None
    return StudyLocation(folder, options.storage, study, options.artifacts)


def _recommended_before(folder: Path) -> tuple[Recommendation, ...]:
    """Return what an earlier run in this folder recommends, if its models are there."""
    try:
        return read_result(folder).recommendations if (folder / BEST_FOLDER).exists() else ()
    except RunFolderError:  # it was killed while it wrote
        return ()


def _test_accuracy(job: Job, candidate: ConfirmedCandidate, artifacts: Artifacts) -> MeanSd:
    """Return the test accuracy over the confirmation seeds: the only look at the test set."""
    shape, classes = job.data.input_shape, job.data.num_classes
    model = rebuild(job.space, dict(candidate.candidate.params), shape, classes)
    accuracies = []
    for trained in candidate.runs:
        model.load_state_dict(load_tensors(artifacts.read(trained, WEIGHTS_FILE)))
        accuracies.append(accuracy(model, job.data.test))
    return MeanSd.of(accuracies)


def _importable_name(space: Space[Any]) -> str:
    """Return the name under which the command line finds the class of a space."""
    kind = type(space)
    registered = space.name in SPACES and space == SPACES[space.name]()
    return space.name if registered else f"{kind.__module__}:{kind.__qualname__}"
