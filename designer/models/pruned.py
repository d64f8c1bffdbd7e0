"""Write a pruned model so that it can be loaded again."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter
from safetensors.torch import save_model
from torch import nn

from designer.data.dataset import Dataset
from designer.errors import RunFolderError
from designer.folders import (
    PRUNED_FILE,
    REPORT_FILE,
    SPEC_FILE,
    WEIGHTS_FILE,
    check_writable,
    replacing,
    write_text,
)
from designer.models.loaded import LoadedModel
from designer.models.surgery import Removal

PRUNED_SCHEMA = "designer.pruned/1"


REMOVAL_ROUNDS = TypeAdapter(list[tuple[Removal, ...]])


def check_folder(folder: Path, source: LoadedModel) -> None:
    """See that a pruned model may be written to a folder, before it takes long to make it.

    Args:
        folder: need not exist.
        source: the model that is to be pruned.

    Raises:
        RunFolderError: where it cannot be written, is the source's own, or holds something else
            of the same names.
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
    data: Dataset | None = None,
) -> None:
    """Write a pruned model so that ``load`` gives back the same outputs to the bit.

    Args:
        folder: made where it does not exist.
        model: on any device.
        source: the model that it was made from.
        removals: what was taken out of that.
        data: that it was pruned with; go along, so that they need not be named again.

    Raises:
        RunFolderError: where the folder cannot be written.
    """
    folder = Path(folder)
    kinds = {str(p.dtype) for p in model.parameters() if p.is_floating_point()}
    stored = {
        "schema": PRUNED_SCHEMA,
        "origin": source.origin,
        "removed": REMOVAL_ROUNDS.dump_python([*source.removed, tuple(removals)], mode="json"),
        "dtype": (kinds.pop() if len(kinds) == 1 else "torch.float32").removeprefix("torch."),
        "known": None
        if data is None
        else {
            "input_shape": list(data.input_shape),
            "class_names": list(data.class_names),
            "scaling": data.scaling,
            "data_options": data.recipe,
            "data_fingerprint": data.fingerprint,
        },
    }
    text = json.dumps(stored, indent=2) + "\n"
    with replacing(folder / WEIGHTS_FILE) as weights:
        save_model(copy.deepcopy(model).cpu(), str(weights))
    write_text(folder / PRUNED_FILE, text)


def check_pruned_schema(found: object, folder: Path) -> None:
    if found != PRUNED_SCHEMA:
        raise RunFolderError(
            f"Expected schema {PRUNED_SCHEMA} in '{folder / PRUNED_FILE}', got {found}."
        )
