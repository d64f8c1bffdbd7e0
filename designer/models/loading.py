"""Load a model from a callable or from a folder that search or prune wrote."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from torch import nn

from designer.errors import DesignerError, RunFolderError, first_line
from designer.folders import BEST_FOLDER, PRUNED_FILE, SPEC_FILE, WEIGHTS_FILE
from designer.models.loaded import (
    LoadedModel,
    build_from_origin,
    copy_model,
    rebuild,
    rebuild_pruned,
    stored_data,
)
from designer.models.pruned import REMOVAL_ROUNDS, check_pruned_schema
from designer.models.spaces import find_space
from designer.models.weights import load_weights
from search_spaces import Space

MODEL_SCHEMA = "designer.model/1"
"""Format of ``spec.json`` in the folder of a recommended model."""


def load_model(
    source: str | Path, weights: str | Path | None = None, *, seed: int = 0
) -> LoadedModel:
    """Load a model from Python code or from a folder.

    Args:
        source: either ``package.module:name`` of a module, which is copied, or of a class or
            function that makes one when called without arguments; or a folder that search or prune
            wrote, such as ``runs/a``, ``runs/a/best/2`` or ``pruned/a``.
        weights: file for ``load_weights``. By default a model from a callable keeps its initial
            weights, and one from a folder has the weights of that folder.
        seed: decides the initial weights; torch's global generator is left as it was.

    Raises:
        ModelError: if there is no model, the user's code raises, or the weights do not fit.
        RunFolderError: if the folder does not hold a model.
    """
    if os.path.isdir(source):  # noqa: PTH112 - unlike Path, it takes any name
        loaded = replace(load(_model_folder(Path(source))), name=str(source))
    else:
        model = build_from_origin({"factory": str(source)}, seed)
        loaded = LoadedModel(model.eval(), name=str(source), origin={"factory": str(source)})
    if weights is not None:
        load_weights(loaded.model, weights)
    return loaded


def load(folder: str | Path, model: nn.Module | None = None) -> LoadedModel:
    """Load a model that ``search`` or ``prune`` wrote.

    Args:
        folder: a folder such as ``runs/a/best/1``, or the ``--out`` of ``prune``.
        model: the whole model that was pruned, needed if the folder does not say how it is made;
            left as it was.

    Raises:
        RunFolderError: if the folder does not hold such a model.
        ModelError: if the model or its weights cannot be used.
    """
    folder = Path(folder)
    if not (folder / PRUNED_FILE).exists():
        return load_best(folder)
    try:
        stored = json.loads((folder / PRUNED_FILE).read_text(encoding="utf-8"))
        check_pruned_schema(stored["schema"], folder)
        origin = dict(stored["origin"])
        rounds = REMOVAL_ROUNDS.validate_python(stored["removed"])
        make = partial(build_from_origin, origin) if model is None else partial(copy_model, model)
        smaller = rebuild_pruned(make, rounds, load_tensors((folder / WEIGHTS_FILE).read_bytes()))
        load_weights(smaller.to(getattr(torch, stored["dtype"])), folder / WEIGHTS_FILE)
        return LoadedModel(
            smaller.eval(),
            str(folder),
            spec=dict(origin["spec"]["spec"]) if "spec" in origin else {},
            origin=origin,
            removed=tuple(rounds),
            **(stored_data(stored["known"]) if stored.get("known") else {}),
        )
    except DesignerError:
        raise
    except Exception as error:  # a damaged file can break any of these steps
        raise RunFolderError(
            f"Expected {PRUNED_FILE} and {WEIGHTS_FILE} of one pruned model in '{folder}', but "
            f"loading them failed ({type(error).__name__}: {first_line(error)})."
        ) from error


def load_best(folder: str | Path, space: Space[Any] | None = None) -> LoadedModel:
    """Load a model from a folder that a search wrote, such as ``runs/a/best/1``.

    Args:
        folder: a folder with spec.json and model.safetensors.
        space: the space that was searched. By default it is found by its stored name; pass it if
            its defaults were changed.

    Raises:
        RunFolderError: if the folder does not hold such a model.
    """
    folder = Path(folder)
    try:
        stored = json.loads((folder / SPEC_FILE).read_text(encoding="utf-8"))
        space = space or find_space(stored["space"])
        shape, classes = tuple(stored["input_shape"]), tuple(stored["class_names"])
        model = rebuild(space, stored["params"], shape, len(classes))
        load_weights(model, folder / WEIGHTS_FILE)
        return LoadedModel(
            model=model.eval(),
            name=str(folder),
            spec=dict(stored["spec"]),
            origin={"spec": stored},
            **stored_data(stored),
        )
    except Exception as error:  # a space may raise anything on parameters that are not its own
        raise RunFolderError(
            f"Expected {SPEC_FILE} and {WEIGHTS_FILE} of one model in '{folder}', but loading "
            f"them failed ({first_line(error)}); if the space was customised, pass it "
            f"as `space`."
        ) from error


def _model_folder(folder: Path) -> Path:
    """Return the folder itself, or that of the first recommendation in the folder of a run."""
    first = folder / BEST_FOLDER / "1"
    if (folder / PRUNED_FILE).exists():
        return folder
    holding = [candidate for candidate in (folder, first) if (candidate / SPEC_FILE).exists()]
    if not holding:
        raise RunFolderError(
            f"Expected a model that search or prune wrote in '{folder}', but there is no "
            f"{SPEC_FILE} or {PRUNED_FILE} in it or in {BEST_FOLDER}/1; name a folder such as "
            f"runs/a/best/1, or a model of yours as package.module:callable."
        )
    return holding[0]
