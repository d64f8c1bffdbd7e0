"""Folders of images: their pixels, classes and parts, and images that cannot be read."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from designer.data.dataset import Array, Dataset
from designer.data.loading import load_dataset
from tests.support.datasets import (
    pictures,
    refused,
    same_data,
    write_classes,
    write_image,
)


def everything(data: Dataset) -> Array:
    """Return the unscaled inputs of all parts, sorted by their pixels."""
    inputs = torch.cat([data.train.inputs, data.validation.inputs, data.test.inputs])
    return sorted_rows(inputs.numpy())


def sorted_rows(x: Array) -> Array:
    """Return samples sorted by their values."""
    return x[np.lexsort(x.reshape(len(x), -1).T)]


@pytest.mark.parametrize(
    ("shape", "channels"), [((5, 7), 1), ((5, 7, 3), 3), ((5, 7, 4), 4)], ids=["L", "RGB", "RGBA"]
)
def test_a_folder_gives_the_pixels_of_its_images(
    here: Path, shape: tuple[int, ...], channels: int
) -> None:
    pixels = write_classes(here / "animals", shape)
    data = load_dataset("animals", scaling="none")
    assert (data.name, data.class_names) == ("animals", ("cat", "dog"))
    assert data.input_shape == (channels, 5, 7)
    expected = pixels.reshape(10, 5, 7, channels).transpose(0, 3, 1, 2).astype(np.float32) / 255
    assert np.array_equal(everything(data), sorted_rows(expected))


@pytest.mark.parametrize("shape", [(4, 9, 3), (3, 4, 4), (1, 3, 3), (3, 3, 4)])
def test_channels_are_not_confused_with_small_sides(here: Path, shape: tuple[int, ...]) -> None:
    pixels = write_classes(here / "small", shape)
    data = load_dataset("small", scaling="none")
    expected = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255
    assert np.array_equal(everything(data), sorted_rows(expected))


@pytest.mark.parametrize("size", [None, 4])
def test_a_folder_gives_what_the_same_arrays_give(here: Path, size: int | None) -> None:
    pixels = write_classes(here / "animals", (6, 6, 3), n=8, classes=("a", "b", "c"))
    np.savez(here / "animals.npz", x_train=pixels, y_train=np.repeat(["a", "b", "c"], 8))
    folder, archive = (load_dataset(s, image_size=size) for s in ("animals", "animals.npz"))
    assert same_data(folder, archive)
    assert folder.class_names == archive.class_names
    assert folder.scaling == archive.scaling


def test_train_and_test_folders_stay_apart(here: Path) -> None:
    train = write_classes(here / "d" / "train", n=6)
    test = write_classes(here / "d" / "test", n=2, seed=1)
    write_classes(here / "d" / "val", n=3, seed=2)
    data = load_dataset("d", scaling="none")
    assert data.class_names == ("cat", "dog")
    assert len(data.train) + len(data.validation) == len(train) == 12
    expected = test[:, None].astype(np.float32) / 255
    assert np.array_equal(data.test.inputs.numpy(), expected)
    assert data.test.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        *(("train", name) for name in ("test", "val", "valid", "validation")),
        *(("Train", "Test"), ("training", "testing")),
    ],
)
def test_names_of_the_test_folder(here: Path, train: str, test: str) -> None:
    write_classes(here / "d" / train, n=4)
    write_classes(here / "d" / test, n=2)
    data = load_dataset("d")
    assert data.class_names == ("cat", "dog")
    assert (len(data.train) + len(data.validation), len(data.test)) == (8, 4)


def test_a_train_folder_alone_is_split(here: Path) -> None:
    write_classes(here / "d" / "train", n=10)
    data = load_dataset("d")
    assert data.class_names == ("cat", "dog")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [12, 4, 4]


def test_a_class_may_be_called_train(here: Path) -> None:
    write_classes(here / "d", classes=("bus", "car", "train"))
    assert load_dataset("d").class_names == ("bus", "car", "train")


def test_a_class_that_training_lacks_is_refused(here: Path) -> None:
    write_classes(here / "d" / "train")
    write_classes(here / "d" / "test", classes=("cat", "eel"))
    refused("d", "test labels known from training, got class eel")


def test_class_folders_are_searched_through_all_their_levels(here: Path) -> None:
    pixels = pictures(10)
    for i, image in enumerate(pixels):
        folder = here / "d" / ("cat" if i < 5 else "dog")
        write_image(folder.joinpath(*"xyz"[: i % 4]) / f"{i}.PNG", image)
    assert len(everything(load_dataset("d", scaling="none"))) == 10


def test_hidden_files_and_other_files_are_not_looked_at(here: Path) -> None:
    pixels = write_classes(here / "d")
    rubbish = ("d/.hidden/0.png", "d/cat/._0.png", "d/cat/.trash/0.png", "d/cat/notes.txt")
    for name in (*rubbish, "d/README.md", "d/preview.png"):
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("no image")
    data = load_dataset("d", scaling="none")
    assert len(everything(data)) == len(pixels)
    assert data.class_names == ("cat", "dog")


def test_the_order_of_the_file_system_does_not_matter(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_classes(here / "one", n=12)
    for path in sorted((here / "one").rglob("*.png"), reverse=True):
        write_image(here / "other" / path.relative_to(here / "one"), np.asarray(Image.open(path)))
    first, other = load_dataset("one"), load_dataset("other")
    assert first.fingerprint == other.fingerprint

    def backwards(method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: iter(sorted(method(*arguments), reverse=True))

    for name in ("iterdir", "rglob"):
        monkeypatch.setattr(Path, name, backwards(getattr(Path, name)))
    assert same_data(load_dataset("one"), first)


@pytest.mark.parametrize("suffix", ["bmp", "gif", "tif", "TIFF", "pgm", "webp", "png"])
def test_formats_without_loss(here: Path, suffix: str) -> None:
    pixels = pictures(10)
    options = {"lossless": True} if suffix == "webp" else {}
    for i, image in enumerate(pixels):
        write_image(here / "d" / "ab"[i % 2] / f"{i}.{suffix}", image, **options)
    got = everything(load_dataset("d", scaling="none"))
    expected = sorted_rows(pixels[:, None].astype(np.float32) / 255)
    assert np.array_equal(got[:, :1], expected)
    assert (got == got[:, :1]).all()


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "jfif"])
def test_jpeg(here: Path, suffix: str) -> None:
    for i in range(10):
        flat = np.full((8, 8, 3), (10 * i, 100, 200), np.uint8)
        write_image(here / "d" / "ab"[i % 2] / f"{i}.{suffix}", flat, format="JPEG", quality=95)
    got = everything(load_dataset("d", scaling="none"))
    assert got.shape == (10, 3, 8, 8)
    assert np.abs(255 * got.mean((0, 2, 3)) - (45, 100, 200)).max() < 3


def test_images_of_16_bits_stay_exact(here: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**16, size=(10, 5, 7), dtype=np.uint16)
    for i, image in enumerate(pixels):
        write_image(here / "d" / "ab"[i % 2] / (f"{i}.png" if i < 6 else f"{i}.tif"), image)
    data = load_dataset("d", scaling="none")
    assert data.input_shape == (1, 5, 7)
    assert np.array_equal(everything(data), sorted_rows(pixels[:, None].astype(np.float32)))


def test_floating_images_stay_exact(here: Path) -> None:
    pixels = np.random.default_rng(0).normal(size=(10, 5, 7)).astype(np.float32)
    for i, image in enumerate(pixels):
        write_image(here / "d" / "ab"[i % 2] / f"{i}.tif", image)
    assert np.array_equal(
        everything(load_dataset("d", scaling="none")), sorted_rows(pixels[:, None])
    )


def of_mode(mode: str) -> Image.Image:
    """Return an image in one of Pillow's modes."""
    return Image.fromarray(pictures(1, (5, 7, 3))[0]).convert(mode)


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        (["1"], "L"),
        (["P"], "RGB"),
        (["LA"], "RGBA"),
        (["CMYK"], "RGB"),
        (["L", "1"], "L"),
        (["L", "RGB"], "RGB"),
        (["P", "L"], "RGB"),
        (["RGB", "RGBA"], "RGBA"),
        (["L", "RGBA"], "RGBA"),
        (["L", "LA"], "RGBA"),
        (["RGBA", "P", "RGB", "1", "L"], "RGBA"),
    ],
    ids="+".join,
)
def test_modes_are_brought_to_the_richest(here: Path, modes: list[str], expected: str) -> None:
    written = [of_mode(mode) for mode in modes]
    for label in "ab":
        for i in range(5):
            write_image(here / "d" / label / f"{i}.tif", written[i % len(written)])
    data = load_dataset("d", scaling="none")
    rows = [np.asarray(image.convert(expected)).reshape(5, 7, -1) for image in written]
    loaded = {row.tobytes() for row in everything(data)}
    assert loaded == {
        np.ascontiguousarray(row.transpose(2, 0, 1).astype(np.float32) / 255).tobytes()
        for row in rows
    }


