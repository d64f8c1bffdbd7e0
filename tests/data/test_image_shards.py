"""Images in tar files: the same data as from folders, and shards that cannot be read."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from designer.data.classes import count_classes
from designer.data.limits import DECODING_WORKERS, STREAMED_ABOVE
from designer.data.loading import load_dataset
from designer.data.streamed import StreamedImages
from tests.support.datasets import refused, same_data, write_classes


def write_shard(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    """Write a tar file with these files; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def samples(folder: Path) -> dict[str, bytes]:
    """Return the images of a folder of class folders as the files of a shard, class by class."""
    files = {}
    for i, image in enumerate(sorted(folder.rglob("*.png"))):
        files[f"{i:04}.png"] = image.read_bytes()
        files[f"{i:04}.cls"] = image.parent.name.encode()
    return files


def in_shards(folder: Path, files: Mapping[str, bytes], names: tuple[str, ...]) -> None:
    """Spread files over shards of these names, each sample whole."""
    items = list(files.items())
    size = 2 * -(-len(items) // 2 // len(names))
    for i, name in enumerate(names):
        write_shard(folder / name, dict(items[i * size : (i + 1) * size]))


def test_shards_give_what_folders_give(here: Path) -> None:
    write_classes(here / "folders", n=6)
    in_shards(here / "shards", samples(here / "folders"), ("a-000.tar", "a-001.tar", "b.tar"))
    folders, shards = load_dataset("folders"), load_dataset("shards")
    assert same_data(folders, shards)
    assert shards.class_names == folders.class_names == ("cat", "dog")
    assert shards.fingerprint == folders.fingerprint
    assert count_classes("shards") == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_large_shards_are_streamed(
    here: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    write_classes(here / "folders", (20, 20, 3), n=12, classes=("a", "b", "c"))
    in_shards(here / "shards", samples(here / "folders"), ("0.tar", "1.tar"))
    monkeypatch.setenv(STREAMED_ABOVE, "1e-6")
    monkeypatch.setenv(DECODING_WORKERS, str(workers))
    streamed = [load_dataset(name, scaling="none") for name in ("folders", "shards")]
    assert all(isinstance(data.train, StreamedImages) for data in streamed)
    first, second = (data.train.in_memory() for data in streamed)
    assert np.array_equal(first.inputs, second.inputs)
    assert np.array_equal(first.labels, second.labels)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train/0.tar", "test/0.tar"),
        ("training/0.tar", "val/0.tar"),
        ("imagenet-train-000.tar", "imagenet-val-000.tar"),
        ("Train_0.tar", "Validation_0.tar"),
        ("ImageNetTrain0.tar", "ImageNetVal0.tar"),
        ("trainset-0.tar", "testset-0.tar"),
    ],
)
def test_names_say_which_shards_are_for_test(here: Path, train: str, test: str) -> None:
    write_classes(here / "f" / "train", n=8)
    write_classes(here / "f" / "test", n=3, seed=1)
    write_shard(here / "s" / train, samples(here / "f" / "train"))
    write_shard(here / "s" / test, samples(here / "f" / "test"))
    assert same_data(load_dataset("f"), load_dataset("s"))


def test_numbers_of_classes_are_in_order_of_numbers(here: Path) -> None:
    write_classes(here / "f", classes=tuple(map(str, range(12))), n=9)
    write_shard(here / "s" / "0.tar", samples(here / "f"))
    assert load_dataset("s").class_names == tuple(map(str, range(12)))


def test_other_files_and_names_with_several_dots_are_no_images(here: Path) -> None:
    write_classes(here / "f", n=6)
    files = samples(here / "f")
    named = {name.replace(".png", ".seg.x.png"): content for name, content in files.items()}
    others = {"0000.json": b"{}", "README": b"words", ".x.png": b"no", ".y/0000.png": b"no"}
    write_shard(here / "s" / "0.tar", {**named, **others})
    assert same_data(load_dataset("f"), load_dataset("s"))


@pytest.mark.parametrize("inside", ["", "train"])
def test_a_tar_file_beside_class_folders_is_no_shard(here: Path, inside: str) -> None:
    write_classes(here / "f" / inside, n=6)
    alone = load_dataset("f")
    write_shard(here / "f" / inside / "backup.tar", {"0.png": b"", "0.cls": b"x"})
    assert same_data(alone, load_dataset("f"))


