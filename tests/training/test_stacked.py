"""Networks that are trained at once become what each becomes alone."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import FrozenTrial, TrialState
from torch import nn

import designer
from designer.choices import Augmentation
from designer.data.dataset import LabelledTensors
from designer.data.loading import load_dataset
from designer.errors import InvalidInputError, TrialFailed
from designer.folders import STORAGE_FILE
from designer.search.candidates import train_and_measure_all
from designer.search.job import Job
from designer.search.options import SearchOptions
from designer.search.storage.location import StudyLocation
from designer.training.stacked import can_be_stacked, train_stacked
from designer.training.trainer import Schedule, TrainingHistory, accuracy, build_seeded, train
from search_spaces import CnnSpace, MlpSpace, MlpSpec, ResnetSpace, VitSpace
from tests.support.toy import TinySpace, toy_data

CPU = torch.device("cpu")
RATES, SEEDS = (1e-3, 3e-3, 1e-2), (1, 2, 3)


@pytest.fixture(scope="module")
def data() -> LabelledTensors:
    train_set = load_dataset("digits").train
    return LabelledTensors(train_set.inputs[:301], train_set.labels[:301])


def networks(space: Any, spec: Any) -> list[nn.Module]:
    return [build_seeded(lambda: space.build(spec, (1, 8, 8), 10), seed, CPU) for seed in SEEDS]


def some_spec(space: Any) -> Any:
    sampler = optuna.samplers.RandomSampler(seed=0)
    return space.suggest(optuna.create_study(sampler=sampler).ask())


CASES = [
    *[(MlpSpace(), MlpSpec((24,) * 4, norm, "relu", 0.0)) for norm in ("batch", "layer", "none")],
    *[(space, some_spec(space)) for space in (CnnSpace(), ResnetSpace(), VitSpace())],
]


@pytest.mark.parametrize(
    ("space", "spec"), CASES, ids=["batch norm", "layer norm", "no norm", "CNN", "ResNet", "ViT"]
)
def test_each_becomes_what_it_becomes_alone(space: Any, spec: Any, data: LabelledTensors) -> None:
    together = networks(space, spec)
    alone = copy.deepcopy(together)
    options: dict[str, Any] = {"epochs": 3, "schedule": Schedule.STEP, "batch_size": 50}
    stacked = train_stacked(together, data, learning_rates=RATES, seeds=SEEDS, **options)
    for model, twin, rate, seed, history in zip(
        together, alone, RATES, SEEDS, stacked, strict=True
    ):
        expected = train(twin, data, learning_rate=rate, seed=seed, **options)
        assert history.losses == pytest.approx(expected.losses, rel=2e-3)
        assert accuracy(model, data) == pytest.approx(accuracy(twin, data), abs=0.01)
        for (name, ours), theirs in zip(
            model.state_dict().items(), twin.state_dict().values(), strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=0.02, atol=2e-3, msg=name)


def test_augmentation_draws_what_it_draws_alone(data: LabelledTensors) -> None:
    space = CnnSpace()
    together = networks(space, some_spec(space))
    twin = copy.deepcopy(together[1])
    options: dict[str, Any] = {"epochs": 1, "augmentation": Augmentation.SHIFT}
    history = train_stacked(together, data, learning_rates=RATES, seeds=SEEDS, **options)[1]
    expected = train(twin, data, learning_rate=RATES[1], seed=SEEDS[1], **options)
    assert history.losses == pytest.approx(expected.losses, rel=1e-4)


def test_one_that_diverges_leaves_the_others_alone(data: LabelledTensors) -> None:
    space, spec = CASES[2]
    together = networks(space, spec)
    twin = copy.deepcopy(together[0])
    rates = (1e-3, 1e30, 1e-3)
    histories = train_stacked(together, data, epochs=2, learning_rates=rates, seeds=SEEDS)
    expected = train(twin, data, epochs=2, learning_rate=1e-3, seed=SEEDS[0])
    assert histories[0].losses == pytest.approx(expected.losses, rel=1e-4)
    assert not math.isfinite(histories[1].losses[-1])
    assert all(map(math.isfinite, histories[2].losses))


def test_between_epochs_the_models_are_as_trained_so_far(data: LabelledTensors) -> None:
    space, spec = CASES[0]
    together = networks(space, spec)
    twin = copy.deepcopy(together[2])
    accuracies: list[float] = []
    train_stacked(
        together, data, epochs=2, learning_rates=RATES, seeds=SEEDS,
        on_epoch=lambda _: accuracies.append(accuracy(together[2], data)),
    )  # fmt: skip
    expected: list[float] = []
    train(
        twin, data, epochs=2, learning_rate=RATES[2], seed=SEEDS[2],
        on_epoch=lambda _, model: expected.append(accuracy(model, data)),
    )  # fmt: skip
    assert accuracies == pytest.approx(expected, abs=0.01)


class DropsInPassing(nn.Linear):
    def __init__(self) -> None:
        super().__init__(64, 10)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's own name
        return nn.functional.dropout(super().forward(input.flatten(1)), 0.5, self.training)


class LooksAtValues(nn.Linear):
    def __init__(self) -> None:
        super().__init__(64, 10)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's own name
        output = super().forward(input.flatten(1))
        return output / 2 if output.abs().max() > 100 else output


def test_what_cannot_be_stacked_is_refused(data: LabelledTensors) -> None:
    flat = nn.Flatten()
    wide, narrow = (nn.Sequential(flat, nn.Linear(64, n), nn.Linear(n, 10)) for n in (8, 4))
    dropping = nn.Sequential(flat, nn.Dropout(0.1), nn.Linear(64, 10))
    harmless = nn.Sequential(flat, nn.Dropout(0.0), nn.Linear(64, 10))
    assert not can_be_stacked([wide, narrow], data.inputs)
    assert not can_be_stacked([dropping, copy.deepcopy(dropping)], data.inputs)
    assert can_be_stacked([harmless, copy.deepcopy(harmless)], data.inputs)
    assert not can_be_stacked([DropsInPassing(), DropsInPassing()], data.inputs)
    assert not can_be_stacked([LooksAtValues(), LooksAtValues()], data.inputs)
    with pytest.raises(InvalidInputError, match="one architecture without dropout"):
        train_stacked([wide, narrow], data, epochs=1, learning_rates=(1, 1), seeds=(0, 1))


def test_a_confirmation_trains_the_seeds_of_a_candidate_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def confirmed(out: Path) -> list[FrozenTrial]:
        designer.search(
            "tests.support.toy:TinySpace", "tests.support.toy:blobs", trials=3, epochs=3, confirm=2,
            confirm_epochs=4, confirm_seeds=3, out=out,
        )  # fmt: skip
        storage = f"sqlite:///{out / STORAGE_FILE}"
        runs = optuna.load_study(study_name="confirmation", storage=storage).get_trials()
        return sorted(runs, key=lambda run: (run.user_attrs["confirms"], run.user_attrs["seed"]))

    alone = confirmed(tmp_path / "alone")
    sizes: list[int] = []

    def counted(models: Sequence[nn.Module], *args: Any, **options: Any) -> list[TrainingHistory]:
        sizes.append(len(models))
        return train_stacked(models, *args, **options)

    monkeypatch.setattr(sys.modules["designer.search.workers.worker"], "together", lambda _: 8)
    monkeypatch.setattr(sys.modules["designer.search.candidates"], "train_stacked", counted)
    together = confirmed(tmp_path / "together")
    assert sizes == [3, 3]
    for single, other in zip(alone, together, strict=True):
        assert single.state is other.state is TrialState.COMPLETE
        assert single.user_attrs["spec"] == other.user_attrs["spec"]
        assert single.values == pytest.approx(other.values, abs=0.02)
        ours, theirs = single.user_attrs["record"], other.user_attrs["record"]
        assert ours["training_loss"] == pytest.approx(theirs["training_loss"], rel=1e-3)
        assert len(single.user_attrs["emergence"]) == len(other.user_attrs["emergence"])


@pytest.mark.parametrize("failing", ["memory", "divergence"])
def test_where_a_stack_fails_each_gets_its_own_verdict(
    failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: Any, **__: Any) -> list[TrainingHistory]:
        raise TrialFailed("Memory ran out.")

    def one_diverged(*args: Any, **options: Any) -> list[TrainingHistory]:
        return [TrainingHistory((math.nan,)), *train_stacked(*args, **options)[1:]]

    broken = out_of_memory if failing == "memory" else one_diverged
    monkeypatch.setattr(sys.modules["designer.search.candidates"], "train_stacked", broken)
    job = Job(
        TinySpace(), "tiny", toy_data(), SearchOptions(), StudyLocation(Path("nowhere"))
    )  # fmt: skip
    outcomes = train_and_measure_all(
        job, MlpSpec((8, 8), "batch", "relu", 1e-2), seeds=[1, 2], epochs=2,
        schedule=Schedule.STEP, resamples=0, on_epoch=lambda _, __: None,
    )  # fmt: skip
    failed = [isinstance(outcome, TrialFailed) for outcome in outcomes]
    assert failed == [failing == "divergence", False]
