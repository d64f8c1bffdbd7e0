"""Looks agree with profiles, leave the model as it was, and see it as it is now."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from designer import profile
from designer.analysis.look import Look, LookSamples
from designer.data.dataset import Dataset, LabelledTensors
from designer.data.loading import load_dataset
from designer.results.measured import FloatArray
from designer.training.trainer import accuracy
from search_spaces import CnnSpace, CnnSpec, MlpSpace, MlpSpec
from tests.support.helpers import DEVICES, gaussian_classes, labelled, small_mlp
from tests.support.profiled import ALL, HELDOUT, TRAIN, conv_net, images

SAMPLES = LookSamples(TRAIN, HELDOUT)


def of_profile(model: nn.Module, samples: LookSamples) -> FloatArray:
    """Return the accuracies behind the blocks that a profile of the same samples measures."""
    layers = profile(model, samples.train, samples.heldout, resamples=0).layers[1:]
    return np.array([layer.nearest_class_mean_accuracy for layer in layers])


def trained(model: nn.Module, data: LabelledTensors, *, steps: int = 20) -> nn.Module:
    """Train a model a little, so that the statistics of its norms are no longer the first ones."""
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(data.inputs), data.labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model


def image_samples(n: int, size: int, channels: int) -> LookSamples:
    """Return 2n training and n held-out images of three classes that are not easily told apart."""
    x, y = gaussian_classes(3 * n, channels * size**2, spread=8.0, dtype=torch.float32)
    x = x.view(3 * n, channels, size, size)
    return LookSamples(
        LabelledTensors(x[: 2 * n], y[: 2 * n]), LabelledTensors(x[2 * n :], y[2 * n :])
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_a_look_at_all_samples_sees_what_a_profile_measures(norm: str, device: str) -> None:
    data = load_dataset("digits")
    spec = MlpSpec((32, 16, 24, 8, 16), norm, "relu", 1e-3)
    model = trained(MlpSpace().build(spec, data.input_shape, 10), data.train).to(device)
    data = data.to(torch.device(device))
    samples = LookSamples(data.train, data.validation)
    accuracies = Look(model, samples).heldout_accuracies().blocks
    np.testing.assert_allclose(accuracies, of_profile(model, samples), atol=1e-12)
    assert len(set(accuracies)) > 1


def test_a_look_sees_maps_flat_over_several_batches() -> None:
    samples = image_samples(150, 64, 1)  # a batch holds 256 of them: training samples span two
    spec = CnnSpec((1, 1), (4, 8), "batch", 1e-3)
    model = trained(CnnSpace().build(spec, (1, 64, 64), 3), samples.heldout, steps=2)
    accuracies = Look(model, samples).heldout_accuracies().blocks
    np.testing.assert_allclose(accuracies, of_profile(model, samples), atol=1e-12)
    assert 0.34 < accuracies.min() < 1


def test_a_look_pools_where_the_model_asks_for_it() -> None:
    x, y = images(90)
    samples = LookSamples(LabelledTensors(x[:60], y[:60]), LabelledTensors(x[60:], y[60:]))
    model = conv_net().double()
    flat = Look(model, samples).heldout_accuracies().blocks
    model.block_features = "pool"  # type: ignore[assignment]
    pooled = Look(model, samples).heldout_accuracies().blocks
    np.testing.assert_allclose(pooled, of_profile(model, samples), atol=1e-12)
    assert not np.array_equal(flat, pooled)


def test_a_class_without_training_samples_is_never_nearest() -> None:
    train = LabelledTensors(TRAIN.inputs, torch.where(TRAIN.labels == 1, 2, TRAIN.labels))
    kept = HELDOUT.labels != 1
    heldout = LabelledTensors(HELDOUT.inputs[kept], torch.where(HELDOUT.labels[kept] == 2, 2, 0))
    samples = LookSamples(train, heldout)
    model = small_mlp()
    with torch.no_grad():  # all features are near 0, where the mean of a class without samples is
        model[1][1].weight.mul_(1e-3)  # type: ignore[index]
    accuracies = Look(model, samples).heldout_accuracies().blocks
    np.testing.assert_allclose(accuracies, of_profile(model, samples), atol=1e-12)
    assert accuracies.min() > 0.4


def test_means_far_from_the_origin_keep_their_digits() -> None:
    class Far(nn.Module):
        block_names = ("block",)

        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Linear(5, 5)
            nn.init.eye_(self.block.weight)
            nn.init.constant_(self.block.bias, 3000.0)

        def forward(self, x: Tensor) -> Tensor:
            hidden: Tensor = self.block(x)
            return hidden

    near = Look(nn.Sequential(nn.Identity(), nn.Linear(5, 3)), SAMPLES, ["0"])
    far = Look(Far(), SAMPLES)
    assert far.heldout_accuracies().blocks[0] == pytest.approx(
        near.heldout_accuracies().blocks[0], abs=0.026
    )
    assert far.heldout_accuracies().blocks[0] == of_profile(Far(), SAMPLES)[0]


def test_features_that_are_not_finite_have_no_accuracy() -> None:
    model = small_mlp()
    nn.init.constant_(model[1][0].bias, float("nan"))  # type: ignore[index]
    first, second = Look(model, SAMPLES).heldout_accuracies().blocks
    assert first > 0.3
    assert np.isnan(second)


def test_a_dead_block_tells_no_classes_apart() -> None:
    model = small_mlp()
    nn.init.constant_(model[1][1].bias, -100.0)  # type: ignore[index]
    accuracies = Look(model, SAMPLES).heldout_accuracies().blocks
    assert accuracies[1] <= HELDOUT.chance
    np.testing.assert_allclose(accuracies, of_profile(model, SAMPLES), atol=1e-12)


def test_a_look_counts_what_the_network_gets_right() -> None:
    model = trained(small_mlp(), SAMPLES.train)
    expected = accuracy(model, SAMPLES.heldout)
    assert Look(model, SAMPLES).heldout_accuracies().network == pytest.approx(expected)
    assert expected > HELDOUT.chance


@pytest.mark.parametrize("last", [nn.Identity(), nn.Linear(3, 2), nn.Unflatten(1, (1, 3))])
def test_a_network_without_logits_has_no_accuracy(last: nn.Module) -> None:
    model = nn.Sequential(*small_mlp().children(), last)
    looked = Look(model, SAMPLES, ["0"]).heldout_accuracies()
    assert np.isnan(looked.network) == (not isinstance(last, nn.Identity))
    assert looked.blocks[0] > HELDOUT.chance


def test_half_precision_is_enough_for_a_look() -> None:
    accuracies = Look(small_mlp().bfloat16(), SAMPLES).heldout_accuracies().blocks
    expected = of_profile(small_mlp().bfloat16(), SAMPLES)
    np.testing.assert_allclose(accuracies, expected, atol=0.026)  # one sample of 40


def test_every_look_sees_the_weights_of_now_and_runs_the_model_once() -> None:
    model = small_mlp()
    runs = []
    model.register_forward_hook(lambda *_: runs.append(model.training))
    look = Look(model, SAMPLES)
    first = look.heldout_accuracies().blocks
    runs.clear()
    assert np.array_equal(look.heldout_accuracies().blocks, first)
    assert runs == [False]
    trained(model, ALL)
    second = look.heldout_accuracies().blocks
    assert not np.array_equal(second, first)
    assert np.array_equal(second, Look(model, SAMPLES).heldout_accuracies().blocks)


def test_looks_do_not_change_the_training() -> None:
    alone, watched = small_mlp(), small_mlp()
    look = Look(watched, SAMPLES)
    for _ in range(3):
        trained(alone, ALL, steps=2)
        trained(watched, ALL, steps=2)
        look.heldout_accuracies()
        assert all(module.training for module in watched.modules())
    for mine, theirs in zip(
        alone.state_dict().values(), watched.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs)
    assert not any(module._forward_hooks for module in watched.modules())


def test_samples_are_few_stratified_and_the_same_every_time() -> None:
    data = load_dataset("digits")
    samples = LookSamples.of(data, seed=3)
    assert len(samples.train) == pytest.approx(len(data.train) / 20, abs=5)
    assert len(samples.heldout) == pytest.approx(3 * len(data.train) / 20, abs=5)
    for part, whole in ((samples.train, data.train), (samples.heldout, data.validation)):
        share = len(part) / len(whole)
        expected = torch.bincount(whole.labels) * share
        assert bool(((torch.bincount(part.labels) - expected).abs() <= 1).all())
        rows = {tuple(row.flatten().tolist()) for row in whole.inputs}
        assert all(tuple(row.flatten().tolist()) in rows for row in part.inputs)
    again, other = LookSamples.of(data, seed=3), LookSamples.of(data, seed=4)
    assert torch.equal(samples.train.inputs, again.train.inputs)
    assert torch.equal(samples.heldout.inputs, again.heldout.inputs)
    assert not torch.equal(samples.train.labels, other.train.labels)


@pytest.mark.parametrize(
    ("classes", "n", "expected"),
    [(10, 200, (50, 150)), (10, 1600, (80, 240)), (10, 8000, (150, 300)), (100, 9000, (450, 1350)),
     (100, 40000, (750, 1500)), (2, 8000, (150, 300))],
)  # fmt: skip
def test_the_number_of_samples_grows_with_the_data_within_bounds(
    classes: int, n: int, expected: tuple[int, int]
) -> None:
    part = labelled(n, 3, classes)
    names = tuple(map(str, range(classes)))
    data = Dataset("made up", part, part, part, names, scaling={}, fingerprint="")
    samples = LookSamples.of(data, seed=0)
    sizes = (len(samples.train), len(samples.heldout))
    assert sizes == pytest.approx(expected, abs=classes / 2)


def test_few_data_are_taken_whole() -> None:
    data = load_dataset("tests.support.toy:blobs")
    samples = LookSamples.of(data, seed=0)
    assert len(samples.heldout) == len(data.validation)
    assert set(samples.train.labels.tolist()) == {0, 1, 2}
