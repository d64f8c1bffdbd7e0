"""Recommended models on disk: ``best/RANK/spec.json`` and ``best/RANK/model.safetensors``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from designer.errors import RunFolderError
from designer.folders import BEST_FOLDER, SPEC_FILE, WEIGHTS_FILE, replacing_folder, write_all
from designer.models.spaces import definition
from designer.models.stored import MODEL_SCHEMA
from designer.search.confirmation import ConfirmedCandidate
from designer.search.job import Job
from designer.search.storage.artifacts import Artifacts
from designer.search.study.records import TrialRecord


def check_best(folder: Path) -> None:
    """Check that ``best/`` in a run folder may be replaced, because it holds only our models.

    Raises:
        RunFolderError: if there is anything else, or it is no folder.
    """
    best = folder / BEST_FOLDER
    if best.exists() and not best.is_dir():
        raise RunFolderError(
            f"A search writes its recommended models to a folder '{best}', but that is a file; "
            f"move it, or choose another --out."
        )
    for path in sorted(best.glob("[!.]*")):
        ours = path.is_dir() and path.name.isdigit()
        foreign = path if not ours else next(filter(_is_foreign, path.glob("[!.]*")), None)
        if foreign is not None:
            raise RunFolderError(
                f"A search replaces everything in '{best}', but '{foreign}' is not "
                f"a recommended model; move it, or choose another --out."
            )


@contextmanager
def replacing_best(
    job: Job, recommended: Sequence[ConfirmedCandidate], artifacts: Artifacts
) -> Iterator[None]:
    """Write one folder per recommendation, with the weights of its first confirmation seed.

    They replace those of an earlier run when the context is left, unless it raises.

    Args:
        job: run folder, space and data.
        recommended: candidates in rank order; without any an older ``best/`` is removed.
        artifacts: where the weights are kept.

    Raises:
        RunFolderError, StorageError: if they cannot be written.
    """
    with replacing_folder(job.location.folder / BEST_FOLDER) as new:
        for rank, candidate in enumerate(recommended, start=1):
            spec = json.dumps(_spec_json(job, candidate), indent=2) + "\n"
            weights = artifacts.read(candidate.runs[0], WEIGHTS_FILE)
            folder = new / str(rank)
            write_all({folder / SPEC_FILE: spec.encode(), folder / WEIGHTS_FILE: weights})
        yield


def _is_foreign(path: Path) -> bool:
    """Return True for a file that no search writes."""
    return path.name not in {SPEC_FILE, WEIGHTS_FILE}


def _spec_json(job: Job, candidate: ConfirmedCandidate) -> dict[str, Any]:
    """Return all that is needed to build the model again, and what it was trained on."""
    run = TrialRecord.read(candidate.runs[0])
    return {
        "schema": MODEL_SCHEMA,
        "space": job.space_source,
        "space_definition": definition(job.space),
        "params": dict(candidate.candidate.params),
        "spec": candidate.spec,
        "input_shape": list(job.data.input_shape),
        "class_names": list(job.data.class_names),
        "scaling": job.data.scaling,
        "data": job.data.name,
        "data_options": job.data.recipe,
        "data_fingerprint": job.data.fingerprint,
        "seed": run.seed,
        "epochs": run.epochs,
    }
