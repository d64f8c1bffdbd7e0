"""Confirmation: the best candidates trained again, longer and with fresh seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from designer.errors import RunFolderError
from designer.results.layers import MeanSd
from designer.results.measured import SeparationProfile
from designer.results.serialisation import profile_from_json
from designer.search.job import Job
from designer.search.storage.artifacts import Artifacts
from designer.search.study.trials import RECORD, REJECTED, SPEC


@dataclass(frozen=True, eq=False)
class Confirmed:
    """One candidate with all its finished confirmation runs."""

    trial: FrozenTrial
    runs: tuple[FrozenTrial, ...]
    profiles: tuple[SeparationProfile, ...]

    @property
    def spec(self) -> dict[str, Any]:
        """Its spec as plain values."""
        return dict(self.trial.user_attrs[SPEC])

    @property
    def parameters(self) -> int:
        """Trainable numbers."""
        return int(self.trial.user_attrs[RECORD]["parameters"])

    def mean(self, name: str) -> float:
        """Mean of a recorded number over the runs."""
        return sum(_values(self.runs, name)) / len(self.runs)

    def mean_sd(self, name: str) -> MeanSd:
        """Mean and sd of a recorded number over the runs."""
        return MeanSd.of(_values(self.runs, name))


def enqueue(job: Job, study: Study, candidates: Iterable[FrozenTrial], artifacts: Artifacts) -> int:
    """Ask for every run that is missing; those that exist are not repeated, but where what they
    left is gone or damaged. How many."""
    candidates = list(candidates)
    asked = {one.number for one in candidates}
    known = {
        run_key(run)
        for run in study.get_trials(deepcopy=False)
        if run.user_attrs.get("confirms") in asked and _counts(run, artifacts)
    }
    missing = 0
    for candidate in candidates:
        for seed in confirmation_seeds(job):
            if (candidate.number, seed, job.effort.confirm_epochs) not in known:
                missing += 1
                study.enqueue_trial(
                    candidate.params,
                    user_attrs={
                        "confirms": candidate.number,
                        "seed": seed,
                        "epochs": job.effort.confirm_epochs,
                    },
                )
    return missing


def _counts(run: FrozenTrial, artifacts: Artifacts) -> bool:
    if run.state is TrialState.COMPLETE:
        return kept_of(run, artifacts) is not None
    return run.state is not TrialState.FAIL or REJECTED not in run.user_attrs


def kept_of(run: FrozenTrial, artifacts: Artifacts) -> SeparationProfile | None:
    """The profile that a run left beside its weights; None where either is gone or damaged."""
    try:
        load_tensors(artifacts.read(run, "model.safetensors"))
        return profile_from_json(artifacts.read(run, "profile.json"))
    except (RunFolderError, SafetensorError, ValueError, KeyError, TypeError):
        return None


def confirmation_seeds(job: Job) -> list[int]:
    """Seeds that the search itself did not use."""
    return [job.settings.seed + 1 + i for i in range(job.effort.confirm_seeds)]


def run_key(run: FrozenTrial) -> tuple[Any, Any, Any]:
    """What identifies a confirmation run: candidate, seed, epochs."""
    attrs = run.user_attrs
    return attrs.get("confirms"), attrs.get("seed"), attrs.get("epochs")


def collect(
    job: Job, study: Study, candidates: Iterable[FrozenTrial], artifacts: Artifacts
) -> list[Confirmed]:
    """The candidates that have finished runs of this confirmation, with their profiles."""
    complete = {
        run_key(run): run for run in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    }
    collected = []
    for candidate in candidates:
        keys = [(candidate.number, s, job.effort.confirm_epochs) for s in confirmation_seeds(job)]
        runs = [complete[key] for key in keys if key in complete]
        kept = [(run, kept_of(run, artifacts)) for run in runs]
        whole = [(run, profile) for run, profile in kept if profile is not None]
        if whole:
            usable, profiles = zip(*whole, strict=True)
            collected.append(Confirmed(candidate, usable, profiles))
    return collected


def _values(runs: Sequence[FrozenTrial], name: str) -> list[float]:
    return [float(run.user_attrs[RECORD][name]) for run in runs]
