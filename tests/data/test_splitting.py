"""The split: stratified, seeded and without overlap; and the fingerprint of what was split."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from designer.data.loading import load_dataset
from designer.errors import DataError
from tests.support.datasets import (
    Source,
    X,
    Y,
    numbered,
    original,
)


def test_parts_do_not_overlap_and_hold_everything(source: Source) -> None:
    data = load_dataset(source(*numbered()))
    parts = [original(data, part) for part in (data.train, data.validation, data.test)]
    assert sorted(chain(*parts)) == list(range(100))
    assert [len(part) for part in parts] == [60, 20, 20]


def test_a_given_test_set_is_not_mixed_in(source: Source) -> None:
    x, y = numbered()
    data = load_dataset(source(x[:80], y[:80], x[80:], y[80:]))
    assert original(data, data.test) == list(range(80, 100))
    assert set(original(data, data.train)).isdisjoint(original(data, data.validation))


def test_parts_are_stratified(source: Source) -> None:
    y = np.repeat([0, 1, 2], [60, 30, 10])
    data = load_dataset(source(np.arange(100.0)[:, None], y), validation_fraction=0.25)
    for part, counts in ((data.train, [36, 18, 6]), (data.validation, [12, 6, 2])):
        assert part.labels.bincount().tolist() == counts
    assert data.chance == pytest.approx(0.6)


def test_many_classes_of_few_samples_are_in_every_part(source: Source) -> None:
    y = np.repeat(np.arange(30), 3)
    data = load_dataset(source(np.arange(90.0)[:, None], y))
    for part in (data.train, data.validation, data.test):
        assert part.labels.bincount().tolist() == [1] * 30


@pytest.mark.parametrize(("train", "test"), [(np.uint8, np.float32), (np.float32, np.uint8)])
def test_bytes_beside_other_numbers_are_refused(source: Source, train: type, test: type) -> None:
    x = np.arange(100.0)[:, None]
    message = "test inputs of type .* as in training, got .*: only bytes are divided by 255"
    with pytest.raises(DataError, match=message):
        load_dataset(
            source(x.astype(train), np.arange(100) % 4, x.astype(test), np.arange(100) % 4)
        )


def test_the_split_follows_its_seed(source: Source) -> None:
    first, again, other = (load_dataset(source(X, Y), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.train.inputs, again.train.inputs)
    assert not torch.equal(first.test.inputs, other.test.inputs)


def test_labels_stay_with_their_samples(source: Source) -> None:
    data = load_dataset(source(*numbered()))
    for part in (data.train, data.validation, data.test):
        mean, scale = data.scaling["mean"][0], data.scaling["scale"][0]
        number = (part.inputs[:, 0] * scale + mean).round().long()
        assert torch.equal(number % 4, part.labels)


@pytest.mark.parametrize(
    ("size", "fraction", "validation"), [(30, 0.25, 10), (20, 0.5, 20), (40, 0.2, 10), (4, 0.25, 4)]
)
def test_train_size(source: Source, size: int, fraction: float, validation: int) -> None:
    x, y = numbered()
    data = load_dataset(source(x, y, x, y), train_size=size, validation_fraction=fraction)
    assert (len(data.train), len(data.validation)) == (size, validation)


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.3, 0.4, 0.7])
@pytest.mark.parametrize("n", [61, 70, 101, 1000])
def test_the_largest_train_size_that_is_named_can_be_used(
    source: Source, n: int, fraction: float
) -> None:
    x, y = numbered(n)
    with pytest.raises(DataError, match=r"to [0-9]+ ") as caught:
        load_dataset(source(x, y, x, y), train_size=n, validation_fraction=fraction)
    largest = int(str(caught.value).split(" to ")[1].split()[0])
    data = load_dataset(source(x, y, x, y), train_size=largest, validation_fraction=fraction)
    assert len(data.train) == largest
    assert len(data.validation) <= n - largest


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_validation_fraction(source: Source, fraction: float) -> None:
    x, y = numbered()
    data = load_dataset(source(x, y, x, y), validation_fraction=fraction)
    assert len(data.validation) == 100 * fraction
    assert len(data.train) == 100 * (1 - fraction)


def test_shuffled_labels_keep_their_counts_but_not_their_places(source: Source) -> None:
    x, y = numbered()
    true = load_dataset(source(x, y))
    shuffled = load_dataset(source(x, y), shuffle_labels=True)
    assert shuffled.shuffled_labels
    assert shuffled.summary().shuffled_labels
    for part in ("train", "validation", "test"):
        counts = getattr(shuffled, part).labels.bincount()
        assert torch.equal(counts, getattr(true, part).labels.bincount())
    agree = np.mean(
        [
            float(np.mean(np.array(original(shuffled, part)) % 4 == part.labels.numpy()))
            for part in (shuffled.train, shuffled.validation)
        ]
    )
    assert agree < 0.6
    assert shuffled.fingerprint != true.fingerprint


def test_a_class_that_the_test_set_lacks_is_a_warning(source: Source) -> None:
    data = load_dataset(source(X, Y, X[Y < 2], Y[Y < 2]))
    (warning,) = data.warnings
    assert warning.code == "class_missing_from_test"
    assert "no sample of class 2" in warning.message
    assert data.num_classes == 3


# --- fingerprint ---


def test_the_fingerprint_is_stable(source: Source) -> None:
    known = {load_dataset(source(X, Y)).fingerprint for _ in range(2)}
    assert len(known) == 1
    assert len(known.pop()) == 64


def test_the_fingerprint_changes_with_the_data_and_the_split(source: Source) -> None:
    changed, relabelled = X.copy(), Y.copy()
    changed[7, 2] += 1e-6
    relabelled[[0, 1]] = relabelled[[1, 0]]
    prints = {
        load_dataset(source(X, Y)).fingerprint,
        load_dataset(source(changed, Y)).fingerprint,
        load_dataset(source(X, relabelled)).fingerprint,
        load_dataset(source(X, Y), seed=1).fingerprint,
        load_dataset(source(X, Y), train_size=20).fingerprint,
        load_dataset(source(X.astype(np.float32), Y)).fingerprint,
    }
    assert len(prints) == 6