def test_a_palette_with_transparency_becomes_colours_without_a_warning(here: Path) -> None:
    palette = of_mode("P")
    for label in "ab":
        for i in range(5):
            write_image(here / "d" / label / f"{i}.png", palette, transparency=bytes([0, 9, 255]))
    data = load_dataset("d", scaling="none")
    expected = np.asarray(palette.convert("RGB")).transpose(2, 0, 1).astype(np.float32) / 255
    assert np.array_equal(everything(data)[0], expected)


@pytest.mark.parametrize("other", ["L", "RGB", "RGBA", "F"])
def test_more_than_8_bits_do_not_mix(here: Path, other: str) -> None:
    write_classes(here / "d")
    write_image(here / "d" / "cat" / "0.tif", of_mode(other))
    deep = write_image(here / "d" / "dog" / "9.png", np.full((5, 7), 999, np.uint16))
    refused("d", "more than 8 bits.* got (I;16|F) in '.*' and .* in '.*'")
    deep.unlink()
    if other != "F":
        load_dataset("d")


def test_images_are_turned_upright(here: Path) -> None:
    pixels = pictures(10, (5, 7))
    turned = {
        1: pixels[0],
        6: np.rot90(pixels[0]),
        3: np.rot90(pixels[0], 2),
        2: pixels[0, :, ::-1],
    }
    for orientation, stored in turned.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        for label in "ab":
            write_image(here / f"d{orientation}" / label / "0.png", pixels[1])
            for i in range(1, 5):
                image = Image.fromarray(np.ascontiguousarray(stored))
                write_image(here / f"d{orientation}" / label / f"{i}.png", image, exif=exif)
    upright = everything(load_dataset("d1", scaling="none"))
    for orientation in turned:
        data = load_dataset(f"d{orientation}", scaling="none")
        assert np.array_equal(everything(data), upright)


