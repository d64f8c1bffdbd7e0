"""Models to look into: from a callable or a folder that search or prune wrote."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from optuna.trial import FixedTrial
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_model
from torch import Tensor, nn

from designer.blocks import unwrapped
from designer.datasets import Dataset, load_attribute
from designer.errors import DesignerError, ModelError, RunFolderError, first_line
from designer.serialisation import REPORT_FILE
from designer.spaces import find_space
from designer.surgery import Removal, remove, resize
from designer.trainer import build_seeded
from designer.weights import load_weights
from search_spaces import Space

BEST_FOLDER = "best"
SPEC_FILE = "spec.json"
PRUNED_FILE = "model.json"
WEIGHTS_FILE = "model.safetensors"
MODEL_SCHEMA = "designer.model/1"
PRUNED_SCHEMA = "designer.pruned/1"

_ROUNDS = TypeAdapter(list[tuple[Removal, ...]])


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model with what is known about it; for one from a callable, that is its name."""

    model: nn.Module
    """In eval mode; takes inputs scaled with ``scaling``."""
    name: str = ""
    """Where it came from, as it was given."""
    spec: dict[str, Any] = field(default_factory=dict)
    input_shape: tuple[int, ...] | None = None
    class_names: tuple[str, ...] = ()
    scaling: dict[str, list[float]] | None = None
    """``mean`` and ``scale`` per channel or feature: inputs are (raw - mean) / scale."""
    data_options: dict[str, Any] = field(default_factory=dict)
    """Arguments of ``load_dataset`` that give the data it was trained on."""
    data_fingerprint: str = ""
    """Of those data, as in ``Dataset``."""
    origin: dict[str, Any] = field(default_factory=dict)
    """How the whole model is made: ``spec`` as a search wrote it, or ``factory``."""
    removed: tuple[tuple[Removal, ...], ...] = ()
    """What was taken out of it, one tuple each time it was pruned."""

    def again(self, seed: int) -> nn.Module:
        """The same structure with the weights of a seed."""
        whole = partial(made_by, self.origin, seed)
        return _structured(whole, self.removed, self.model.state_dict(), seed)

    @property
    def learning_rate(self) -> float | None:
        """That it was trained with, where that is known."""
        rate = self.spec.get("learning_rate")
        return None if rate is None else float(rate)


def load_model(
    source: str | Path, weights: str | Path | None = None, *, seed: int = 0
) -> LoadedModel:
    """A model from wherever it is.

    Args:
        source: ``package.module:name`` of a module, which is copied, or of a class or function
            that makes one when called without arguments; or a folder that a search wrote, such as
            ``runs/a`` or ``runs/a/best/2``.
        weights: file for ``load_weights``; by default a model from a callable stays as it was
            made, and one from a folder has the weights found there.
        seed: of the initial weights; torch's global generator is left as it was.

    Raises:
        ModelError: where there is no model, the user's code raises, or the weights do not fit.
        RunFolderError: where the folder does not hold a model.
    """
    if str(source) and Path(source).is_dir():
        loaded = replace(load(_model_folder(Path(source))), name=str(source))
    else:
        model = made_by({"factory": str(source)}, seed)
        loaded = LoadedModel(model.eval(), name=str(source), origin={"factory": str(source)})
    if weights is not None:
        load_weights(loaded.model, weights)
    return loaded


def load(folder: str | Path, model: nn.Module | None = None) -> LoadedModel:
    """A model that ``search`` or ``prune`` wrote.

    Args:
        folder: such as ``runs/a/best/1``, or what was given to ``prune`` as ``--out``.
        model: the whole model that was pruned, where the folder does not say how it is made;
            left as it was.

    Raises:
        RunFolderError: where the folder does not hold such a model.
        ModelError: where the model or its weights cannot be used.
    """
    folder = Path(folder)
    if not (folder / PRUNED_FILE).exists():
        return load_best(folder)
    try:
        stored = json.loads((folder / PRUNED_FILE).read_text(encoding="utf-8"))
        _check_schema(stored["schema"], folder)
        origin = dict(stored["origin"])
        rounds = _ROUNDS.validate_python(stored["removed"])
        make = partial(made_by, origin) if model is None else partial(_copied, model)
        smaller = _structured(make, rounds, load_file(folder / WEIGHTS_FILE))
        load_weights(smaller.to(getattr(torch, stored["dtype"])), folder / WEIGHTS_FILE)
        return LoadedModel(
            smaller.eval(),
            str(folder),
            spec=dict(origin["spec"]["spec"]) if "spec" in origin else {},
            origin=origin,
            removed=tuple(rounds),
            **(_known(stored["known"]) if stored.get("known") else {}),
        )
    except DesignerError:
        raise
    except Exception as error:  # whatever a damaged file makes of all this
        raise RunFolderError(
            f"Expected {PRUNED_FILE} and {WEIGHTS_FILE} of one pruned model in '{folder}', but "
            f"loading them failed ({type(error).__name__}: {first_line(error)})."
        ) from error


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


