"""What ``--data`` accepts, and how it becomes seeded training, validation and test tensors.

A source gives raw arrays; everything after that is the same for all of them: check, split
(stratified, seeded), resize, scale.  The test set is only carried along here.  A callable may give
batches instead, to look at a model with; they go through as they are.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from designer.errors import DataError, first_line
from designer.images import read_image_folder, to_inputs
from designer.results import DataSummary, ReportWarning

Array = NDArray[Any]

TEST_FRACTION = 0.2
"""Set aside for the test where the source brings no test set."""

BLOCK_VALUES = 1 << 22
"""Input values that are scaled at a time: 32 MiB in float64."""

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


class Scaling(StrEnum):
    """How inputs are scaled."""

    STANDARD = "standard"
    """To mean 0 and sd 1 per channel or feature of the training inputs."""
    NONE = "none"
    """Not at all; bytes are fractions of 255 all the same."""
    GIVEN = "given"
    """With the ``mean`` and ``scale`` of a mapping, as for a model trained earlier."""


@dataclass(frozen=True, eq=False)
class LabelledTensors:
    """Inputs (n, ...) float32 and labels (n,) int64."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.inputs, self.labels))

    def batches(self, size: int) -> list[tuple[Tensor, Tensor]]:
        """All samples in order, ``size`` at a time."""
        pairs = zip(torch.split(self.inputs, size), torch.split(self.labels, size), strict=True)
        return list(pairs)

    def to(self, device: torch.device) -> LabelledTensors:
        """The same on another device."""
        return LabelledTensors(self.inputs.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification task, ready to train on."""

    name: str
    train: LabelledTensors
    validation: LabelledTensors
    test: LabelledTensors
    class_names: tuple[str, ...]
    scaling: dict[str, list[float]]
    """``mean`` and ``scale`` per channel or feature that were applied: inputs are
    (raw - mean) / scale."""
    fingerprint: str
    """SHA-256 of the raw arrays as split, before scaling."""
    options: dict[str, Any] = field(default_factory=dict)
    """The arguments of ``load_dataset`` that shaped it."""
    shuffled_labels: bool = False
    warnings: tuple[ReportWarning, ...] = ()
    split_here: bool = False
    """Whether the source had no test set, so that one was split off."""

    @property
    def recipe(self) -> dict[str, Any]:
        """Arguments of ``load_dataset`` that give the same data again."""
        given = self.options.get("scaling") == Scaling.GIVEN
        return {**self.options, "scaling": self.scaling} if given else dict(self.options)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, channels first."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    @property
    def chance(self) -> float:
        """Share of the largest class in the validation data."""
        counts = torch.bincount(self.validation.labels, minlength=self.num_classes)
        return float(counts.max()) / len(self.validation)

    def to(self, device: torch.device) -> Dataset:
        """The same with all tensors on another device."""
        return replace(
            self,
            train=self.train.to(device),
            validation=self.validation.to(device),
            test=self.test.to(device),
        )

    def summary(self) -> DataSummary:
        """What the report says about the data."""
        return DataSummary(
            name=self.name,
            fingerprint=self.fingerprint,
            input_shape=self.input_shape,
            num_classes=self.num_classes,
            train=len(self.train),
            validation=len(self.validation),
            test=len(self.test),
            chance=self.chance,
            shuffled_labels=self.shuffled_labels,
        )


@dataclass(frozen=True, eq=False)
class Streams:
    """Batches to look at a model with, as a callable gave them.

    Each is a pair of inputs, passed to the model as they are, and labels. Inputs are a tensor
    (n, ...), or a tuple or dict of such. They can be iterated more than once.
    """

    name: str
    train: Iterable[tuple[Any, Tensor]]
    heldout: Iterable[tuple[Any, Tensor]] | None = None


@dataclass(frozen=True)
class _Raw:
    """Arrays as a source gave them; ``x_test`` and ``y_test`` may be missing."""

    x: Array
    y: Array
    x_test: Array | None = None
    y_test: Array | None = None


@dataclass(frozen=True)
class _Options:
    """The arguments of ``load_dataset`` besides the source."""

    train_size: int | None = None
    image_size: int | None = None
    validation_fraction: float = 0.25
    seed: int = 0
    shuffle_labels: bool = False
    scaling: str | Mapping[str, Sequence[float]] = Scaling.STANDARD

    def __post_init__(self) -> None:
        if not 0 < self.validation_fraction < 1:
            raise DataError(
                f"Expected a validation fraction between 0 and 1, got {self.validation_fraction:g}."
            )
        if not 0 <= self.seed < 2**31:
            raise DataError(f"Expected a seed from 0 to 2^31 - 1, got {self.seed}.")
        if not isinstance(self.scaling, Mapping) and self.scaling not in ("standard", "none"):
            raise DataError(
                f"Expected a scaling of standard or none, or a mapping with mean and scale, got "
                f"'{self.scaling}'."
            )

    def record(self) -> dict[str, Any]:
        """As plain values; a mapping that was given is only named."""
        given = isinstance(self.scaling, Mapping)
        return {**vars(self), "scaling": str(Scaling.GIVEN if given else self.scaling)}


def load_dataset(
    source: str,
    *,
    train_size: int | None = None,
    image_size: int | None = None,
    validation_fraction: float = 0.25,
    seed: int = 0,
    shuffle_labels: bool = False,
    scaling: str | Mapping[str, Sequence[float]] = Scaling.STANDARD,
) -> Dataset:
    """Load, check, split and scale a data set.

    Args:
        source: one of the forms in ``SOURCES``.
        train_size: images to train on; as many more as ``validation_fraction`` asks for are
            held out. All by default.
        image_size: height and width in pixels to resize images to.
        validation_fraction: share of the images in use that is held out for validation.
        seed: of the split and of ``shuffle_labels``.
        shuffle_labels: permute all labels, as a control that should find nothing.
        scaling: ``standard``, ``none`` (bytes as fractions of 255, all else as the source gave
            it), or a ``Dataset.scaling`` to apply, such as that of a model trained earlier.

    Raises:
        DataError: on anything that is not a usable classification data set.
    """
    options = _Options(
        train_size=train_size,
        image_size=image_size,
        validation_fraction=validation_fraction,
        seed=seed,
        shuffle_labels=shuffle_labels,
        scaling=scaling,
    )
    made = _read(source, image_size)
    if isinstance(made, Streams):
        raise DataError(
            f"Expected arrays from '{source}', got batches; a search needs arrays: return x_train "
            f"and y_train."
        )
    return _prepared(source, made, options)


def load_source(source: str, **options: Any) -> Dataset | Streams:
    """Batches where a callable gives such, as they are; all else as ``load_dataset`` does.

    Args:
        source: one of the forms in ``SOURCES``.
        options: those of ``load_dataset``.

    Raises:
        DataError: as ``load_dataset``; on batches that cannot be iterated more than once, and on
            options that batches cannot follow.
    """
    chosen = _Options(**options)
    made = _read(source, chosen.image_size)
    if not isinstance(made, Streams):
        return _prepared(source, made, chosen)
    for name, value in options.items():  # a scaling in numbers is that of the model, not asked for
        as_they_are = value in (None, False, Scaling.NONE) or isinstance(value, Mapping)
        if name != "seed" and not as_they_are:
            raise DataError(
                f"Expected arrays from '{source}' for the option {name.replace('_', ' ')}, got "
                f"batches, which are used as they are; leave it out."
            )
    return made


def _prepared(source: str, raw: _Raw, options: _Options) -> Dataset:
    """Raw arrays, checked, split and scaled."""
    seed = options.seed
    _check_arrays(raw.x, raw.y, "training")
    classes, counts = np.unique(raw.y, return_counts=True)
    _check_classes(classes, counts, needed=2 if raw.x_test is not None else 3)
    x, y = raw.x, np.searchsorted(classes, raw.y)
    if raw.x_test is None or raw.y_test is None:
        x, y, x_test, y_test = _split(x, y, _ceil(TEST_FRACTION * len(y)), None, seed)
    else:
        x_test, y_test = raw.x_test, _known_labels(raw.x_test, raw.y_test, x, classes)
    if options.shuffle_labels:
        generator = np.random.default_rng(seed)
        y, y_test = generator.permutation(y), generator.permutation(y_test)
    train_size, fraction = options.train_size, options.validation_fraction
    held_out = _validation_size(len(y), len(classes), train_size, fraction)
    x, y, x_validation, y_validation = _split(x, y, held_out, train_size, seed)
    parts = {"train": (x, y), "validation": (x_validation, y_validation), "test": (x_test, y_test)}
    inputs, scaling = _scale(
        {name: to_inputs(a, options.image_size) for name, (a, _) in parts.items()},
        options.scaling,
    )
    tensors = {
        name: LabelledTensors(inputs[name], torch.as_tensor(labels, dtype=torch.int64))
        for name, (_, labels) in parts.items()
    }
    return Dataset(
        name=_display_name(source),
        class_names=tuple(str(c) for c in classes),
        scaling=scaling,
        fingerprint=_fingerprint([array for pair in parts.values() for array in pair]),
        options={"source": source, **options.record()},
        shuffled_labels=options.shuffle_labels,
        warnings=tuple(_class_warnings(parts, classes)),
        split_here=raw.x_test is None,
        **tensors,
    )


def _read(source: str, image_size: int | None) -> _Raw | Streams:
    if source == "digits":
        return _read_digits()
    if source.startswith("openml:"):
        return _read_openml(source.removeprefix("openml:"))
    if source.endswith(".npz"):
        return _read_npz(Path(source))
    if _is_folder(source):  # before callables: a path may have a colon, too, as C:\images has
        return _Raw(*read_image_folder(Path(source), image_size))
    if ":" in source:
        return _read_callable(source)
    raise DataError(f"Expected data as one of {', '.join(SOURCES)}, got '{source}'.")


def _read_digits() -> _Raw:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return _Raw(digits.images.astype(np.float32) / 16, digits.target)


def _read_npz(path: Path) -> _Raw:
    if not path.is_file():
        raise DataError(f"Expected a .npz file at '{path}', found none.")
    if not zipfile.is_zipfile(path):
        raise DataError(
            f"Expected '{path}' to be a NumPy archive as numpy.savez writes it, but it is none."
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            return _from_mapping(archive, f"'{path}'")
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


def _read_openml(name: str) -> _Raw:
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
    return _raw(fetched.data, fetched.target)


def _read_callable(source: str) -> _Raw | Streams:
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
        return _from_mapping(made, f"'{source}'")
    if isinstance(made, tuple) and len(made) in (2, 4):
        return _raw(*made)
    raise DataError(
        f"Expected '{source}' to return (x, y), (x_train, y_train, x_test, y_test) or a dict with "
        f"those names, got {type(made).__name__}."
    )


def _streams(made: Mapping[str, Any], source: str) -> Streams:
    unknown = sorted(str(name) for name in made if name not in ("train", "heldout"))
    if unknown:
        raise DataError(
            f"Expected batches train and, if there, heldout in '{source}', found "
            f"{', '.join(unknown)}, too."
        )
    for name, batches in made.items():
        if name == "train" or batches is not None:
            _check_batches(batches, f"{name} in '{source}'")
    return Streams(_display_name(source), made["train"], made.get("heldout"))


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


def load_attribute(module: str, attribute: str, error: type[Exception]) -> Any:
    """``attribute`` of an importable ``module``, looked for in the working folder, too.

    Raises:
        error: where there is no such module or attribute, or importing it raises anything.
    """
    here = str(Path.cwd())
    if here not in sys.path:  # stays there, so that worker processes find the same names
        sys.path.append(here)
    try:
        return getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as cause:  # the module is the user's and may do anything
        raise error(
            f"Expected package.module:name that can be imported, but '{module}:{attribute}' "
            f"raised {type(cause).__name__}: {first_line(cause)}."
        ) from cause


def _from_mapping(arrays: Mapping[str, Any], where: str) -> _Raw:
    missing = [name for name in ("x_train", "y_train") if name not in arrays]
    if missing:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise DataError(f"Expected arrays x_train and y_train in {where}, found {found}.")
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise DataError(f"Expected both or neither of x_test and y_test in {where}.")
    names = ("x_train", "y_train", "x_test", "y_test")
    return _raw(*(arrays[name] for name in names if name in arrays))


def _raw(x: Any, y: Any, *test: Any) -> _Raw:
    """Arrays from what a source gave: training inputs and labels, and perhaps those of the test."""
    training = _as_array(x, "training inputs"), _as_labels(y, "training labels")
    if not test:
        return _Raw(*training)
    x_test, y_test = test
    return _Raw(*training, _as_array(x_test, "test inputs"), _as_labels(y_test, "test labels"))


def _as_array(value: Any, what: str) -> Array:
    try:
        if isinstance(value, Tensor):
            value = value.detach().cpu().numpy()
        array: Array = value.toarray() if hasattr(value, "toarray") else np.asarray(value)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"Expected {what} as one array, or rows of equal length, got {type(value).__name__} "
            f"that NumPy cannot read: {first_line(error)}."
        ) from error
    return array


def _as_labels(value: Any, what: str) -> Array:
    """Labels with a column (n, 1) flattened, and with text as ``str`` whatever it came as."""
    labels = _as_array(value, what)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind in "OT":
        labels = _unboxed(labels)
    return (
        np.char.decode(labels, "utf-8", "backslashreplace") if labels.dtype.kind == "S" else labels
    )


def _unboxed(labels: Array) -> Array:
    """Labels held as Python objects as plain text or numbers; unchanged where they are mixed."""
    for kind in (str, bytes, (Real, np.bool_)):
        if all(isinstance(label, kind) for label in labels.flat):
            return np.array(labels.tolist())
    return labels


def _check_arrays(x: Array, y: Array, which: str) -> None:
    _check_inputs(x, which)
    _check_labels(y, which)
    if len(x) != len(y):
        raise DataError(
            f"Expected one label per {which} sample, got {len(x)} samples and {len(y)} labels."
        )


def _check_inputs(x: Array, which: str) -> None:
    if x.ndim < 2 or x.ndim > 4 or x.dtype.kind not in "fiub":
        raise DataError(
            f"Expected {which} inputs as numbers of shape (n, features), (n, height, width) or "
            f"with channels, got shape {x.shape} of {x.dtype}."
        )
    if x.size == 0:
        raise DataError(f"Expected at least one {which} sample, got inputs of shape {x.shape}.")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).sum())
        raise DataError(
            f"Expected finite {which} inputs, got {bad} NaN or infinite values; fill or drop them."
        )


def _check_labels(y: Array, which: str) -> None:
    if y.ndim != 1:
        raise DataError(
            f"Expected {which} labels of shape (n,), one class each, got shape {y.shape}."
        )
    if y.dtype.kind not in "biufU":
        boxed = y.dtype.kind == "O"
        got = ", ".join(sorted({type(label).__name__ for label in y})) if boxed else str(y.dtype)
        raise DataError(
            f"Expected {which} labels that are all whole numbers or all text, got {got}; "
            f"name every class, and drop samples that have none."
        )
    if y.dtype.kind == "f" and not (np.isfinite(y).all() and (y == np.round(y)).all()):
        raise DataError(
            f"Expected {which} labels to be classes, got fractional, NaN or infinite numbers."
        )


def _check_classes(classes: Array, counts: Array, needed: int) -> None:
    if len(classes) < 2:
        raise DataError(f"Expected at least 2 classes in the training labels, got {len(classes)}.")
    rarest = int(counts.argmin())
    if counts[rarest] < needed:
        raise DataError(
            f"Expected at least {needed} samples of every class to split them, got "
            f"{counts[rarest]} of class {classes[rarest]}; drop it or add samples."
        )


def _known_labels(x_test: Array, y_test: Array, x: Array, classes: Array) -> Array:
    _check_arrays(x_test, y_test, "test")
    if x_test.shape[1:] != x.shape[1:]:
        raise DataError(
            f"Expected test inputs of shape (n, {', '.join(map(str, x.shape[1:]))}) as in "
            f"training, got {x_test.shape}."
        )
    if (y_test.dtype.kind == "U") != (classes.dtype.kind == "U"):
        raise DataError(
            f"Expected test labels of the kind of the training labels, {classes.dtype}, got "
            f"{y_test.dtype}."
        )
    unknown = np.setdiff1d(y_test, classes)
    if len(unknown):
        raise DataError(f"Expected test labels known from training, got class {unknown[0]}, too.")
    labels: Array = np.searchsorted(classes, y_test)
    return labels


def _validation_size(n: int, classes: int, train_size: int | None, fraction: float) -> int:
    """Samples to hold out of ``n``, at least one per class.

    Raises:
        DataError: where ``train_size`` and what it asks for do not fit into ``n`` samples.
    """
    if train_size is None:
        return min(max(_ceil(fraction * n), classes), n - classes)

    def held_out(size: int) -> int:
        return max(_ceil(size * fraction / (1 - fraction)), classes)

    largest = int(n * (1 - fraction)) + 1
    while largest + held_out(largest) > n:
        largest -= 1
    if largest < classes:
        raise DataError(
            f"Expected a validation fraction that leaves one training sample per class "
            f"({classes}), got {fraction:g} of {n} samples; lower it."
        )
    if not classes <= train_size <= largest:
        raise DataError(
            f"Expected a train size from {classes} (one per class) to {largest} (what a "
            f"validation fraction of {fraction:g} leaves of {n} samples), got {train_size}."
        )
    return held_out(train_size)


def _split(
    x: Array, y: Array, held_out: int, keep: int | None, seed: int
) -> tuple[Array, Array, Array, Array]:
    """Stratified: ``keep`` samples (all others by default), then ``held_out`` samples."""
    from sklearn.model_selection import train_test_split

    keep = len(y) - held_out if keep is None else keep
    try:
        kept, held = train_test_split(
            np.arange(len(y)), train_size=keep, test_size=held_out, stratify=y, random_state=seed
        )
    except ValueError as error:
        raise DataError(
            f"Expected enough samples of every class to split {len(y)} into {keep} and "
            f"{held_out}: {first_line(error)}."
        ) from error
    return x[kept], y[kept], x[held], y[held]


def _scale(
    inputs: dict[str, Tensor], scaling: str | Mapping[str, Sequence[float]]
) -> tuple[dict[str, Tensor], dict[str, list[float]]]:
    """Subtract a mean and divide by a scale per channel or feature, and say which they were.

    In float64, block by block; only the result is float32.
    """
    train = inputs["train"]
    if isinstance(scaling, Mapping):
        mean, scale = _given_scaling(train, scaling)
    elif scaling == Scaling.NONE:
        mean, scale = _per_channel(train, 0.0), _per_channel(train, 1.0)
    else:
        mean, scale = _mean_and_scale(train)
    scaled = {name: _scaled(x, mean, scale, name) for name, x in inputs.items()}
    return scaled, {"mean": mean.flatten().tolist(), "scale": scale.flatten().tolist()}


def _given_scaling(x: Tensor, scaling: Mapping[str, Sequence[float]]) -> tuple[Tensor, Tensor]:
    if set(scaling) != {"mean", "scale"}:
        found = ", ".join(sorted(map(str, scaling))) or "nothing"
        raise DataError(f"Expected a scaling with mean and scale, found {found}.")
    values = {name: _as_array(scaling[name], f"the {name} of the scaling") for name in scaling}
    for name, given in values.items():
        if given.shape != (x.shape[1],) or given.dtype.kind not in "fiu":
            raise DataError(
                f"Expected the {name} of the scaling as {x.shape[1]} numbers, one per channel or "
                f"feature, got shape {given.shape} of {given.dtype}; it is that of other data."
            )
    mean, scale = values["mean"], values["scale"]
    if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise DataError("Expected a scaling with a finite mean and a positive scale, got others.")
    return _per_channel(x, mean), _per_channel(x, scale)


def _per_channel(x: Tensor, values: Array | float) -> Tensor:
    """(1, channels, 1, 1) for images, (1, features) else; float64."""
    row = torch.as_tensor(values, dtype=torch.float64).expand(x.shape[1])
    return row.reshape(1, -1, *[1] * (x.ndim - 2))


def _mean_and_scale(train: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and sd per channel or feature, float64; a constant one has its value, and 1."""
    over = _all_but_channels(train)
    highest = train.amax(over, keepdim=True).double()
    lowest = train.amin(over, keepdim=True).double()
    unit = torch.maximum(highest.abs(), lowest.abs())  # so that squares neither over- nor underflow
    unit = torch.where(unit > 0, unit, 1.0)
    mean = _mean(train, lambda x: x / unit)
    sd = _mean(train, lambda x: (x / unit - mean) ** 2).sqrt()
    varies = sd > 1e-12 * mean.abs()
    return torch.where(varies, mean * unit, highest), torch.where(varies, sd * unit, 1.0)


def _mean(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean of a function of the float64 values, per channel or feature."""
    over = _all_but_channels(x)
    sums = [function(block.double()).sum(over, keepdim=True) for block in _blocks(x)]
    return torch.cat(sums).sum(0, keepdim=True) / (x.numel() // x.shape[1])


def _scaled(x: Tensor, mean: Tensor, scale: Tensor, which: str) -> Tensor:
    scaled = torch.cat([((block.double() - mean) / scale).float() for block in _blocks(x)])
    if not scaled.isfinite().all():
        raise DataError(
            f"Expected {which} inputs near the mean they are scaled with, got values so far from "
            f"it that float32 cannot hold them once scaled; rescale or drop them."
        )
    return scaled


def _blocks(x: Tensor) -> tuple[Tensor, ...]:
    return torch.split(x, max(1, BLOCK_VALUES // x[0].numel()))


def _all_but_channels(x: Tensor) -> tuple[int, ...]:
    return (0, 2, 3) if x.ndim == 4 else (0,)


def _class_warnings(
    parts: dict[str, tuple[Array, Array]], classes: Array
) -> Iterator[ReportWarning]:
    for name, (_, labels) in parts.items():
        missing = [str(c) for i, c in enumerate(classes) if not (labels == i).any()]
        if missing:
            yield ReportWarning(
                f"class_missing_from_{name}",
                f"The {name} set has no sample of class {', '.join(missing[:5])}"
                f"{' and others' if len(missing) > 5 else ''}, so nothing is known of it there.",
            )


def _fingerprint(arrays: list[Array]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _display_name(source: str) -> str:
    path = Path(source)
    if source.endswith(".npz"):
        return path.stem
    return (path.name or path.resolve().name or source) if _is_folder(source) else source


def _ceil(x: float) -> int:
    """The next whole number, where the rounding of a product is no fraction: 70 * 0.1 gives 7."""
    return int(np.ceil(round(x, 6)))
