"""Confirmation: the best candidates trained again, longer and with fresh seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from designer.analysis.diagnosis import TrainingRuns
from designer.analysis.pooled_contributions import pooled_contributions
from designer.errors import RunFolderError
from designer.folders import WEIGHTS_FILE
from designer.results.contribution import BlockContribution
from designer.results.layers import MeanSd
from designer.results.measured import Measured, SeparationProfile, measured
from designer.results.serialisation import contributions_from_json, profile_from_json
from designer.search.job import Job
from designer.search.storage.artifacts import Artifacts
from designer.search.study.records import Measurements, TrialRecord

PROFILE_FILE = "profile.json"
"""Name under which a confirmation run keeps its profile."""

CONTRIBUTIONS_FILE = "contributions.json"
"""Name under which a confirmation run keeps the contributions of its blocks."""


@dataclass(frozen=True, eq=False)
class ConfirmedCandidate:
    """One candidate with all its finished confirmation runs, at least one."""

    trial: FrozenTrial
    """The search trial that found it."""
    runs: tuple[FrozenTrial, ...]
    """Confirmation runs, one per seed."""
    profiles: tuple[SeparationProfile, ...]
    """Profiles of the runs."""
    run_contributions: tuple[tuple[BlockContribution, ...], ...] = ()
    """Contributions of the blocks in each run; empty for a run of an earlier version."""
    failures: tuple[str, ...] = ()
    """Why further runs failed."""

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The architecture and its learning rate as JSON values."""
        return TrialRecord.read(self.trial).architecture()

    @cached_property
    def size(self) -> Measurements:
        """Parameters and FLOPs, as the search trial counted them."""
        return TrialRecord.read(self.trial).measurements

    @cached_property
    def measurements(self) -> tuple[Measurements, ...]:
        """What was measured in each run."""
        return tuple(TrialRecord.read(run).measurements for run in self.runs)

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        return self.size.parameters or 0

    @cached_property
    def validation_accuracy(self) -> MeanSd:
        """Validation accuracy over the runs."""
        return MeanSd.of([_number(run.validation_accuracy) for run in self.measurements])

    @property
    def train_accuracy(self) -> float:
        """Mean training accuracy."""
        return _mean([run.train_accuracy for run in self.measurements])

    @property
    def training(self) -> TrainingRuns:
        """The record of its training; losses are missing for runs of an earlier version."""
        losses = [TrialRecord.read(run).losses for run in self.runs]
        return TrainingRuns(
            losses=tuple(run_losses for run_losses in losses if run_losses),
            accuracies=tuple(_number(run.validation_accuracy) for run in self.measurements),
            failures=self.failures,
        )

    @property
    def contributions(self) -> tuple[BlockContribution, ...]:
        """Contributions of the blocks, pooled over the runs; empty if a run has none."""
        return pooled_contributions(self.run_contributions)

    @property
    def score(self) -> Measured:
        """Mean design score; None if a run has none."""
        return measured(_mean([run.score for run in self.measurements]))

    @property
    def score_parts(self) -> dict[str, Measured]:
        """Means of the two parts of the design score; None if a run has none."""
        parts = {
            "heldout_separation": [run.heldout_separation for run in self.measurements],
            "adherence": [run.adherence for run in self.measurements],
        }
        return {name: measured(_mean(values)) for name, values in parts.items()}


def confirmation_seeds(job: Job) -> list[int]:
    """Return seeds that the search itself did not use."""
    return [job.options.seed + 1 + i for i in range(job.options.confirm_seeds)]


def enqueue(job: Job, study: Study, candidates: Iterable[FrozenTrial], artifacts: Artifacts) -> int:
    """Enqueue every confirmation run that is missing and return how many there are.

    A run that exists is not repeated unless its profile or weights are gone or damaged.

    Args:
        job: seeds and epochs.
        study: study of the confirmation.
        candidates: search trials that are confirmed.
        artifacts: where profiles and weights are kept.
    """
    wanted = {
        record.confirmation: (candidate, record)
        for candidate in candidates
        for record in _wanted_runs(job, candidate)
    }
    present = {
        key
        for run in study.get_trials(deepcopy=False)
        if (key := TrialRecord.read(run).confirmation) in wanted
        and _needs_no_repeat(run, artifacts)
    }
    missing = [wanted[key] for key in wanted if key not in present]
    for candidate, record in missing:
        study.enqueue_trial(candidate.params, user_attrs=record.attributes())
    return len(missing)


def collect(
    job: Job, study: Study, candidates: Iterable[FrozenTrial], artifacts: Artifacts
) -> list[ConfirmedCandidate]:
    """Return the candidates that have finished confirmation runs, with their profiles.

    Args:
        job: seeds and epochs.
        study: study of the confirmation.
        candidates: search trials that are confirmed.
        artifacts: where profiles and weights are kept.
    """
    complete = {
        TrialRecord.read(run).confirmation: run
        for run in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    }
    failures = {
        record.confirmation: record.reason
        for run in study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        if (record := TrialRecord.read(run)).reason and record.rejected is None
    }
    collected = []
    for candidate in candidates:
        wanted = [record.confirmation for record in _wanted_runs(job, candidate)]
        runs = [complete[key] for key in wanted if key in complete]
        with_profile = [(run, _profile_of(run, artifacts)) for run in runs]
        usable = [(run, profile) for run, profile in with_profile if profile is not None]
        if usable:
            usable_runs, profiles = zip(*usable, strict=True)
            contributions = tuple(_contributions_of(run, artifacts) for run in usable_runs)
            failed = tuple(reason for key in wanted if (reason := failures.get(key)))
            collected.append(
                ConfirmedCandidate(candidate, usable_runs, profiles, contributions, failed)
            )
    return collected


def _wanted_runs(job: Job, candidate: FrozenTrial) -> list[TrialRecord]:
    """Return records that identify the confirmation runs of a candidate, one per seed."""
    epochs = job.options.confirmation_epochs
    return [
        TrialRecord(confirms=candidate.number, seed=seed, epochs=epochs)
        for seed in confirmation_seeds(job)
    ]


def _needs_no_repeat(run: FrozenTrial, artifacts: Artifacts) -> bool:
    """Return False if a run was handed back, or what it left is gone or damaged."""
    if run.state is TrialState.COMPLETE:
        return _profile_of(run, artifacts) is not None
    return run.state is not TrialState.FAIL or TrialRecord.read(run).rejected is None


def _profile_of(run: FrozenTrial, artifacts: Artifacts) -> SeparationProfile | None:
    """Return the profile of a run; None if profile or weights are gone or damaged."""
    try:
        load_tensors(artifacts.read(run, WEIGHTS_FILE))
        return profile_from_json(artifacts.read(run, PROFILE_FILE))
    except (RunFolderError, SafetensorError, ValueError, KeyError, TypeError):
        return None


def _contributions_of(run: FrozenTrial, artifacts: Artifacts) -> tuple[BlockContribution, ...]:
    """Return the contributions of a run; empty if they are missing or damaged."""
    try:
        return contributions_from_json(artifacts.read(run, CONTRIBUTIONS_FILE))
    except (RunFolderError, ValueError, TypeError):
        return ()


def _mean(values: Sequence[Measured]) -> float:
    """Return the mean; NaN if a value is None."""
    return sum(map(_number, values)) / len(values)


def _number(value: Measured) -> float:
    return float("nan") if value is None else value