def check_writable(folder: Path) -> None:
    """Raise ``RunFolderError`` where a folder, which need not exist, cannot be written to."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        what = "cannot be written to" if there.is_dir() else "is a file"
        raise _not_writable(folder, f"'{there}' {what}")


def _not_writable(folder: Path, why: object) -> RunFolderError:
    return RunFolderError(f"Expected to write to '{folder}', but {why}; choose another --out.")


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Makes a folder; whatever then cannot be written there is a ``RunFolderError``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, SafetensorError) as error:
        raise _not_writable(folder, f"that failed: {first_line(error)}") from error


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
        "removed": _ROUNDS.dump_python([*source.removed, tuple(removals)], mode="json"),
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
    with writing_to(folder):
        save_model(copy.deepcopy(model).cpu(), str(folder / WEIGHTS_FILE))
        (folder / PRUNED_FILE).write_text(text, encoding="utf-8")


def _check_schema(found: object, folder: Path) -> None:
    if found != PRUNED_SCHEMA:
        raise RunFolderError(
            f"Expected schema {PRUNED_SCHEMA} in '{folder / PRUNED_FILE}', got {found}."
        )


def _copied(model: nn.Module) -> nn.Module:
    return copy.deepcopy(unwrapped(model))


def _structured(
    whole: Callable[[], nn.Module],
    rounds: Iterable[Sequence[Removal]],
    tensors: Mapping[str, Tensor],
    seed: int = 0,
) -> nn.Module:
    """A whole model without what was taken out of it each time, its layers as wide as those of
    ``tensors``; torch's global generator is left as it was."""

    def make() -> nn.Module:
        model = whole()
        for removals in rounds:
            remove(model, removals)
        resize(model, {name: tensor.shape for name, tensor in tensors.items()})
        return model

    return build_seeded(make, seed, torch.device("cpu"))


def made_by(origin: Mapping[str, Any], seed: int = 0) -> nn.Module:
    """The whole model that an origin describes, with the weights of a seed.

    Raises:
        ModelError: where the origin names nothing, or the user's code raises.
    """
    if "spec" in origin:
        stored = origin["spec"]
        shape, classes = tuple(stored["input_shape"]), len(stored["class_names"])
        return rebuild(find_space(stored["space"]), stored["params"], shape, classes, seed)
    if origin.get("factory") is None:
        raise ModelError(
            "Expected to know how the whole model is made, but the folder does not say; pass it "
            "as `model`."
        )
    return build_seeded(partial(_make, str(origin["factory"])), seed, torch.device("cpu"))


def load_best(folder: str | Path, space: Space[Any] | None = None) -> LoadedModel:
    """The model in a folder that a search wrote, such as ``runs/a/best/1``.

    Args:
        folder: with spec.json and model.safetensors.
        space: the one that was searched; by default found by the name that was stored, which
            does not do for a space whose defaults were changed.

    Raises:
        RunFolderError: where the folder does not hold such a model.
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
            **_known(stored),
        )
    except Exception as error:  # whatever a space makes of parameters that are not its own
        raise RunFolderError(
            f"Expected {SPEC_FILE} and {WEIGHTS_FILE} of one model in '{folder}', but loading "
            f"them failed ({first_line(error)}); if the space was customised, pass it "
            f"as `space`."
        ) from error


def rebuild(
    space: Space[Any],
    params: dict[str, Any],
    input_shape: tuple[int, ...],
    num_classes: int,
    seed: int = 0,
) -> nn.Module:
    """The module that a trial with these parameters stood for, with the weights of a seed."""
    spec = space.suggest(FixedTrial(params))
    build = partial(space.build, spec, input_shape, num_classes)
    return build_seeded(build, seed, torch.device("cpu"))


def _known(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What was stored of the data of a model, as arguments of ``LoadedModel``."""
    return {
        "input_shape": tuple(stored["input_shape"]),
        "class_names": tuple(stored["class_names"]),
        "scaling": dict(stored["scaling"]),
        "data_options": dict(stored.get("data_options", {})),
        "data_fingerprint": str(stored.get("data_fingerprint", "")),
    }


def _model_folder(folder: Path) -> Path:
    """The folder itself, or in the folder of a whole run that of the first recommendation."""
    first = folder / BEST_FOLDER / "1"
    if (folder / PRUNED_FILE).exists():
        return folder
    found = next((one for one in (folder, first) if (one / SPEC_FILE).exists()), None)
    if found is None:
        raise RunFolderError(
            f"Expected a model that search or prune wrote in '{folder}', but there is no "
            f"{SPEC_FILE} or {PRUNED_FILE} in it or in {BEST_FOLDER}/1; name a folder such as "
            f"runs/a/best/1, or a model of yours as package.module:callable."
        )
    return found


def _make(source: str) -> nn.Module:
    """What ``package.module:name`` is or makes."""
    module, colon, attribute = source.partition(":")
    if not colon:
        raise ModelError(
            f"Expected a model as package.module:callable or a folder that a search wrote, such "
            f"as runs/a/best/1, got '{source}'."
        )
    found = load_attribute(module, attribute, ModelError)
    if isinstance(found, nn.Module):
        try:
            return copy.deepcopy(found)
        except Exception:  # noqa: BLE001 - whatever it holds that cannot be copied
            return found
    if not callable(found):
        raise ModelError(f"Expected '{source}' to be callable, got {type(found).__name__}.")
    try:
        made = found()
    except (Exception, SystemExit) as error:  # the callable is the user's and may do anything
        raise ModelError(
            f"'{source}' raised {type(error).__name__}: {first_line(error)}."
        ) from error
    if not isinstance(made, nn.Module):
        raise ModelError(
            f"Expected '{source}' to return a torch.nn.Module, got {type(made).__name__}."
        )
    return made
