"""Read the raw arrays or batches that `--data` names."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from designer.data.dataset import Array, BatchedData, LabelledTensors
from designer.data.image_folders import RawImages, read_image_folder
from designer.data.limits import check_data_size
from designer.data.raw import ARRAYS, RawArrays, raw_arrays, raw_from_mapping
from designer.errors import DataError, first_line
from designer.importing import Trust

SOURCES = {
    "digits": "scikit-learn's bundled 8x8 digits: 1,797 images, 10 classes",
    "FILE.npz": "arrays x_train, y_train and optionally x_test, y_test",
    "FILE.txt": "text that the tokenizer of hf:FOLDER, a language model, reads, to analyze or "
    "prune it; its later parts are held out",
    "FOLDER": "images in one sub-folder per class, or train/ and test/ with such sub-folders, or "
    "tar files of images and classes as WebDataset has them (0001.jpg with 0001.cls), or what "
    "save_to_disk of Hugging Face's datasets wrote; "
    "decoded batch by batch if they are large",
    "openml:NAME[@VERSION]": "a data set of openml.org, fetched and cached by scikit-learn",
    "package.module:callable": "your function; returns (x, y), (x_train, y_train, x_test, y_test) "
    "or a dict with those names; x may be a tuple or dict of arrays. To analyze or prune a model "
    "also a dict with train, heldout and optionally test: batches (inputs, labels), or batches by "
    "name with labels among them, that can be iterated more than once, such as a DataLoader",
}
"""Forms that ``--data`` takes, and what each of them means."""


BATCHES = ("train", "heldout", "test")
"""Names of the batches that a callable may return; only the first has to be there."""


def read_source(
    source: str, image_size: int | None, trust: Trust
) -> RawArrays | RawImages | BatchedData:
    """Read what a source holds, before anything is split or scaled.

    Args:
        source: one of the forms in ``SOURCES``.
        image_size: height and width in pixels that images of folders are resized to.
        trust: which callables may be imported.

    Raises:
        DataError: if the source has none of the forms, or cannot be read.
        TrustError: if it is a callable that may not be imported.
    """
    if source == "digits":
        return _read_digits()
    if source.startswith("openml:"):
        return _read_openml(source.removeprefix("openml:"))
    if is_npz(source):
        return _read_npz(Path(source))
    if is_text(source):
        raise DataError(
            f"Expected data with labels, got the text '{source}', which only a language model of "
            f"hf:FOLDER can read, to be analyzed or pruned."
        )
    if _is_folder(source):  # checked before callables, because C:\images has a colon, too
        return read_image_folder(Path(source), image_size)
    if is_callable(source):
        return _read_callable(source, trust)
    raise DataError(f"Expected data as one of {', '.join(SOURCES)}, got '{source}'.")


def is_npz(source: str) -> bool:
    """True if a source names a NumPy archive, rather than a data set of OpenML."""
    return source.endswith(".npz") and not source.startswith("openml:")


def is_text(source: str) -> bool:
    """True if a source names a file with text."""
    return source.endswith(".txt") and not source.startswith("openml:")


def is_callable(source: str) -> bool:
    """True if a source names a callable, which has to be imported."""
    named = source.startswith("openml:") or source.endswith((".npz", ".txt"))
    other = named or _is_folder(source)
    return ":" in source and not other


def _read_digits() -> RawArrays:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return RawArrays(digits.images.astype(np.float32) / 16, digits.target)


def _read_npz(path: Path) -> RawArrays:
    with _opened_npz(path) as archive:
        return raw_from_mapping(archive, f"'{path}'")


def read_npz_labels(path: Path) -> Array:
    """Return the training labels (n,) of a NumPy archive, without reading its inputs.

    Raises:
        DataError: if there are none, or the archive cannot be read.
    """
    with _opened_npz(path) as archive:
        if "y_train" not in archive:
            raise DataError(f"Expected an array y_train in '{path}', found none.")
        return raw_arrays((), archive["y_train"]).y


@contextmanager
def _opened_npz(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the arrays of a NumPy archive by name; each is read when it is asked for."""
    if not path.is_file():
        raise DataError(f"Expected a .npz file at '{path}', found none.")
    if not zipfile.is_zipfile(path):
        raise DataError(
            f"Expected '{path}' to be a NumPy archive as numpy.savez writes it, but it has another "
            f"format."
        )
    try:
        check_data_size(_unpacked(path), f"'{path}', unpacked,")
        with np.load(path, allow_pickle=False) as archive:
            yield archive
    except DataError:
        raise
    except Exception as error:  # damaged bytes fail in NumPy, zipfile or zlib
        raise DataError(
            f"Expected '{path}' to be a NumPy archive of plain arrays, but reading it failed: "
            f"{first_line(error)}."
        ) from error


