"""Data sets of images as Hugging Face saves them: the same data as from folders."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from designer.data.limits import DECODING_WORKERS, STREAMED_ABOVE
from designer.data.loading import load_dataset
from designer.data.streamed import StreamedImages
from tests.support.datasets import refused, same_data, write_classes

Save = Callable[..., Path]


def written(
    folder: Path,
    images: Sequence[bytes | None],
    labels: Sequence[int],
    names: Sequence[str] | None,
    *,
    batch: int = 5,
    compression: str | None = None,
) -> Path:
    """Write images and classes as ``Dataset.save_to_disk`` does; return the folder."""
    folder.mkdir(parents=True)
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    places = [{"bytes": image, "path": None} for image in images]
    table = pa.table({"image": pa.array(places, kind), "label": pa.array(labels, pa.int64())})
    options = pa.ipc.IpcWriteOptions(compression=compression)
    file = folder / "data-00000-of-00001.arrow"
    with pa.ipc.new_stream(str(file), table.schema, options=options) as stream:
        stream.write_table(table, max_chunksize=batch)
    number = {"dtype": "int64", "_type": "Value"}
    label = number if names is None else {"names": list(names), "_type": "ClassLabel"}
    info = {"features": {"image": {"_type": "Image"}, "label": label}}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": file.name}]}))
    return folder


def save(source: Path, folder: Path, **options: Any) -> Path:
    """Write the images of class folders as a saved data set; return its folder."""
    names = sorted(path.name for path in source.iterdir())
    files = [path for name in names for path in sorted((source / name).iterdir())]
    labels = [names.index(path.parent.name) for path in files]
    options = {"names": names, **options}
    return written(folder, [path.read_bytes() for path in files], labels, **options)


def parts(folder: Path, *names: str) -> None:
    """Write what makes a folder of saved parts."""
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": names}))


def test_a_saved_data_set_gives_what_folders_give(here: Path) -> None:
    write_classes(here / "f", n=8)
    save(here / "f", here / "s")
    folders, saved = load_dataset("f"), load_dataset("s")
    assert same_data(folders, saved)
    assert saved.class_names == folders.class_names == ("cat", "dog")


@pytest.mark.parametrize("test", ["test", "validation"])
def test_its_parts_are_those_that_were_saved(here: Path, test: str) -> None:
    write_classes(here / "f" / "train", n=8)
    write_classes(here / "f" / test, n=3, seed=1)
    for name in ("train", test):
        save(here / "f" / name, here / "s" / name)
    parts(here / "s", "train", test)
    assert same_data(load_dataset("f"), load_dataset("s"))


@pytest.mark.parametrize("workers", [0, 2])
def test_large_images_are_streamed(
    here: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    write_classes(here / "f", (20, 20, 3), n=12)
    save(here / "f", here / "s")
    monkeypatch.setenv(STREAMED_ABOVE, "1e-6")
    monkeypatch.setenv(DECODING_WORKERS, str(workers))
    first, second = (load_dataset(name, scaling="none").train for name in ("f", "s"))
    assert isinstance(first, StreamedImages)
    assert isinstance(second, StreamedImages)
    assert np.array_equal(first.in_memory().inputs, second.in_memory().inputs)


def test_classes_keep_their_order(here: Path) -> None:
    write_classes(here / "f", n=8, classes=("a", "b", "c"))
    save(here / "f", here / "s", names=("zebra", "ape", "bee"))
    data = load_dataset("s")
    assert data.class_names == ("0", "1", "2")  # the names would be sorted
    assert data.train.labels.tolist() == load_dataset("f").train.labels.tolist()
    save(here / "f", here / "numbers", names=None)
    assert same_data(data, load_dataset("numbers"))


def test_what_is_no_such_data_set_is_refused_in_a_sentence(here: Path) -> None:
    write_classes(here / "f", n=3)
    images = [path.read_bytes() for path in sorted((here / "f").rglob("*.png"))]
    labels = [0, 0, 0, 1, 1, 1]
    written(here / "elsewhere", [None, *images[1:]], labels, ["a", "b"])
    refused("elsewhere", "found 1 that are elsewhere")
    written(here / "unlabelled", images, [-1, *labels[1:]], ["a", "b"])
    refused("unlabelled", "to have a class, found one without")
    written(here / "packed", images, labels, ["a", "b"], compression="zstd")
    refused("packed", "to be not compressed")
    written(here / "alone", images, [0] * 6, ["a", "b"])
    refused("alone", "at least 2 classes in 'alone', got 'a' alone")
    written(here / "none", [], [], ["a", "b"])
    refused("none", "images with classes in 'none', found none")
    file = written(here / "cut", images, labels, ["a", "b"]) / "data-00000-of-00001.arrow"
    file.write_bytes(file.read_bytes()[:400])
    refused("cut", "to hold images as `datasets` saves them")
    written(here / "numbers", images, [0, 0, 0, 1, 1, 7], ["a", "b"])
    refused("numbers", "as `datasets` saves it")


def test_descriptions_that_say_something_else_are_refused(here: Path) -> None:
    write_classes(here / "f", n=3)
    folder = save(here / "f", here / "s")
    for name, content, message in (
        ("state.json", "{}", "KeyError"),
        ("state.json", "not JSON", "reading it failed"),
        ("dataset_info.json", '{"features": []}', "AttributeError"),
        ("dataset_info.json", '{"features": {"a": {"_type": "Value"}}}', "a column of images"),
        ("dataset_info.json", '{"features": {"a": {"_type": "Image"}}}', "one column of classes"),
    ):
        before = (folder / name).read_text()
        (folder / name).write_text(content)
        refused("s", message)
        (folder / name).write_text(before)
    parts(here / "s", "dev")
    refused("s", "a part 'train' in 's', found dev")


def test_a_part_without_classes_is_ignored(here: Path) -> None:
    write_classes(here / "f", n=8)
    folder = save(here / "f", here / "s" / "train")
    images = [path.read_bytes() for path in sorted((here / "f").rglob("*.png"))]
    written(here / "s" / "test", images, [-1] * len(images), ["cat", "dog"])
    parts(here / "s", "train", "test")
    assert folder.is_dir()
    assert same_data(load_dataset("f"), load_dataset("s"))


def test_rows_classes_and_numbers_that_would_be_mixed_up_are_refused(here: Path) -> None:
    write_classes(here / "f", n=8)
    images = [path.read_bytes() for path in sorted((here / "f").rglob("*.png"))]
    labels = [0] * 8 + [1] * 8
    folder = written(here / "chosen", images, labels, ["a", "b"])
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, "_indices_data_files": [{}]}))
    refused("chosen", "saved as a choice of rows")
    written(here / "s" / "train", images, labels, ["dog", "cat"])
    written(here / "s" / "test", images, labels, ["cat", "dog"])
    parts(here / "s", "train", "test")
    refused("s", "the same classes in all parts")
    folder = written(here / "two", images, labels, ["a", "b"])
    info = json.loads((folder / "dataset_info.json").read_text())
    features = {"gender": {"_type": "ClassLabel", "names": ["f", "m"]}, **info["features"]}
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    assert load_dataset("two").class_names == ("a", "b")
    (folder / "data-00000-of-00001.arrow").unlink()
    refused("two", "Expected a file at")


def test_without_pyarrow_it_says_what_to_install(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_classes(here / "f", n=3)
    save(here / "f", here / "s")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused("s", "pip install pyarrow")
