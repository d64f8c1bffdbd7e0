"""Forms of inputs and labels, and one sentence for arrays that cannot be used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from designer.data.dataset import Array
from designer.data.loading import load_dataset
from tests.support.datasets import (
    IMAGES,
    Source,
    X,
    Y,
    refused,
)


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        (IMAGES, (1, 6, 6)),
        (IMAGES[:, None], (1, 6, 6)),
        (IMAGES[..., None], (1, 6, 6)),
        (np.stack([IMAGES] * 3, axis=-1), (3, 6, 6)),
        (np.stack([IMAGES] * 3, axis=1), (3, 6, 6)),
        (IMAGES.reshape(60, 36), (36,)),
        (IMAGES > 100, (1, 6, 6)),
        (IMAGES.astype(np.float16), (1, 6, 6)),
        (IMAGES.reshape(60, 36)[:, :1].astype(np.float64), (1,)),
        (IMAGES.reshape(60, 36)[:, :1].astype(np.int64), (1,)),
    ],
    ids=[
        *("grey", "channel first", "channel last", "colour last", "colour first", "flat"),
        *("boolean", "half precision", "one feature", "one whole-numbered feature"),
    ],
)
def test_shapes_of_inputs(source: Source, x: Array, shape: tuple[int, ...]) -> None:
    data = load_dataset(source(x, Y))
    assert data.input_shape == shape
    assert data.train.inputs.isfinite().all()


def test_channels_last_means_the_same_as_channels_first(source: Source) -> None:
    first = np.random.default_rng(0).normal(size=(60, 3, 6, 5))
    channels_first = load_dataset(source(first, Y))
    channels_last = load_dataset(source(first.transpose(0, 2, 3, 1), Y))
    assert torch.equal(channels_first.train.inputs, channels_last.train.inputs)


def test_bytes_are_read_as_fractions_of_255(source: Source) -> None:
    data = load_dataset(source(IMAGES, Y))
    assert 0 < data.scaling["mean"][0] < 1
    assert data.scaling["scale"][0] < 0.5


@pytest.mark.parametrize(
    ("y", "names"),
    [
        (np.array(["cat", "dog", "eel"])[Y], ("cat", "dog", "eel")),
        (np.array(["cat", "dog", "eel"], dtype=object)[Y], ("cat", "dog", "eel")),
        (np.array([b"cat", b"dog", b"eel"])[Y], ("cat", "dog", "eel")),
        (Y[:, None], ("0", "1", "2")),
        (Y[:, None].astype(np.float64), ("0.0", "1.0", "2.0")),
        (Y.astype(np.float64), ("0.0", "1.0", "2.0")),
        (Y * 10 - 5, ("-5", "5", "15")),
        (Y.astype(np.uint8), ("0", "1", "2")),
    ],
    ids=["strings", "objects", "bytes", "column", "floating column", "floating", "gaps", "uint8"],
)
def test_forms_of_labels(source: Source, y: Array, names: tuple[str, ...]) -> None:
    data = load_dataset(source(X, y))
    assert data.class_names == names
    assert set(data.train.labels.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("size", [3, 12])
def test_image_size(source: Source, size: int) -> None:
    data = load_dataset(source(IMAGES, Y), image_size=size)
    assert data.input_shape == (1, size, size)
    assert data.test.inputs.shape[2:] == (size, size)


# --- arrays that cannot be used ---


def with_value(bad: float) -> Array:
    """Return ``X`` with one value replaced."""
    x = X.copy()
    x[3, 1] = bad
    return x


def with_label(bad: Any, dtype: Any) -> Array:
    """Return ``Y`` with one label replaced."""
    y = Y.astype(dtype)
    y[3] = bad
    return y


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((X, Y[:50]), "60 samples and 50 labels"),
        ((X, np.zeros(60, int)), "at least 2 classes .* got 1"),
        ((X, with_label(9, int)), "at least 3 samples of every class .* got 1 of class 9"),
        ((X, Y, X, with_label(9, int)), "class 9"),
        ((X, with_label(9, int), X, Y), "at least 2 samples of every class .* got 1 of class 9"),
        ((with_value(np.nan), Y), "finite training inputs, got 1 NaN or infinite"),
        ((with_value(np.inf), Y), "finite training inputs, got 1 NaN or infinite"),
        ((X, Y, with_value(np.nan), Y), "finite test inputs, got 1 NaN or infinite"),
        ((X[:0], Y[:0]), "at least one training sample"),
        ((X, Y, X[:0], Y[:0]), "at least one test sample"),
        ((X[:, :0], Y), "at least one training sample"),
        ((X, with_label(0.5, float)), "labels to be classes, got fractional"),
        ((X, with_label(np.nan, float)), "labels to be classes, got fractional, NaN"),
        ((X, Y, X[:, :3], Y), r"test inputs of shape \(n, 4\).* got \(60, 3\)"),
        ((X, Y, X, Y[:9]), "60 samples and 9 labels"),
        ((X, np.eye(3)[Y]), r"labels of shape \(n,\).* got shape \(60, 3\)"),
        ((X[:, 0], Y), r"inputs as numbers of shape .* got shape \(60,\)"),
        ((X[..., None, None, None], Y), "got shape"),
        ((X.astype(str), Y), "inputs as numbers"),
        ((X.astype(complex), Y), "inputs as numbers"),
        ((X.astype(object), Y), "inputs as numbers"),
        (([[1, 2], [3]] * 30, Y), "made_up:data|inputs"),
        ((X, np.array(["a", None, "c"], dtype=object)[Y]), "labels"),
        ((None, None), "inputs as numbers"),
        ((X, None), "labels"),
        ((X, Y, None, None), "Expected"),
        ((X, Y, X), r"to return \(x, y\).* got tuple"),
        (({"x_train": X},), "found x_train"),
        (({},), "found nothing"),
        (({"x_train": X, "y_train": Y, "x_test": X},), "both or neither of x_test and y_test"),
        ((7,), "to return .* got int"),
        (("rubbish",), "to return .* got str"),
    ],
)
def test_bad_data_are_refused(source: Source, arrays: tuple[Any, ...], message: str) -> None:
    refused(source(*arrays), message)


@pytest.mark.parametrize("size", [0, -3])
def test_images_need_a_pixel(source: Source, size: int) -> None:
    refused(source(IMAGES, Y), f"at least 1 pixel, got {size}", image_size=size)
