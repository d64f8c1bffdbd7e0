"""Equal samples stay on one side of a split, and are counted where they stand on both."""

from __future__ import annotations

from itertools import chain, combinations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from designer.data.dataset import Array, Dataset, LabelledTensors
from designer.data.duplicates import (
    LARGEST_LEAK,
    equal_samples,
    leaks_between,
    leaks_of,
    proportional,
    sample_digests,
    split_groups,
)
from designer.data.loading import load_dataset
from tests.support.datasets import Source, X, Y, write_classes

few = settings(max_examples=50, deadline=None, derandomize=True)


def copies(points: int = 80, times: int = 6, classes: int = 2) -> tuple[Array, Array]:
    """Return random points, each several times and always with the same random label."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(points, 5)), np.arange(points) % classes
    order = generator.permutation(points * times) % points
    return x[order], generator.permutation(y)[order]


def rows_of(data: Dataset) -> dict[str, set[bytes]]:
    """Return the different inputs of each part."""
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    return {name: set(sample_digests([part.inputs])) for name, part in parts.items()}


def leaks(data: Dataset) -> dict[str, int]:
    """Return the number of leaked samples by part."""
    return {k.part: k.samples for k in leaks_of(data.train, data.validation, data.test)}


# --- the split ---


def test_copies_stay_together(source: Source) -> None:
    data = load_dataset(source(*copies()))
    for first, second in combinations(rows_of(data).values(), 2):
        assert first.isdisjoint(second)
    assert leaks(data) == {}
    assert len(data.train) + len(data.validation) + len(data.test) == 480
    assert abs(len(data.test) - 96) <= 6
    assert abs(len(data.validation) - 96) <= 6
    for part in (data.train, data.validation, data.test):
        assert abs(int(part.labels.sum()) - len(part) / 2) <= 6


def test_copies_are_split_like_others_where_that_is_asked_for(source: Source) -> None:
    data = load_dataset(source(*copies()), split_duplicates=True)
    assert leaks(data) == {"validation": 96, "test": 96}


@pytest.mark.parametrize("options", [{}, {"train_size": 21}, {"seed": 5}])
def test_without_copies_the_split_is_that_of_scikit_learn(
    source: Source, options: dict[str, Any]
) -> None:
    data = load_dataset(source(X, Y), **options, scaling="none")
    seed, keep = options.get("seed", 0), options.get("train_size", 36)
    trainval, test = train_test_split(
        np.arange(60), train_size=48, test_size=12, stratify=Y, random_state=seed
    )
    held_out = 12 if keep == 36 else 7
    train, validation = train_test_split(
        trainval, train_size=keep, test_size=held_out, stratify=Y[trainval], random_state=seed
    )
    for part, rows in ((data.train, train), (data.validation, validation), (data.test, test)):
        assert torch.equal(part.inputs, torch.from_numpy(X[rows]).float())
    plain = load_dataset(source(X, Y), **options, split_duplicates=True)
    assert plain.fingerprint == data.fingerprint


def test_the_split_of_copies_follows_its_seed(source: Source) -> None:
    first, again, other = (load_dataset(source(*copies()), seed=seed) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_a_few_copies_change_neither_sizes_nor_classes(source: Source) -> None:
    x, y = X.copy(), np.sort(Y)
    x[[1, 21, 41]] = x[[0, 20, 40]]
    data = load_dataset(source(x, y))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [36, 12, 12]
    for part, count in ((data.train, 12), (data.validation, 4), (data.test, 4)):
        assert part.labels.bincount().tolist() == [count] * 3
    assert leaks(data) == {}


def test_copies_with_other_labels_stay_together_too(source: Source) -> None:
    x, y = copies()
    data = load_dataset(source(x, np.random.default_rng(1).integers(0, 3, len(y))))
    assert leaks(data) == {}
    for part in (data.train, data.validation, data.test):
        assert (part.labels.bincount(minlength=3) > 0).all()


def test_train_size_counts_samples(source: Source) -> None:
    data = load_dataset(source(*copies()), train_size=60)
    assert len(data.train) == 60
    assert abs(len(data.validation) - 20) <= 6
    assert leaks(data) == {}


def test_a_class_of_one_sample_and_its_copies_is_trained_on(source: Source) -> None:
    x, y = copies(points=30, times=2)
    x, y = np.concatenate([x, np.zeros((40, 5))]), np.concatenate([y, np.full(40, 2)])
    data = load_dataset(source(x, y))
    assert leaks(data) == {}
    assert int((data.train.labels == 2).sum()) == 40
    assert {w.code for w in data.warnings} == {
        "class_missing_from_validation",
        "class_missing_from_test",
    }


def test_one_sample_that_stands_for_most_of_the_data(source: Source) -> None:
    x, y = np.concatenate([np.zeros((500, 4)), X]), np.arange(560) % 2
    data = load_dataset(source(x, y))
    assert leaks(data) == {}
    assert min(len(rows) for rows in rows_of(data).values()) >= 10


def test_what_cannot_be_kept_together_is_split_and_counted(source: Source) -> None:
    x, y = np.repeat([[0.0, 1.0], [1.0, 0.0]], 50, axis=0), np.repeat([0, 1], 50)
    data = load_dataset(source(x, y))
    assert leaks(data) == {"validation": 20, "test": 20}


@few
@given(
    sizes=st.lists(st.integers(1, 30), min_size=3, max_size=60),
    classes=st.integers(1, 4),
    share=st.floats(0.05, 0.6),
    mixed=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_no_group_is_split(
    *, sizes: list[int], classes: int, share: float, mixed: bool, seed: int
) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    y = np.random.default_rng(seed).integers(0, classes, len(groups)) if mixed else groups % classes
    y = np.unique(y, return_inverse=True)[1]
    wanted = max(1, round(share * len(y)))
    parts = split_groups(y, groups, wanted, None, seed)
    if parts is None:
        return
    kept, held = parts
    assert sorted(chain(kept.tolist(), held.tolist())) == list(range(len(y)))
    assert set(groups[kept]).isdisjoint(groups[held])
    assert set(y[kept]) == set(y)
    assert abs(len(held) - wanted) <= classes * max(sizes)


@few
@given(counts=st.lists(st.integers(1, 50), min_size=1, max_size=8), share=st.floats(0.0, 1.0))
def test_proportions_are_kept_to_the_sample(counts: list[int], share: float) -> None:
    array = np.array(counts)
    total = max(len(counts), round(share * array.sum()))
    shares = proportional(array, total, array)
    assert shares.sum() == total
    assert ((shares >= 1) & (shares <= array)).all()
    large = array * total / array.sum() >= 1
    assert (np.abs(shares - array * total / array.sum())[large] <= len(counts)).all()


# --- equal samples ---


def test_equal_numbers_are_equal_samples() -> None:
    x = np.array([[0.0, 1.0], [2.0, 3.0], [-0.0, 1.0], [2.0, 3.0]])
    groups = equal_samples([x])
    assert groups is not None
    assert groups.tolist() == [0, 1, 0, 1]
    assert equal_samples([x[:2]]) is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_tensors_of_any_dtype_can_be_compared(dtype: torch.dtype) -> None:
    x = torch.tensor([[0, 1], [1, 1], [0, 1]]).to(dtype)
    first, second, third = sample_digests([x])
    assert first == third != second


def test_inputs_of_several_tensors_are_equal_if_all_are() -> None:
    a, b = torch.tensor([[1.0], [1.0], [1.0]]), torch.tensor([[2], [3], [2]])
    first, second, third = sample_digests([a, b])
    assert first == third != second


# --- leaks ---


def test_a_test_set_that_holds_training_samples(source: Source) -> None:
    x_test = np.concatenate([X[:8], X[:12] + 1])
    data = load_dataset(source(X, Y, x_test, np.arange(20) % 3))
    (leak,) = leaks_of(data.train, data.validation, data.test)
    assert (leak.part, leak.samples, leak.total, leak.share) == ("test", 8, 20, 0.4)
    assert leak.spoils
    assert leak.warning().code == "leaked_test"
    assert leak.warning().message.startswith(
        "8 of 20 test samples (40.0 %) also stand in the training or validation data"
    )


def test_a_few_leaked_samples_are_counted_but_spoil_nothing() -> None:
    x = torch.arange(200.0)[:, None]
    y = torch.zeros(200, dtype=torch.int64)
    known = round(100 * LARGEST_LEAK)
    validation = LabelledTensors(x[100 - known : 200 - known], y[:100])
    (leak,) = leaks_of(LabelledTensors(x[:100], y[:100]), validation, None)
    assert leak.samples == known
    assert not leak.spoils


def test_copies_among_images(tmp_path: Any) -> None:
    write_classes(tmp_path / "train", n=20)
    write_classes(tmp_path / "test", n=20)  # the same bytes
    assert leaks(load_dataset(str(tmp_path)))["test"] == 40


def test_leaks_between_tensors_in_memory() -> None:
    x = torch.arange(10.0)[:, None]
    (leak,) = leaks_between([x[:6]], [x[4:]])
    assert (leak.samples, leak.total, leak.part) == (2, 6, "held-out")
    assert leaks_between([x[:6]], [x[6:]]) == ()
