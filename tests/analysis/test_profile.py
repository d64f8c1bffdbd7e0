"""Profiles: equal to the separation functions by hand, for every form of data."""

from __future__ import annotations

import math
from collections import defaultdict
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from designer import profile
from designer.choices import Measure
from designer.data.batches import LabelledData, batches_of
from designer.data.dataset import LabelledTensors
from designer.errors import InvalidInputError
from designer.measures.features import projection
from designer.measures.intervals import intervals
from designer.measures.law import fit_law
from designer.measures.residual import cross_fitted_residual, prediction_residual
from designer.measures.rulers import bytes_needed
from designer.measures.separation import (
    cross_fitted_separation,
    label_permutation_null,
    nearest_class_mean_accuracy,
    separation_fuzziness,
)
from designer.probing.probes import TRACED_SAMPLES
from designer.results.measured import FloatArray, LawStatus, SeparationProfile, SeparationStatus
from designer.results.serialisation import profile_from_json, profile_to_json
from tests.support.helpers import DEVICES, gaussian_classes, labelled, small_mlp

ALL = labelled(100)
TRAIN = LabelledTensors(ALL.inputs[:60], ALL.labels[:60])
HELDOUT = LabelledTensors(ALL.inputs[60:], ALL.labels[60:])


def taps_by_hand(model: nn.Sequential, inputs: Tensor) -> list[Tensor]:
    """Input and block outputs without any hook."""
    model.eval()
    with torch.no_grad():
        first = model[0](inputs)
        return [inputs, first, model[1](first)]


@pytest.mark.parametrize("device", DEVICES)
def test_a_profile_is_the_separation_functions_on_features_taken_by_hand(device: str) -> None:
    model = small_mlp()
    train, held = taps_by_hand(model, TRAIN.inputs), taps_by_hand(model, HELDOUT.inputs)
    seen = profile(model.to(device), TRAIN, HELDOUT, seed=4, resamples=10)
    assert [layer.name for layer in seen.layers] == ["input", "0", "1"]
    for layer, x, x_held in zip(seen.layers, train, held, strict=True):
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
    seen = profile(small_mlp(), TRAIN, HELDOUT, resamples=7)
    assert repr(seen.law) == repr(fit_law(seen.values))
    assert repr(seen.law_heldout) == repr(fit_law(seen.values_heldout))
    assert (seen.num_classes, seen.samples, seen.samples_heldout) == (3, 60, 40)
    assert seen.chance == pytest.approx(14 / 40)
    assert np.array(seen.resampled).shape == np.array(seen.resampled_heldout).shape == (7, 3)
    assert (seen.nulls > 0).all()


def test_without_heldout_data() -> None:
    seen = profile(small_mlp(), TRAIN)
    assert seen.law_heldout is None
    assert np.isnan(seen.values_heldout).all()
    assert all(layer.heldout is None for layer in seen.layers)
    assert all(math.isnan(layer.nearest_class_mean_accuracy) for layer in seen.layers)
    assert (seen.samples_heldout, seen.resampled_heldout) == (0, ())
    assert seen.chance == pytest.approx(20 / 60)


def test_without_null_and_without_resamples() -> None:
    seen = profile(small_mlp(), TRAIN, HELDOUT, permutations=0, resamples=0)
    assert np.isnan(seen.nulls).all()
    assert (seen.resampled, seen.resampled_heldout) == ((), ())


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


def test_features_that_are_not_kept_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_mlp()
    kept = profile(model, TRAIN, HELDOUT, batch_size=16)
    monkeypatch.setattr(import_module("designer.analysis.passes"), "KEEP_FEATURES", 0)
    runs = []
    model.register_forward_hook(lambda *_: runs.append(1))
    assert_close(profile(model, TRAIN, HELDOUT, batch_size=16), kept)
    assert len(runs) > math.ceil(60 / 16) + math.ceil(40 / 16)


def test_small_features_are_kept_and_the_model_runs_once_per_batch() -> None:
    model, runs = small_mlp(), []
    model.register_forward_hook(lambda *_: runs.append(1))
    profile(model, TRAIN, HELDOUT, batch_size=16)
    looked = 3  # at a few samples: to find the blocks, and which axis is that of samples
    assert len(runs) == looked + math.ceil(60 / 16) + math.ceil(40 / 16)


