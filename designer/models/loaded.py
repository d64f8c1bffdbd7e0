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
from designer.probing.calling import check_has_values, unwrap
from designer.training.trainer import build_seeded
from search_spaces import Space


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model with what is known about it; one from a callable has only a name and an origin."""

    model: nn.Module
    """The module, in eval mode; it takes inputs scaled with ``scaling``."""
    name: str = ""
    """Where it came from, as the caller wrote it."""
    spec: dict[str, Any] = field(default_factory=dict)
    """Its architecture and learning rate, if it came from a search; else empty."""
    input_shape: tuple[int, ...] | None = None
    """Shape of one sample; None if unknown."""
    class_names: tuple[str, ...] = ()
    """Names of its classes in the order of its logits; empty if unknown."""
    scaling: dict[str, list[float]] | None = None
    """``mean`` and ``scale`` per channel or feature: inputs are (raw - mean) / scale."""
    data_options: dict[str, Any] = field(default_factory=dict)
    """Arguments of ``load_dataset`` that give the data it was trained on; empty if unknown."""
    data_fingerprint: str = ""
    """Fingerprint of those data, as in ``Dataset``; empty if unknown."""
    origin: dict[str, Any] = field(default_factory=dict)
    """How the whole model is made: ``spec``, the file that a search wrote, or ``factory``, the name
    ``package.module:callable``."""
    removed: tuple[tuple[Removal, ...], ...] = ()
    """Blocks that were removed from the whole model, one tuple for each pruning."""

    def again(self, seed: int) -> nn.Module:
        """Return a new model of the same structure, with the initial weights of a seed.

        Raises:
            ModelError: if ``origin`` does not say how the whole model is made.
        """
        whole = partial(build_from_origin, self.origin, seed)
        return rebuild_pruned(whole, self.removed, self.model.state_dict(), seed)

    @property
    def learning_rate(self) -> float | None:
        """Learning rate that it was trained with; None if unknown."""
        rate = self.spec.get("learning_rate")
        return None if rate is None else float(rate)


def copy_model(model: nn.Module) -> nn.Module:
    """Return a copy of a model, without wrappers of parallel or compiled execution."""
    return copy.deepcopy(unwrap(model))


def rebuild_pruned(
    whole: Callable[[], nn.Module],
    rounds: Iterable[Sequence[Removal]],
    tensors: Mapping[str, Tensor],
    seed: int = 0,
) -> nn.Module:
    """Make a whole model and remove from it what prunings removed.

    Args:
        whole: makes the whole model.
        rounds: blocks to remove, one sequence for each pruning; block names are those that the
            model had at that time.
        tensors: state dict of the pruned model; the layers take the shapes of these tensors.
        seed: decides the initial weights; torch's global generator is left as it was.

    Raises:
        ModelError: if a block is not there, or a layer cannot take its shape.
    """

    def make() -> nn.Module:
        model = whole()
        for removals in rounds:
            remove(model, removals)
        resize(model, {name: tensor.shape for name, tensor in tensors.items()})
        return model

    return build_seeded(make, seed, torch.device("cpu"))


def build_from_origin(origin: Mapping[str, Any], seed: int = 0) -> nn.Module:
    """Build the whole model that an origin describes, with the initial weights of a seed.

    Args:
        origin: see ``LoadedModel.origin``.
        seed: decides the initial weights; torch's global generator is left as it was.

    Raises:
        ModelError: if the origin names nothing, or the user's code raises.
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
    """Build the module that a trial with these parameters stood for.

    Args:
        space: the search space of the trial.
        params: the trial's parameters, as a study has stored them.
        input_shape: shape of one sample.
        num_classes: number of logits.
        seed: decides the initial weights; torch's global generator is left as it was.
    """
    spec = space.suggest(FixedTrial(params))
    build = partial(space.build, spec, input_shape, num_classes)
    return build_seeded(build, seed, torch.device("cpu"))


def stored_data(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file stores about the data of a model, as arguments of ``LoadedModel``."""
    return {
        "input_shape": tuple(stored["input_shape"]),
        "class_names": tuple(stored["class_names"]),
        "scaling": dict(stored["scaling"]),
        "data_options": dict(stored.get("data_options", {})),
        "data_fingerprint": str(stored.get("data_fingerprint", "")),
    }


def _make(source: str) -> nn.Module:
    """Return a copy of the module ``package.module:name``, or what the callable there makes."""
    module, colon, attribute = source.partition(":")
    if not colon:
        raise ModelError(
            f"Expected a model as package.module:callable or a folder that a search wrote, such "
            f"as runs/a/best/1, got '{source}'."
        )
    target = load_attribute(module, attribute, ModelError)
    if isinstance(target, nn.Module):
        try:
            return copy.deepcopy(target)
        except Exception:  # noqa: BLE001 - it may hold anything, also what cannot be copied
            return target
    if not callable(target):
        raise ModelError(f"Expected '{source}' to be callable, got {type(target).__name__}.")
    try:
        model = target()
    except (Exception, SystemExit) as error:  # the callable is the user's and may do anything
        raise ModelError(
            f"'{source}' raised {type(error).__name__}: {first_line(error)}."
        ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"Expected '{source}' to return a torch.nn.Module, got {type(model).__name__}."
        )
    check_has_values(*model.parameters(), *model.buffers())
    return model
