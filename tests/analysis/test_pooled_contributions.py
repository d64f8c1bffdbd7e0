"""Contributions for reports: a record for every block, whatever happens, and means over seeds."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from designer.analysis.analyze import analyze
from designer.analysis.options import AnalysisOptions
from designer.analysis.pooled_contributions import contributions_or_reasons, pooled_contributions
from designer.analysis.profile import profile
from designer.data.dataset import LabelledTensors
from designer.results.contribution import BlockContribution, Contribution, Effect
from designer.results.diagnosis import WHOLE_FIRST
from designer.results.serialisation import contributions_from_json, contributions_to_json
from designer.training.trainer import build_seeded, train
from tests.support.helpers import labelled, small_mlp, trained_for_a_rare_class

TRAIN, HELDOUT = labelled(120), labelled(90, seed=0)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    model = build_seeded(small_mlp, 0, CPU)
    train(model, TRAIN, epochs=20, learning_rate=1e-2, seed=0)
    return model


def measured(
    model: nn.Module, heldout: LabelledTensors | None = HELDOUT, *, samples: int = 60
) -> tuple[BlockContribution, ...]:
    known = profile(model, TRAIN, heldout, permutations=0, resamples=0)
    options = AnalysisOptions()
    return contributions_or_reasons(model, TRAIN, heldout, None, options, known, samples=samples)


def reasons(records: tuple[BlockContribution, ...]) -> set[str]:
    assert [record.name for record in records] == ["0", "1"]
    assert all(record.contribution is None for record in records)
    return {record.reason for record in records}


def test_every_block_of_a_trained_network_has_one(trained: nn.Module) -> None:
    records = measured(trained)
    assert [record.name for record in records] == ["0", "1"]
    assert all(record.contribution is not None for record in records)
    assert contributions_from_json(contributions_to_json(records)) == records


def test_without_heldout_data(trained: nn.Module) -> None:
    assert reasons(measured(trained, None)) == {"There are no held-out data."}


def test_not_asked_for(trained: nn.Module) -> None:
    assert reasons(measured(trained, samples=0)) == {"It was not asked for."}


def test_a_network_at_chance_has_nothing_to_lose() -> None:
    constant = small_mlp()
    for parameter in constant[2].parameters():
        nn.init.zeros_(parameter)
    (reason,) = reasons(measured(constant))
    assert "no better than chance" in reason


def test_a_network_trained_for_a_rare_class_is_better_than_chance() -> None:
    model, train_data, heldout = trained_for_a_rare_class()
    result = analyze(model, train_data, heldout)
    assert result.model.accuracy is not None
    assert result.model.accuracy < 0.95
    assert "model_at_chance" not in {warning.code for warning in result.warnings}
    assert all(layer.contribution is not None for layer in result.layers)
    assert {layer.advice for layer in result.layers} != {WHOLE_FIRST}


class FailsWithoutItsBlock(nn.Module):
    """Raises in its last pass: it counts how often it ran."""

    def __init__(self, passes: int) -> None:
        super().__init__()
        self.body, self.passes = small_mlp(), passes

    def forward(self, x: Tensor) -> Tensor:
        self.passes -= 1
        if self.passes < 0:
            raise ValueError("broken on purpose")
        logits: Tensor = self.body(x)
        return logits


def test_what_cannot_be_measured_gives_a_reason_and_no_error() -> None:
    model = FailsWithoutItsBlock(1000)
    model.body.load_state_dict(small_mlp().state_dict())
    train(model, TRAIN, epochs=20, learning_rate=1e-2, seed=0)
    model.passes = 1000
    known = profile(model, TRAIN, HELDOUT, permutations=0, resamples=0)
    model.passes = 0
    records = contributions_or_reasons(
        model, TRAIN, HELDOUT, None, AnalysisOptions(), known, samples=60
    )
    (reason,) = {record.reason for record in records}
    assert reason.startswith("It could not be measured: ")
    assert "broken on purpose" in reason
    assert len(records) == len(known.layers) - 1


def test_a_single_heldout_sample_has_no_interval_and_so_no_contribution(
    trained: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = Effect(0.1, (-math.inf, math.inf))
    record = BlockContribution("0", "", Contribution("", endless, endless, endless))
    half = BlockContribution("1", "", Contribution("", endless, Effect(0.1, (0.0, 0.2)), None))
    monkeypatch.setattr(
        "designer.analysis.pooled_contributions.measure_contributions",
        lambda *_, **__: (record, half),
    )
    first, second = measured(trained)
    assert first.contribution is None
    assert "not finite" in first.reason
    assert second.contribution == Contribution("", None, Effect(0.1, (0.0, 0.2)), None)


def of_seed(value: float, half: float, accuracy: float | None = None) -> list[BlockContribution]:
    effect = Effect(value, (value - half, value + half))
    change = None if accuracy is None else Effect(accuracy, (accuracy, accuracy))
    return [BlockContribution("0", "Block", Contribution("zeros", None, effect, change))]


def test_the_mean_over_seeds_has_an_interval_over_samples_and_seeds() -> None:
    (pooled,) = pooled_contributions([of_seed(1.0, 0.3), of_seed(2.0, 0.4), of_seed(3.0, 0.5)])
    assert pooled.contribution is not None
    effect = pooled.contribution.cross_entropy
    assert effect is not None
    half = math.sqrt((0.09 + 0.16 + 0.25) / 3 + 1.96**2 / 3)  # the standard deviation is 1
    assert effect.value == pytest.approx(2.0)
    assert effect.interval == pytest.approx((2 - half, 2 + half))
    assert (pooled.name, pooled.kind, pooled.contribution.stand_in) == ("0", "Block", "zeros")


def test_seeds_that_agree_keep_the_interval_over_samples() -> None:
    (pooled,) = pooled_contributions([of_seed(1.0, 0.25)] * 3)
    assert pooled.contribution is not None
    assert pooled.contribution.cross_entropy is not None
    assert pooled.contribution.cross_entropy.interval == pytest.approx((0.75, 1.25))


def test_one_seed_is_itself() -> None:
    assert pooled_contributions([of_seed(1.0, 0.25)]) == tuple(of_seed(1.0, 0.25))


def test_an_effect_that_a_seed_lacks_has_no_mean() -> None:
    (pooled,) = pooled_contributions([of_seed(1.0, 0.1, accuracy=-0.1), of_seed(1.0, 0.1)])
    assert pooled.contribution is not None
    assert pooled.contribution.accuracy is None
    assert pooled.contribution.cross_entropy is not None


def test_a_seed_without_a_contribution_leaves_its_reason() -> None:
    without = [BlockContribution("0", "Block", None, "It is at chance.")]
    (pooled,) = pooled_contributions([of_seed(1.0, 0.1), without])
    assert pooled == BlockContribution("0", "Block", None, "It is at chance.")


def test_a_run_of_an_earlier_version_leaves_nothing() -> None:
    assert pooled_contributions([]) == ()
    assert pooled_contributions([of_seed(1.0, 0.1), []]) == ()
