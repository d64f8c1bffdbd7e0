"""Rounding is no class direction, and neither offset nor scale hides one that is there."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from designer.measures.class_sums import ClassSums
from designer.measures.influence import ScatterCrossing
from designer.measures.permutations import permuted_labels
from designer.measures.separation import (
    class_directions,
    nearest_class_mean_accuracy,
    separation_fuzziness,
    separation_fuzziness_of_stream,
)
from designer.results.measured import SeparationStatus
from tests.support.helpers import DEVICES, gaussian_classes
from tests.support.measuring import assert_no_value, noisy_map, residual_value, separation_value

BINARY = [1e-300, 1e-160, 1e-40, 1e40, 1e160, 1e300]
"""Scales of features in float64; the squares of all but the middle two leave the range."""


def standardised(n: int, p: int, seed: int) -> Tensor:
    """Return n samples (n, p) with mean 0 and standard deviation 1, up to rounding."""
    x, _ = gaussian_classes(n, p, 2, seed=seed)
    return (x - x.mean(0)) / x.std(0)


# --- class means that coincide ---


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_classes_with_the_same_standardised_samples_have_no_signal(
    dtype: torch.dtype, seed: int
) -> None:
    x = standardised(50, 7, seed).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.cat([x[torch.randperm(50, generator=generator)] for _ in range(4)])
    separation = separation_fuzziness(shuffled, torch.arange(4).repeat_interleave(50))
    assert_no_value(separation, SeparationStatus.NO_SIGNAL)
    assert "within the rounding" in separation.reason


@pytest.mark.parametrize("offset", [0.0, 0.1, -3.7])
@pytest.mark.parametrize("scale", [1.0, 0.3, 7.7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parity_of_three_bits_has_no_signal(
    dtype: torch.dtype, scale: float, offset: float
) -> None:
    # the classes have the same mean, the centre of the cube
    bits = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)), dtype=torch.float64)
    labels = (bits.sum(1) % 2).long().repeat(20)
    features = ((bits - bits.mean(0)) / bits.std(0) * scale + offset).to(dtype).repeat(20, 1)
    assert_no_value(separation_fuzziness(features, labels), SeparationStatus.NO_SIGNAL)


def test_layer_that_mixes_classes_with_the_same_samples_in_float32() -> None:
    # products of matrices round at every step, and leave other means in each class
    x = standardised(50, 40, 0).float().repeat(4, 1)
    weights = torch.randn(40, 60, generator=torch.Generator().manual_seed(1))
    rows = torch.stack([x[i : i + 1] @ weights for i in range(200)]).squeeze(1)
    features = torch.cat([rows[:100], (x @ weights)[100:]])
    assert_no_value(
        separation_fuzziness(features, torch.arange(4).repeat_interleave(50)),
        SeparationStatus.NO_SIGNAL,
    )


def test_coinciding_means_have_no_null_either() -> None:
    x = standardised(50, 3, 0)
    labels = torch.arange(2).repeat_interleave(50)
    sums = ClassSums(2, labelings=2)
    sums.update(x.repeat(2, 1), labels, labels.flip(0))
    permuted = sums.permuted()
    permuted.update(x.repeat(2, 1), labels.flip(0))
    assert math.isnan(permuted.values()[0])


def test_rank_is_that_of_a_bottleneck_wherever_the_features_lie() -> None:
    x, y = gaussian_classes(300, 2, 5, seed=3)
    weights = torch.randn(2, 60, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for offset in (0.0, 10.0):
        separation = separation_fuzziness((x.float() @ weights.float()) + offset, y)
        assert (separation.rank, separation.status) == (2, SeparationStatus.RANK_DEFICIENT)


def test_many_equal_samples_have_no_scatter() -> None:
    # their sum in float64 takes a rounding of the same sign at every step
    centres = torch.tensor([[0.1, 0.7], [0.3, 0.2]], dtype=torch.float64)
    y = torch.arange(200_000) % 2
    assert separation_fuzziness(centres[y], y).status is SeparationStatus.COLLAPSED


# --- a large offset ---


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("n", "p", "classes"), [(60, 5, 3), (200, 30, 4), (1000, 100, 10)])
@pytest.mark.parametrize("offset", [1e5, -1e6, 4e6])
def test_float32_with_a_large_offset(
    device: str, offset: float, n: int, p: int, classes: int
) -> None:
    x, y = gaussian_classes(n, p, classes)
    features = (x + offset).float()
    separation = separation_fuzziness(features.to(device), y.to(device))
    assert (separation.rank, separation.status) == (classes - 1, SeparationStatus.OK)
    exact = separation_value(features.double() - offset, y)
    assert separation.value == pytest.approx(exact, rel=1e-8)


def test_float32_with_an_offset_by_hand() -> None:
    # class means 0 and 4 with variances 1 and 1: D = 1 / 4 wherever they lie; 2^20 rounds nothing
    x = torch.tensor([[-1.0], [1.0], [3.0], [5.0]]) + 2.0**20
    assert separation_value(x, torch.tensor([0, 0, 1, 1])) == pytest.approx(0.25, rel=1e-12)


@pytest.mark.parametrize("offset", [1e6, 1e9, 1e12])
def test_float64_with_a_large_offset_keeps_all_digits(offset: float) -> None:
    x, y = gaussian_classes(400, 20, 4)
    features = x + offset
    exact = separation_value(features - offset, y)  # this difference rounds nothing
    assert separation_value(features, y) == pytest.approx(exact, rel=1e-12)
    batches = [(features[i : i + 70], y[i : i + 70]) for i in range(0, 400, 70)]
    streamed = separation_fuzziness_of_stream(lambda: batches, 4)
    assert streamed.value == pytest.approx(exact, rel=1e-12)


def test_nearest_class_mean_and_nulls_keep_all_digits_far_from_0() -> None:
    x, y = gaussian_classes(400, 20, 4, spread=3)
    near = nearest_class_mean_accuracy(x[:200], y[:200], x[200:], y[200:])
    distant = x + 1e12
    far = nearest_class_mean_accuracy(distant[:200], y[:200], distant[200:], y[200:])
    assert near == far
    assert nulls(distant, y) == pytest.approx(nulls(distant - 1e12, y), rel=1e-10)


# --- an extreme scale ---


@pytest.mark.parametrize("scale", BINARY)
def test_float64_of_any_scale(scale: float) -> None:
    x, y = gaussian_classes(120, 6, 3)
    separation = separation_fuzziness(x * scale, y)
    assert (separation.rank, separation.status) == (2, SeparationStatus.OK)
    assert separation.value == pytest.approx(separation_value(x, y), rel=1e-9)
    assert nulls(x * scale, y) == pytest.approx(nulls(x, y), rel=1e-9)


@pytest.mark.parametrize("scale", BINARY)
def test_influence_and_nearest_class_mean_of_any_scale(scale: float) -> None:
    x, y = gaussian_classes(120, 6, 3)
    np.testing.assert_allclose(influences(x * scale, y), influences(x, y), rtol=1e-6)
    halves = (slice(60), slice(60, None))
    accuracies = {
        nearest_class_mean_accuracy(
            factor * x[halves[0]], y[halves[0]], factor * x[halves[1]], y[halves[1]]
        )
        for factor in (1.0, scale)
    }
    assert len(accuracies) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_narrower_dtypes_of_any_scale(dtype: torch.dtype, scale: float) -> None:
    x, y = gaussian_classes(120, 6, 3)
    features = (x * scale).to(dtype)
    expected = separation_value(features.double() / scale, y)
    assert separation_value(features, y) == pytest.approx(expected, rel=1e-9)


def test_a_scale_that_comes_late_in_a_stream() -> None:
    x, y = gaussian_classes(120, 6, 3)
    batches = [(x[:60] * 1e-170, y[:60]), (x[60:] * 1e170, y[60:])]
    streamed = separation_fuzziness_of_stream(lambda: batches, 3)
    x[:60] = 0
    assert streamed.value == pytest.approx(separation_value(x, y), rel=1e-9)


def test_features_that_cannot_be_summed_say_so() -> None:
    x, y = gaussian_classes(120, 6, 3)
    separation = separation_fuzziness(1.7e308 * torch.sign(x), y)
    assert_no_value(separation, SeparationStatus.NON_FINITE)
    assert "too large" in separation.reason
    assert "NaN" not in separation.reason


@pytest.mark.parametrize("scale", [1e-160, 1e160])
@pytest.mark.parametrize("scaled", ["features", "targets", "both"])
def test_residual_of_any_scale(scaled: str, scale: float) -> None:
    x, y = noisy_map(80, 5, 2)
    features = x if scaled == "targets" else x * scale
    targets = y if scaled == "features" else y * scale
    assert residual_value(features, targets) == pytest.approx(residual_value(x, y), rel=1e-9)


def nulls(features: Tensor, labels: Tensor) -> list[float]:
    """Return D of features under two permutations of their labels, in one pass for both."""
    permuted = permuted_labels(labels, 2, seed=0)
    sums = ClassSums(int(labels.max()) + 1, labelings=3)
    sums.update(features, labels, *permuted)
    scatter = sums.permuted()
    scatter.update(features, *permuted)
    return scatter.values()


def influences(features: Tensor, labels: Tensor) -> np.ndarray:
    """Return the influence of each sample on log D."""
    directions = class_directions(features, labels)
    crossing = ScatterCrossing(directions)
    crossing.update(features, directions.whitened_residuals(features, labels))
    return crossing.influence().on_log_separation(features, labels)
