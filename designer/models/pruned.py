"""Write a pruned model so that it can be loaded again."""

from __future__ import annotations

import copy
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors.torch import save_model
from torch import nn

from designer.data.dataset import BatchedData, Dataset
from designer.errors import RunFolderError
from designer.folders import (
    PRUNED_FILE,
    REPORT_FILE,
    SPEC_FILE,
    WEIGHTS_FILE,
    check_writable,
    write_all,
    writing_to,
)
from designer.models.loaded import LoadedModel
from designer.models.precision import floating_state
from designer.models.stored import PRUNED_SCHEMA
from designer.models.surgery import Removal

REMOVAL_ROUNDS = TypeAdapter(list[tuple[Removal, ...]])
"""Converts the removed blocks to JSON values, one tuple of blocks for each pruning."""


def check_folder(folder: Path, source: LoadedModel) -> None:
    """Check that a pruned model may be written to a folder, before pruning takes its time.

    Args:
        folder: it need not exist.
        source: the model that is to be pruned.

    Raises:
        RunFolderError: if the folder cannot be written, is the source's own, or holds files of
            the same names that are no pruned model.
    """
    check_writable(folder)
    if source.name and folder.resolve() == Path(source.name).resolve():
        raise RunFolderError(
            f"Expected another folder than that of the model itself, got '{folder}' (--out)."
        )
    theirs = [name for name in (SPEC_FILE, WEIGHTS_FILE, REPORT_FILE) if (folder / name).exists()]
    if theirs and not (folder / PRUNED_FILE).exists():
        raise RunFolderError(
            f"Expected a folder that is free or holds a pruned model, but '{folder}' has a "
            f"{theirs[0]} of something else; choose another --out."
        )


def write_pruned(
    folder: str | Path,
    model: nn.Module,
    source: LoadedModel,
    removals: Sequence[Removal],
    data: Dataset | BatchedData | None = None,
) -> None:
    """Write a pruned model so that ``load`` gives back the same outputs to the bit.

    Args:
        folder: created if it does not exist.
        model: the pruned model, on any device.
        source: the model that was pruned.
        removals: the blocks that were removed from ``source``.
        data: the data that it was pruned with. How to load and scale them is stored as well, so
            that later commands feed the model alike and need not name them. By default that of
            ``source``, if it is known.

    Raises:
        RunFolderError: if the folder cannot be written.
        StorageError: if the disk is full or fails; what was in the folder is kept.
    """
    write_all(pruned_files(Path(folder), model, source, removals, data))


def pruned_files(
    folder: Path,
    model: nn.Module,
    source: LoadedModel,
    removals: Sequence[Removal],
    data: Dataset | BatchedData | None = None,
) -> dict[Path, bytes]:
    """Return what ``write_pruned`` writes, by the paths to write it to.

    Args:
        folder: the folder of the pruned model.
        model: see ``write_pruned``, as for the other arguments.
        source: the model that was pruned.
        removals: the blocks that were removed from ``source``.
        data: the data that it was pruned with.
    """
    dtypes = {name: _name_of(value.dtype) for name, value in floating_state(model).items()}
    (dtype, _), *_ = Counter([*dtypes.values(), "float32"]).most_common(1)
    stored = {
        "schema": PRUNED_SCHEMA,
        "origin": source.origin,
        "removed": REMOVAL_ROUNDS.dump_python([*source.removed, tuple(removals)], mode="json"),
        "dtype": dtype,
        "other_dtypes": {name: other for name, other in dtypes.items() if other != dtype},
        "known": _known_of(source) if data is None else _known_from(data),
    }
    text = json.dumps(stored, indent=2) + "\n"
    weights = _safetensors_of(copy.deepcopy(model).cpu())
    return {folder / WEIGHTS_FILE: weights, folder / PRUNED_FILE: text.encode()}


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _safetensors_of(model: nn.Module) -> bytes:
    """Return the weights of a model on the CPU as the content of a file of safetensors."""
    with tempfile.TemporaryDirectory() as folder, writing_to(Path(folder)):
        path = Path(folder) / WEIGHTS_FILE  # a name that is UTF-8, whatever the model's folder is
        save_model(model, str(path))
        return path.read_bytes()


def _known_from(data: Dataset | BatchedData) -> dict[str, Any]:
    """Return what is stored about the data that a model was pruned with, as JSON values."""
    if isinstance(data, BatchedData):
        return {
            "input_shape": None,
            "class_names": [],
            "scaling": None,
            "data_options": {"source": data.source, "split_duplicates": False, **data.options},
        }
    return {
        "input_shape": list(data.input_shape),
        "class_names": list(data.class_names),
        "scaling": data.scaling,
        "data_options": data.recipe,
        "data_fingerprint": data.fingerprint,
    }


def _known_of(source: LoadedModel) -> dict[str, Any] | None:
    """Return what a model records about its data, as JSON values; None if it records none."""
    if not source.data_options and (source.scaling is None or source.input_shape is None):
        return None
    return {
        "input_shape": None if source.input_shape is None else list(source.input_shape),
        "class_names": list(source.class_names),
        "scaling": source.scaling,
        "data_options": source.data_options,
        "data_fingerprint": source.data_fingerprint,
    }
