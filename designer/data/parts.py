"""The parts of a data set by the names of folders and files, and what lies in a folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from designer.errors import DataError, first_line

TRAIN_FOLDERS = ("train", "training")
"""Names of the part with training images, in upper or lower case."""

TEST_FOLDERS = ("test", "testing", "val", "valid", "validation")
"""Names of the part with test images, in upper or lower case; the first that exists is used."""

Named = TypeVar("Named")


def those_of(named: Mapping[str, Named], names: Iterable[str]) -> Iterator[Named]:
    """Yield what has one of some names, in the order of these names."""
    return (named[name] for name in names if name in named)


def visible_in(folder: Path) -> list[Path]:
    """Return what lies in a folder and is not hidden, sorted by name.

    Raises:
        DataError: if the folder cannot be read.
    """
    try:
        inside = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise DataError(
            f"Expected a folder that can be read at '{folder}': {first_line(error)}."
        ) from error
    return [path for path in inside if not path.name.startswith(".")]


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder that are not hidden, sorted by name.

    Raises:
        DataError: if the folder cannot be read.
    """
    return [path for path in visible_in(folder) if path.is_dir()]
