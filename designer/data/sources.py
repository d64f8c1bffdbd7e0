"""Read the raw arrays or batches that `--data` names."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from designer.data.dataset import BatchedData
from designer.data.images import read_image_folder
from designer.data.raw import RawArrays, raw_arrays, raw_from_mapping
from designer.errors import DataError, first_line
from designer.importing import load_attribute

SOURCES = {
    "digits": "scikit-learn's bundled 8x8 digits: 1,797 images, 10 classes",
    "FILE.npz": "arrays x_train, y_train and, if there, x_test, y_test",
    "FOLDER": "images in one sub-folder per class, or train/ and test/ with such sub-folders",
    "openml:NAME[@VERSION]": "a data set of openml.org, fetched and cached by scikit-learn",
    "package.module:callable": "your function; returns (x, y), (x_train, y_train, x_test, y_test) "
    "or a dict with those names; to analyze a model also a dict with train and, if there, heldout: "
    "batches (inputs, labels) that can be iterated more than once, such as a DataLoader",
}
"""Forms of ``--data`` and what each is."""


def read_source(source: str, image_size: int | None) -> RawArrays | BatchedData:
    if source == "digits":
        return _read_digits()
    if source.startswith("openml:"):
        return _read_openml(source.removeprefix("openml:"))
    if source.endswith(".npz"):
        return _read_npz(Path(source))
    if _is_folder(source):  # before callables: a path may have a colon, too, as C:\images has
        return RawArrays(*read_image_folder(Path(source), image_size))
    if ":" in source:
        return _read_callable(source)
    raise DataError(f"Expected data as one of {', '.join(SOURCES)}, got '{source}'.")


def _read_digits() -> RawArrays:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return RawArrays(digits.images.astype(np.float32) / 16, digits.target)


def _read_npz(path: Path) -> RawArrays:
    if not path.is_file():
        raise DataError(f"Expected a .npz file at '{path}', found none.")
    if not zipfile.is_zipfile(path):
        raise DataError(
            f"Expected '{path}' to be a NumPy archive as numpy.savez writes it, but it is none."
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            return raw_from_mapping(archive, f"'{path}'")
    except DataError:
        raise
    except Exception as error:  # whatever NumPy, zipfile and zlib make of damaged bytes
        raise DataError(
            f"Expected '{path}' to be a NumPy archive of plain arrays, but reading it failed: "
            f"{first_line(error)}."
        ) from error


def _is_folder(source: str) -> bool:
    try:
        return source != "" and Path(source).is_dir()
    except OSError:  # not allowed to look, or no possible name
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
        with warnings.catch_warnings(action="ignore"):  # what matters is raised, too
            fetched = fetch_openml(name, version=version_wanted, as_frame=False, parser="liac-arff")
    except Exception as error:  # any of many network and parser errors, all meaning the same
        raise DataError(
            f"Could not get '{name}' from OpenML ({first_line(error)}); check the name and the "
            f"connection, or save the data as .npz and pass that."
        ) from error
    return raw_arrays(fetched.data, fetched.target)


def _read_callable(source: str) -> RawArrays | BatchedData:
    module_name, _, attribute = source.partition(":")
    function = load_attribute(module_name, attribute, DataError)
    if not callable(function):
        raise DataError(f"Expected '{source}' to be callable, got {type(function).__name__}.")
    try:
        made = function()
    except (Exception, SystemExit) as error:  # the function is the user's and may do anything
        raise DataError(
            f"'{source}' raised {type(error).__name__}: {first_line(error)}."
        ) from error
    if isinstance(made, Mapping) and "train" in made:
        return _streams(made, source)
    if isinstance(made, Mapping):
        return raw_from_mapping(made, f"'{source}'")
    if isinstance(made, tuple) and len(made) in (2, 4):
        return raw_arrays(*made)
    raise DataError(
        f"Expected '{source}' to return (x, y), (x_train, y_train, x_test, y_test) or a dict with "
        f"those names, got {type(made).__name__}."
    )


def _streams(made: Mapping[str, Any], source: str) -> BatchedData:
    unknown = sorted(str(name) for name in made if name not in ("train", "heldout"))
    if unknown:
        raise DataError(
            f"Expected batches train and, if there, heldout in '{source}', found "
            f"{', '.join(unknown)}, too."
        )
    for name, batches in made.items():
        if name == "train" or batches is not None:
            _check_batches(batches, f"{name} in '{source}'")
    return BatchedData(display_name(source), made["train"], made.get("heldout"))


def _check_batches(batches: Any, what: str) -> None:
    """Refuse what is seen to be no batches without iterating any."""
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
    return len(batches) > 0 and all(isinstance(b, list | tuple) and len(b) == 2 for b in batches)


def display_name(source: str) -> str:
    path = Path(source)
    if source.endswith(".npz"):
        return path.stem
    return (path.name or path.resolve().name or source) if _is_folder(source) else source
