"""Load a model from a callable or from a folder that search or prune wrote."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from torch import nn

from designer.data.classes import count_classes
from designer.errors import DesignerError, ModelError, RunFolderError, TrustError, first_line
from designer.folders import BEST_FOLDER, PRUNED_FILE, SPEC_FILE, WEIGHTS_FILE
from designer.importing import Trust, Trusted
from designer.models.libraries import CLASSES, Arguments, data_options_of, lacks_classes
from designer.models.loaded import (
    LoadedModel,
    build_from_origin,
    copy_model,
    make_model,
    rebuild_pruned,
    rebuild_stored,
    space_of,
)
from designer.models.precision import cast, floating_state
from designer.models.stored import read_pruning, read_spec
from designer.models.weights import load_weights
from designer.training.trainer import build_seeded
from search_spaces import Space


def load_model(
    source: str | Path,
    weights: str | Path | None = None,
    *,
    seed: int = 0,
    trust: Trusted = (),
    arguments: Arguments | None = None,
    data: str | None = None,
) -> LoadedModel:
    """Load a model from Python code, from a library or from a folder.

    Args:
        source: either ``package.module:name`` of a module, which is copied, or of a class or
            function that makes one; or ``torchvision:NAME``, ``timm:NAME`` or ``hf:FOLDER``, a
            folder that ``save_pretrained`` wrote; or a folder that search or prune wrote, such as
            ``runs/a``, ``runs/a/best/2`` or ``pruned/a``.
        weights: file for ``load_weights``. By default a model from a callable keeps its initial
            weights, and one from a folder has the weights of that folder.
        seed: decides the initial weights; torch's global generator is left as it was.
        trust: names that a folder may import, as in ``load``.
        arguments: keyword arguments of the callable, or of the library.
        data: source of the data that decide the number of classes of a model from torchvision or
            timm, where ``arguments`` does not.

    Raises:
        ModelError: if there is no model, the user's code raises, or the weights do not fit.
        RunFolderError: if the folder does not hold a model.
        TrustError: if the folder names what may not be imported.
    """
    name = str(source)
    if not os.path.isdir(source):  # noqa: PTH112 - unlike Path, it takes any name
        loaded = _from_factory(name, seed, Trust.of(trust), arguments or {}, data)
    elif arguments:
        raise ModelError(
            f"Expected a model that is made with {', '.join(arguments)}, got the folder '{name}', "
            f"which says itself how its model is made."
        )
    else:
        loaded = replace(load(_model_folder(Path(source)), trust=trust), name=name)
    if weights is not None:
        load_weights(loaded.model, weights)
    return loaded


def _from_factory(
    name: str, seed: int, trust: Trust, arguments: Arguments, data: str | None
) -> LoadedModel:
    """Return the model of a callable or a library, with how timm would feed it."""
    if data is not None and lacks_classes(name, arguments):
        arguments = {**arguments, CLASSES: count_classes(data)}
    allowed = trust.with_names(name)
    make = partial(make_model, name, allowed, arguments, trained=True)
    return LoadedModel(
        build_seeded(make, seed, torch.device("cpu")).eval(),
        name,
        origin={"factory": name, **({"arguments": dict(arguments)} if arguments else {})},
        data_defaults=data_options_of(name, arguments),
        trust=allowed,
    )


def load(
    folder: str | Path,
    model: nn.Module | None = None,
    *,
    trust: Trusted = (),
) -> LoadedModel:
    """Load a model that ``search`` or ``prune`` wrote.

    A folder may name code: the search space, or the callable that made the model. A space that
    comes with the package or with an installed one is used; any other name is imported only if
    ``trust`` repeats it.

    Args:
        folder: a folder such as ``runs/a/best/1``, or the ``--out`` of ``prune``.
        model: the whole model that was pruned, needed if the folder does not say how it is made;
            left as it was.
        trust: names as ``package.module:name`` that the folder may import; True for whatever it
            names, which is to run the code of whoever wrote it.

    Raises:
        RunFolderError: if the folder does not hold such a model.
        ModelError: if the model or its weights cannot be used.
        TrustError: if the folder names what may not be imported; nothing was imported.
    """
    folder = Path(folder)
    path = folder / PRUNED_FILE
    if not path.exists():
        return load_best(folder, trust=trust)
    allowed = Trust.of(trust).for_names_in(f"'{path}'")
    stored, content = read_pruning(path)
    try:
        origin = content["origin"]
        make = (
            partial(build_from_origin, origin, allowed)
            if model is None
            else partial(copy_model, model)
        )
        smaller = rebuild_pruned(
            make, stored.removed, load_tensors((folder / WEIGHTS_FILE).read_bytes())
        )
        load_weights(cast(smaller, stored.dtypes(floating_state(smaller))), folder / WEIGHTS_FILE)
        return LoadedModel(
            smaller.eval(),
            str(folder),
            spec={} if stored.origin.spec is None else stored.origin.spec.spec,
            origin=origin,
            removed=stored.removed,
            trust=allowed,
            **({} if stored.known is None else stored.known.known()),
        )
    except DesignerError:
        raise
    except Exception as error:  # a damaged file can break any of these steps
        raise RunFolderError(
            f"Expected {PRUNED_FILE} and {WEIGHTS_FILE} of one pruned model in '{folder}', but "
            f"loading them failed ({type(error).__name__}: {first_line(error)})."
        ) from error


def load_best(
    folder: str | Path,
    space: Space[Any] | None = None,
    *,
    trust: Trusted = (),
) -> LoadedModel:
    """Load a model from a folder that a search wrote, such as ``runs/a/best/1``.

    Args:
        folder: a folder with spec.json and model.safetensors.
        space: the space that was searched. By default it is found by its stored name; pass it if
            its defaults were changed.
        trust: names that the folder may import, as in ``load``.

    Raises:
        RunFolderError: if the folder does not hold such a model.
        TrustError: if the folder names what may not be imported; nothing was imported.
    """
    folder = Path(folder)
    allowed = Trust.of(trust).for_names_in(f"'{folder / SPEC_FILE}'")
    stored, content = read_spec(folder / SPEC_FILE)
    try:
        model = rebuild_stored(space or space_of(stored, allowed), stored)
        load_weights(model, folder / WEIGHTS_FILE)
        return LoadedModel(
            model=model.eval(),
            name=str(folder),
            spec=stored.spec,
            origin={"spec": content},
            trust=allowed,
            **stored.known(),
        )
    except TrustError:
        raise
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
