"""Recommended models on disk: ``best/RANK/spec.json`` and ``best/RANK/model.safetensors``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from designer.errors import RunFolderError
from designer.folders import BEST_FOLDER, SPEC_FILE, WEIGHTS_FILE, write_bytes, write_text
from designer.models.loading import MODEL_SCHEMA
from designer.search.confirmation import Confirmed
from designer.search.job import Job
from designer.search.storage.artifacts import Artifacts


def check_best(folder: Path) -> None:
    """See that recommended models may be replaced in a run folder: there is nothing else.

    Raises:
        RunFolderError: where there is.
    """
    for path in sorted((folder / BEST_FOLDER).glob("[!.]*")):
        ours = path.is_dir() and path.name.isdigit()
        foreign = path if not ours else next(filter(_is_foreign, path.glob("[!.]*")), None)
        if foreign is not None:
            raise RunFolderError(
                f"Expected nothing but recommended models in '{folder / BEST_FOLDER}', which are "
                f"replaced by better ones, but there is '{foreign}'; move it, or choose another "
                f"--out."
            )


def _is_foreign(path: Path) -> bool:
    return path.name not in {SPEC_FILE, WEIGHTS_FILE}


def write_best(job: Job, confirmed: Sequence[Confirmed], artifacts: Artifacts) -> None:
    """Write one folder per recommendation, with the weights of its first confirmation seed."""
    new = job.location.folder / f"{BEST_FOLDER}.new"
    shutil.rmtree(new, ignore_errors=True)
    for rank, one in enumerate(confirmed, start=1):
        folder = new / str(rank)
        spec = json.dumps(_spec_json(job, one), indent=2) + "\n"
        write_text(folder / SPEC_FILE, spec)
        weights = artifacts.read(one.runs[0], "model.safetensors")
        write_bytes(folder / WEIGHTS_FILE, weights)
    best, old = job.location.folder / BEST_FOLDER, job.location.folder / f"{BEST_FOLDER}.old"
    shutil.rmtree(old, ignore_errors=True)
    if best.exists():
        best.rename(old)
    if confirmed:
        new.rename(best)
    shutil.rmtree(old, ignore_errors=True)


def _spec_json(job: Job, one: Confirmed) -> dict[str, Any]:
    return {
        "schema": MODEL_SCHEMA,
        "space": job.space_source,
        "params": one.trial.params,
        "spec": one.spec,
        "input_shape": list(job.data.input_shape),
        "class_names": list(job.data.class_names),
        "scaling": job.data.scaling,
        "data": job.data.name,
        "data_options": job.data.recipe,
        "data_fingerprint": job.data.fingerprint,
        "seed": one.runs[0].user_attrs["seed"],
        "epochs": one.runs[0].user_attrs["epochs"],
    }
