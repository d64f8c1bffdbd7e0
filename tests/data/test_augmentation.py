"""Augmentation: what it does to images, that it is repeatable, and the search with it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from torch import Tensor

import designer
import designer.cli.main
from designer.choices import Augmentation
from designer.data.augmentation import augmented, check_augmentable
from designer.errors import InvalidInputError, RunFolderError
from designer.folders import STORAGE_FILE
from designer.results.search import SearchResult
from designer.results.serialisation import read_result
from tests.support.helpers import DEVICES

MOVING = [Augmentation.SHIFT, Augmentation.FLIP, Augmentation.FLIP_SHIFT]


def augment(inputs: Tensor, kind: Augmentation, seed: int = 0) -> Tensor:
    """Return inputs augmented with a fresh generator of that seed."""
    return augmented(inputs, kind, torch.Generator().manual_seed(seed))


def numbered(n: int = 200, channels: int = 2, height: int = 16, width: int = 24) -> Tensor:
    """Return images whose pixels are all different, and none is 0."""
    size = n * channels * height * width
    return torch.arange(1.0, size + 1).reshape(n, channels, height, width)


def moved(image: Tensor, down: int, right: int) -> Tensor:
    """Return a moved image, pixel by pixel, with zeros where nothing moves in."""
    result = torch.zeros_like(image)
    _, height, width = image.shape
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                result[:, row, column] = image[:, row - down, column - right]
    return result


def shift_of(before: Tensor, after: Tensor) -> tuple[int, int]:
    """Return how far an image of ``numbered`` was moved, down and right, in pixels."""
    _, height, width = before.shape
    pixel = (after[0] == before[0, height // 2, width // 2]).nonzero()
    assert len(pixel) == 1
    return int(pixel[0, 0]) - height // 2, int(pixel[0, 1]) - width // 2


# --- images ---


def test_none_gives_the_inputs_themselves() -> None:
    for inputs in (numbered(), torch.zeros(5, 3)):
        assert augment(inputs, Augmentation.NONE) is inputs


def test_shifts_reach_an_eighth_of_each_side_and_no_further() -> None:
    images = numbered()
    shifts = [
        shift_of(*pair) for pair in zip(images, augment(images, Augmentation.SHIFT), strict=True)
    ]
    assert {down for down, _ in shifts} == set(range(-2, 3))
    assert {right for _, right in shifts} == set(range(-3, 4))
    assert len(set(shifts)) > 25  # of 35: rows and columns are moved independently


def test_a_shifted_image_is_the_image_with_zeros_around() -> None:
    images = numbered(n=12)
    for before, after in zip(images, augment(images, Augmentation.SHIFT), strict=True):
        assert torch.equal(after, moved(before, *shift_of(before, after)))


def test_shifts_in_each_direction_are_equally_likely() -> None:
    images = numbered(n=4000, channels=1, height=8, width=8)
    after = augment(images, Augmentation.SHIFT)
    counts = [0] * 9
    for before, image in zip(images, after, strict=True):
        down, right = shift_of(before, image)
        counts[3 * (down + 1) + right + 1] += 1
    assert max(abs(count - 4000 / 9) for count in counts) < 5 * (4000 / 9) ** 0.5


def test_half_of_the_images_are_flipped_and_the_others_stay() -> None:
    images = numbered(n=1000)
    after = augment(images, Augmentation.FLIP)
    same = (after == images).flatten(1).all(1)
    mirrored = (after == images.flip(3)).flatten(1).all(1)
    assert bool((same ^ mirrored).all())
    assert abs(int(mirrored.sum()) - 500) < 5 * 250**0.5


def test_flip_shift_does_both() -> None:
    images = numbered(n=60)
    changes = set()
    for before, after in zip(images, augment(images, Augmentation.FLIP_SHIFT), strict=True):
        mirrored = bool((after[0].diff(dim=1) == -1).any())
        start = before.flip(2) if mirrored else before
        shift = shift_of(start, after)
        assert torch.equal(after, moved(start, *shift))
        changes.add((mirrored, shift != (0, 0)))
    assert {(True, True), (False, True)} <= changes


@pytest.mark.parametrize("kind", MOVING)
def test_the_given_images_stay_as_they_were(kind: Augmentation) -> None:
    images = numbered()
    before = images.clone()
    after = augment(images, kind)
    assert torch.equal(images, before)
    assert after.shape == images.shape
    assert after.data_ptr() != images.data_ptr()


@pytest.mark.parametrize("kind", MOVING)
def test_the_generator_alone_decides(kind: Augmentation) -> None:
    images = numbered()
    first = augment(images, kind, seed=3)
    torch.rand(1)
    assert torch.equal(augment(images, kind, seed=3), first)
    assert not torch.equal(augment(images, kind, seed=4), first)
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(augmented(images, kind, generator), first)
    assert not torch.equal(augmented(images, kind, generator), first)


@pytest.mark.parametrize("kind", MOVING)
def test_torchs_generator_is_not_used(kind: Augmentation) -> None:
    before = torch.get_rng_state()
    augment(numbered(), kind)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", MOVING)
def test_equal_images_become_different_ones(kind: Augmentation) -> None:
    after = augment(numbered(n=1).expand(20, -1, -1, -1), kind)
    assert len({tuple(image.flatten().tolist()) for image in after}) > 1


@pytest.mark.parametrize("kind", MOVING)
@pytest.mark.parametrize("device", DEVICES)
def test_all_devices_draw_the_same(device: str, kind: Augmentation) -> None:
    images = numbered()
    after = augment(images.to(device), kind)
    assert after.device.type == device
    assert torch.equal(after.cpu(), augment(images, kind))


def test_a_short_side_is_not_shifted() -> None:
    images = numbered(height=1, width=16)
    after = augment(images, Augmentation.SHIFT)
    assert {shift_of(*pair)[0] for pair in zip(images, after, strict=True)} == {0}
    assert not torch.equal(after, images)


@pytest.mark.parametrize("kind", MOVING)
@pytest.mark.parametrize("shape", [(6,), (), (4, 4), (2, 3, 4, 5)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...], kind: Augmentation) -> None:
    with pytest.raises(InvalidInputError, match=r"Expected images .* got inputs of shape \("):
        augment(torch.zeros(9, *shape), kind)
    with pytest.raises(InvalidInputError, match=f"the augmentation {kind}"):
        check_augmentable(kind, shape)
    check_augmentable(Augmentation.NONE, shape)


def test_images_that_no_shift_would_move_are_refused() -> None:
    for kind in (Augmentation.SHIFT, Augmentation.FLIP_SHIFT):
        with pytest.raises(InvalidInputError, match=r"of 8 pixels or more .* choose none or flip"):
            check_augmentable(kind, (1, 7, 7))
        check_augmentable(kind, (1, 7, 8))
    check_augmentable(Augmentation.FLIP, (1, 7, 7))


# --- the search ---


@pytest.fixture
def stripes(tmp_path: Path) -> str:
    """Three classes of 8x8 images: a bright stripe on top, in the middle or at the bottom."""
    generator = np.random.default_rng(0)
    y = np.arange(120) % 3
    x = generator.integers(0, 90, size=(120, 8, 8), dtype=np.uint8)
    for image, label in zip(x, y, strict=True):
        image[1 + 2 * label : 3 + 2 * label] += 120
    np.savez(tmp_path / "stripes.npz", x_train=x, y_train=y)
    return str(tmp_path / "stripes.npz")


def run(data: str, out: Path, **options: Any) -> SearchResult:
    quick = {"trials": 2, "epochs": 2, "confirm": 1, "confirm_seeds": 1, "confirm_epochs": 2}
    return designer.search("tests.support.toy:TinySpace", data, out=out, **{**quick, **options})


def losses(result: SearchResult) -> list[Any]:
    return [(row.spec, row.training_loss) for row in result.trials]


def identity(out: Path) -> dict[str, Any]:
    stored: dict[str, Any] = _study(out).user_attrs["identity"]
    return stored


def _study(out: Path) -> optuna.Study:
    return optuna.load_study(study_name="search", storage=f"sqlite:///{out / STORAGE_FILE}")


def test_a_search_with_augmentation_is_repeatable_and_trains_on_other_images(
    stripes: str, tmp_path: Path
) -> None:
    first = run(stripes, tmp_path / "a", augment="flip-shift")
    assert losses(run(stripes, tmp_path / "b", augment="flip-shift")) == losses(first)
    assert losses(run(stripes, tmp_path / "c")) != losses(first)
    assert first.recommendations
    assert first.study.settings["augment"] == "flip-shift"
    assert read_result(tmp_path / "a") == first


def test_augmentation_is_part_of_what_a_study_is(stripes: str, tmp_path: Path) -> None:
    run(stripes, tmp_path / "a", augment="flip")
    with pytest.raises(RunFolderError, match="augment is 'flip', not 'none'"):
        run(stripes, tmp_path / "a")
    assert len(run(stripes, tmp_path / "a", augment="flip", trials=3).trials) == 3


def test_a_study_from_before_there_was_augmentation_continues(stripes: str, tmp_path: Path) -> None:
    run(stripes, tmp_path / "a")
    stored = identity(tmp_path / "a")
    assert stored.pop("augment") == "none"
    _study(tmp_path / "a").set_user_attr("identity", stored)
    assert len(run(stripes, tmp_path / "a", trials=3).trials) == 3
    with pytest.raises(RunFolderError, match="augment is 'none', not 'shift'"):
        run(stripes, tmp_path / "a", augment="shift")


def test_where_data_lie_is_not_part_of_it(stripes: str, tmp_path: Path) -> None:
    run(stripes, tmp_path / "a")
    names = {name for name in identity(tmp_path / "a") if name.startswith("data")}
    assert names == {
        *("data", "data_fingerprint", "data_train_size", "data_image_size"),
        *("data_validation_fraction", "data_shuffle_labels", "data_scaling", "data_input"),
    }
    json.dumps(identity(tmp_path / "a"))


def test_the_designer_looks_at_images_as_they_are(
    stripes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = designer.load_dataset(stripes)
    parts = [data.train, data.validation]
    unchanged: list[bool] = []
    candidates = sys.modules["designer.search.candidates"]
    original = candidates.profile

    def watched(model: Any, *data_parts: Any, **options: Any) -> Any:
        unchanged.extend(
            any(torch.equal(g.inputs, part.inputs) for part in parts) for g in data_parts
        )
        return original(model, *data_parts, **options)

    monkeypatch.setattr(candidates, "profile", watched)
    run(stripes, tmp_path / "a", augment="flip-shift")
    assert unchanged
    assert all(unchanged)


@pytest.mark.parametrize(
    ("data", "augment", "message"),
    [
        ("tests.support.toy:blobs", "flip", r"Expected images .* got inputs of shape \(6,\)"),
        ("tests.support.toy:blobs", "shift", r"Expected images .* got inputs of shape \(6,\)"),
        ("tests.support.toy:blobs", "turn", "among none, shift, flip, flip-shift, got 'turn'"),
        ("tests.support.toy:blobs", "", "among none, shift, flip, flip-shift, got ''"),
    ],
)
def test_wrong_augmentation_writes_nothing(
    data: str, augment: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        run(data, tmp_path / "a", augment=augment)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("augment", ["flip", "turn"])
def test_the_command_line_refuses_it_in_one_line(
    augment: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a"
    code = _designer(
        "search", "--data", "tests.support.toy:blobs", "--augment", augment, "--out", str(out)
    )
    written = capsys.readouterr()
    assert code == 2
    assert written.out == ""
    assert len(written.err.splitlines()) == 1
    assert written.err.startswith("error: Expected ")
    assert not out.exists()


def test_the_command_line_passes_it_on(stripes: str, tmp_path: Path) -> None:
    quick = [f"--{name}=1" for name in ("trials", "epochs", "confirm", "confirm-seeds")]
    arguments = [
        "--data",
        stripes,
        "--space",
        "tests.support.toy:TinySpace",
        "--out",
        str(tmp_path / "a"),
    ]
    assert _designer("search", *arguments, *quick, "--augment", "flip-shift") == 0
    assert identity(tmp_path / "a")["augment"] == "flip-shift"


def _designer(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        designer.cli.main.main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code
