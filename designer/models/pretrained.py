"""Make a pruned model of Hugging Face anew, so that its own ``save_pretrained`` keeps it.

``from_pretrained`` builds a model from its configuration.  Where layers were removed, the
configuration must say how many are left, and their weights must have the names that it gives them;
else the layers come back with initial weights.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from designer.errors import ModelError
from designer.models.precision import cast, floating_state
from designer.models.surgery import PassThrough, Removal, Way
from designer.probing.calling import Inputs, call_model, first_tensor
from designer.training.trainer import build_seeded

COMPANIONS = {".json", ".txt", ".model"}
"""Suffixes of the files of tokenizers and preprocessors, which lie beside the weights."""

LARGEST_COMPANION = 64 * 2**20
"""The most bytes of such a file."""


@dataclass(frozen=True)
class ShortenedList:
    """A list of layers of which some are gone."""

    path: str
    """Name of the list in the model."""
    length: int
    """How many layers it had."""
    kept: tuple[int, ...]
    """Which of them are left."""
    places: tuple[int, ...]
    """Where these are in the list now."""


def is_pretrained(model: nn.Module) -> bool:
    """True if a model is one of transformers, which has a configuration and saves itself."""
    config = getattr(model, "config", None)
    return callable(getattr(model, "save_pretrained", None)) and hasattr(config, "to_dict")


def remade(model: nn.Module, removals: Sequence[Removal], few: Inputs) -> nn.Module:
    """Return a pruned model as its library makes it from a configuration with fewer layers.

    Args:
        model: a model of transformers from which blocks were removed; left as it was.
        removals: the blocks that were removed last.
        few: a few inputs (n, ...), on which both models must give the same, to the bit.

    Raises:
        ModelError: if no configuration says what is left, because parts of layers were removed or
            layers are narrower.
    """
    config: Any = model.config
    lists = list(_shortened_lists(model, removals))
    state = _renumbered(model.state_dict(), lists)
    shapes = {name: tensor.shape for name, tensor in state.items()}
    for candidate in _configurations(config, lists):
        if _shapes_of(type(model), candidate) == shapes:
            anew = build_seeded(partial(type(model), candidate), 0, torch.device("cpu"))
            first = next(iter(state.values()))
            own = _renumbered(floating_state(model), lists)
            anew = cast(anew.to(first.device), {name: own[name].dtype for name in own}).eval()
            anew.load_state_dict(state)
            _check_same(model, anew, few)
            return anew
    names = ", ".join(part.path for part in lists) or "its parts"
    raise ModelError(
        f"Expected a configuration of {type(model).__name__} that says what is left of {names}, "
        f"found none."
    )


def pretrained_files(model: nn.Module, origin: Path | None) -> dict[str, bytes]:
    """Return what ``save_pretrained`` writes, by the names of the files.

    Args:
        model: a model of transformers.
        origin: folder that the whole model came from; the files of its tokenizer are returned,
            too. None if there is none.
    """
    content = {} if origin is None else dict(_companions(origin))
    with tempfile.TemporaryDirectory() as folder:
        saving: Any = model
        saving.save_pretrained(folder)
        written = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    return {**content, **written}


def _companions(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.iterdir()):
        about_weights = path.name.endswith(".index.json")
        is_companion = path.suffix in COMPANIONS and path.is_file() and not about_weights
        if is_companion and path.stat().st_size <= LARGEST_COMPANION:
            yield path.name, path.read_bytes()


def _shortened_lists(model: nn.Module, removals: Sequence[Removal]) -> Iterator[ShortenedList]:
    """Yield the lists of which layers are gone.

    Raises:
        ModelError: if something was removed that is no layer of a list.
    """
    stand_ins = {name for name, module in model.named_modules() if isinstance(module, PassThrough)}
    deleted = [removal.block for removal in removals if removal.way is Way.DELETE]
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList):
            gone = {int(b.rpartition(".")[2]) for b in deleted if b.rpartition(".")[0] == path}
            originals = [i for i in range(len(module) + len(gone)) if i not in gone]
            places = [i for i in range(len(module)) if f"{path}.{i}" not in stand_ins]
            stand_ins -= {f"{path}.{i}" for i in range(len(module))}
            if len(places) < len(module) + len(gone):
                kept = tuple(originals[i] for i in places)
                yield ShortenedList(path, len(module) + len(gone), kept, tuple(places))
    if stand_ins:
        raise ModelError(
            f"Expected whole layers of a list to be removed, but '{min(stand_ins)}' is none, and "
            f"no configuration leaves it out."
        )


def _renumbered(state: Mapping[str, Tensor], lists: Sequence[ShortenedList]) -> dict[str, Tensor]:
    """Return a state dict with the names that the layers have in a shorter list."""
    prefixes = {
        f"{part.path}.{place}.": f"{part.path}.{number}."
        for part in lists
        for number, place in enumerate(part.places)
    }
    return {_with_prefix(name, prefixes): tensor for name, tensor in state.items()}


def _with_prefix(name: str, prefixes: Mapping[str, str]) -> str:
    for before, after in prefixes.items():
        if name.startswith(before):
            return after + name.removeprefix(before)
    return name


def _configurations(config: Any, lists: Sequence[ShortenedList]) -> Iterator[Any]:
    """Yield configurations that may say what is left; each number of layers may be any list's."""
    content = config.to_dict()
    counts = [
        key for key, value in content.items() if "layer" in key and type(value) is int and value > 0
    ]
    for keys in permutations(counts, len(lists)):
        if all(content[key] == part.length for key, part in zip(keys, lists, strict=True)):
            shorter = copy.deepcopy(config)
            for key, part in zip(keys, lists, strict=True):
                setattr(shorter, key, len(part.kept))
                for name, values in _per_layer(content, part):
                    setattr(shorter, name, values)
            yield shorter


def _per_layer(content: Mapping[str, Any], part: ShortenedList) -> Iterator[tuple[str, list[Any]]]:
    """Yield the attributes of a configuration that have one value per layer, for those left."""
    for name, values in content.items():
        if "layer" in name and isinstance(values, list | tuple) and len(values) == part.length:
            yield name, [values[i] for i in part.kept]


def _shapes_of(kind: type[nn.Module], config: Any) -> dict[str, torch.Size] | None:
    """Return the shapes of a model's state, built without memory; None if it cannot be built."""
    try:
        with torch.device("meta"):
            model = build_seeded(partial(kind, copy.deepcopy(config)), 0, torch.device("meta"))
    except Exception:  # noqa: BLE001 - a configuration that does not fit may raise anything
        return None
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


@torch.no_grad()
def _check_same(model: nn.Module, anew: nn.Module, few: Inputs) -> None:
    first, second = (first_tensor(call_model(net, few)) for net in (model, anew))
    if first is None or second is None or not torch.equal(first, second):
        raise ModelError(
            f"Expected {type(model).__name__} to give the same when it is made anew with fewer "
            f"layers, got other outputs."
        )
