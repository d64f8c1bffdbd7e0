"""Profiles: equal to the separation functions on features that are taken by hand."""

from __future__ import annotations

import math
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from designer import profile
from designer.choices import Measure
from designer.data.batches import LabelledData
from designer.data.dataset import LabelledTensors
from designer.errors import InvalidInputError
from designer.measures.law import fit_law
from designer.measures.residual import cross_fitted_residual, prediction_residual
from designer.measures.separation import (
    cross_fitted_separation,
    label_permutation_null,
    nearest_class_mean_accuracy,
    separation_fuzziness,
)
from designer.results.measured import LawStatus, SeparationStatus
from designer.results.serialisation import profile_from_json, profile_to_json
from tests.support.helpers import DEVICES, labelled, small_mlp
from tests.support.profiled import (
    ALL,
    HELDOUT,
    TRAIN,
    assert_close,
    assert_same,
    sample,
    sequences,
    tagger,
    taps_by_hand,
)


@pytest.mark.parametrize("device", DEVICES)
def test_a_profile_is_the_separation_functions_on_features_taken_by_hand(device: str) -> None:
    model = small_mlp()
    train, held = taps_by_hand(model, TRAIN.inputs), taps_by_hand(model, HELDOUT.inputs)
    result = profile(model.to(device), TRAIN, HELDOUT, seed=4, resamples=10)
    assert [layer.name for layer in result.layers] == ["input", "0", "1"]
    for layer, x, x_held in zip(result.layers, train, held, strict=True):
        assert layer.width == x.shape[1]
        direct = separation_fuzziness(x, TRAIN.labels)
        assert layer.train.value == pytest.approx(direct.value, rel=1e-4)
        assert (layer.train.rank, layer.train.status) == (direct.rank, direct.status)
        crossed = cross_fitted_separation(x, TRAIN.labels, x_held, HELDOUT.labels)
        assert layer.heldout is not None
        assert layer.heldout.value == pytest.approx(crossed.value, rel=1e-4)
        null = label_permutation_null(x, TRAIN.labels, permutations=3, seed=4)
        assert layer.null == pytest.approx(null, rel=1e-4)
        assert layer.nearest_class_mean_accuracy == pytest.approx(
            nearest_class_mean_accuracy(x, TRAIN.labels, x_held, HELDOUT.labels)
        )


def test_a_profile_carries_its_laws_and_its_counts() -> None:
    result = profile(small_mlp(), TRAIN, HELDOUT, resamples=7)
    assert repr(result.law) == repr(fit_law(result.values))
    assert repr(result.law_heldout) == repr(fit_law(result.values_heldout))
    assert (result.num_classes, result.samples, result.samples_heldout) == (3, 60, 40)
    assert result.chance == pytest.approx(14 / 40)
    assert np.array(result.resampled).shape == np.array(result.resampled_heldout).shape == (7, 3)
    assert (result.nulls > 0).all()


def test_without_heldout_data() -> None:
    result = profile(small_mlp(), TRAIN)
    assert result.law_heldout is None
    assert np.isnan(result.values_heldout).all()
    assert all(layer.heldout is None for layer in result.layers)
    assert all(math.isnan(layer.nearest_class_mean_accuracy) for layer in result.layers)
    assert (result.samples_heldout, result.resampled_heldout) == (0, ())
    assert result.chance == pytest.approx(20 / 60)


def test_without_null_and_without_resamples() -> None:
    result = profile(small_mlp(), TRAIN, HELDOUT, permutations=0, resamples=0)
    assert np.isnan(result.nulls).all()
    assert (result.resampled, result.resampled_heldout) == ((), ())


def test_deterministic_under_its_seed() -> None:
    model = small_mlp()
    assert_same(
        profile(model, TRAIN, HELDOUT, seed=1),
        profile(model, TRAIN, HELDOUT, seed=1),
    )
    other = profile(model, TRAIN, HELDOUT, seed=2)
    assert other.resampled != profile(model, TRAIN, HELDOUT, seed=1).resampled
    assert (other.nulls != profile(model, TRAIN, HELDOUT, seed=1).nulls).all()


def test_torchs_generator_is_left_as_it_was() -> None:
    before = torch.get_rng_state()
    profile(small_mlp(), TRAIN, HELDOUT)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unknown_block_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="got 'nowhere'"):
        profile(small_mlp(), TRAIN, blocks=["nowhere"])