def test_images_of_differing_sizes_need_an_image_size(here: Path) -> None:
    write_classes(here / "d")
    write_image(here / "d" / "dog" / "9.png", pictures(1, (8, 6))[0])
    refused("d", "got 7 x 5 pixels in '.*0.png' and 6 x 8 in '.*dog.9.png'; .* --image-size")


def test_differing_sizes_are_resized_as_arrays_are(here: Path) -> None:
    pixels = [pictures(1, (5 + i, 9 - i // 2, 3), seed=i)[0] for i in range(10)]
    for i, image in enumerate(pixels):
        write_image(here / "d" / "ab"[i % 2] / f"{i}.png", image)
    data = load_dataset("d", image_size=6, scaling="none")
    resized = [
        torch.nn.functional.interpolate(
            torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32))[None] / 255,
            size=(6, 6),
            mode="bilinear",
            antialias=True,
        )
        for image in pixels
    ]
    np.testing.assert_allclose(everything(data), sorted_rows(torch.cat(resized).numpy()), atol=1e-6)


@pytest.mark.parametrize("size", [0, -3])
def test_images_of_folders_need_a_pixel(here: Path, size: int) -> None:
    write_classes(here / "d")
    refused("d", f"at least 1 pixel, got {size}", image_size=size)


def test_files_are_not_kept_open(here: Path) -> None:
    write_classes(here / "d")
    opened = []
    original = Image.open

    def watched(*arguments: Any, **options: Any) -> Image.Image:
        opened.append(original(*arguments, **options))
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "open", watched)
        load_dataset("d")
        (here / "d" / "cat" / "9.png").write_bytes(b"no image")
        refused("d", "9.png")
    assert len(opened) >= 20
    files = [getattr(image, "fp", None) for image in opened]
    assert all(file is None or file.closed for file in files)


