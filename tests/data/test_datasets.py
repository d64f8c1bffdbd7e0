"""Data: every source, the split, the scaling, and one clear sentence for every bad input."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from designer.data.dataset import BatchedData, Dataset, LabelledTensors
from designer.data.loading import load_dataset, load_source
from designer.errors import DataError

Array = NDArray[Any]
Source = Callable[..., str]

X = np.random.default_rng(0).normal(size=(60, 4))
Y = np.arange(60) % 3
IMAGES = np.random.default_rng(1).integers(0, 256, size=(60, 6, 6), dtype=np.uint8)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    """Makes ``made_up:data`` return what it is given, and names it."""

    def make(*made: Any) -> str:
        module = ModuleType("made_up")
        module.data = lambda: made[0] if len(made) == 1 else made  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "made_up", module)
        return "made_up:data"

    return make


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; what it adds to Python's path is gone afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def numbered(n: int = 100, classes: int = 4) -> tuple[Array, Array]:
    """Samples that can be told apart by their one feature, with labels."""
    return np.arange(n, dtype=np.float64)[:, None], np.arange(n) % classes


def original(data: Dataset, part: LabelledTensors) -> list[int]:
    """Which samples of ``numbered`` a part holds."""
    mean, scale = data.scaling["mean"][0], data.scaling["scale"][0]
    return sorted(np.rint(part.inputs[:, 0].double().numpy() * scale + mean).astype(int).tolist())


# --- sources ---


def test_digits() -> None:
    data = load_dataset("digits")
    assert (data.name, data.input_shape, data.num_classes) == ("digits", (1, 8, 8), 10)
    assert len(data.train) + len(data.validation) + len(data.test) == 1797
    assert data.class_names == tuple("0123456789")
    assert data.train.inputs.dtype is torch.float32
    assert data.train.labels.dtype is torch.int64
    assert data.warnings == ()


@pytest.mark.parametrize("with_test", [True, False])
def test_npz(here: Path, with_test: bool) -> None:
    arrays = {"x_train": X, "y_train": Y}
    if with_test:
        arrays |= {"x_test": X[:9], "y_test": Y[:9]}
    np.savez(here / "mine.npz", **arrays)  # type: ignore[arg-type]
    data = load_dataset("mine.npz")
    assert data.name == "mine"
    assert data.input_shape == (4,)
    assert len(data.test) == (9 if with_test else 12)
    assert len(data.train) + len(data.validation) == (60 if with_test else 48)


@pytest.mark.parametrize("wrap", [np.asarray, torch.as_tensor, np.ndarray.tolist])
def test_callable_that_returns_a_pair(source: Source, wrap: Callable[[Array], Any]) -> None:
    data = load_dataset(source(wrap(X), wrap(Y)))
    assert (data.name, data.input_shape, data.num_classes) == ("made_up:data", (4,), 3)


def test_callable_that_returns_four_or_a_dict(source: Source) -> None:
    four = load_dataset(source(X, Y, X[:9], Y[:9]))
    named = load_dataset(source({"x_train": X, "y_train": Y, "x_test": X[:9], "y_test": Y[:9]}))
    assert four.fingerprint == named.fingerprint
    assert len(four.test) == 9


def test_callable_in_the_working_folder(here: Path) -> None:
    (here / "my_data.py").write_text(
        "import numpy as np\ndef load():\n    return np.eye(30), np.arange(30) % 3\n"
    )
    assert load_dataset("my_data:load").input_shape == (30,)


@pytest.mark.parametrize(("name", "asked"), [("iris", ("iris", "active")), ("iris@2", ("iris", 2))])
def test_openml(name: str, asked: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fetch(name: str, *, version: Any, **_: Any) -> SimpleNamespace:
        calls.append((name, version))
        return SimpleNamespace(data=X, target=np.array(["a", "b", "c"], dtype=object)[Y])

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    data = load_dataset(f"openml:{name}")
    assert calls == [asked]
    assert (data.name, data.class_names) == (f"openml:{name}", ("a", "b", "c"))


@pytest.mark.parametrize("name", ["", "@2", "iris@two", "iris@"])
def test_openml_by_a_malformed_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", _no_network)
    with pytest.raises(DataError):
        load_dataset(f"openml:{name}")


def test_openml_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", _no_network)
    with pytest.raises(DataError, match=r"'iris' from OpenML \(no network\); check the name"):
        load_dataset("openml:iris")


def _no_network(*_: Any, **__: Any) -> None:
    raise OSError("no network")


# --- folders of images ---


def write_image(path: Path, pixels: Array | Image.Image, **options: Any) -> Path:
    """One image file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def pictures(n: int, shape: tuple[int, ...] = (5, 7), *, seed: int = 0) -> Array:
    """Random bytes (n, *shape)."""
    return np.random.default_rng(seed).integers(0, 256, size=(n, *shape), dtype=np.uint8)