@pytest.mark.parametrize("batch_size", [1, 7, 60, 1000])
def test_the_batch_size_does_not_matter(batch_size: int) -> None:
    model = small_mlp()
    assert_close(
        profile(model, TRAIN, HELDOUT, batch_size=batch_size), profile(model, TRAIN, HELDOUT)
    )


def test_a_data_loader_gives_the_same_as_tensors() -> None:
    model = small_mlp()
    train, heldout = (
        DataLoader(TensorDataset(part.inputs, part.labels), batch_size=16)
        for part in (TRAIN, HELDOUT)
    )
    seen = profile(model, train, heldout)
    assert_close(seen, profile(model, TRAIN, HELDOUT))


def test_a_pair_and_a_list_of_batches_give_the_same_as_labelled_tensors() -> None:
    model = small_mlp()
    expected = profile(model, TRAIN, HELDOUT)
    pair = (TRAIN.inputs, TRAIN.labels)
    assert_same(profile(model, pair, (HELDOUT.inputs, HELDOUT.labels)), expected)
    assert_close(profile(model, TRAIN.batches(9), HELDOUT.batches(9)), expected)


@pytest.mark.parametrize("keep", [True, False])
def test_a_shuffling_data_loader_is_refused(keep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not keep:
        monkeypatch.setattr(import_module("designer.analysis.passes"), "KEEP_FEATURES", 0)
    loader = DataLoader(TensorDataset(TRAIN.inputs, TRAIN.labels), batch_size=16, shuffle=True)
    with pytest.raises(InvalidInputError, match=r"same order .* shuffle=False"):
        profile(small_mlp(), loader)


@pytest.mark.parametrize("which", ["train", "heldout"])
def test_batches_that_can_be_read_only_once_are_refused(which: str) -> None:
    data: dict[str, Any] = {"train": TRAIN, "heldout": HELDOUT}
    data[which] = iter(data[which].batches(16))
    with pytest.raises(InvalidInputError, match=r"Expected data that can be iterated more than"):
        profile(small_mlp(), **data)


def test_no_batch_at_all() -> None:
    with pytest.raises(InvalidInputError, match=r"Expected .* got no batch"):
        profile(small_mlp(), [])


@pytest.mark.parametrize(
    "labels",
    [
        TRAIN.labels.float(),
        TRAIN.labels[:, None],
        TRAIN.labels - 1,
        TRAIN.labels[:30],
    ],
    ids=["floating", "two-dimensional", "negative", "too few"],
)
@pytest.mark.parametrize("in_batches", [False, True])
def test_malformed_labels_are_refused(labels: Tensor, in_batches: bool) -> None:
    pair = (TRAIN.inputs, labels)
    with pytest.raises(InvalidInputError, match=r"Expected"):
        profile(small_mlp(), [pair] if in_batches else pair)


def test_a_list_of_two_tensors_is_refused() -> None:
    pair: Any = [TRAIN.inputs, TRAIN.labels]
    with pytest.raises(InvalidInputError, match=r"Expected .*\(inputs, labels\)"):
        profile(small_mlp(), pair)


def test_a_single_class_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"Expected samples of at least 2 classes, got 1"):
        profile(small_mlp(), (TRAIN.inputs, torch.zeros_like(TRAIN.labels)))


def test_heldout_data_with_an_unknown_class_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"Expected held-out labels .* got class 3"):
        profile(small_mlp(), TRAIN, (HELDOUT.inputs, HELDOUT.labels + 1))


def test_an_unknown_block_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="got 'nowhere'"):
        profile(small_mlp(), TRAIN, blocks=["nowhere"])


def test_only_the_blocks_that_were_asked_for() -> None:
    seen = profile(small_mlp(), TRAIN, blocks=["0.0", "1"])
    assert [layer.name for layer in seen.layers] == ["input", "0.0", "1"]


def test_a_dead_block_makes_the_law_degenerate() -> None:
    model = small_mlp()
    nn.init.constant_(model[1][1].weight, 0)  # type: ignore[index]
    seen = profile(model, TRAIN, HELDOUT)
    assert seen.layers[2].train.status is SeparationStatus.NO_SIGNAL
    assert math.isnan(seen.layers[2].train.value)
    assert seen.law.status is LawStatus.DEGENERATE
    assert np.isnan(seen.resampled)[:, 2].all()


