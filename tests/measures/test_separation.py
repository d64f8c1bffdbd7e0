"""Separation fuzziness: oracle, textbook form, invariances, degenerate features, memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestCentroid
from torch import Tensor

from designer.errors import InvalidInputError
from designer.measures.influence import ScatterCrossing
from designer.measures.separation import (
    WIDE,
    class_directions,
    cross_fitted_separation,
    label_permutation_null,
    nearest_class_mean_accuracy,
    permuted_labels,
    separation_fuzziness,
    separation_fuzziness_of_stream,
    trace_ratio,
)
from designer.results.measured import Separation, SeparationStatus
from tests.support.helpers import DEVICES, gaussian_classes, textbook_scatters, textbook_separation
from tests.support.paths import FILES

ORACLE = FILES / "separation_oracle.npz"

few = settings(max_examples=20, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


# --- value ---


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "case",
    [
        "balanced",
        "imbalanced",
        "more_features_than_samples",
        "relu_with_dead_units",
        "rank_deficient_class_means",
    ],
)
def test_oracle_of_the_papers_authors(case: str, device: str) -> None:
    with np.load(ORACLE) as oracle:
        features = torch.from_numpy(oracle[f"{case}.features"]).to(device)
        labels = torch.from_numpy(oracle[f"{case}.labels"]).to(device)
        expected = float(oracle[f"{case}.value"])
    assert separation_fuzziness(features, labels).value == pytest.approx(expected, rel=1e-9)


def test_oracle_rank_of_deficient_class_means() -> None:
    with np.load(ORACLE) as oracle:
        features = torch.from_numpy(oracle["rank_deficient_class_means.features"])
        labels = torch.from_numpy(oracle["rank_deficient_class_means.labels"])
    found = separation_fuzziness(features, labels)
    assert (found.rank, found.full_rank) == (2, 3)
    assert found.status is SeparationStatus.RANK_DEFICIENT
    assert "2 of 3" in found.reason


@few
@given(seed=seeds, p=st.integers(1, 40), classes=st.integers(2, 6))
def test_equals_the_textbook_form(seed: int, p: int, classes: int) -> None:
    x, y = gaussian_classes(50, p, classes, seed=seed)
    expected = textbook_separation(x.numpy(), y.numpy())
    assert separation_fuzziness(x, y).value == pytest.approx(expected, rel=1e-6)


@few
@given(seed=seeds, counts=st.lists(st.integers(1, 40), min_size=2, max_size=5))
def test_imbalanced_classes_are_weighted_by_their_share(seed: int, counts: list[int]) -> None:
    counts[0] += 5
    x, _ = gaussian_classes(sum(counts), 8, seed=seed)
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    expected = textbook_separation(x.numpy(), y.numpy())
    assert separation_fuzziness(x, y).value == pytest.approx(expected, rel=1e-6)


def test_one_dimension_by_hand() -> None:
    # class means 0 and 4, weights 3/4 and 1/4: SS_b = 3; SS_w = (1 + 1) / 4
    x = torch.tensor([[-1.0], [0.0], [1.0], [4.0]])
    found = separation_fuzziness(x, torch.tensor([0, 0, 0, 1]))
    assert found.value == pytest.approx(0.5 / 3)
    assert (found.rank, found.full_rank, found.status) == (1, 1, SeparationStatus.OK)


@few
@given(seed=seeds)
def test_terms_add_up_to_the_value(seed: int) -> None:
    x, y = gaussian_classes(seed=seed, classes=4)
    found = separation_fuzziness(x, y)
    assert len(found.terms) == found.rank == 3
    assert sum(found.terms) == pytest.approx(found.value)


def test_images_are_flattened() -> None:
    x, y = gaussian_classes(p=12)
    assert separation_fuzziness(x.reshape(60, 3, 2, 2), y) == separation_fuzziness(x, y)


# --- invariances ---


@few
@given(seed=seeds, p=st.integers(2, 20))
def test_rotation_leaves_it_unchanged(seed: int, p: int) -> None:
    x, y = gaussian_classes(p=p, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(torch.randn(p, p, generator=generator, dtype=torch.float64))
    assert _value(x @ rotation, y) == pytest.approx(_value(x, y), rel=1e-7)


@few
@given(seed=seeds, shift=st.floats(-100, 100))
def test_shift_leaves_it_unchanged(seed: int, shift: float) -> None:
    x, y = gaussian_classes(seed=seed)
    assert _value(x + shift * torch.arange(5), y) == pytest.approx(_value(x, y), rel=1e-7)


@few
@given(seed=seeds, exponent=st.floats(-6, 6))
def test_uniform_scale_leaves_it_unchanged(seed: int, exponent: float) -> None:
    x, y = gaussian_classes(seed=seed)
    assert _value(10**exponent * x, y) == pytest.approx(_value(x, y), rel=1e-9)


def test_scale_per_feature_changes_it() -> None:
    x, y = gaussian_classes()
    assert _value(x * torch.tensor([1, 1, 1, 1, 100]), y) != pytest.approx(_value(x, y), rel=1e-3)


@few
@given(seed=seeds)
def test_order_of_samples_and_names_of_classes_do_not_matter(seed: int) -> None:
    x, y = gaussian_classes(seed=seed)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
    assert _value(x[order], (y[order] + 1) % 3) == pytest.approx(_value(x, y), rel=1e-9)


# --- streams ---


@pytest.mark.parametrize("device", DEVICES)
@few
@given(seed=seeds, cuts=st.sets(st.integers(1, 59), max_size=6))
def test_any_batch_split_gives_the_same(device: str, seed: int, cuts: set[int]) -> None:
    x, y = (tensor.to(device) for tensor in gaussian_classes(seed=seed))
    bounds = [0, *sorted(cuts), 60]
    batches = [(x[a:b], y[a:b]) for a, b in pairwise(bounds)]
    streamed = separation_fuzziness_of_stream(lambda: batches, num_classes=3)
    assert streamed.value == pytest.approx(_value(x, y), rel=1e-9)
    assert (streamed.rank, streamed.status) == (2, SeparationStatus.OK)


def test_stream_without_a_batch() -> None:
    with pytest.raises(InvalidInputError, match=r"Expected at least one batch .* got none"):
        separation_fuzziness_of_stream(list, num_classes=3)


def test_stream_whose_width_changes() -> None:
    x, y = gaussian_classes()
    with pytest.raises(InvalidInputError, match=r"Expected features of width 5 .* got 4"):
        separation_fuzziness_of_stream(lambda: [(x, y), (x[:, :4], y)], num_classes=3)


def test_stream_with_a_label_beyond_its_classes() -> None:
    x, y = gaussian_classes()
    with pytest.raises(InvalidInputError, match=r"Expected .* got"):
        separation_fuzziness_of_stream(lambda: [(x, y)], num_classes=2)


def test_stream_that_can_be_read_only_once() -> None:
    x, y = gaussian_classes()
    once = iter([(x, y)])

    def batches() -> Iterable[tuple[Tensor, Tensor]]:
        return once

    with pytest.raises(InvalidInputError, match=r"Expected"):
        separation_fuzziness_of_stream(batches, num_classes=3)


# --- precision ---


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("dtype", "rel"), [(torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 5e-2)]
)
def test_narrower_dtypes_agree_with_float64(device: str, dtype: torch.dtype, rel: float) -> None:
    x, y = (tensor.to(device) for tensor in gaussian_classes(200, 30, 4))
    assert _value(x.to(dtype), y) == pytest.approx(_value(x, y), rel=rel)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_what_rounding_leaves(dtype: torch.dtype) -> None:
    # far from the origin, where a tolerance of some roundings of the mean would lose everything
    x, y = gaussian_classes(400, 40, 5, spread=0.05)
    features = (x + 3).to(dtype)
    found = separation_fuzziness(features, y)
    assert (found.rank, found.status) == (4, SeparationStatus.OK)
    assert found.value == pytest.approx(_value(features.double(), y), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounding_alone_is_no_scatter_in_half_precision(dtype: torch.dtype) -> None:
    centres = torch.randn(3, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.arange(90) % 3
    tiny = 1e-5 * torch.randn(90, 20, generator=torch.Generator().manual_seed(1))
    found = separation_fuzziness((centres[y] + tiny).to(dtype), y)
    assert found.status is SeparationStatus.COLLAPSED


def test_float32_keeps_weak_class_directions() -> None:
    # singular values of M differ by 1e4, those of SS_b by 1e8: beyond float32
    x, y = gaussian_classes(90, 4, 3, spread=0)
    rotation, _ = torch.linalg.qr(x[:3].T - x[:3].T.mean(1, keepdim=True))
    centres = torch.tensor([[1.0, 0.0], [-0.5, 1e-4], [-0.5, -1e-4]], dtype=torch.float64)
    noise = 1e-5 * torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    features = centres[y] @ rotation[:, :2].T + noise
    found = separation_fuzziness(features.float(), y)
    assert (found.rank, found.status) == (2, SeparationStatus.OK)
    assert found.value == pytest.approx(_value(features, y), rel=1e-2)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("p", [WIDE, WIDE + 5])
@pytest.mark.parametrize("offset", [0.0, 1.0, 100.0])
def test_wide_float32_agrees_with_float64(device: str, p: int, offset: float) -> None:
    x, y = (tensor.to(device) for tensor in gaussian_classes(300, p, 4))
    features = (x + offset).float()
    assert _value(features, y) == pytest.approx(_value(features.double(), y), rel=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_wide_float32_is_exact_where_a_big_offset_would_swamp_it(device: str) -> None:
    x, y = (tensor.to(device) for tensor in gaussian_classes(300, WIDE, 4))
    features = (x + 1e4).float()
    assert _value(features, y) == pytest.approx(_value(features.double(), y), rel=1e-9)


def test_wide_float32_is_exact_where_samples_vary_much_across_the_class_directions() -> None:
    # each sample has an offset of its own that averages out within its class
    x, y = gaussian_classes(400, WIDE, 4)
    sign = torch.where((torch.arange(400) // 4) % 2 == 0, 1.0, -1.0)
    features = (x - x.mean(1, keepdim=True) + 1e4 * sign[:, None]).float()
    assert _value(features, y) == pytest.approx(_value(features.double(), y), rel=1e-4)


# --- features without a D ---


def test_rank_deficient_class_means() -> None:
    x, y = gaussian_classes(80, 6, 4, spread=0.1)
    centres = torch.arange(4.0, dtype=torch.float64)[y][:, None] * torch.ones(6)
    noise = x - torch.stack([x[y == k].mean(0) for k in range(4)])[y]
    found = separation_fuzziness(centres + noise, y)
    assert (found.rank, found.full_rank) == (1, 3)
    assert found.status is SeparationStatus.RANK_DEFICIENT
    assert found.value == pytest.approx(
        textbook_separation((centres + noise).numpy(), y.numpy()), rel=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("p", [2, 50, WIDE])
def test_features_without_scatter_within_the_classes(p: int, dtype: torch.dtype) -> None:
    x, y = gaussian_classes(60, p, 3, spread=0, dtype=dtype)
    found = separation_fuzziness(x, y)
    assert found.status is SeparationStatus.COLLAPSED
    assert found.value == 0.0
    assert found.reason


def test_integers_without_scatter_within_the_classes() -> None:
    y = torch.arange(30) % 3
    found = separation_fuzziness(torch.eye(3)[y], y)
    assert (found.value, found.status) == (0.0, SeparationStatus.COLLAPSED)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.3, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_features_have_no_signal(constant: float, dtype: torch.dtype) -> None:
    y = torch.arange(31) % 3
    _assert_no_value(
        separation_fuzziness(torch.full((31, 4), constant, dtype=dtype), y),
        SeparationStatus.NO_SIGNAL,
    )


def test_coinciding_class_means_have_no_signal() -> None:
    x = torch.tensor([[1.0, 2.0], [-1.0, -2.0], [3.0, 1.0], [-3.0, -1.0]])
    found = separation_fuzziness(x, torch.tensor([0, 0, 1, 1]))
    _assert_no_value(found, SeparationStatus.NO_SIGNAL)
    assert found.rank == 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("p", [5, WIDE])
def test_non_finite_features(device: str, bad: float, p: int) -> None:
    x, y = gaussian_classes(p=p, dtype=torch.float32)
    x[7, 3] = bad
    found = separation_fuzziness(x.to(device), y.to(device))
    _assert_no_value(found, SeparationStatus.NON_FINITE)
    assert "NaN or infinity" in found.reason


def test_non_finite_heldout_features() -> None:
    x, y = gaussian_classes()
    held = x.clone()
    held[0, 0] = float("nan")
    found = cross_fitted_separation(x, y, held, y)
    _assert_no_value(found, SeparationStatus.NON_FINITE)


def test_an_empty_class_does_not_enter() -> None:
    x, y = gaussian_classes()
    gap = torch.where(y == 2, 5, y)
    assert separation_fuzziness(x, gap).value == pytest.approx(_value(x, y), rel=1e-9)
    assert separation_fuzziness(x, gap).full_rank == 2


def test_a_class_with_one_sample_adds_no_scatter_within() -> None:
    x, y = gaussian_classes(61)
    y[60] = 3
    found = separation_fuzziness(x, y)
    assert found.value == pytest.approx(textbook_separation(x.numpy(), y.numpy()), rel=1e-7)
    assert found.full_rank == 3


def test_fewer_features_than_class_directions() -> None:
    x, y = gaussian_classes(100, 2, 5)
    found = separation_fuzziness(x, y)
    assert (found.rank, found.full_rank) == (2, 4)
    assert found.status is SeparationStatus.RANK_DEFICIENT
    assert np.isfinite(found.value)


# --- wrong use ---


@pytest.mark.parametrize(
    ("features", "labels", "came"),
    [
        (torch.zeros(6), torch.zeros(6).long(), r"got shape \(6,\)"),
        (torch.zeros(6, 2).long(), torch.zeros(6).long(), "torch.int64"),
        (torch.zeros(6, 2), torch.zeros(6, 1).long(), r"got shape \(6, 1\)"),
        (torch.zeros(6, 2), torch.zeros(6), "torch.float32"),
        (torch.zeros(6, 2), torch.zeros(6).bool(), "torch.bool"),
        (torch.zeros(6, 2), torch.zeros(5).long(), "got 6 samples and 5 labels"),
        (torch.zeros(0, 2), torch.zeros(0).long(), r"got shape \(0, 2\)"),
        (torch.zeros(6, 0), torch.zeros(6).long(), r"got shape \(6, 0\)"),
        (torch.zeros(6, 2), torch.arange(6) - 1, "got -1"),
        (torch.zeros(6, 2), torch.zeros(6).long(), "got 1"),
        (np.zeros((6, 2)), np.zeros(6), "got ndarray and ndarray"),
        ([[1.0]], [0], "got list and list"),
    ],
)
def test_wrong_use_says_what_was_expected_and_what_came(
    features: Tensor, labels: Tensor, came: str
) -> None:
    with pytest.raises(InvalidInputError, match=rf"^Expected .*{came}"):
        separation_fuzziness(features, labels)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_any_integer_dtype_serves_as_labels(dtype: torch.dtype) -> None:
    x, y = gaussian_classes()
    assert separation_fuzziness(x, y.to(dtype)) == separation_fuzziness(x, y)


# --- cross-fitted ---


@few
@given(seed=seeds, p=st.integers(2, 30))
def test_cross_fitted_equals_the_direct_formula(seed: int, p: int) -> None:
    x, y = gaussian_classes(120, p, 4, seed=seed)
    held, held_labels = x[70:], y[70:]
    _, between = textbook_scatters(x[:70].numpy(), y[:70].numpy())
    centres = np.stack([x[:70][y[:70] == k].numpy().mean(0) for k in range(4)])
    residuals = held.numpy() - centres[held_labels.numpy()]
    inverse = np.linalg.pinv(between, rcond=1e-10, hermitian=True)
    expected = np.einsum("ip,pq,iq->", residuals, inverse, residuals) / len(residuals)
    found = cross_fitted_separation(x[:70], y[:70], held, held_labels)
    assert found.value == pytest.approx(float(expected), rel=1e-6)


def test_cross_fitted_to_itself_is_the_ordinary_value() -> None:
    x, y = gaussian_classes()
    assert cross_fitted_separation(x, y, x, y) == separation_fuzziness(x, y)


def test_cross_fitted_takes_heldout_data_that_lack_a_class() -> None:
    x, y = gaussian_classes()
    assert cross_fitted_separation(x, y, x[y < 2], y[y < 2]).status is SeparationStatus.OK


@pytest.mark.parametrize("shift", [1, 7])
def test_cross_fitted_to_an_unknown_class(shift: int) -> None:
    x, y = gaussian_classes()
    with pytest.raises(InvalidInputError, match=r"Expected held-out labels .* got class"):
        cross_fitted_separation(x, y, x, y + shift)


def test_cross_fitted_to_features_of_another_width() -> None:
    x, y = gaussian_classes()
    with pytest.raises(InvalidInputError, match=r"Expected .* 5.* got"):
        cross_fitted_separation(x, y, x[:, :4], y)


# --- null ---


@pytest.mark.parametrize("p", [30, 200, 1000])
def test_null_of_isotropic_features(p: int) -> None:
    n, classes = 400, 4
    x = torch.randn(n, p, generator=torch.Generator().manual_seed(1))
    expected = (n - classes) * (classes - 1) / (p - classes)
    found = label_permutation_null(x, torch.arange(n) % classes, permutations=10)
    assert found == pytest.approx(expected, rel=0.2)


def test_null_does_not_depend_on_what_the_labels_say() -> None:
    x, y = gaussian_classes(300, 20, spread=0.1)
    assert label_permutation_null(x, y) > 100 * _value(x, y)


def test_null_is_seeded() -> None:
    x, y = gaussian_classes()
    assert label_permutation_null(x, y, seed=1) == label_permutation_null(x, y, seed=1)
    assert label_permutation_null(x, y, seed=1) != label_permutation_null(x, y, seed=2)


def test_permuted_labels_keep_the_counts_and_torchs_generator() -> None:
    _, y = gaussian_classes()
    state = torch.get_rng_state()
    drawn = permuted_labels(y, 3, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(drawn) == 3
    for labels in drawn:
        assert torch.equal(labels.bincount(), y.bincount())
        assert not torch.equal(labels, y)


# --- nearest class mean, trace ratio ---


@pytest.mark.parametrize("device", DEVICES)
@few
@given(seed=seeds)
def test_nearest_class_mean_accuracy_is_that_of_scikit_learn(device: str, seed: int) -> None:
    x, y = gaussian_classes(120, 6, 4, seed=seed)
    expected = NearestCentroid().fit(x[:70], y[:70]).score(x[70:], y[70:])
    x, y = x.to(device), y.to(device)
    found = nearest_class_mean_accuracy(x[:70], y[:70], x[70:], y[70:])
    assert found == pytest.approx(expected)


def test_nearest_class_mean_is_never_a_class_without_samples() -> None:
    x, y = gaussian_classes()
    predicted = class_directions(x + 100, torch.where(y == 0, 3, y)).nearest_class(x)
    assert set(predicted.tolist()) <= {1, 2, 3}


@pytest.mark.parametrize("count", [5, 60])
def test_nearest_class_mean_accuracy_checks_its_heldout_set(count: int) -> None:
    x, y = gaussian_classes()
    with pytest.raises(InvalidInputError, match=r"Expected .* got"):
        nearest_class_mean_accuracy(x, y, x, (y + 1)[:count])


@few
@given(seed=seeds, p=st.integers(1, 30))
def test_trace_ratio_equals_the_textbook(seed: int, p: int) -> None:
    x, y = gaussian_classes(p=p, seed=seed)
    within, between = textbook_scatters(x.numpy(), y.numpy())
    assert trace_ratio(x, y) == pytest.approx(np.trace(within) / np.trace(between), rel=1e-9)


def test_trace_ratio_of_constant_features() -> None:
    assert np.isnan(trace_ratio(torch.ones(6, 2), torch.arange(6) % 2))


# --- influence ---


@pytest.mark.parametrize("p", [3, 12])
def test_influences_are_what_leaving_a_sample_out_does(p: int) -> None:
    x, y = gaussian_classes(2000, p, 4, seed=3)
    directions = class_directions(x, y)
    crossing = ScatterCrossing(directions)
    crossing.update(x, directions.whitened_residuals(x, y))
    influences = crossing.influence().on_log_separation(x, y)
    others = ~torch.eye(2000, dtype=torch.bool)[:50]
    left_out = np.log([_value(x[rows], y[rows]) / _value(x, y) for rows in others])
    assert influences.mean() == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(-1999 * left_out, influences[:50], rtol=0.03, atol=0.03)


# --- memory ---


def test_wide_features_need_little_memory_beyond_themselves() -> None:
    script = """
import resource, sys, torch
from designer import separation_fuzziness
features, labels = torch.rand(1000, 65536), torch.arange(1000) % 10
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert separation_fuzziness(features, labels).status == "ok"
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * (1 if sys.platform == "darwin" else 1024), before)
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    growth, before = map(int, run.stdout.split())
    assert before > 0
    assert growth < 2**30


def _value(features: Tensor, labels: Tensor) -> float:
    return separation_fuzziness(features, labels).value


def _assert_no_value(found: Separation, status: SeparationStatus) -> None:
    assert np.isnan(found.value)
    assert found.status is status
    assert found.reason
