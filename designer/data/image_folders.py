"""Folders of images: a folder for each class, shards in tar files, or a saved data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from designer.data.dataset import Array
from designer.data.image_shards import images_in_shards
from designer.data.images import IMAGE_SUFFIXES, ImageFiles, LabelledImages
from designer.data.parts import TEST_FOLDERS, TRAIN_FOLDERS, subfolders, those_of
from designer.data.raw import RawArrays
from designer.data.saved_images import saved_images
from designer.errors import DataError
from designer.results.layers import ReportWarning


@dataclass(frozen=True, eq=False)
class RawImages:
    """The images of a folder that do not fit in memory, and their classes."""

    files: ImageFiles
    """All images: those of training, then those of test."""
    y: Array
    """(n,) class names of the training images."""
    y_test: Array | None = None
    """(m,) class names of the test images; None if there is no test folder."""
    warnings: tuple[ReportWarning, ...] = ()
    """What a reader of results on these images should know."""


def read_image_folder(folder: Path, image_size: int | None) -> RawArrays | RawImages:
    """Read images and the names of their classes; the images only if they fit in memory.

    ``folder`` holds shards (see ``image_shards``), a saved data set (see ``saved_images``), or one
    folder per class, or ``train`` and ``test`` with such folders. Without ``test``, a folder
    ``val`` (``valid``, ``validation``) is the test set; beside ``test`` it is ignored, because
    validation data are split off the training data. Without any of these the test set is split off
    later. Class folders are searched with all their subfolders; hidden files and files without one
    of ``IMAGE_SUFFIXES`` are ignored. Pipes, sockets and devices are not opened, but counted in a
    warning. Images are sorted by their paths, so that the order does not depend on the file system.

    Images are turned upright as their EXIF data say and converted to the richest mode among them:
    grey, RGB, or RGBA (also for grey with alpha). Images of one bit become grey; palettes, CMYK and
    other colour spaces become RGB. Grey of more than 8 bits keeps its values and cannot be mixed
    with other images, because its range is unknown. Pillow reads colours of 16 bits as 8. The
    first of several frames is used.

    Args:
        folder: the folder.
        image_size: height and width in pixels to resize to; None keeps the size.

    Returns:
        Training images (n, height, width), or (n, channels, height, width) with colours, and their
        class names (n,); test images and class names if there is a test folder. In the place of
        images that do not fit in memory, their files.

    Raises:
        DataError: if there are no classes or images, if an image cannot be read, or if images
            differ in size and ``image_size`` is None. Of images that do not fit in memory, only
            the headers are read here.
    """
    labelled = _stored(folder) or _of_class_folders(folder)
    y, y_test = labelled.y, labelled.y_test
    files = ImageFiles.of(labelled.places, image_size)
    if not files.fit_in_memory():
        return RawImages(files, y, y_test, labelled.warnings)
    x = files.all_pixels()
    x_test = None if y_test is None else x[len(y) :]
    return RawArrays(x[: len(y)], y, x_test, y_test, labelled.warnings)


def folder_classes(folder: Path) -> set[str]:
    """Return the names of the classes that ``read_image_folder`` would find, without any image.

    Raises:
        DataError: if there is no folder of images per class.
    """
    stored = _stored(folder)
    return set(_of_classes(_train_and_test(folder)[0])[1] if stored is None else stored.y.tolist())


def _stored(folder: Path) -> LabelledImages | None:
    """Return the images of shards or of a saved data set; None if the folder holds neither."""
    stored = images_in_shards(folder) or saved_images(folder)
    if stored is not None and len(set(stored.y.tolist())) < 2:
        raise DataError(f"Expected at least 2 classes in '{folder}', got '{stored.y[0]}' alone.")
    return stored


def _of_class_folders(folder: Path) -> LabelledImages:
    """Return the images of class folders and their classes, before any image is read."""
    train, test = _train_and_test(folder)
    paths, y = _of_classes(train)
    paths_test, y_test = _labelled_images(test) if test else ([], [])
    return LabelledImages(
        [*paths, *paths_test],
        np.array(y),
        np.array(y_test) if test else None,
        tuple(_special_files([train] if test is None else [train, test])),
    )


def _of_classes(train: Path) -> tuple[list[Path], list[str]]:
    """Return the training images of at least two classes, and the class of each."""
    paths, y = _labelled_images(train)
    if len(set(y)) < 2:
        raise DataError(f"Expected at least 2 class folders in '{train}', got '{y[0]}' alone.")
    return paths, y


def _special_files(folders: list[Path]) -> Iterator[ReportWarning]:
    """Yield a warning if there are pipes, sockets or devices where images should be."""
    special = [
        path
        for folder in folders
        for label in subfolders(folder)
        for path in _named_as_images(label).values()
        if _is_special(path)
    ]
    if special:
        yield ReportWarning(
            "special_files",
            f"{len(special):,} of the names of images belong to no regular files, but to pipes, "
            f"sockets or devices, which were not opened; the first is '{special[0]}'.",
        )


def _is_special(path: Path) -> bool:
    """True for pipes, sockets and devices, and for links to them; a broken link is none."""
    return path.exists() and not path.is_file()


def _train_and_test(folder: Path) -> tuple[Path, Path | None]:
    """Return the folders that hold the class folders of training and of test.

    A folder ``train`` holds classes if it is alone or beside a test folder; beside other folders it
    is a class itself.
    """
    folders = {path.name.lower(): path for path in subfolders(folder)}
    train = next(those_of(folders, TRAIN_FOLDERS), None)
    test = next(those_of(folders, TEST_FOLDERS), None)
    if train is None or (test is None and len(folders) > 1):
        return folder, None
    return train, test


def _labelled_images(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the image files of all classes, class by class, and the class of each."""
    classes = subfolders(folder)
    if not classes:
        raise DataError(
            f"Expected one folder of images per class in '{folder}', found no folder; move the "
            f"images of every class into one of its own."
        )
    pairs = [(path, label.name) for label in classes for path in _image_files(label)]
    return [path for path, _ in pairs], [label for _, label in pairs]


def _named_as_images(folder: Path) -> dict[str, Path]:
    """Return all that is named as an image below a class folder, but for folders, by its path."""
    inside = {path.relative_to(folder): path for path in folder.rglob("*")}
    return {
        relative.as_posix(): path
        for relative, path in inside.items()
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.is_dir()
        and not any(part.startswith(".") for part in relative.parts)
    }


def _image_files(folder: Path) -> list[Path]:
    """Return all files below a class folder that should be images, sorted by their paths."""
    named = _named_as_images(folder)
    files = {name: path for name, path in named.items() if not _is_special(path)}
    if not files:
        raise DataError(
            f"Expected images (.png, .jpg or others) in class folder '{folder}', found none; add "
            f"some or remove it."
        )
    return [files[name] for name in sorted(files)]
