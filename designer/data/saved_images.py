"""Data sets of images that Hugging Face's ``datasets`` saved with ``save_to_disk``.

Such a folder holds files of Arrow, in which the bytes of the images lie one behind the other. They
are read once for the places of the images; from then on each image is read from its place alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from designer.data.dataset import Array
from designer.data.file_parts import FilePart
from designer.data.images import LabelledImages
from designer.data.parts import TEST_FOLDERS, TRAIN_FOLDERS, those_of
from designer.errors import DataError, first_line
from designer.folders import read_json

PARTS_FILE, INFO_FILE, STATE_FILE = "dataset_dict.json", "dataset_info.json", "state.json"

LABEL_NAMES = ("label", "labels", "fine_label", "target")
"""Columns of numbers that are taken for classes, the first that there is, where no column or more
than one says that it holds classes."""


def saved_images(folder: Path) -> LabelledImages | None:
    """Return the images of a data set that was saved; None if a folder holds no such data set.

    Classes have their names where these are in alphabetical order, else their numbers, so that the
    order of the classes is that of the data set. A part in which no image has a class is ignored.

    Args:
        folder: the folder.

    Raises:
        DataError: if the data set cannot be read, or has no images with classes.
    """
    try:
        parts = _parts(folder)
        return _labelled(parts, folder) if parts else None
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise DataError(
            f"Expected '{folder}' as `datasets` saves it, but reading it failed: "
            f"{type(error).__name__}: {first_line(error)}."
        ) from error


def _parts(folder: Path) -> dict[str, Path]:
    """Return the folders of the parts by name; empty if the folder holds no saved data set."""
    if (folder / PARTS_FILE).is_file():
        names = _json(folder / PARTS_FILE)["splits"]
        return {name.lower(): folder / Path(name).name for name in names}
    if (folder / STATE_FILE).is_file() and (folder / INFO_FILE).is_file():
        return {TRAIN_FOLDERS[0]: folder}
    return {}


def _labelled(parts: Mapping[str, Path], folder: Path) -> LabelledImages:
    train = next(map(_Part.of, those_of(parts, TRAIN_FOLDERS)), None)
    if train is None:
        raise DataError(f"Expected a part 'train' in '{folder}', found {', '.join(sorted(parts))}.")
    if train.has_no_classes:
        raise DataError(f"Expected images with classes in '{folder}', found none.")
    tests = map(_Part.of, those_of(parts, TEST_FOLDERS))
    test = next((part for part in tests if not part.has_no_classes), None)
    if test is None:
        return LabelledImages(train.places, train.classes(folder), None)
    if test.names != train.names:
        raise DataError(f"Expected the same classes in all parts of '{folder}', got others.")
    places = [*train.places, *test.places]
    return LabelledImages(places, train.classes(folder), test.classes(folder))


@dataclass(frozen=True, eq=False)
class _Part:
    """One part of a data set."""

    places: list[FilePart]
    numbers: Array
    """(n,) numbers of the classes; below 0 where there is no class."""
    names: list[str] | None
    """Names of the classes; None if they have none."""

    @classmethod
    def of(cls, folder: Path) -> _Part:
        features, state = _json(folder / INFO_FILE)["features"], _json(folder / STATE_FILE)
        if state.get("_indices_data_files"):
            raise DataError(
                f"Expected all rows of '{folder}' in their order, but it was saved as a choice of "
                f"rows; save it again after flatten_indices()."
            )
        image, label = _image_column(features, folder), _label_column(features, folder)
        places: list[FilePart] = []
        numbers = [np.empty(0, np.int64)]
        for entry in state["_data_files"]:
            for batch_places, batch_numbers in _batches(
                folder / Path(entry["filename"]).name, image, label
            ):
                places += batch_places
                numbers.append(batch_numbers)
        return cls(places, np.concatenate(numbers), features[label].get("names"))

    @property
    def has_no_classes(self) -> bool:
        """True if no image has a class, as in the test images of some published data sets."""
        return bool((self.numbers < 0).all())

    def classes(self, folder: Path) -> Array:
        """Return the names (n,) of the classes if they are in order, else their numbers."""
        if (self.numbers < 0).any():
            raise DataError(
                f"Expected every image in '{folder}' to have a class, found one without."
            )
        in_order = self.names and sorted(self.names) == self.names
        return np.array(self.names)[self.numbers] if in_order else self.numbers


def _batches(file: Path, image: str, label: str) -> Iterator[tuple[list[FilePart], Array]]:
    """Yield the places of the images and their classes, for each batch of a file of Arrow."""
    arrow = _pyarrow()
    if not file.is_file():
        raise DataError(f"Expected a file at '{file}', found none.")
    try:
        with arrow.memory_map(str(file)) as mapped:
            start, size = mapped.read_buffer(mapped.size()).address, mapped.size()
            mapped.seek(0)
            before = 0
            for batch in arrow.ipc.open_stream(mapped):
                if batch.num_rows:
                    images = batch.column(image).field("bytes")
                    yield (
                        _places(images, (start, size), file, before),
                        _numbers(batch.column(label), file),
                    )
                before += batch.num_rows
    except (arrow.ArrowException, OSError) as error:
        raise DataError(
            f"Expected '{file}' to hold images as `datasets` saves them, but reading it failed: "
            f"{first_line(error)}."
        ) from error


def _places(images: Any, mapped: tuple[int, int], file: Path, before: int) -> list[FilePart]:
    """Return where the bytes of images lie in a file that is mapped to memory.

    Args:
        images: Arrow's array of the bytes of images.
        mapped: address of the first byte of the file, and the number of its bytes.
        file: the file.
        before: images of the file before these.
    """
    if images.null_count:
        raise DataError(
            f"Expected images in '{file}', found {images.null_count:,} that are elsewhere: the "
            f"data set was saved with the paths of its images in place of the images."
        )
    kind = {"binary": np.int32, "large_binary": np.int64}[str(images.type)]
    _, offsets, content = images.buffers()
    ends = np.frombuffer(offsets, kind)[images.offset : images.offset + len(images) + 1].astype(int)
    first = content.address - mapped[0]
    if not 0 <= first <= mapped[1]:
        raise DataError(f"Expected '{file}' to be not compressed; save the data set without.")
    return [
        FilePart(str(file), f"row {before + i}", first + int(a), int(b - a))
        for i, (a, b) in enumerate(pairwise(ends))
    ]


def _numbers(labels: Any, file: Path) -> Array:
    """Return the numbers (n,) of classes."""
    if not str(labels.type).startswith(("int", "uint")) or labels.null_count:
        raise DataError(f"Expected whole numbers for all classes in '{file}', got {labels.type}.")
    return np.asarray(labels.to_numpy(zero_copy_only=False), np.int64)


def _image_column(features: Mapping[str, Any], folder: Path) -> str:
    named = [name for name, feature in features.items() if _kind(feature) == "Image"]
    if not named:
        raise DataError(f"Expected a column of images in '{folder}', found {_listed(features)}.")
    return named[0]


def _label_column(features: Mapping[str, Any], folder: Path) -> str:
    labelled = [name for name, feature in features.items() if _kind(feature) == "ClassLabel"]
    if len(labelled) == 1:
        return labelled[0]
    numbers = [
        n for n, f in features.items() if str(f.get("dtype", "")).startswith(("int", "uint"))
    ]
    for name in LABEL_NAMES:
        if name in (labelled or numbers):
            return name
    raise DataError(f"Expected one column of classes in '{folder}', found {_listed(features)}.")


def _kind(feature: Any) -> str:
    return str(feature.get("_type", "")) if isinstance(feature, dict) else ""


def _listed(features: Mapping[str, Any]) -> str:
    return ", ".join(f"'{name}'" for name in features) or "none"


def _json(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = read_json(file)
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
