"""Confirmation: the best candidates trained again, longer and with fresh seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from designer.analysis.advice import layer_reports
from designer.analysis.diagnosis import diagnose
from designer.analysis.pooled_contributions import pooled_contributions
from designer.analysis.training_runs import TrainingRuns
from designer.errors import RunFolderError
from designer.folders import WEIGHTS_FILE
from designer.results.contribution import BlockContribution
from designer.results.diagnosis import Finding
from designer.results.layers import LayerReport, MeanSd
from designer.results.measured import SeparationProfile, measured
from designer.results.ranges import Measured
from designer.results.serialisation import contributions_from_json, profile_from_json
from designer.search.candidates import is_normalised
from designer.search.job import Job
from designer.search.storage.artifacts import Artifacts
from designer.search.study.records import Measurements, TrialRecord

PROFILE_FILE = "profile.json"
"""Name under which a confirmation run keeps its profile."""

CONTRIBUTIONS_FILE = "contributions.json"
"""Name under which a confirmation run keeps the contributions of its blocks."""


CandidateKey = tuple[int, tuple[str, ...]]
"""What identifies a candidate: the number of its search trial, and its edits."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """An architecture that is trained longer: that of a search trial, or an edit of it."""

    trial: FrozenTrial
    """The search trial that it comes from."""
    params: Mapping[str, Any]
    """What its space must be given to propose it."""
    spec: dict[str, Any]
    """The architecture and its learning rate as JSON values."""
    size: Measurements
    """Its parameters and FLOPs."""
    edits: tuple[str, ...] = ()
    """Edits that led from the architecture of the trial to this one, in order."""

    @classmethod
    def of(cls, trial: FrozenTrial) -> Candidate:
        """Return the candidate that a search trial found."""
        record = TrialRecord.read(trial)
        return cls(trial, trial.params, record.architecture(), record.measurements)

    @property
    def key(self) -> CandidateKey:
        """What identifies it."""
        return self.trial.number, self.edits


@dataclass(frozen=True, eq=False)
class ConfirmedCandidate:
    """One candidate with all its finished confirmation runs, at least one."""

    candidate: Candidate
    """The architecture."""
    runs: tuple[FrozenTrial, ...]
    """Confirmation runs, one per seed."""
    profiles: tuple[SeparationProfile, ...]
    """Profiles of the runs."""
    run_contributions: tuple[tuple[BlockContribution, ...], ...] = ()
    """Contributions of the blocks in each run; empty for a run of an earlier version."""
    failures: tuple[str, ...] = ()
    """Why further runs failed."""

    @property
    def key(self) -> CandidateKey:
        """What identifies the candidate."""
        return self.candidate.key

    @property
    def spec(self) -> dict[str, Any]:
        """The architecture and its learning rate as JSON values."""
        return self.candidate.spec

    @cached_property
    def measurements(self) -> tuple[Measurements, ...]:
        """What was measured in each run."""
        return tuple(TrialRecord.read(run).measurements for run in self.runs)

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        return self.candidate.size.parameters or 0

    @cached_property
    def validation_accuracy(self) -> MeanSd:
        """Validation accuracy over the runs."""
        return MeanSd.of([_number(run.validation_accuracy) for run in self.measurements])

    @cached_property
    def accuracy_by_seed(self) -> dict[int, float]:
        """Validation accuracy of the runs by their seeds."""
        seeds = [TrialRecord.read(run).seed for run in self.runs]
        accuracies = [_number(run.validation_accuracy) for run in self.measurements]
        return {seed: a for seed, a in zip(seeds, accuracies, strict=True) if seed is not None}

    @cached_property
    def layers(self) -> tuple[LayerReport, ...]:
        """Its blocks, and what to do about them."""
        return layer_reports(self.profiles, self.contributions)

    @cached_property
    def diagnosis(self) -> tuple[Finding, ...]:
        """What is wrong with it as a whole."""
        return diagnose(
            self.profiles,
            self.contributions,
            normalised=is_normalised(self.spec),
            runs=self.training,
        )

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
        """Means of the parts of the design score; None if a run has none."""
        parts = {
            "heldout_separation": [run.heldout_separation for run in self.measurements],
            "accuracy_above_chance": [run.accuracy_above_chance for run in self.measurements],
            "adherence": [run.adherence for run in self.measurements],
        }
        return {name: measured(_mean(values)) for name, values in parts.items()}


def confirmation_seeds(job: Job) -> list[int]:
    """Return seeds that the search itself did not use."""
    return [job.options.seed + 1 + i for i in range(job.options.confirm_seeds)]


def runs_of(job: Job, candidate: Candidate) -> list[TrialRecord]:
    """Return records that identify the confirmation runs of a candidate, one per seed."""
    epochs = job.options.confirmation_epochs
    common = TrialRecord(confirms=candidate.trial.number, epochs=epochs)
    if candidate.edits:  # no search trial holds spec and size of an edited architecture
        common = replace(common, edits=candidate.edits, spec=candidate.spec, record=candidate.size)
    return [replace(common, seed=seed) for seed in confirmation_seeds(job)]


def enqueue(
    study: Study, wanted: Iterable[tuple[Candidate, TrialRecord]], artifacts: Artifacts
) -> int:
    """Enqueue every confirmation run that is missing and return how many there are.

    A run that exists is not repeated unless its profile or weights are gone or damaged.

    Args:
        study: study of the runs.
        wanted: candidates, each with the record of one of its runs.
        artifacts: where profiles and weights are kept.
    """
    by_key = {record.confirmation: (candidate, record) for candidate, record in wanted}
    present = {
        key
        for run in study.get_trials(deepcopy=False)
        if (key := TrialRecord.read(run).confirmation) in by_key
        and _needs_no_repeat(run, artifacts)
    }
    missing = [pair for key, pair in by_key.items() if key not in present]
    for candidate, record in missing:
        study.enqueue_trial(dict(candidate.params), user_attrs=record.attributes())
    return len(missing)


@dataclass(frozen=True, eq=False)
class FinishedRuns:
    """The confirmation runs that a study holds, by what identifies them."""

    complete: Mapping[Any, FrozenTrial]
    """Runs that came to their end."""
    failures: Mapping[Any, str]
    """Why others failed."""

    @classmethod
    def of(cls, study: Study) -> FinishedRuns:
        """Return the runs of a study."""
        complete = {
            TrialRecord.read(run).confirmation: run
            for run in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        }
        failures = {
            record.confirmation: record.reason
            for run in study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
            if (record := TrialRecord.read(run)).reason and record.rejected is None
        }
        return cls(complete, failures)

    def confirmed(
        self, candidate: Candidate, records: Iterable[TrialRecord], artifacts: Artifacts
    ) -> ConfirmedCandidate | None:
        """Return a candidate with those of its runs that are usable; None without any.

        Args:
            candidate: the architecture.
            records: identify its runs.
            artifacts: where profiles and weights are kept.
        """
        wanted = [record.confirmation for record in records]
        runs = [self.complete[key] for key in wanted if key in self.complete]
        with_profile = [(run, _profile_of(run, artifacts)) for run in runs]
        usable = [(run, profile) for run, profile in with_profile if profile is not None]
        if not usable:
            return None
        usable_runs, profiles = zip(*usable, strict=True)
        contributions = tuple(_contributions_of(run, artifacts) for run in usable_runs)
        failed = tuple(reason for key in wanted if (reason := self.failures.get(key)))
        return ConfirmedCandidate(candidate, usable_runs, profiles, contributions, failed)


def collect(
    job: Job, study: Study, candidates: Iterable[Candidate], artifacts: Artifacts
) -> list[ConfirmedCandidate]:
    """Return the candidates that have finished confirmation runs, with their profiles.

    Args:
        job: seeds and epochs.
        study: study of the confirmation.
        candidates: what is confirmed.
        artifacts: where profiles and weights are kept.
    """
    runs = FinishedRuns.of(study)
    confirmed = (runs.confirmed(c, runs_of(job, c), artifacts) for c in candidates)
    return [candidate for candidate in confirmed if candidate is not None]


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
