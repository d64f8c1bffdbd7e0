"""What the files of a model's folder hold: their schemas, their limits, and how they are read.

The files may come from anybody. Nothing that they hold is used before it is validated, and the
names in them are text until a ``Trust`` allows them to be imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from math import inf, prod
from pathlib import Path
from reprlib import Repr
from textwrap import shorten
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from designer.data.options import DataOptions
from designer.errors import RunFolderError, first_line
from designer.folders import read_json
from designer.models.surgery import Removal

MODEL_SCHEMA = "designer.model/1"
"""Format of ``spec.json`` in the folder of a recommended model."""

PRUNED_SCHEMA = "designer.pruned/1"
"""Format of ``model.json`` in the folder of a pruned model."""

LARGEST_FILE = 16 * 2**20
"""The most bytes of a file that describes a model."""

LARGEST_NAME = 300
"""The most characters of a name that may be imported."""

LARGEST_INPUT = 100_000_000
"""The most values of one sample."""

MOST_DIMENSIONS = 8
"""The most dimensions of one sample."""


_short = Repr()
"""Shows values of any length and content in a few words."""


def _checked_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if prod(shape) > LARGEST_INPUT:
        raise ValueError(f"a sample has at most {LARGEST_INPUT:,} values, got {prod(shape):,}")
    return shape


def _checked_data_options(options: dict[str, Any]) -> dict[str, Any]:
    """Check the arguments of ``load_dataset``; empty where the file says nothing of its data."""
    unknown = options.keys() - {"source", *(option.name for option in fields(DataOptions))}
    if unknown:
        raise ValueError(f"there is no option {_short.repr(min(unknown))}")
    source = options.get("source", "")
    if not isinstance(source, str):
        raise ValueError(f"the source is text, got {type(source).__name__}")
    _DATA_OPTIONS.validate_python({k: v for k, v in options.items() if k != "source"})
    return options


def _checked_rate(spec: dict[str, Any]) -> dict[str, Any]:
    rate = spec.get("learning_rate", 1.0)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < inf:
        raise ValueError(f"a learning rate is above 0, got {_short.repr(rate)}")
    return spec


def _checked_dtype(name: str) -> str:
    dtype = getattr(torch, name, None)
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ValueError("it is no floating-point type of torch")
    return name


_DATA_OPTIONS = TypeAdapter(DataOptions)

Name = Annotated[str, Field(max_length=LARGEST_NAME)]

Shape = Annotated[
    tuple[Annotated[int, Field(ge=1, le=LARGEST_INPUT)], ...],
    Field(min_length=1, max_length=MOST_DIMENSIONS),
    AfterValidator(_checked_shape),
]

DataArguments = Annotated[dict[str, Any], AfterValidator(_checked_data_options)]

Stored = TypeVar("Stored")

Numbers = list[Annotated[float, Field(allow_inf_nan=False)]]


@dataclass(frozen=True, kw_only=True)
class StoredData:
    """What a file says about the data of a model."""

    input_shape: Shape | None
    """Shape of one sample; None for batches and several inputs."""
    class_names: tuple[str, ...]
    """Names of the classes in the order of the logits; empty for batches."""
    scaling: Annotated[dict[Literal["mean", "scale"], Numbers], Field(min_length=2)] | None
    """``mean`` and ``scale`` per channel or feature; None for batches."""
    data_options: DataArguments = field(default_factory=dict)
    """Arguments of ``load_dataset``; empty in older files."""
    data_fingerprint: str = ""
    """Fingerprint of the data; empty in older files."""

    def known(self) -> dict[str, Any]:
        """Return the same as arguments of ``LoadedModel``."""
        return {known.name: getattr(self, known.name) for known in fields(StoredData)}


@dataclass(frozen=True, kw_only=True)
class StoredSpec(StoredData):
    """The content of ``spec.json``."""

    input_shape: Shape
    """Shape of one sample."""
    class_names: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of the classes in the order of the logits."""
    scaling: Annotated[dict[Literal["mean", "scale"], Numbers], Field(min_length=2)]
    """``mean`` and ``scale`` per channel or feature."""
    schema: Literal["designer.model/1"]
    """``MODEL_SCHEMA``; another version is not read."""
    space: Name
    """Name of the search space; it may have to be imported."""
    params: dict[str, Any]
    """What the space is given to propose the architecture."""
    spec: Annotated[dict[str, Any], AfterValidator(_checked_rate)]
    """The architecture and its learning rate."""
    space_definition: str = ""
    """The space with the arguments that it was made with; empty in older files."""


