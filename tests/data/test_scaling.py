"""Scaling: per channel or feature, from training data alone, and applied again."""

from __future__ import annotations

import json
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
    numbered,
    refused,
)


def test_training_inputs_have_mean_0_and_sd_1_per_feature(source: Source) -> None:
    train = load_dataset(source(X * [1, 10, 100, 1000] + 5, Y)).train.inputs
    torch.testing.assert_close(train.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(train.std(0, correction=0), torch.ones(4), atol=1e-4, rtol=0)


def test_training_images_have_mean_0_and_sd_1_per_channel(source: Source) -> None:
    images = np.stack([IMAGES, IMAGES // 2 + 100], axis=1)
    images = np.concatenate([images, images[:, :1]], axis=1)
    data = load_dataset(source(images, Y))
    assert len(data.scaling["mean"]) == 3
    mean = data.train.inputs.mean((0, 2, 3))
    torch.testing.assert_close(mean, torch.zeros(3), atol=1e-5, rtol=0)


def test_scaling_looks_at_training_data_alone(source: Source) -> None:
    far = load_dataset(source(X, Y, X[:9] + 1000, Y[:9]))
    near = load_dataset(source(X, Y, X[:9], Y[:9]))
    assert far.scaling == near.scaling
    assert torch.equal(far.train.inputs, near.train.inputs)
    assert float(far.test.inputs.mean()) > 100


def test_a_constant_feature_stays_finite(source: Source) -> None:
    data = load_dataset(source(np.hstack([X, np.full((60, 1), 0.1)]), Y))
    assert torch.equal(data.train.inputs[:, 4], torch.zeros(len(data.train)))


def test_a_big_offset_does_not_swallow_the_signal(source: Source) -> None:
    plain = load_dataset(source(X, Y)).train.inputs
    shifted = load_dataset(source(X + 1e9, Y)).train.inputs
    torch.testing.assert_close(shifted, plain, atol=1e-3, rtol=0)


@pytest.mark.parametrize("scale", [1e-15, 1e30, 1e200])
def test_any_finite_scale_is_fine(source: Source, scale: float) -> None:
    plain = load_dataset(source(X, Y)).train.inputs
    scaled = load_dataset(source(X * scale, Y)).train.inputs
    torch.testing.assert_close(scaled, plain, atol=1e-4, rtol=0)


def test_no_scaling_leaves_the_values(source: Source) -> None:
    x, y = numbered()
    data = load_dataset(source(x, y), scaling="none")
    parts = torch.cat([part.inputs for part in (data.train, data.validation, data.test)])
    assert sorted(parts[:, 0].tolist()) == list(range(100))
    assert data.scaling == {"mean": [0.0], "scale": [1.0]}


def test_bytes_are_fractions_of_255_also_without_scaling(source: Source) -> None:
    data = load_dataset(source(np.stack([IMAGES] * 3, axis=1), Y), scaling="none")
    pixels = 255 * data.train.inputs
    torch.testing.assert_close(pixels, pixels.round(), atol=1e-4, rtol=0)
    assert float(data.train.inputs.max()) == 1
    assert data.scaling == {"mean": [0.0] * 3, "scale": [1.0] * 3}


COLOURS = np.stack([IMAGES, IMAGES // 2 + 9, 255 - IMAGES], axis=1)
"""Bytes with three channels."""


class TestPixelValues:
    """Bytes, the same as floats, and floats from 0 to 1 come to the same."""

    @pytest.fixture(params=["bytes", "floats to 255", "floats to 1", "features"])
    def loaded(self, request: pytest.FixtureRequest, source: Source) -> Source:
        arrays = {
            "bytes": COLOURS,
            "floats to 255": COLOURS.astype(np.float64),
            "floats to 1": COLOURS.astype(np.float32) / np.float32(255),
            "features": COLOURS.reshape(60, -1).astype(np.float32),
        }
        return lambda: source(arrays[request.param], Y)

    def test_from_0_to_1(self, loaded: Source, source: Source) -> None:
        expected = load_dataset(source(COLOURS, Y), scaling="none").train.inputs
        got = load_dataset(loaded(), scaling="0..1").train.inputs
        torch.testing.assert_close(got.flatten(1), expected.flatten(1))

    def test_from_0_to_255(self, loaded: Source, source: Source) -> None:
        floats = source(COLOURS.astype(np.float32), Y)
        expected = load_dataset(floats, scaling="none").train.inputs
        got = load_dataset(loaded(), scaling="0..255").train.inputs
        assert float(got.max()) == pytest.approx(255)
        torch.testing.assert_close(got.flatten(1), expected.flatten(1))

    @pytest.mark.parametrize("x", [COLOURS, COLOURS.astype(np.float64), COLOURS / 255])
    def test_as_torchvision_scales_images(self, source: Source, x: Array) -> None:
        raw = load_dataset(source(COLOURS, Y), scaling="none").train.inputs
        mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        sd = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        data = load_dataset(source(x, Y), scaling="imagenet")
        torch.testing.assert_close(data.train.inputs, (raw - mean) / sd)
        assert data.options["scaling"] == "imagenet"

    @pytest.mark.parametrize(
        ("x", "scaling", "message"),
        [
            (X, "0..1", r"pixel values from 0 to 1 or .* scaling 0\.\.1, got values from -\d"),
            (X, "0..255", r"for the scaling 0\.\.255, got values from -\d"),
            (300 * COLOURS.astype(float), "0..1", "got values from 0 to 76500"),
            (
                IMAGES,
                "imagenet",
                r"with 3 channels .* imagenet, got inputs of shape \(n, 1, 6, 6\)",
            ),
            (X**2 / 100, "imagenet", r"got inputs of shape \(n, 4\)"),
        ],
    )
    def test_what_is_no_such_image(
        self, source: Source, x: Array, scaling: str, message: str
    ) -> None:
        refused(source(x, Y), message, scaling=scaling)


@pytest.mark.parametrize("x", [X, X * 1e30 + 7, np.stack([IMAGES, IMAGES // 2 + 9] * 2, axis=1)])
def test_a_scaling_that_was_stored_gives_the_same_again(source: Source, x: Array) -> None:
    first = load_dataset(source(x, Y))
    stored = json.loads(json.dumps(first.scaling))
    again = load_dataset(source(x, Y), scaling=stored)
    assert again.scaling == first.scaling
    assert torch.equal(again.train.inputs, first.train.inputs)
    assert torch.equal(again.test.inputs, first.test.inputs)


def test_a_given_scaling_is_applied_to_other_data(source: Source) -> None:
    numbers = {"mean": [1.0, 2.0, 3.0, 4.0], "scale": [1.0, 2.0, 4.0, 8.0]}
    data = load_dataset(source(X + 5, Y), scaling=numbers)
    raw = load_dataset(source(X + 5, Y), scaling="none")
    expected = (raw.train.inputs - torch.tensor(numbers["mean"])) / torch.tensor(numbers["scale"])
    torch.testing.assert_close(data.train.inputs, expected)
    assert data.scaling == numbers


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        ("", "scaling among standard, none, .* or a mapping .* got ''"),
        ("given", "scaling among standard, none, .* or a mapping .* got 'given'"),
        (None, "scaling among standard, none, .* or a mapping .* got 'None'"),
        ({}, "scaling with mean and scale, found nothing"),
        ({"mean": [0.0] * 4}, "scaling with mean and scale, found mean"),
        ({"mean": [0.0] * 4, "sd": [1.0] * 4}, "scaling with mean and scale, found mean, sd"),
        ({"mean": [0.0] * 3, "scale": [1.0] * 4}, r"the mean of the scaling as 4 .* shape \(3,\)"),
        ({"mean": [0.0] * 4, "scale": [1.0]}, r"the scale of the scaling as 4 .* shape \(1,\)"),
        ({"mean": [0.0] * 4, "scale": 1.0}, r"the scale of the scaling as 4 .* shape \(\)"),
        ({"mean": ["a"] * 4, "scale": [1.0] * 4}, "the mean of the scaling as 4 numbers"),
        ({"mean": [[1], [1, 2]], "scale": [1.0] * 4}, "the mean of the scaling as one array"),
        ({"mean": [0.0] * 4, "scale": [1.0, 1.0, 0.0, 1.0]}, "a positive scale"),
        ({"mean": [0.0] * 4, "scale": [1.0, -1.0, 1.0, 1.0]}, "a positive scale"),
        ({"mean": [float("nan")] * 4, "scale": [1.0] * 4}, "a finite mean"),
        ({"mean": [0.0] * 4, "scale": [float("inf")] * 4}, "a positive scale"),
        ({"mean": [0.0] * 4, "scale": [1e-300] * 4}, "float32 cannot hold"),
    ],
)
def test_scalings_that_cannot_be_used(source: Source, scaling: Any, message: str) -> None:
    refused(source(X, Y), message, scaling=scaling)
