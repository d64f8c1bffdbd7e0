"""Shards of images: tar files in which each image has its class beside it, as WebDataset has them.

The files that belong to one image have the same name up to the first dot: ``0001.jpg`` with the
class in ``0001.cls``.  A shard is read once for the places of its files; from then on every image
is read from its place alone, so that shards are as good as single files for images in any order.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from designer.data.file_parts import FilePart
from designer.data.images import IMAGE_SUFFIXES, TEST_FOLDERS, TRAIN_FOLDERS, LabelledImages
from designer.errors import DataError, first_line

SHARD_SUFFIX, CLASS_SUFFIX = ".tar", ".cls"

LARGEST_CLASS_NAME = 1000
"""Bytes of a class name; a longer file is none."""


@dataclass(frozen=True)
class Shards:
    """The shards of a folder."""

    train: Sequence[Path]
    """Shards of training images."""
    test: Sequence[Path] | None
    """Shards of test images; None if there are none."""


def shards_in(folder: Path) -> Shards | None:
    """Return the shards of a folder, or None if it holds none, or folders of classes beside them.

    They lie in the folder itself, where those with a word such as ``train``, ``val`` or ``test`` in
    their names belong to that part, or in folders of these names. Beside ``test``, ``val`` is
    ignored, as it is with folders of images.

    Args:
        folder: the folder.

    Raises:
        DataError: if the folder cannot be read.
    """
    try:
        folders = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
        by_part = {name: _shards(path) for name, path in folders.items()}
        own = _shards(folder)
    except OSError as error:
        raise DataError(
            f"Expected a folder that can be read at '{folder}': {first_line(error)}."
        ) from error
    if own and not folders:
        by_part = {}
        for path in own:
            by_part.setdefault(_part_in(path.stem), []).append(path)
    elif own or set(by_part) - {*TRAIN_FOLDERS, *TEST_FOLDERS}:
        return None
    train = _first_of(by_part, (*TRAIN_FOLDERS, ""))
    return Shards(train, _first_of(by_part, TEST_FOLDERS)) if train else None


def images_in_shards(folder: Path) -> LabelledImages | None:
    """Return the images of the shards of a folder, in their order; None if it holds no shards.

    Classes that are all numbers are in the order of numbers.

    Args:
        folder: the folder.

    Raises:
        DataError: if a shard cannot be read or is compressed, if it holds no images, or if an image
            has no class.
    """
    shards = shards_in(folder)
    if shards is None:
        return None
    images, classes = _images(shards.train)
    images_test, classes_test = _images(shards.test) if shards.test else ([], [])
    numbers = all(name.isdecimal() for name in (*classes, *classes_test))
    y, y_test = (np.array(some, int if numbers else str) for some in (classes, classes_test))
    return LabelledImages([*images, *images_test], y, y_test if shards.test else None)


def _images(shards: Iterable[Path]) -> tuple[list[FilePart], list[str]]:
    """Return the images of shards in their order, and the class of each."""
    images: list[FilePart] = []
    classes: list[str] = []
    for shard in shards:
        members = _Members.of(shard)
        for key, image in members.images.items():
            if key not in members.classes:
                raise DataError(
                    f"Expected the class of every image in a file beside it, such as "
                    f"'{key}{CLASS_SUFFIX}', found none for '{image}'."
                )
            images.append(image)
            classes.append(members.classes[key])
    if not images:
        raise DataError(f"Expected images (.png, .jpg or others) in {_named(shards)}, found none.")
    return images, classes


@dataclass
class _Members:
    """What a shard holds, by the name up to the first dot."""

    images: dict[str, FilePart] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, shard: Path) -> _Members:
        members = cls()
        try:
            with tarfile.open(shard, "r:") as archive:
                for member in archive:
                    if member.isfile():
                        members._add(archive, member, shard)
        except DataError:
            raise
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            raise DataError(
                f"Expected '{shard}' to be a tar file that is not compressed, but reading it "
                f"failed: {first_line(error)}."
            ) from error
        return members

    def _add(self, archive: tarfile.TarFile, member: tarfile.TarInfo, shard: Path) -> None:
        folder, _, name = member.name.rpartition("/")
        stem, dot, suffix = name.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        if not stem:  # a hidden file
            return
        if dot + suffix.lower() == CLASS_SUFFIX:
            self.classes[key] = _class_name(archive, member, shard)
        elif os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122 - no path here
            image = FilePart(str(shard), member.name, member.offset_data, member.size)
            if key in self.images:
                raise DataError(
                    f"Expected one image of each name in a shard, got '{self.images[key]}' and "
                    f"'{member.name}'."
                )
            self.images[key] = image


def _class_name(archive: tarfile.TarFile, member: tarfile.TarInfo, shard: Path) -> str:
    content = archive.extractfile(member)
    written = content.read(LARGEST_CLASS_NAME + 1) if content else b""
    name = written.decode("utf-8", "replace").strip()
    if not name or len(written) > LARGEST_CLASS_NAME:
        raise DataError(
            f"Expected the name or number of a class in '{member.name}' of '{shard}', got "
            f"{'nothing' if not name else f'{member.size:,} bytes'}."
        )
    return name


def _shards(folder: Path) -> list[Path]:
    """Return the shards that lie in a folder itself, sorted by name."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() == SHARD_SUFFIX and path.is_file() and path.name[0] != "."
    )


def _part_in(name: str) -> str:
    """Return the part that a word in the name of a shard says; empty if none does."""
    words = re.split(r"[^a-z]+", name.lower())
    return next((word for word in words if word in {*TRAIN_FOLDERS, *TEST_FOLDERS}), "")


def _first_of(by_part: dict[str, list[Path]], names: Iterable[str]) -> list[Path] | None:
    """Return the shards of the first of some parts that has any."""
    return next((by_part[name] for name in names if by_part.get(name)), None)


def _named(shards: Iterable[Path]) -> str:
    return " and ".join(f"'{shard}'" for shard in shards)
