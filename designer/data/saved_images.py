"""Data sets of images that Hugging Face's ``datasets`` saved with ``save_to_disk``.

Such a folder holds files of Arrow, in which the bytes of the images lie one behind the other. They
are read once for the places of the images; from then on each image is read from its place alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from designer.data.dataset import Array
from designer.data.file_parts import FilePart
from designer.data.images import TEST_FOLDERS, TRAIN_FOLDERS, LabelledImages
from designer.errors import DataError, first_line

PARTS_FILE, INFO_FILE, STATE_FILE = "dataset_dict.json", "dataset_info.json", "state.json"

LABEL_NAMES = ("label", "labels", "fine_label", "target")
"""Columns of numbers that are taken for classes, where no column says that it holds classes."""


def saved_images(folder: Path) -> LabelledImages | None:
    """Return the images of a data set that was saved; None if a folder holds no such data set.

    Classes have their names where these are in alphabetical order, else their numbers, so that the
    order of the classes is that of the data set.

    Args:
        folder: the folder.

    Raises:
        DataError: if the data set cannot be read, or has no images with classes.
    """
    try:
        return _saved_images(folder)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(
            f"Expected '{folder}' as `datasets` saves it, but reading it failed: "
            f"{type(error).__name__}: {first_line(error)}."
        ) from error


def _saved_images(folder: Path) -> LabelledImages | None:
    if (folder / PARTS_FILE).is_file():
        names = _json(folder / PARTS_FILE)["splits"]
        parts = {name.lower(): folder / Path(name).name for name in names}
    elif (folder / STATE_FILE).is_file() and (folder / INFO_FILE).is_file():
        parts = {TRAIN_FOLDERS[0]: folder}
    else:
        return None
    train = next((parts[name] for name in TRAIN_FOLDERS if name in parts), None)
    if train is None:
        raise DataError(
            f"Expected a part 'train' in '{folder}', found {', '.join(sorted(parts)) or 'none'}."
        )
    test = next((parts[name] for name in TEST_FOLDERS if name in parts), None)
    places, y = _part(train)
    places_test, y_test = _part(test) if test else ([], None)
    return LabelledImages([*places, *places_test], y, y_test)


def _part(folder: Path) -> tuple[list[FilePart], Array]:
    """Return the images of one part, and their classes."""
    features = _json(folder / INFO_FILE)["features"]
    image, label = _image_column(features, folder), _label_column(features, folder)
    places: list[FilePart] = []
    numbers: list[Array] = []
    for entry in _json(folder / STATE_FILE)["_data_files"]:
        file = folder / Path(entry["filename"]).name
        for batch_places, batch_numbers in _batches(file, image, label):
            places += batch_places
            numbers.append(batch_numbers)
    if not places:
        raise DataError(f"Expected images in '{folder}', found none.")
    y, names = np.concatenate(numbers), features[label].get("names")
    if y.min() < 0:
        raise DataError(f"Expected every image in '{folder}' to have a class, found one without.")
    return places, np.array(names)[y] if names and sorted(names) == names else y


def _batches(file: Path, image: str, label: str) -> list[tuple[list[FilePart], Array]]:
    """Return the places of the images and their classes, for each batch of a file of Arrow."""
    arrow = _pyarrow()
    try:
        with arrow.memory_map(str(file)) as mapped:
            start = mapped.read_buffer(mapped.size()).address
            mapped.seek(0)
            return [
                (
                    _places(batch.column(image).field("bytes"), start, mapped.size(), file),
                    batch.column(label).to_numpy(zero_copy_only=False).astype(np.int64),
                )
                for batch in arrow.ipc.open_stream(mapped)
            ]
    except (arrow.ArrowException, OSError) as error:
        raise DataError(
            f"Expected '{file}' to hold images as `datasets` saves them, but reading it failed: "
            f"{first_line(error)}."
        ) from error


def _places(images: Any, start: int, size: int, file: Path) -> list[FilePart]:
    """Return where the bytes of images lie in a file that is mapped to memory.

    Args:
        images: Arrow's array of the bytes of images.
        start: address of the first byte of the file.
        size: bytes of the file.
        file: the file.
    """
    if images.null_count:
        raise DataError(
            f"Expected images in '{file}', found {images.null_count:,} that are elsewhere: the "
            f"data set was saved with the paths of its images in place of the images."
        )
    _, offsets, content = images.buffers()
    kind = np.int64 if str(images.type) == "large_binary" else np.int32
    ends = np.frombuffer(offsets, kind)[images.offset : images.offset + len(images) + 1].astype(int)
    first = content.address - start
    if not 0 <= first <= size:
        raise DataError(f"Expected '{file}' to be not compressed; save the data set without.")
    return [
        FilePart(str(file), str(i), first + int(a), int(b - a))
        for i, (a, b) in enumerate(pairwise(ends))
    ]


def _image_column(features: Mapping[str, Any], folder: Path) -> str:
    for name, feature in features.items():
        if isinstance(feature, dict) and feature.get("_type") == "Image":
            return name
    raise DataError(f"Expected a column of images in '{folder}', found {_listed(features)}.")


def _label_column(features: Mapping[str, Any], folder: Path) -> str:
    for name, feature in features.items():
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
            return name
    for name in LABEL_NAMES:
        if name in features and str(features[name].get("dtype", "")).startswith(("int", "uint")):
            return name
    raise DataError(f"Expected a column of classes in '{folder}', found {_listed(features)}.")


def _listed(features: Mapping[str, Any]) -> str:
    return ", ".join(f"'{name}'" for name in features) or "none"


def _json(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"Expected '{file}' as `datasets` writes it, but reading it failed: "
            f"{first_line(error)}."
        ) from error
    return content


def _pyarrow() -> Any:
    try:
        import pyarrow as arrow
        import pyarrow.ipc
    except ImportError as error:
        raise DataError(
            "Expected pyarrow to be installed, which reads what `datasets` saves: "
            "pip install pyarrow."
        ) from error
    return arrow
