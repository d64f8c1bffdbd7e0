"""A model together with what is known about it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from optuna.trial import FixedTrial
from torch import Tensor, nn

from designer.errors import ModelError, first_line
from designer.importing import load_attribute
from designer.models.spaces import find_space
from designer.models.surgery import Removal, remove, resize
from designer.probing.calling import unwrap
from designer.training.trainer import build_seeded
from search_spaces import Space


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
        whole = partial(build_from_origin, self.origin, seed)
        return rebuild_pruned(whole, self.removed, self.model.state_dict(), seed)

    @property
    def learning_rate(self) -> float | None:
        """That it was trained with, where that is known."""
        rate = self.spec.get("learning_rate")
        return None if rate is None else float(rate)


def copy_model(model: nn.Module) -> nn.Module:
    return copy.deepcopy(unwrap(model))


def rebuild_pruned(
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


def build_from_origin(origin: Mapping[str, Any], seed: int = 0) -> nn.Module:
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


def stored_data(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What was stored of the data of a model, as arguments of ``LoadedModel``."""
    return {
        "input_shape": tuple(stored["input_shape"]),
        "class_names": tuple(stored["class_names"]),
        "scaling": dict(stored["scaling"]),
        "data_options": dict(stored.get("data_options", {})),
        "data_fingerprint": str(stored.get("data_fingerprint", "")),
    }


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