@dataclass(frozen=True, kw_only=True)
class StoredOrigin:
    """How a whole model is made; neither if only Python code knows it."""

    spec: StoredSpec | None = None
    """The content of the ``spec.json`` of the whole model."""
    factory: Name | None = None
    """A name as ``load_model`` takes it; it has to be imported."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """What the callable of that name is called with."""


@dataclass(frozen=True, kw_only=True)
class StoredPruning:
    """The content of ``model.json``."""

    origin: StoredOrigin
    """How the whole model is made."""
    removed: tuple[tuple[Removal, ...], ...]
    """Blocks that were removed, one tuple for each pruning."""
    dtype: Annotated[str, AfterValidator(_checked_dtype)]
    """Name of the floating-point type of most weights."""
    other_dtypes: dict[Name, Annotated[str, AfterValidator(_checked_dtype)]] = field(
        default_factory=dict
    )
    """Names of the types of the parameters and buffers that have others."""
    known: StoredData | None = None
    """What is known about the data."""

    def dtypes(self, names: Iterable[str]) -> dict[str, torch.dtype]:
        """Return the type of each floating parameter or buffer with one of these names."""
        return {name: getattr(torch, self.other_dtypes.get(name, self.dtype)) for name in names}


_SPEC, _PRUNING, _ORIGIN = (
    TypeAdapter(StoredSpec),
    TypeAdapter(StoredPruning),
    TypeAdapter(StoredOrigin),
)


def read_spec(path: Path) -> tuple[StoredSpec, dict[str, Any]]:
    """Read a ``spec.json``; return what it says, validated and as it stands there.

    Raises:
        RunFolderError: if it cannot be read, has another version, or says what is not allowed.
    """
    content = _content(path, MODEL_SCHEMA)
    return _validated(_SPEC, content, f"'{path}'"), content


def read_pruning(path: Path) -> tuple[StoredPruning, dict[str, Any]]:
    """Read a ``model.json``; return what it says, validated and as it stands there.

    Raises:
        RunFolderError: as ``read_spec``.
    """
    content = _content(path, PRUNED_SCHEMA)
    return _validated(_PRUNING, content, f"'{path}'"), content


def origin_from(origin: Mapping[str, Any]) -> StoredOrigin:
    """Return the origin of a whole model, validated.

    Raises:
        RunFolderError: if it says what is not allowed.
    """
    return _validated(_ORIGIN, origin, "the origin of the model")


def _content(path: Path, schema: str) -> dict[str, Any]:
    """Return the content of a file of one schema, before it is validated."""
    try:
        content = read_json(path, LARGEST_FILE)
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"Expected the description of a model in '{path}', but reading it failed: "
            f"{getattr(error, 'strerror', None) or first_line(error)}."
        ) from error
    stored = content.get("schema") if isinstance(content, dict) else None
    if not isinstance(content, dict) or stored != schema:
        raise RunFolderError(
            f"Expected schema {schema} in '{path}', got {_short.repr(stored)}; another version of "
            f"Designer may have written it."
        )
    return content


def _validated(adapter: TypeAdapter[Stored], content: Any, where: str) -> Stored:
    try:
        return adapter.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "content"
        reason = first_line(ValueError(first["msg"].removeprefix("Value error, ")))
        raise RunFolderError(
            f"Expected the description of a model in {where}, but its {shorten(place, 100)} is "
            f"wrong: {reason}."
        ) from error