def write_classes(
    folder: Path,
    shape: tuple[int, ...] = (5, 7),
    *,
    n: int = 5,
    classes: Sequence[str] = ("cat", "dog"),
    seed: int = 0,
) -> Array:
    """``n`` PNG files per class; their pixels (classes * n, *shape) in the order of the paths."""
    pixels = pictures(n * len(classes), shape, seed=seed)
    for i, one in enumerate(pixels):
        write_image(folder / classes[i // n] / f"{i % n}.png", one)
    return pixels


def everything(data: Dataset) -> Array:
    """Inputs of all parts, sorted by their pixels, for data of scaling none."""
    inputs = torch.cat([data.train.inputs, data.validation.inputs, data.test.inputs])
    return sorted_rows(inputs.numpy())


def sorted_rows(x: Array) -> Array:
    """Samples in the order of their values."""
    return x[np.lexsort(x.reshape(len(x), -1).T)]


def same_data(one: Dataset, other: Dataset) -> bool:
    """Whether all parts hold the same, in the same order."""
    return all(
        torch.equal(a, b)
        for part in ("train", "validation", "test")
        for a, b in zip(getattr(one, part), getattr(other, part), strict=True)
    )


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
    for i, one in enumerate(pixels):
        folder = here / "d" / ("cat" if i < 5 else "dog")
        write_image(folder.joinpath(*"xyz"[: i % 4]) / f"{i}.PNG", one)
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
    one, other = load_dataset("one"), load_dataset("other")
    assert one.fingerprint == other.fingerprint

    def backwards(method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given: iter(sorted(method(*given), reverse=True))

    for name in ("iterdir", "rglob"):
        monkeypatch.setattr(Path, name, backwards(getattr(Path, name)))
    assert same_data(load_dataset("one"), one)


@pytest.mark.parametrize("suffix", ["bmp", "gif", "tif", "TIFF", "pgm", "webp", "png"])
def test_formats_without_loss(here: Path, suffix: str) -> None:
    pixels = pictures(10)
    options = {"lossless": True} if suffix == "webp" else {}
    for i, one in enumerate(pixels):
        write_image(here / "d" / "ab"[i % 2] / f"{i}.{suffix}", one, **options)
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
    for i, one in enumerate(pixels):
        write_image(here / "d" / "ab"[i % 2] / (f"{i}.png" if i < 6 else f"{i}.tif"), one)
    data = load_dataset("d", scaling="none")
    assert data.input_shape == (1, 5, 7)
    assert np.array_equal(everything(data), sorted_rows(pixels[:, None].astype(np.float32)))


def test_floating_images_stay_exact(here: Path) -> None:
    pixels = np.random.default_rng(0).normal(size=(10, 5, 7)).astype(np.float32)
    for i, one in enumerate(pixels):
        write_image(here / "d" / "ab"[i % 2] / f"{i}.tif", one)
    assert np.array_equal(
        everything(load_dataset("d", scaling="none")), sorted_rows(pixels[:, None])
    )


def of_mode(mode: str) -> Image.Image:
    """A picture in one of Pillow's modes."""
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
    seen = {row.tobytes() for row in everything(data)}
    assert seen == {
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
    for i, one in enumerate(pixels):
        write_image(here / "d" / "ab"[i % 2] / f"{i}.png", one)
    data = load_dataset("d", image_size=6, scaling="none")
    resized = [
        torch.nn.functional.interpolate(
            torch.from_numpy(one.transpose(2, 0, 1).astype(np.float32))[None] / 255,
            size=(6, 6),
            mode="bilinear",
            antialias=True,
        )
        for one in pixels
    ]
    np.testing.assert_allclose(everything(data), sorted_rows(torch.cat(resized).numpy()), atol=1e-6)


@pytest.mark.parametrize("size", [0, -3])
def test_images_of_folders_need_a_pixel(here: Path, size: int) -> None:
    write_classes(here / "d")
    refused("d", f"at least 1 pixel, got {size}", image_size=size)


@pytest.mark.parametrize("path", ["animals", "animals/", "./animals", "x/../animals"])
def test_a_folder_is_named_by_the_last_part_of_its_path(here: Path, path: str) -> None:
    (here / "x").mkdir()
    write_classes(here / "animals")
    assert load_dataset(path).name == "animals"
    assert load_source(path).name == "animals"


def test_the_working_folder_has_its_name(here: Path) -> None:
    write_classes(here)
    assert load_dataset(".").name == here.name


def test_files_are_not_kept_open(here: Path) -> None:
    write_classes(here / "d")
    opened = []
    original = Image.open

    def watched(*given: Any, **options: Any) -> Image.Image:
        opened.append(original(*given, **options))
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
    refused("d", f"Expected '.*{name}' to be an image, but reading it failed: .*; save it again")


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


def test_a_path_that_cannot_be_looked_at_is_no_folder() -> None:
    refused("x" * 5000, "Expected data as one of digits")
    refused("x" * 5000 + ":data", "Expected package.module:name")


# --- streams ---


BATCHES = [(torch.ones(4, 3) * i, torch.arange(4) % 2) for i in range(3)]


def test_batches_go_through_as_they_are(source: Source) -> None:
    loader = DataLoader(TensorDataset(torch.ones(6, 3), torch.arange(6) % 2), batch_size=2)
    made = load_source(source({"train": loader, "heldout": BATCHES}), seed=3, scaling="none")
    assert isinstance(made, BatchedData)
    assert made.name == "made_up:data"
    assert made.train is loader
    assert made.heldout is BATCHES


@pytest.mark.parametrize("more", [{}, {"heldout": None}])
def test_held_out_batches_may_be_missing(source: Source, more: dict[str, Any]) -> None:
    made = load_source(source({"train": BATCHES, **more}))
    assert isinstance(made, BatchedData)
    assert made.heldout is None


def test_batches_may_hold_several_inputs(source: Source) -> None:
    batches = [({"ids": torch.ones(4, 3), "mask": torch.ones(4, 3)}, torch.arange(4))]
    made = load_source(source({"train": batches}))
    assert isinstance(made, BatchedData)
    assert made.train is batches


class Again:
    """Can be iterated any number of times, without a length."""

    def __iter__(self) -> Iterator[Any]:
        return iter(BATCHES)


def test_anything_that_can_be_iterated_again_will_do(source: Source) -> None:
    made = load_source(source({"train": Again()}))
    assert isinstance(made, BatchedData)
    assert list(made.train) == list(made.train) == BATCHES


@pytest.mark.parametrize("made", [(X, Y), {"x_train": X, "y_train": Y}])
@pytest.mark.parametrize("options", [{}, {"train_size": 12, "seed": 3}])
def test_arrays_become_a_data_set(source: Source, made: Any, options: dict[str, Any]) -> None:
    loaded = load_source(source(made), **options)
    assert isinstance(loaded, Dataset)
    expected = load_dataset(source(made), **options)
    assert same_data(loaded, expected)
    assert loaded.options == expected.options


@pytest.mark.parametrize("load", [load_dataset, load_source])
@pytest.mark.parametrize("made", [(X, Y), {"train": BATCHES}])
def test_a_callable_is_called_once(load: Callable[[str], Any], made: Any, source: Source) -> None:
    calls = []

    def data() -> Any:
        calls.append(made)
        return made

    name = source(made)
    sys.modules["made_up"].data = data  # type: ignore[attr-defined]
    with suppress(DataError):
        load(name)
    assert len(calls) == 1


def test_a_data_set_needs_arrays(source: Source) -> None:
    refused(
        source({"train": BATCHES}), "Expected arrays from 'made_up:data', got batches; a search"
    )


@pytest.mark.parametrize("name", ["train", "heldout"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: (pair for pair in BATCHES), "iterable more than once, got generator; return a"),
        (lambda: iter(BATCHES), "iterable more than once, got list_iterator; return a"),
        (lambda: zip([1], [2], strict=True), "iterable more than once, got zip; return a"),
        (lambda: X, "as batches .* got ndarray; return a list .* x_train and y_train"),
        (lambda: torch.ones(3), "as batches .* got Tensor"),
        (lambda: BATCHES[0], "as batches .* got tuple"),
        (list, "as batches .* got list"),
        (lambda: [torch.ones(3), torch.ones(3)], "as batches .* got list"),
        (lambda: {"x": 1}, "as batches .* got dict"),
        (lambda: "rubbish", "as batches .* got str"),
        (lambda: 7, "as batches .* got int"),
        (lambda: TensorDataset(torch.ones(3)), "as batches .* got TensorDataset"),
    ],
)
def test_what_are_no_batches(
    source: Source, make: Callable[[], Any], message: str, name: str
) -> None:
    refused_source(source({"train": BATCHES, name: make()}), f"Expected {name} in .*{message}")


def test_batches_of_other_names_are_refused(source: Source) -> None:
    refused_source(source({"train": BATCHES, "test": BATCHES}), "found test, too")
    refused_source(source({"train": None}), "Expected train in 'made_up:data' as batches")
    refused_source(source({"heldout": BATCHES}), "x_train and y_train .* found heldout")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"train_size": 9}, "train size"),
        ({"image_size": 9}, "image size"),
        ({"shuffle_labels": True}, "shuffle labels"),
    ],
)
def test_options_that_batches_cannot_follow(
    source: Source, options: dict[str, Any], named: str
) -> None:
    refused_source(source({"train": BATCHES}), f"for the option {named}, got batches", **options)