def test_only_the_blocks_that_were_asked_for() -> None:
    result = profile(small_mlp(), TRAIN, blocks=["0.0", "1"])
    assert [layer.name for layer in result.layers] == ["input", "0.0", "1"]


def test_a_dead_block_makes_the_law_degenerate() -> None:
    model = small_mlp()
    nn.init.constant_(model[1][1].weight, 0)  # type: ignore[index]
    result = profile(model, TRAIN, HELDOUT)
    assert result.layers[2].train.status is SeparationStatus.NO_SIGNAL
    assert math.isnan(result.layers[2].train.value)
    assert result.law.status is LawStatus.DEGENERATE
    assert np.isnan(result.resampled)[:, 2].all()


def test_a_profile_survives_json() -> None:
    result = profile(small_mlp(), TRAIN, HELDOUT, resamples=5)
    assert_same(profile_from_json(profile_to_json(result)), result)


def test_numbers_that_do_not_exist_survive_json() -> None:
    result = profile(small_mlp(), TRAIN, permutations=0, resamples=0)
    again = profile_from_json(profile_to_json(result))
    assert np.isnan(again.nulls).all()
    assert_same(again, result)


@pytest.mark.parametrize("part", ["train", "heldout"])
def test_resampled_values_scatter_as_values_over_new_data_do(part: str) -> None:
    model = nn.Sequential(nn.Identity(), nn.Linear(5, 3))
    fixed = sample(1000)
    logs, spreads = [], []
    for seed in range(80):
        if part == "train":
            result = profile(model, sample(seed), blocks=["0"], permutations=0)
            value, draws = result.values[0], result.resampled
        else:
            result = profile(model, fixed, sample(seed), ["0"], permutations=0)
            value, draws = result.values_heldout[0], result.resampled_heldout
        logs.append(np.log(value))
        spreads.append(np.log(np.array(draws)[:, 0]).std())
    assert np.median(spreads) == pytest.approx(np.std(logs), rel=0.3)


# --- null ---


@pytest.mark.parametrize(("classes", "permutations"), [(100, 3), (101, 1)])
def test_many_classes_need_but_one_permutation(classes: int, permutations: int) -> None:
    data = labelled(303, 5, classes)
    result = profile(small_mlp(classes=classes), data, resamples=0, seed=4)
    for count in (1, 3):
        null = label_permutation_null(data.inputs, data.labels, count, seed=4)
        assert (result.layers[0].null == pytest.approx(null)) is (count == permutations)
    asked = profile(small_mlp(classes=classes), data, resamples=0, seed=4, permutations=2)
    null = label_permutation_null(data.inputs, data.labels, 2, seed=4)
    assert asked.layers[0].null == pytest.approx(null)


# --- residual ---


@pytest.mark.parametrize("targets", ["classes", "one number", "two numbers"])
def test_the_residual_is_that_of_features_taken_by_hand(targets: str) -> None:
    model = small_mlp()
    numbers = ALL.inputs[:, :2].square() + ALL.labels[:, None]
    wanted = {"classes": ALL.labels, "one number": numbers[:, 0], "two numbers": numbers}[targets]
    classes = 3 if targets == "classes" else None
    y, y_held = wanted[:60], wanted[60:]
    result = profile(
        model, (TRAIN.inputs, y), (HELDOUT.inputs, y_held), measure="residual", resamples=20
    )
    train, held = taps_by_hand(model, TRAIN.inputs), taps_by_hand(model, HELDOUT.inputs)
    for layer, x, x_held in zip(result.layers, train, held, strict=True):
        direct = prediction_residual(x, y, classes)
        assert layer.train.value == pytest.approx(direct.value, rel=1e-6)
        assert layer.heldout is not None
        crossed = cross_fitted_residual(x, y, x_held, y_held, classes)
        assert layer.heldout.value == pytest.approx(crossed.value, rel=1e-6)
        assert layer.null == pytest.approx(1 - direct.rank / 59)
        assert math.isnan(layer.nearest_class_mean_accuracy)
    assert result.measure == "residual"
    assert result.num_classes == (classes or 0)
    assert math.isnan(result.chance) is (classes is None)
    assert math.isnan(result.accuracy) is (classes is None)
    assert np.array(result.resampled).shape == np.array(result.resampled_heldout).shape == (20, 3)
    assert np.isfinite(result.resampled).all()