def test_a_profile_survives_json() -> None:
    seen = profile(small_mlp(), TRAIN, HELDOUT, resamples=5)
    assert_same(profile_from_json(profile_to_json(seen)), seen)


def test_numbers_that_do_not_exist_survive_json() -> None:
    seen = profile(small_mlp(), TRAIN, permutations=0, resamples=0)
    again = profile_from_json(profile_to_json(seen))
    assert np.isnan(again.nulls).all()
    assert_same(again, seen)


@pytest.mark.parametrize("part", ["train", "heldout"])
def test_resampled_values_scatter_as_values_over_new_data_do(part: str) -> None:
    model = nn.Sequential(nn.Identity(), nn.Linear(5, 3))
    fixed = sample(1000)
    logs, spreads = [], []
    for seed in range(80):
        if part == "train":
            seen = profile(model, sample(seed), blocks=["0"], permutations=0)
            value, draws = seen.values[0], seen.resampled
        else:
            seen = profile(model, fixed, sample(seed), ["0"], permutations=0)
            value, draws = seen.values_heldout[0], seen.resampled_heldout
        logs.append(np.log(value))
        spreads.append(np.log(np.array(draws)[:, 0]).std())
    assert np.median(spreads) == pytest.approx(np.std(logs), rel=0.3)


# --- intervals from a part of the samples ---


def test_intervals_from_a_part_run_the_model_again_for_that_part_alone(
    not_kept: None,
) -> None:
    model, seen = small_mlp(), list[int]()
    model.register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
    profile(model, sample(0, 4000), sample(1, 30), permutations=0, batch_size=40, seed=5)
    batches = batches_of(sample(0, 4000), 40)
    part = batches.sample_mask(500 / 4000, seed=5)  # an eighth
    chosen = [int(part[rows].sum()) for _, _, rows in batches]
    looked = [TRACED_SAMPLES, TRACED_SAMPLES, TRACED_SAMPLES - 1]
    assert seen == [*looked, *[40] * 200, *filter(None, chosen), 30]
    assert sum(chosen) == pytest.approx(500, rel=0.1)


def test_batches_without_a_sample_of_the_part_do_not_run_again(not_kept: None) -> None:
    model, seen = small_mlp(), list[int]()
    model.register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
    profile(model, sample(0, 1000), permutations=0, batch_size=2)
    part = batches_of(sample(0, 1000), 2).sample_mask(256 / 1000, seed=0)
    again = int(part.view(500, 2).any(1).sum())
    assert 150 < again < 300
    assert len(seen) == 3 + 2 * 500 + again


def test_without_resamples_nothing_runs_again(not_kept: None) -> None:
    model, seen = small_mlp(), list[int]()
    model.register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
    profile(model, sample(0, 4000), resamples=0, batch_size=40)
    assert len(seen) == 3 + 200


def test_intervals_from_a_part_are_as_wide_as_those_from_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = small_mlp()
    full = spreads_of(profile(model, sample(0, 4000), resamples=1000))
    monkeypatch.setattr(import_module("designer.analysis.passes"), "KEEP_FEATURES", 0)
    part = profile(model, sample(0, 4000), resamples=1000)
    np.testing.assert_allclose(spreads_of(part), full, rtol=0.15)
    centre = np.log(part.resampled).mean(axis=0)
    np.testing.assert_allclose(centre, np.log(part.values), atol=0.2 * full.min())


def test_intervals_from_a_part_cover(not_kept: None) -> None:
    model = nn.Sequential(nn.Identity(), nn.Linear(5, 3))
    seen = [profile(model, sample(seed, 1500), blocks=["0"], permutations=0) for seed in range(60)]
    centre = np.exp(np.mean([np.log(one.values[0]) for one in seen]))
    bounds = [intervals(np.array(one.resampled))[0] for one in seen]
    assert 0.88 <= np.mean([low <= centre <= high for low, high in bounds]) < 1