def test_unknown_options_are_an_error(source: Source) -> None:
    with pytest.raises(TypeError, match="colour"):
        load_source(source(X, Y), colour="blue")


def refused_source(source: str, message: str, **options: Any) -> None:
    """``load_source`` fails with one sentence that says so."""
    with pytest.raises(DataError, match=message) as caught:
        load_source(source, **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


# --- split ---


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


def test_the_split_follows_its_seed(source: Source) -> None:
    one, again, other = (load_dataset(source(X, Y), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.train.inputs, again.train.inputs)
    assert not torch.equal(one.test.inputs, other.test.inputs)


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


# --- what inputs and labels may look like ---


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
    one = load_dataset(source(first, Y))
    other = load_dataset(source(first.transpose(0, 2, 3, 1), Y))
    assert torch.equal(one.train.inputs, other.train.inputs)


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


# --- scaling ---


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


@pytest.mark.parametrize("x", [X, X * 1e30 + 7, np.stack([IMAGES, IMAGES // 2 + 9] * 2, axis=1)])
def test_a_scaling_that_was_stored_gives_the_same_again(source: Source, x: Array) -> None:
    first = load_dataset(source(x, Y))
    stored = json.loads(json.dumps(first.scaling))
    again = load_dataset(source(x, Y), scaling=stored)
    assert again.scaling == first.scaling
    assert torch.equal(again.train.inputs, first.train.inputs)
    assert torch.equal(again.test.inputs, first.test.inputs)


def test_a_given_scaling_is_applied_to_other_data(source: Source) -> None:
    given = {"mean": [1.0, 2.0, 3.0, 4.0], "scale": [1.0, 2.0, 4.0, 8.0]}
    data = load_dataset(source(X + 5, Y), scaling=given)
    raw = load_dataset(source(X + 5, Y), scaling="none")
    expected = (raw.train.inputs - torch.tensor(given["mean"])) / torch.tensor(given["scale"])
    torch.testing.assert_close(data.train.inputs, expected)
    assert data.scaling == given


def test_scaling_and_seed_are_recorded_and_change_no_fingerprint(source: Source) -> None:
    given = {"mean": [0.5] * 4, "scale": [2.0] * 4}
    choices: list[Any] = ["standard", "none", given]
    loaded = [load_dataset(source(X, Y), seed=3, scaling=choice) for choice in choices]
    assert [data.options["scaling"] for data in loaded] == ["standard", "none", "given"]
    assert {data.options["seed"] for data in loaded} == {3}
    assert len({data.fingerprint for data in loaded}) == 1
    assert load_dataset(source(X, Y)).options == {
        "source": "made_up:data",
        "train_size": None,
        "image_size": None,
        "validation_fraction": 0.25,
        "seed": 0,
        "shuffle_labels": False,
        "scaling": "standard",
    }


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        ("", "scaling of standard or none, or a mapping .* got ''"),
        ("given", "scaling of standard or none, or a mapping .* got 'given'"),
        (None, "scaling of standard or none, or a mapping .* got 'None'"),
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


def test_the_summary_says_what_was_loaded(source: Source) -> None:
    data = load_dataset(source(X, Y))
    summary = data.summary()
    assert (summary.train, summary.validation, summary.test) == (36, 12, 12)
    assert (summary.input_shape, summary.num_classes) == ((4,), 3)
    assert summary.fingerprint == data.fingerprint
    assert summary.chance == pytest.approx(1 / 3)


# --- labelled tensors ---


def test_batches_hold_all_samples_in_order() -> None:
    data = LabelledTensors(torch.arange(10.0)[:, None], torch.arange(10))
    batches = data.batches(4)
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    assert torch.equal(torch.cat([labels for _, labels in batches]), data.labels)
    inputs, labels = data
    assert inputs is data.inputs
    assert labels is data.labels
    assert len(data) == 10


# --- bad input ---


def refused(source: str, message: str, **options: Any) -> None:
    """Loading fails with one sentence that says so."""
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(source, **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def with_value(bad: float) -> Array:
    """``X`` with one bad value."""
    x = X.copy()
    x[3, 1] = bad
    return x


def with_label(bad: Any, dtype: Any) -> Array:
    """``Y`` with one bad label."""
    y = Y.astype(dtype)
    y[3] = bad
    return y


@pytest.mark.parametrize(
    ("made", "message"),
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
def test_bad_data_are_refused(source: Source, made: tuple[Any, ...], message: str) -> None:
    refused(source(*made), message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_size": 1000}, r"train size from 3 .* to 36 .* got 1000"),
        ({"train_size": 2}, r"train size from 3 .* got 2"),
        ({"train_size": 0}, r"train size from 3 .* got 0"),
        ({"train_size": -5}, r"train size from 3 .* got -5"),
        ({"validation_fraction": 0}, "fraction between 0 and 1, got 0"),
        ({"validation_fraction": 1}, "fraction between 0 and 1, got 1"),
        ({"validation_fraction": -0.5}, "fraction between 0 and 1, got -0.5"),
        ({"validation_fraction": float("nan")}, "fraction between 0 and 1, got nan"),
        ({"image_size": 8}, r"images for an image size of 8, got inputs of shape \(36, 4\)"),
        ({"seed": -1}, "seed.* got -1"),
    ],
)
def test_bad_options_are_refused(source: Source, options: dict[str, Any], message: str) -> None:
    refused(source(X, Y), message, **options)


@pytest.mark.parametrize("size", [0, -3])
def test_images_need_a_pixel(source: Source, size: int) -> None:
    refused(source(IMAGES, Y), f"at least 1 pixel, got {size}", image_size=size)


@pytest.mark.parametrize("name", ["mnist", "", "digits.csv", "some/folder"])
def test_an_unknown_source_names_the_known_ones(name: str) -> None:
    refused(name, f"Expected data as one of digits, FILE.npz, FOLDER, openml:.* got '{name}'")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:load", "No module named 'no_such_module'"),
        ("made_up:nothing", "made_up:nothing"),
        ("made_up:", "made_up:"),
        (":load", ":load"),
        ("made_up:constant", "callable, got int"),
        ("made_up:raises", "raised KeyError: 'gone'"),
    ],
)
def test_a_callable_that_cannot_be_used(name: str, message: str, source: Source) -> None:
    source(X, Y)
    module: Any = sys.modules["made_up"]
    module.constant = 3
    module.raises = lambda: dict[str, int]()["gone"]
    refused(name, message)


@pytest.mark.parametrize("text", ["def (:\n", "raise RuntimeError('on import')\n"])
def test_a_module_that_cannot_be_imported(
    here: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "broken_module.py").write_text(text)
    monkeypatch.delitem(sys.modules, "broken_module", raising=False)
    refused("broken_module:load", "broken_module:load")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("not an archive")


def _cut_short(path: Path) -> None:
    np.savez(path, x_train=X, y_train=Y)
    path.write_bytes(path.read_bytes()[:1000])


def _damaged(path: Path) -> None:
    np.savez_compressed(path, x_train=np.zeros((600, 30)), y_train=np.arange(600) % 3)
    content = bytearray(path.read_bytes())
    content[60:140] = bytes(b ^ 0x55 for b in content[60:140])
    path.write_bytes(content)


def _single_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, X)


def _folder(path: Path) -> None:
    path.mkdir()


def _missing(path: Path) -> None:
    assert not path.exists()


def _pickled(path: Path) -> None:
    np.savez(path, x_train=X, y_train=np.array(["a", 1, None] * 20, dtype=object))


def _without_x_train(path: Path) -> None:
    np.savez(path, x=X, y=Y)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_missing, "Expected a .npz file at 'bad.npz', found none"),
        (_folder, "Expected a .npz file at 'bad.npz', found none"),
        (_empty, "to be a NumPy archive"),
        (_text, "to be a NumPy archive"),
        (_cut_short, "to be a NumPy archive"),
        (_damaged, "to be a NumPy archive"),
        (_single_array, "Expected .* archive"),
        (_pickled, "to be a NumPy archive of plain arrays"),
        (_without_x_train, "Expected arrays x_train and y_train in 'bad.npz', found x, y"),
    ],
)
def test_files_that_cannot_be_used(here: Path, write: Callable[[Path], None], message: str) -> None:
    write(here / "bad.npz")
    refused("bad.npz", message)


def test_a_class_that_the_test_set_lacks_is_a_warning(source: Source) -> None:
    data = load_dataset(source(X, Y, X[Y < 2], Y[Y < 2]))
    (warning,) = data.warnings
    assert warning.code == "class_missing_from_test"
    assert "no sample of class 2" in warning.message
    assert data.num_classes == 3