def test_the_null_of_the_residual_is_what_permuted_targets_give() -> None:
    model = small_mlp()
    result = profile(model, TRAIN, measure="residual", permutations=0, resamples=0)
    generator = torch.Generator().manual_seed(0)
    for tap, null in zip(taps_by_hand(model, TRAIN.inputs), result.nulls, strict=True):
        permuted = [
            prediction_residual(tap, TRAIN.labels[torch.randperm(60, generator=generator)], 3).value
            for _ in range(200)
        ]
        error = float(np.std(permuted)) / math.sqrt(200)
        assert null == pytest.approx(np.mean(permuted), abs=4 * error)
        assert 0.8 < null < 1


def test_real_targets_have_no_separation() -> None:
    with pytest.raises(InvalidInputError, match=r"got real targets; measure the residual\.$"):
        profile(small_mlp(), (TRAIN.inputs, TRAIN.inputs[:, 0]))


def test_a_residual_may_meet_classes_that_were_not_in_training() -> None:
    some = TRAIN.labels != 1
    data = LabelledTensors(TRAIN.inputs[some], TRAIN.labels[some])
    result = profile(small_mlp(), data, HELDOUT, measure="residual")
    assert np.isfinite(result.values_heldout).all()
    with pytest.raises(InvalidInputError, match="among the training classes, got class 1, too"):
        profile(small_mlp(), data, HELDOUT)


# --- tokens ---


@pytest.mark.parametrize("measure", list(Measure))
@pytest.mark.parametrize("features", ["flatten", "pool", "project"])
@pytest.mark.parametrize("keep", [True, False])
def test_every_token_is_a_sample(
    measure: str, features: str, keep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not keep:
        monkeypatch.setattr(import_module("designer.analysis.passes"), "KEEP_FEATURES", 0)
    train, held = sequences(40), sequences(20, seed=1)
    result, rows = (
        profile(
            tagger(),
            *data,
            measure=measure,
            features=features,
            permutations=0,
            resamples=0,
            batch_size=9,
        )
        for data in (
            (train, held),
            [(inputs.flatten(0, 1), labels.flatten()) for inputs, labels in (train, held)],
        )
    )
    assert (result.samples, result.samples_heldout) == (240, 120)
    assert_close(result, rows)
    assert result.accuracy == rows.accuracy
    assert result.accuracy_heldout == rows.accuracy_heldout
    assert [layer.width for layer in result.layers] == [5, 7, 7]


@pytest.mark.parametrize("measure", list(Measure))
def test_the_tokens_of_a_vocabulary(measure: str) -> None:
    body = tagger()
    embedding = nn.Embedding(20, 5)
    tokens = torch.randint(20, (40, 6), generator=torch.Generator().manual_seed(0))
    labels = tokens % 3
    result = profile(
        nn.Sequential(embedding, *body), (tokens, labels), measure=measure, permutations=0
    )
    embedded = embedding(tokens).detach()
    expected = profile(body, (embedded, labels), measure=measure, permutations=0)
    np.testing.assert_allclose(result.values, expected.values, rtol=1e-6)
    assert result.accuracy == expected.accuracy


def test_labels_of_tokens_where_blocks_give_none() -> None:
    with pytest.raises(InvalidInputError, match=r"Expected blocks to give \(n, tokens, features\)"):
        profile(small_mlp(), (TRAIN.inputs, TRAIN.labels[:, None]))


# --- several inputs, other outputs ---


class TwoInputs(nn.Module):
    """Takes two inputs and gives a dict whose logits are not its first tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.body = small_mlp()

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        hidden = self.body[1](self.body[0](torch.cat([left, right], dim=1)))
        return {"hidden": hidden, "logits": self.body[2](hidden)}


@pytest.mark.parametrize("named", [True, False])
def test_several_inputs_and_a_dict_as_output(named: bool) -> None:
    def parted(data: LabelledTensors) -> LabelledData:
        left, right = data.inputs[:, :2], data.inputs[:, 2:]
        parts = {"right": right, "left": left} if named else (left, right)
        return parts, data.labels

    with torch.random.fork_rng():
        result = profile(TwoInputs(), parted(TRAIN), parted(HELDOUT), ["body.0", "body.1"])
    expected = profile(small_mlp(), TRAIN, HELDOUT)
    assert [layer.name for layer in result.layers] == ["input", "body.0", "body.1"]
    np.testing.assert_allclose(result.values, expected.values, rtol=1e-6)
    np.testing.assert_allclose(result.values_heldout, expected.values_heldout, rtol=1e-6)
    assert result.accuracy == expected.accuracy
    assert result.accuracy_heldout == expected.accuracy_heldout
