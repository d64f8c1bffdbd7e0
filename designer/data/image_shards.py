"""Shards of images: tar files in which each image has its class beside it, as WebDataset has them.

The files that belong to one image have the same name up to the first dot: ``0001.jpg`` with the
class in ``0001.cls``.  A shard is read once for the places of its files; from then on every image
is read from its place alone, so that shards are as good as single files for images in any order.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from designer.data.file_parts import FilePart
from designer.data.images import IMAGE_SUFFIXES, LabelledImages
from designer.data.parts import (
    TEST_FOLDERS,
    TRAIN_FOLDERS,
    subfolders,
    those_of,
    visible_in,
)
from designer.errors import DataError, first_line

SHARD_SUFFIX, CLASS_SUFFIX = ".tar", ".cls"

LARGEST_CLASS_NAME = 1000
"""Bytes of a class name; a longer file is refused."""

LONGEST_NUMBER = 18
"""Digits of a number that stands for a class; a longer one is a name."""

TRAIN, TEST = TRAIN_FOLDERS[0], TEST_FOLDERS[0]


@dataclass(frozen=True)
class Shards:
    """The shards of a folder."""

    train: Sequence[Path]
    """Shards of training images."""
    test: Sequence[Path]
    """Shards of test images; empty if there are none."""


def images_in_shards(folder: Path) -> LabelledImages | None:
    """Return the images of the shards of a folder, in their order; None if it holds no shards.

    Classes that are all numbers are in the order of numbers.

    Args:
        folder: the folder.

    Raises:
        DataError: if the names of shards do not say to which part they belong, if a shard cannot be
            read, is damaged or compressed, if it holds no images, or if an image has no class.
    """
    shards = shards_in(folder)
    if shards is None:
        return None
    images, classes = _images(shards.train)
    images_test, classes_test = _images(shards.test) if shards.test else ([], [])
    numbers = all(
        name.isdecimal() and len(name) <= LONGEST_NUMBER for name in (*classes, *classes_test)
    )
    y, y_test = (np.array(some, int if numbers else str) for some in (classes, classes_test))
    return LabelledImages([*images, *images_test], y, y_test if shards.test else None)


def shards_in(folder: Path) -> Shards | None:
    """Return the shards of a folder; None if it holds none, or if class folders lie beside them.

    Shards lie in the folder itself, where a word such as ``train``, ``val`` or ``test`` in the name
    of each says to which part it belongs, or in folders of these names. Beside ``test``, ``val`` is
    ignored, as it is with folders of images.

    Args:
        folder: the folder.

    Raises:
        DataError: if the folder cannot be read, or if it is not clear what belongs to which part.
    """
    own = _shards(folder)
    folders = {path.name.lower(): path for path in subfolders(folder)}
    if own:
        return None if folders else _by_name(own, folder)
    if set(folders) - {*TRAIN_FOLDERS, *TEST_FOLDERS}:
        return None
    train = next(those_of(folders, TRAIN_FOLDERS), None)
    shards = _shards(train) if train else []
    if train is None or not shards or subfolders(train):
        return None
    test = next(those_of(folders, TEST_FOLDERS), None)
    shards_test = _shards(test) if test else []
    if test is not None and not shards_test:
        raise DataError(f"Expected tar files in '{test}', as in '{train}', found none.")
    return Shards(shards, shards_test)


def _by_name(shards: Iterable[Path], folder: Path) -> Shards:
    """Return shards by what a word in their names says."""
    by_part: dict[str, list[Path]] = {}
    for shard in shards:
        by_part.setdefault(_part_in(shard), []).append(shard)
    if set(by_part) == {""}:
        return Shards(by_part[""], ())
    if "" in by_part or TRAIN not in by_part:
        without = by_part.get("", by_part.get(TRAIN, []))
        got = f"'{without[0].name}' without" if without else "no shard of training images"
        raise DataError(
            f"Expected a word such as train, val or test in the name of every tar file in "
            f"'{folder}', or in none, got {got}."
        )
    test = next(those_of(by_part, TEST_FOLDERS), [])
    return Shards(by_part[TRAIN], test)


def _part_in(shard: Path) -> str:
    """Return the part that a word in the name of a shard says; empty if none does."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", shard.stem)]
    parts = {
        TRAIN if word.startswith(TRAIN) else TEST if word.startswith(TEST) else word
        for word in words
        if word.startswith((TRAIN, TEST)) or word in TEST_FOLDERS
    }
    if len(parts) > 1:
        raise DataError(
            f"Expected one part in the name of '{shard}', found {' and '.join(sorted(parts))}."
        )
    return next(iter(parts), "")


def _shards(folder: Path) -> list[Path]:
    """Return the shards that lie in a folder itself, sorted by name."""
    return [
        path
        for path in visible_in(folder)
        if path.suffix.lower() == SHARD_SUFFIX and path.is_file()
    ]


def _images(shards: Sequence[Path]) -> tuple[list[FilePart], list[str]]:
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
        more = f" and {len(shards) - 1} more" if len(shards) > 1 else ""
        raise DataError(f"Expected images (.png, .jpg or others) in '{shards[0]}'{more}, got none.")
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
                    members._add(archive, member, shard)
                _check_end(archive, shard)
        except DataError:
            raise
        except (tarfile.TarError, OSError, EOFError, ValueError, RecursionError) as error:
            raise DataError(
                f"Expected '{shard}' to be a tar file that is not compressed, but reading it "
                f"failed: {first_line(error)}."
            ) from error
        return members

    def _add(self, archive: tarfile.TarFile, member: tarfile.TarInfo, shard: Path) -> None:
        path = PurePosixPath(member.name)
        is_class = path.name.partition(".")[2].lower() == CLASS_SUFFIX[1:]
        is_image = path.suffix.lower() in IMAGE_SUFFIXES
        if not (is_class or is_image) or any(part.startswith(".") for part in path.parts):
            return
        if not member.isfile() or member.issparse():
            raise DataError(
                f"Expected whole files in '{shard}', but '{member.name}' is a link or is stored in "
                f"pieces; write it with the content of every file."
            )
        key = str(path.with_name(path.name.partition(".")[0]))
        known = self.classes if is_class else self.images
        if key in known:
            raise DataError(
                f"Expected one image and one class of each name in '{shard}', got "
                f"'{member.name}' in addition."
            )
        if is_class:
            self.classes[key] = _class_name(archive, member, shard)
        else:
            place = FilePart(str(shard), member.name, member.offset_data, member.size)
            self.images[key] = place


def _check_end(archive: tarfile.TarFile, shard: Path) -> None:
    """Check that nothing but zeros follows, for ``tarfile`` takes a damaged header for the end."""
    with shard.open("rb") as rest:
        rest.seek(archive.offset)
        while block := rest.read(1 << 20):
            if any(block):
                raise DataError(
                    f"Expected '{shard}' to be one whole tar file, but something follows where it "
                    f"seems to end: it is damaged, or several were joined."
                )


def _class_name(archive: tarfile.TarFile, member: tarfile.TarInfo, shard: Path) -> str:
    content = archive.extractfile(member)
    written = content.read(LARGEST_CLASS_NAME + 1) if content else b""
    name = written.decode("utf-8", "backslashreplace").strip()
    if not name or len(written) > LARGEST_CLASS_NAME:
        raise DataError(
            f"Expected the name or number of a class in '{member.name}' of '{shard}', got "
            f"{'nothing' if not name else f'{member.size:,} bytes'}."
        )
    return name