def _png(pixels: Array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


NOISE = pictures(1, (50, 50))[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bad.png", b""),
        ("bad.png", b"not an image"),
        ("bad.jpg", b"\xff\xd8\xff\xe0 not much of a photograph"),
        ("bad.png", _png(NOISE)[:1000]),
        ("bad.png", _png(NOISE)[:40]),
        ("bad.png", _png(NOISE)[:300] + bytes(60) + _png(NOISE)[360:]),
        ("bad.gif", b"GIF89a"),
        ("bad.tif", b"II*\x00\x08\x00\x00\x00"),
        ("bad.bmp", b"BM" + bytes(60)),
        ("bad.webp", b"RIFF\x10\x00\x00\x00WEBPVP8 "),
    ],
)
def test_damaged_images_are_named(here: Path, name: str, content: bytes) -> None:
    write_classes(here / "d", (50, 50))
    (here / "d" / "dog" / name).write_bytes(content)
    why = "(reading it failed: .*|Pillow knows no format like it)"
    refused("d", f"Expected '.*{name}' to be an image, but {why}; save it again")


def test_a_broken_link_is_named(here: Path) -> None:
    write_classes(here / "d")
    (here / "d" / "dog" / "gone.png").symlink_to(here / "nowhere.png")
    refused("d", "Expected '.*gone.png' to be an image")


@pytest.mark.parametrize("allowed", [20, 5])
def test_images_of_too_many_pixels_are_refused(
    here: Path, allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_classes(here / "d")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", allowed)  # 35 are over, or over the double
    refused("d", f"at most {allowed} pixels, .* got more in '.*0.png'")


def test_a_class_folder_without_images_is_named(here: Path) -> None:
    write_classes(here / "d")
    (here / "d" / "eel").mkdir()
    (here / "d" / "eel" / "notes.txt").write_text("soon")
    refused("d", r"Expected images .* in class folder '.*eel', found none")


@pytest.mark.parametrize("part", ["", "train", "test"])
def test_a_folder_without_class_folders_is_named(here: Path, part: str) -> None:
    for name in ("train", "test") if part else ():
        write_classes(here / "d" / name)
    shutil.rmtree(here / "d" / part, ignore_errors=True)
    write_image(here / "d" / part / "0.png", pictures(1)[0])
    refused("d", f"one folder of images per class in 'd.?{part}', found no folder")


@pytest.mark.parametrize("part", ["", "train"])
def test_a_single_class_is_refused(here: Path, part: str) -> None:
    write_classes(here / "d" / part, classes=("cat",))
    refused("d", f"at least 2 class folders in 'd.?{part}', got 'cat' alone")


def test_too_few_images_of_a_class_are_refused(here: Path) -> None:
    write_classes(here / "d")
    write_image(here / "d" / "eel" / "0.png", pictures(1)[0])
    refused("d", "at least 3 samples of every class .* got 1 of class eel")


def test_a_folder_that_cannot_be_listed_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_classes(here / "d")

    def denied(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    refused("d", "folder that can be read at 'd': .*Permission denied")
