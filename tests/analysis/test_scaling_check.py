"""Under which scaling a model is right, on models whose right scaling is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from designer.analysis.data_for_model import all_data_for_model
from designer.analysis.scaling_check import BATCH, check_scaling, compare_scalings, scaling_warning
from designer.choices import Scaling
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.errors import InvalidInputError
from designer.models.loaded import LoadedModel
from tests.support.trained import blob_net, state_of

pytestmark = pytest.mark.usefixtures("folder")


class ByBrightness(nn.Module):
    """Names the class whose brightness, scaled in one way, is nearest to that of an image."""

    centres: Tensor
    """(K, channels) brightness of each class."""

    def __init__(self, centres: Tensor, known: int | None = None) -> None:
        super().__init__()
        self.register_buffer("centres", centres)
        self.known = known

    def forward(self, x: Tensor) -> Tensor:
        logits = -((x.mean((2, 3))[:, None] - self.centres) ** 2).sum(2)
        return logits if self.known is None else logits[:, : self.known]


class WrongOnSome(nn.Module):
    """Right about ``images``, but for the first few of each batch, as they come and as bytes."""

    def __init__(self, as_they_come: int, as_bytes: int) -> None:
        super().__init__()
        self.wrong = as_they_come, as_bytes
        self.models = right_under("none"), right_under("0..255")

    def forward(self, x: Tensor) -> Tensor:
        are_bytes = bool((x > 1).any())
        logits = self.models[are_bytes](x)
        wrong = self.wrong[are_bytes]
        return torch.cat([-logits[:wrong], logits[wrong:]])


def images(classes: int = 10, each: int = 30, dtype: type = np.uint8) -> str:
    """Write images, of one brightness per class from 0 to 255, to a file; return its name."""
    step = 200 // classes
    y = np.repeat(np.arange(classes), each)
    noise = np.random.default_rng(0).integers(-step // 4, step // 4 + 1, size=(len(y), 3, 4, 4))
    x = (40 + step * y)[:, None, None, None] + noise
    np.savez("images.npz", x_train=x.astype(dtype), y_train=y)
    return "images.npz"


def right_under(scaling: str, classes: int = 10, known: int | None = None) -> ByBrightness:
    """Return a model that is right about ``images`` under one scaling."""
    data = load_dataset("images.npz", scaling=scaling)
    scale, mean = (torch.tensor(data.scaling[name]) for name in ("scale", "mean"))
    bytes_come = np.load("images.npz")["x_train"].dtype == np.uint8
    centres = torch.arange(classes)[:, None] * (200 // classes) + 40.0
    return ByBrightness((centres / (255 if bytes_come else 1) - mean) / scale, known)


def load(source: str, scaling: str = "none") -> Dataset:
    """Load all of a file as training data, about."""
    return load_dataset(source, validation_fraction=0.1, scaling=scaling)


class TestBytes:
    """Images of bytes come as 0 to 1."""

    @pytest.mark.parametrize("scaling", ["none", "0..1"])
    def test_a_model_that_takes_0_to_1_is_right(self, scaling: str) -> None:
        data = load(images())
        comparison = compare_scalings(right_under(scaling), data)
        assert (comparison.used, comparison.better) == (1, ())
        check_scaling(right_under(scaling), data)

    def test_a_model_that_takes_bytes(self) -> None:
        data = load(images())
        comparison = compare_scalings(right_under("0..255"), data)
        assert comparison.used < 0.2
        assert comparison.better == ((Scaling.BYTES, 1.0),)
        message = (
            r"^The model is right on \d+ % of some training data as they come and on 100 % with "
            r"--scaling 0\.\.255: name the scaling that it was trained with\.$"
        )
        with pytest.raises(InvalidInputError, match=message):
            check_scaling(right_under("0..255"), data)

    @pytest.mark.parametrize("scaling", ["standard", "imagenet"])
    def test_a_model_that_takes_scaled_images(self, scaling: str) -> None:
        data = load(images())
        comparison = compare_scalings(right_under(scaling), data)
        assert comparison.better[0] == (scaling, 1.0)

    def test_the_right_scaling_gives_no_warning(self) -> None:
        for scaling in ("standard", "imagenet", "0..255"):
            data = load(images(), scaling)
            assert scaling_warning(right_under(scaling), data) is None

    def test_another_scaling_than_the_right_one_gives_a_warning(self) -> None:
        data = load(images(), "imagenet")
        warning = scaling_warning(right_under("none"), data)
        assert warning is not None
        assert "on 100 % with --scaling none: it was probably" in warning.message


class TestFloats:
    """Other numbers come as they are."""

    @pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
    def test_a_model_that_takes_them(self, dtype: type) -> None:
        data = load(images(dtype=dtype))
        assert float(data.train.inputs.max()) > 200
        assert compare_scalings(right_under("none"), data).used == 1

    @pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
    def test_a_model_that_takes_0_to_1(self, dtype: type) -> None:
        data = load(images(dtype=dtype))
        assert compare_scalings(right_under("0..1"), data).better[0] == (Scaling.UNIT, 1.0)


class TestWhatIsClear:
    @pytest.mark.parametrize(
        ("as_they_come", "as_bytes", "clear"),
        [(8, 0, True), (8, 3, False), (5, 0, False), (32, 24, True), (32, 30, False)],
    )
    def test_ten_points_are(self, as_they_come: int, as_bytes: int, clear: bool) -> None:
        data = load(images(each=60))
        comparison = compare_scalings(WrongOnSome(as_they_come, as_bytes), data)
        assert comparison.used == pytest.approx(1 - as_they_come / BATCH)
        expected = ((Scaling.BYTES, 1 - as_bytes / BATCH),) if clear else ()
        assert comparison.better == expected

    def test_few_classes_of_many_are_enough_where_the_one_in_use_is_at_chance(self) -> None:
        data = load(images(classes=100, each=10))
        comparison = compare_scalings(right_under("0..255", classes=100, known=8), data)
        assert comparison.used < 0.03
        ((name, accuracy),) = comparison.better
        assert name is Scaling.BYTES
        assert accuracy == pytest.approx(0.08, abs=0.04)

    @pytest.mark.parametrize("seed", range(20))
    def test_untrained_networks_are_right_under_no_scaling(self, seed: int) -> None:
        data = load_dataset("tests.support.toy:blobs", scaling="none")
        assert compare_scalings(blob_net(seed=seed).eval(), data).better == ()

    def test_data_of_one_large_class_show_nothing(self) -> None:
        x = np.random.default_rng(0).normal(size=(300, 4)) + 5
        np.savez("rare.npz", x_train=x, y_train=(np.arange(300) % 10 == 0).astype(int))

        class ByMean(nn.Module):
            """Names the large class where inputs are scaled."""

            def forward(self, x: Tensor) -> Tensor:
                rare = x.mean(1) > 3
                return torch.stack([~rare, rare], 1).float()

        comparison = compare_scalings(ByMean(), load("rare.npz"))
        assert comparison.used == pytest.approx(0.1, abs=0.05)
        assert comparison.better == ()

    def test_scalings_near_the_best_are_named_after_it(self) -> None:
        data = load(images())
        model = right_under("imagenet")
        standard = right_under("standard")
        model.centres = (model.centres + standard.centres) / 2
        (first, best), *others = compare_scalings(model, data).better
        assert {first, *(name for name, _ in others)} == {Scaling.IMAGENET, Scaling.STANDARD}
        assert best >= others[0][1]


class TestWhatIsNotChecked:
    def test_models_without_logits(self) -> None:
        class Words(nn.Module):
            def forward(self, x: Tensor) -> str:
                return f"{len(x)} images"

        comparison = compare_scalings(Words(), load(images()))
        assert math.isnan(comparison.used)
        assert comparison.better == ()

    def test_models_that_raise(self) -> None:
        comparison = compare_scalings(nn.Linear(7, 10), load(images()))
        assert math.isnan(comparison.used)

    def test_a_model_that_records_its_scaling(self) -> None:
        scaling = load(images(), "standard").scaling
        model = LoadedModel(right_under("0..255"), "net", scaling=scaling)
        data = all_data_for_model(model, "images.npz")
        assert isinstance(data, Dataset)
        assert data.scaling == scaling


def test_the_model_stays_as_it_was() -> None:
    data = load_dataset("tests.support.toy:blobs", scaling="none")
    model = blob_net().train()
    before = state_of(model)
    compare_scalings(model, data)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
