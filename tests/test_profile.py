"""Profiles: equal to the separation functions by hand, for every form of data."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from designer import profile
from designer.datasets import LabelledTensors
from designer.errors import InvalidInputError
from designer.law import fit_law
from designer.results import LawStatus, SeparationProfile, SeparationStatus
from designer.separation import (
    cross_fitted_separation,
    label_permutation_null,
    nearest_class_mean_accuracy,
    separation_fuzziness,
)
from designer.serialisation import profile_from_json, profile_to_json
from tests.helpers import DEVICES, labelled, small_mlp

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
    monkeypatch.setattr(import_module("designer.profile"), "KEEP_FEATURES", 0)
    runs = []
    model.register_forward_hook(lambda *_: runs.append(1))
    assert_close(profile(model, TRAIN, HELDOUT, batch_size=16), kept)
    assert len(runs) > math.ceil(60 / 16) + math.ceil(40 / 16)


def test_small_features_are_kept_and_the_model_runs_once_per_batch() -> None:
    model, runs = small_mlp(), []
    model.register_forward_hook(lambda *_: runs.append(1))
    profile(model, TRAIN, HELDOUT, batch_size=16)
    looked = 1  # a few samples, to find the blocks
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
        monkeypatch.setattr(import_module("designer.profile"), "KEEP_FEATURES", 0)
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


def sample(seed: int) -> tuple[Tensor, Tensor]:
    """A fresh sample of the same three classes."""
    labels = torch.arange(300) % 3
    noise = torch.randn(300, 5, generator=torch.Generator().manual_seed(seed))
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
        assert a.nearest_class_mean_accuracy == b.nearest_class_mean_accuracy