def test_a_part_of_sequences_is_whole_sequences(not_kept: None) -> None:
    inputs, labels = sequences(400)
    again = profile(tagger(), (inputs, labels), batch_size=50, resamples=500)
    rows = profile(tagger(), (inputs.flatten(0, 1), labels.flatten()), resamples=500)
    np.testing.assert_allclose(again.values, rows.values, rtol=1e-9)
    np.testing.assert_allclose(spreads_of(again), spreads_of(rows), rtol=0.2)


# --- how outputs become features ---


def only_for(features: str, dimension: int) -> int | None:
    """A dimension where there is something to project to it."""
    return dimension if features == "project" else None


def test_a_dimension_needs_a_projection() -> None:
    with pytest.raises(InvalidInputError, match="dimension only together with features 'project'"):
        profile(conv_net(), images(20), features="pool", dimension=3)


@pytest.mark.parametrize("features", ["flatten", "pool", "project"])
def test_maps_are_reduced_as_by_hand(features: str) -> None:
    model = conv_net()
    train, held = images(80), images(40, seed=1)
    seen = profile(
        model, train, held, features=features, dimension=only_for(features, 20), seed=2, resamples=0
    )
    assert [layer.name for layer in seen.layers] == ["input", "0", "1"]
    assert seen.features == ("project 20" if features == "project" else features)
    assert seen.notes == ()
    by_hand, by_hand_held = (
        [reduced(output, features, 20, 2) for output in maps_by_hand(model, inputs)]
        for inputs, _ in (train, held)
    )
    for layer, x, x_held in zip(seen.layers, by_hand, by_hand_held, strict=True):
        assert layer.width == x.shape[1]
        direct = separation_fuzziness(x, train[1]).value
        assert layer.train.value == pytest.approx(direct, rel=1e-4)
        assert layer.heldout is not None
        crossed = cross_fitted_separation(x, train[1], x_held, held[1]).value
        assert layer.heldout.value == pytest.approx(crossed, rel=1e-4)


def test_pooled_features_begin_at_what_the_first_block_receives() -> None:
    model, data = conv_net(), images(80)
    whole = profile(model, data, features="pool", resamples=0)
    seen = profile(model, data, blocks=["1"], features="pool", resamples=0)
    assert [layer.width for layer in seen.layers] == [4, 6]
    np.testing.assert_allclose(seen.values, whole.values[1:])
    assert "the first row is what '1' receives" in seen.notes[0]


def test_a_model_says_how_its_features_are_best_taken() -> None:
    model, data = conv_net(), images(80)
    model.block_features = "pool"  # type: ignore[assignment]
    pooled = profile(model, data)
    assert_same(pooled, profile(conv_net(), data, features="pool"))
    assert pooled.features == "pool"
    assert_same(profile(model, data, features="flatten"), profile(conv_net(), data))
    assert profile(model, data, features="flatten").features == "flatten"