def test_hidden_folders_and_a_leading_dot_change_nothing(here: Path) -> None:
    write_classes(here / "f", n=6)
    files = {f"./{name}": content for name, content in samples(here / "f").items()}
    write_shard(here / "s" / "0.tar", files)
    (here / "s" / ".cache").mkdir()
    assert same_data(load_dataset("f"), load_dataset("s"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train-0.tar", "extra-0.tar"), "'extra-0.tar' without"),
        (("val-0.tar", "test-0.tar"), "no shard of training images"),
        (("train-test-0.tar", "train-1.tar"), "one part in the name of .*test and train"),
        (("train/0.tar", "test/a.txt"), "tar files in '.*test'"),
    ],
)
def test_shards_of_no_clear_part_are_refused(
    here: Path, names: tuple[str, str], message: str
) -> None:
    write_classes(here / "f", n=4)
    in_shards(here / "s", samples(here / "f"), names)
    refused("s", message)


def test_shards_that_are_damaged_or_not_whole_are_refused(here: Path) -> None:
    write_classes(here / "f", n=4)
    whole = write_shard(here / "whole" / "0.tar", samples(here / "f"))
    content = bytearray(whole.read_bytes())
    write_shard(here / "flipped" / "0.tar", {}).write_bytes(
        bytes(content[:2048]) + bytes([content[2048] ^ 1]) + bytes(content[2049:])
    )
    refused("flipped", "damaged, or several were joined")
    write_shard(here / "joined" / "0.tar", {}).write_bytes(bytes(content) * 2)
    refused("joined", "damaged, or several were joined")
    with tarfile.open(write_shard(here / "linked" / "0.tar", {}), "w") as archive:
        link = tarfile.TarInfo("0001.png")
        link.type, link.linkname = tarfile.LNKTYPE, "0000.png"
        archive.addfile(link)
    refused("linked", "'0001.png' is a link or is stored in pieces")


def test_classes_that_are_no_text_or_long_numbers_stay_apart(here: Path) -> None:
    write_classes(here / "f", n=8)
    numbers = {"cat": b"B\xe4r", "dog": b"B\xf6r"}
    files = samples(here / "f")
    write_shard(here / "s" / "0.tar", {n: numbers.get(c.decode("latin1"), c)
                                       for n, c in files.items()})  # fmt: skip
    assert len(load_dataset("s").class_names) == 2
    long = {"cat": b"18446744073709551615", "dog": b"18446744073709551616"}
    write_shard(here / "t" / "0.tar", {n: long.get(c.decode("latin1"), c)
                                       for n, c in files.items()})  # fmt: skip
    assert len(load_dataset("t").class_names) == 2


def test_shards_that_cannot_be_read_are_refused_in_a_sentence(here: Path) -> None:
    write_classes(here / "f", n=2)
    files = samples(here / "f")
    write_shard(here / "zipped" / "0.tar", files, "w:gz")
    refused("zipped", "a tar file that is not compressed")
    cut = write_shard(here / "cut" / "0.tar", files)
    cut.write_bytes(cut.read_bytes()[:1200])
    refused("cut", "tar|image")
    no_class = {name: content for name, content in files.items() if name != "0001.cls"}
    write_shard(here / "unlabelled" / "0.tar", no_class)
    refused("unlabelled", r"'0001\.cls', found none for '.*0\.tar/0001\.png'")
    write_shard(here / "empty" / "0.tar", {"0.cls": b"a"})
    refused("empty", "got none")
    alone = {name: b"a" if name.endswith("cls") else content for name, content in files.items()}
    write_shard(here / "alone" / "0.tar", alone)
    refused("alone", "at least 2 classes in .alone., got 'a' alone")
    write_shard(here / "twice" / "0.tar", {**files, "0000.jpg": files["0000.png"]})
    refused("twice", "one image and one class of each name")
    write_shard(here / "long" / "0.tar", {**files, "0000.cls": b"a" * 2000})
    refused("long", "the name or number of a class in '0000.cls'")
    write_shard(here / "broken" / "0.tar", {**files, "0000.png": b"no image"})
    refused("broken", r"'broken/0\.tar/0000\.png' to be an image, but Pillow knows no format")