def _unpacked(path: Path) -> int:
    """Return how many bytes the arrays of an archive unpack to, which none of them can exceed."""
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if m.filename.partition(".")[0] in ARRAYS]
        return sum(member.file_size for member in members)


def _is_folder(source: str) -> bool:
    """True if there is a folder of that path; paths that cannot be looked up count as none."""
    try:
        return source != "" and Path(source).is_dir()
    except OSError:  # permission is missing, or the name is impossible
        return False


def _read_openml(name: str) -> RawArrays:
    from sklearn.datasets import fetch_openml

    name, _, version = name.partition("@")
    if not name or (version and not version.isdigit()):
        raise DataError(
            f"Expected openml:NAME or openml:NAME@VERSION, got 'openml:{name}@{version}'."
        )
    version_wanted = int(version) if version else "active"
    try:
        with warnings.catch_warnings(action="ignore"):  # failures are raised as well
            fetched = fetch_openml(name, version=version_wanted, as_frame=False, parser="liac-arff")
    except Exception as error:  # network and parser errors of many kinds
        raise DataError(
            f"Could not get '{name}' from OpenML ({first_line(error)}); check the name and the "
            f"connection, or save the data as .npz and pass that."
        ) from error
    return raw_arrays(fetched.data, fetched.target)


def _read_callable(source: str, trust: Trust) -> RawArrays | BatchedData:
    function = trust.load(source, DataError)
    if not callable(function):
        raise DataError(f"Expected '{source}' to be callable, got {type(function).__name__}.")
    try:
        data = function()
    except (Exception, SystemExit) as error:  # the user's function may do anything
        raise DataError(
            f"'{source}' raised {type(error).__name__}: {first_line(error)}."
        ) from error
    if isinstance(data, Mapping) and "train" in data:
        return _batched_data(data, source)
    if isinstance(data, Mapping):
        return raw_from_mapping(data, f"'{source}'")
    if isinstance(data, tuple) and len(data) in (2, 4):
        return raw_arrays(*data)
    raise DataError(
        f"Expected '{source}' to return (x, y), (x_train, y_train, x_test, y_test) or a dict with "
        f'those names, or {{"train": loader, "heldout": loader}}, got {type(data).__name__}.'
    )


def _batched_data(data: Mapping[str, Any], source: str) -> BatchedData:
    unknown = sorted(str(name) for name in data if name not in BATCHES)
    if unknown:
        raise DataError(
            f"Expected batches train and optionally heldout and test in '{source}', found "
            f"{', '.join(unknown)}, too."
        )
    for name, batches in data.items():
        if name == "train" or batches is not None:
            _check_batches(batches, f"{name} in '{source}'")
    name, train = display_name(source), data["train"]
    return BatchedData(name, train, data.get("heldout"), data.get("test"), source)


def _check_batches(batches: Any, what: str) -> None:
    """Raise ``DataError`` for values that cannot be batches, without iterating over them."""
    arrays = hasattr(batches, "__array__") or isinstance(batches, str | bytes | Mapping)
    values = isinstance(batches, list | tuple) and not _are_pairs(batches)
    if arrays or values or not isinstance(batches, Iterable):
        raise DataError(
            f"Expected {what} as batches (inputs, labels), got {type(batches).__name__}; return a "
            f"list of such pairs or a DataLoader, or arrays under the names x_train and y_train."
        )
    if isinstance(batches, Iterator):
        raise DataError(
            f"Expected {what} to be iterable more than once, got {type(batches).__name__}; return "
            f"a list of batches or a DataLoader."
        )


def _are_pairs(batches: list[Any] | tuple[Any, ...]) -> bool:
    """True for batches (inputs, labels), and for batches by name."""
    return len(batches) > 0 and all(
        isinstance(batch, Mapping | LabelledTensors)
        or (isinstance(batch, list | tuple) and len(batch) == 2)
        for batch in batches
    )


def display_name(source: str) -> str:
    """Return the name of a source for reports: the last part of a path, else the source itself."""
    path = Path(source)
    if source.endswith((".npz", ".txt")):
        return path.stem
    return (path.name or path.resolve().name or source) if _is_folder(source) else source