@pytest.mark.parametrize("measure", list(Measure))
def test_features_that_do_not_fit_into_memory_are_projected(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = conv_net(), images(80)
    limit_memory(monkeypatch, bytes_needed(measure, [64, 144, 96], 3, 4) - 1)
    seen = profile(model, data, measure=measure, permutations=3)
    assert seen.features == "project 128"
    assert [layer.width for layer in seen.layers] == [64, 128, 96]
    (note,) = seen.notes
    assert "seeded random projections of them to 128 dimensions were measured" in note
    expected = profile(model, data, measure=measure, features="project", dimension=128)
    np.testing.assert_allclose(seen.values, expected.values)


@pytest.mark.parametrize("dimension", [64, 16, 1])
def test_the_dimension_is_halved_until_it_fits(
    dimension: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = [min(width, dimension) for width in (64, 144, 96)]
    limit_memory(monkeypatch, bytes_needed(Measure.SEPARATION, widths, 3, 4))
    for features in (None, "project"):
        seen = profile(conv_net(), images(80), features=features)
        assert seen.features == f"project {dimension}"
        assert [layer.width for layer in seen.layers] == widths
        assert len(seen.notes) == (features is None)


def test_one_dimension_is_left_where_nothing_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_memory(monkeypatch, 0)
    assert profile(conv_net(), images(80)).features == "project 1"


def test_what_was_asked_for_is_done_whatever_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = profile(conv_net(), images(80))
    limit_memory(monkeypatch, 1)
    flat = profile(conv_net(), images(80), features="flatten")
    assert (flat.features, flat.notes) == ("flatten", ())
    assert_same(flat, expected)
    assert profile(conv_net(), images(80), features="pool").features == "pool"
    assert profile(conv_net(), images(80), dimension=100).features == "project 100"
    model = conv_net()
    model.block_features = "flatten"  # type: ignore[assignment]
    assert profile(model, images(80)).features == "flatten"


def test_projections_follow_the_seed() -> None:
    one, same, other = (
        profile(conv_net(), images(80), features="project", dimension=9, seed=seed).values
        for seed in (1, 1, 2)
    )
    assert (one == same).all()
    assert (one != other).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"features": "max"}, "Expected features among flatten, pool, project, got 'max'"),
        ({"measure": "loss"}, "Expected a measure among separation, residual, got 'loss'"),
        ({"dimension": 0}, "Expected a dimension of at least 1, got 0"),
        ({"permutations": -1}, "Expected `permutations` of at least 0, got -1"),
        ({"resamples": -1}, "Expected `resamples` of at least 0, got -1"),
        ({"batch_size": 0}, "Expected a batch size of at least 1, got 0"),
    ],
)
def test_options_that_mean_nothing(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        profile(small_mlp(), TRAIN, **options)


# --- many batches ---


@pytest.mark.parametrize("features", ["flatten", "pool", "project"])
@pytest.mark.parametrize("measure", list(Measure))
def test_many_batches_are_one_batch(measure: str, features: str) -> None:
    model = conv_net().double()
    data, held = images(80, dtype=torch.float64), images(40, seed=1, dtype=torch.float64)
    one, many = (
        profile(
            model,
            data,
            held,
            measure=measure,
            features=features,
            dimension=only_for(features, 24),
            batch_size=size,
        )
        for size in (80, 7)
    )
    rel = 1e-5 if features == "project" else 1e-9  # projections are in float32
    for name in ("values", "values_heldout", "nulls", "resampled", "resampled_heldout"):
        np.testing.assert_allclose(getattr(many, name), getattr(one, name), rtol=rel)


# --- null ---


@pytest.mark.parametrize(("classes", "permutations"), [(100, 3), (101, 1)])
def test_many_classes_need_but_one_permutation(classes: int, permutations: int) -> None:
    data = labelled(303, 5, classes)
    seen = profile(small_mlp(classes=classes), data, resamples=0, seed=4)
    for count in (1, 3):
        null = label_permutation_null(data.inputs, data.labels, count, seed=4)
        assert (seen.layers[0].null == pytest.approx(null)) is (count == permutations)
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
    seen = profile(
        model, (TRAIN.inputs, y), (HELDOUT.inputs, y_held), measure="residual", resamples=20
    )
    train, held = taps_by_hand(model, TRAIN.inputs), taps_by_hand(model, HELDOUT.inputs)
    for layer, x, x_held in zip(seen.layers, train, held, strict=True):
        direct = prediction_residual(x, y, classes)
        assert layer.train.value == pytest.approx(direct.value, rel=1e-6)
        assert layer.heldout is not None
        crossed = cross_fitted_residual(x, y, x_held, y_held, classes)
        assert layer.heldout.value == pytest.approx(crossed.value, rel=1e-6)
        assert layer.null == pytest.approx(1 - direct.rank / 59)
        assert math.isnan(layer.nearest_class_mean_accuracy)
    assert seen.measure == "residual"
    assert seen.num_classes == (classes or 0)
    assert math.isnan(seen.chance) is (classes is None)
    assert math.isnan(seen.accuracy) is (classes is None)
    assert np.array(seen.resampled).shape == np.array(seen.resampled_heldout).shape == (20, 3)
    assert np.isfinite(seen.resampled).all()


def test_the_null_of_the_residual_is_what_permuted_targets_give() -> None:
    model = small_mlp()
    seen = profile(model, TRAIN, measure="residual", permutations=0, resamples=0)
    generator = torch.Generator().manual_seed(0)
    for tap, null in zip(taps_by_hand(model, TRAIN.inputs), seen.nulls, strict=True):
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
    seen = profile(small_mlp(), data, HELDOUT, measure="residual")
    assert np.isfinite(seen.values_heldout).all()
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
    seen, rows = (
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
    assert (seen.samples, seen.samples_heldout) == (240, 120)
    assert_close(seen, rows)
    assert seen.accuracy == rows.accuracy
    assert seen.accuracy_heldout == rows.accuracy_heldout
    assert [layer.width for layer in seen.layers] == [5, 7, 7]


@pytest.mark.parametrize("measure", list(Measure))
def test_the_tokens_of_a_vocabulary(measure: str) -> None:
    body = tagger()
    embedding = nn.Embedding(20, 5)
    tokens = torch.randint(20, (40, 6), generator=torch.Generator().manual_seed(0))
    labels = tokens % 3
    seen = profile(
        nn.Sequential(embedding, *body), (tokens, labels), measure=measure, permutations=0
    )
    embedded = embedding(tokens).detach()
    expected = profile(body, (embedded, labels), measure=measure, permutations=0)
    np.testing.assert_allclose(seen.values, expected.values, rtol=1e-6)
    assert seen.accuracy == expected.accuracy


def test_labels_of_tokens_where_blocks_give_none() -> None:
    with pytest.raises(InvalidInputError, match=r"Expected blocks to give \(n, tokens, features\)"):
        profile(small_mlp(), (TRAIN.inputs, TRAIN.labels[:, None]))


def test_heldout_data_of_another_kind() -> None:
    with pytest.raises(InvalidInputError, match=r"labels \(n, tokens\) as .* got labels \(n,\)"):
        profile(tagger(), sequences(40), (TRAIN.inputs, TRAIN.labels))


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
        seen = profile(TwoInputs(), parted(TRAIN), parted(HELDOUT), ["body.0", "body.1"])
    expected = profile(small_mlp(), TRAIN, HELDOUT)
    assert [layer.name for layer in seen.layers] == ["input", "body.0", "body.1"]
    np.testing.assert_allclose(seen.values, expected.values, rtol=1e-6)
    np.testing.assert_allclose(seen.values_heldout, expected.values_heldout, rtol=1e-6)
    assert seen.accuracy == expected.accuracy
    assert seen.accuracy_heldout == expected.accuracy_heldout


# --- the model's own accuracy ---


@pytest.mark.parametrize("batch_size", [None, 7])
def test_accuracy_is_that_of_the_largest_logit(batch_size: int | None) -> None:
    model = small_mlp().eval()
    seen = profile(model, TRAIN, HELDOUT, batch_size=batch_size)
    for found, data in ((seen.accuracy, TRAIN), (seen.accuracy_heldout, HELDOUT)):
        assert found == float((model(data.inputs).argmax(1) == data.labels).sum()) / len(data)


def test_one_logit_tells_two_classes_apart() -> None:
    model = small_mlp(classes=1).eval()
    labels = TRAIN.labels % 2
    seen = profile(model, (TRAIN.inputs, labels))
    assert seen.accuracy == float(((model(TRAIN.inputs)[:, 0] > 0) == labels).sum()) / 60
    with pytest.raises(InvalidInputError, match=r"Expected labels below 2, the number of classes"):
        profile(model, TRAIN)


def test_a_head_that_is_named_as_a_block_still_gives_the_accuracy() -> None:
    whole, named = profile(small_mlp(), TRAIN, HELDOUT), profile(small_mlp(), TRAIN, blocks=["2"])
    assert named.accuracy == whole.accuracy


def test_a_model_without_a_head_has_no_accuracy() -> None:
    headless = small_mlp()[:2]
    seen = profile(headless, TRAIN, HELDOUT, blocks=["0", "1"])
    assert math.isnan(seen.accuracy)
    assert math.isnan(seen.accuracy_heldout)


def test_without_heldout_data_there_is_no_heldout_accuracy() -> None:
    seen = profile(small_mlp(), TRAIN)
    assert seen.accuracy >= 0
    assert math.isnan(seen.accuracy_heldout)


def test_labels_that_the_model_has_no_output_for() -> None:
    with pytest.raises(InvalidInputError, match=r"^Expected labels below 2, .* got 2\.$"):
        profile(small_mlp(classes=2), TRAIN)


# --- progress ---


@pytest.mark.parametrize(
    ("measure", "passes"),
    [
        ("separation", ["class means", "scatter", "intervals", "held-out data"]),
        ("residual", ["linear prediction", "intervals", "held-out data"]),
    ],
)
def test_progress_rises_to_the_end_of_every_pass(
    measure: str, passes: list[str], not_kept: None
) -> None:
    seen = progress_of(measure)
    assert list(seen) == passes
    for what, steps in seen.items():
        total = 40 if what == "held-out data" else 60
        assert steps == [(min(done, total), total) for done in range(16, total + 16, 16)]


def test_what_is_kept_in_memory_passes_without_progress() -> None:
    assert list(progress_of("separation")) == ["class means", "held-out data"]


def progress_of(measure: str) -> dict[str, list[tuple[int, int]]]:
    """Samples done and in all, after each batch of each pass."""
    seen: dict[str, list[tuple[int, int]]] = defaultdict(list)
    profile(
        small_mlp(),
        TRAIN,
        HELDOUT,
        measure=measure,
        batch_size=16,
        progress=lambda what, done, total: seen[what].append((done, total)),
    )
    return seen


@pytest.fixture
def not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """No features are kept in memory, as if they were many."""
    monkeypatch.setattr(import_module("designer.analysis.passes"), "KEEP_FEATURES", 0)


def limit_memory(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Let the measuring hold ``limit`` bytes."""
    monkeypatch.setattr(import_module("designer.analysis.feature_choice"), "MEMORY", limit)


def spreads_of(seen: SeparationProfile) -> FloatArray:
    """(L + 1,) standard deviations of log D over the resamples."""
    spreads: FloatArray = np.log(seen.resampled).std(axis=0)
    return spreads


def conv_net() -> nn.Sequential:
    """Two convolutions for images of 8 x 8, the first without padding, and a head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()),
            nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU()),
            nn.Flatten(),
            nn.Linear(96, 3),
        )


