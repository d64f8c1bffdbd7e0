"""What a search says of its recommendations as whole networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, create_trial

from designer.analysis.training_runs import TrainingRuns
from designer.results.diagnosis import FindingKind
from designer.search.confirmation import Candidate, ConfirmedCandidate
from designer.search.study.records import Measurements, TrialRecord
from tests.support.helpers import profile_of
from tests.support.searches import run, studies


def trial_of(**record: Any) -> FrozenTrial:
    """Return a complete trial that left a record."""
    return create_trial(value=0.0, user_attrs=TrialRecord(**record).attributes())


def confirmed(*records: dict[str, Any], failures: tuple[str, ...] = ()) -> ConfirmedCandidate:
    """Return a candidate with one run per record."""
    runs = tuple(trial_of(**record) for record in records)
    profiles = (profile_of([4.0, 2.0]),) * len(runs)
    return ConfirmedCandidate(Candidate.of(trial_of(spec={})), runs, profiles, failures=failures)


def test_the_training_of_a_candidate_is_that_of_its_runs() -> None:
    candidate = confirmed(
        {"losses": (2.0, 1.0), "record": Measurements(validation_accuracy=0.8)},
        {"losses": (2.1, 0.9), "record": Measurements(validation_accuracy=0.9)},
        failures=("Memory ran out.",),
    )
    assert candidate.training == TrainingRuns(
        losses=((2.0, 1.0), (2.1, 0.9)), accuracies=(0.8, 0.9), failures=("Memory ran out.",)
    )


def test_runs_of_earlier_versions_have_no_losses() -> None:
    measured = {"record": Measurements(validation_accuracy=0.8)}
    training = confirmed(measured, {"losses": (2.0, 1.0), **measured}).training
    assert training.losses == ((2.0, 1.0),)
    assert confirmed(measured).training.losses == ()


@pytest.fixture(scope="module")
def unlucky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a search in which one of two seeds diverges in the confirmation."""
    out = tmp_path_factory.mktemp("unlucky") / "run"
    run(out, "UnluckySpace", trials=2, confirm=1)
    return out


def test_a_seed_that_diverges_is_a_finding(unlucky: Path) -> None:
    (network,) = run(unlucky, "UnluckySpace", trials=2, confirm=1).recommendations
    (finding,) = (f for f in network.diagnosis if f.kind is FindingKind.RATE_TOO_HIGH)
    assert finding.evidence == "Of 2 runs 1 diverged."


def test_confirmation_runs_keep_the_loss_of_every_epoch(unlucky: Path) -> None:
    searched, confirmation = studies(unlucky)
    (losses,) = (
        losses for trial in confirmation.get_trials() if (losses := TrialRecord.read(trial).losses)
    )
    complete = next(t for t in confirmation.get_trials() if t.user_attrs.get("losses"))
    assert len(losses) == complete.user_attrs["epochs"]
    assert sum(losses) == pytest.approx(TrialRecord.read(complete).measurements.training_loss)
    assert all(TrialRecord.read(trial).losses is None for trial in searched.get_trials())
