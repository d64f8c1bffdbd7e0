"""Short searches of toy spaces, and what they left behind."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import create_trial

import designer
from designer.folders import STORAGE_FILE
from designer.results.search import SearchResult
from designer.results.serialisation import report_to_json
from designer.search.confirmation import Candidate, ConfirmedCandidate
from designer.search.study.records import Measurements, TrialRecord
from tests.support.helpers import profile_of


def run(out: Path, space: str = "TinySpace", **options: Any) -> SearchResult:
    """Search a space of ``tests.support.toy`` for a second or two."""
    short = {"trials": 6, "epochs": 3, "confirm": 3, "confirm_seeds": 2, "edits": 0}
    arguments = {**short, **options}
    return designer.search(
        f"tests.support.toy:{space}", "tests.support.toy:blobs", out=out, **arguments
    )


def studies(out: Path) -> list[optuna.Study]:
    """Return the studies of the search and of the confirmation in a run folder."""
    storage = f"sqlite:///{out / STORAGE_FILE}"
    return [optuna.load_study(study_name=n, storage=storage) for n in ("search", "confirmation")]


def states(out: Path) -> Counter[str]:
    """Count the trials of both studies by their states."""
    return Counter(trial.state.name for study in studies(out) for trial in study.get_trials())


def comparable(result: SearchResult) -> dict[str, Any]:
    """Return the report without its command and what depends on the clock."""
    values: dict[str, Any] = json.loads(report_to_json(result))
    del values["study"]["seconds"], values["command"]
    for row in values["trials"]:
        del row["seconds"]
    return values


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder by their path in it."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def confirmed(accuracies: Sequence[float], parameters: int = 1000) -> ConfirmedCandidate:
    """Return a candidate with one run for each accuracy, of seeds 1, 2, ..."""
    runs = tuple(
        create_trial(
            value=accuracy,
            user_attrs=TrialRecord(
                seed=seed, record=Measurements(validation_accuracy=accuracy)
            ).attributes(),
        )
        for seed, accuracy in enumerate(accuracies, start=1)
    )
    size = Measurements(parameters=parameters)
    candidate = Candidate(create_trial(value=0.0), {}, {"learning_rate": 1e-3}, size)
    return ConfirmedCandidate(candidate, runs, (profile_of([4.0, 2.0]),) * len(runs))