def images(n: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Images (n, 1, 8, 8) of three classes."""
    flat, labels = gaussian_classes(n, 64, seed=seed, dtype=dtype)
    return flat.view(n, 1, 8, 8), labels


def maps_by_hand(model: nn.Sequential, inputs: Tensor) -> list[Tensor]:
    """The flat input and the maps behind both convolutions."""
    with torch.no_grad():
        first = model[0](inputs)
        return [inputs.flatten(1), first, model[1](first)]


def reduced(output: Tensor, features: str, dimension: int, seed: int) -> Tensor:
    """(n, p) features of an output (n, ...)."""
    if features == "pool" and output.ndim == 4:
        return output.mean((2, 3))
    flat = output.flatten(1)
    if features == "project":
        return flat @ projection(flat.shape[1], dimension, seed).to_dense().T
    return flat


def tagger() -> nn.Sequential:
    """Two blocks and a head that work on each token (n, tokens, 5) alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Sequential(nn.Linear(5, 7), nn.ReLU()),
            nn.Sequential(nn.Linear(7, 7), nn.Tanh()),
            nn.Linear(7, 3),
        )


def sequences(n: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Sequences (n, 6, 5) and a label for each of their tokens (n, 6)."""
    inputs, labels = gaussian_classes(6 * n, 5, seed=seed, dtype=torch.float32)
    order = torch.randperm(6 * n, generator=torch.Generator().manual_seed(seed))
    return inputs[order].view(n, 6, 5), labels[order].view(n, 6)


def sample(seed: int, n: int = 300) -> tuple[Tensor, Tensor]:
    """A fresh sample of the same three classes."""
    labels = torch.arange(n) % 3
    noise = torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))
    return 2 * torch.eye(5)[labels] + noise, labels


def assert_same(one: SeparationProfile, other: SeparationProfile) -> None:
    """Equal to the last bit; numbers that do not exist count as equal."""
    assert repr(one) == repr(other)


def assert_close(one: SeparationProfile, other: SeparationProfile) -> None:
    """Equal up to the order in which sums were taken."""
    for name in ("values", "values_heldout", "nulls", "resampled", "resampled_heldout"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-4)
    for a, b in zip(one.layers, other.layers, strict=True):
        assert (a.name, a.width, a.train.rank) == (b.name, b.width, b.train.rank)
        assert a.nearest_class_mean_accuracy == pytest.approx(
            b.nearest_class_mean_accuracy, abs=0, nan_ok=True
        )
