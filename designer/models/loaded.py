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
from designer.importing import Trust
from designer.models.given_trial import GivenTrial, NotAllowed
from designer.models.libraries import Arguments, library_of, make_library_model
from designer.models.spaces import as_stored
from designer.models.stored import StoredSpec, origin_from
from designer.models.surgery import Removal, remove, resize
from designer.probing.calling import check_has_values, unwrap
from designer.training.trainer import build_seeded
from search_spaces import Space

SHAPES = {"num_classes", "num_labels", "in_chans", "img_size"}
"""Arguments of a library that a file may say without being trusted, as numbers."""

LARGEST_SHAPE = 100_000
"""The largest of these numbers."""

LARGEST_NETWORK = 1_000_000_000
"""The most parameters of a network that is built from a file that names a search space."""


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
    """Arguments of ``load_dataset`` that give the data it was trained on; empty if unknown. The
    source of a model from a folder is what the folder says: it may name code."""
    data_fingerprint: str = ""
    """Fingerprint of those data, as in ``Dataset``; empty if unknown."""
    origin: dict[str, Any] = field(default_factory=dict)
    """How the whole model is made: ``spec``, the file that a search wrote, or ``factory``, a name
    as ``load_model`` takes it, with ``arguments`` where there are any."""
    removed: tuple[tuple[Removal, ...], ...] = ()
    """Blocks that were removed from the whole model, one tuple for each pruning."""
    data_defaults: dict[str, Any] = field(default_factory=dict)
    """Arguments of ``load_dataset`` that suit it, unless the caller asks for others."""
    trust: Trust = field(default_factory=Trust)
    """Which names in ``origin`` and ``data_options`` may be imported."""

    def again(self, seed: int) -> nn.Module:
        """Return a new model of the same structure, with the initial weights of a seed.

        Raises:
            ModelError: if ``origin`` does not say how the whole model is made.
            TrustError: if it names what may not be imported.
        """
        whole = partial(build_from_origin, self.origin, self.trust, seed)
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
        model = unwrap(whole())
        for removals in rounds:
            remove(model, removals)
        resize(model, {name: tensor.shape for name, tensor in tensors.items()})
        return model

    return build_seeded(make, seed, torch.device("cpu"))


def build_from_origin(origin: Mapping[str, Any], trust: Trust, seed: int = 0) -> nn.Module:
    """Build the whole model that an origin describes, with the initial weights of a seed.

    Args:
        origin: see ``LoadedModel.origin``.
        trust: which names in it may be imported.
        seed: decides the initial weights; torch's global generator is left as it was.

    Raises:
        ModelError: if the origin names nothing, or the user's code raises.
        TrustError: if the origin names what may not be imported.
    """
    stored = origin_from(origin)
    if stored.spec is not None:
        return rebuild_stored(space_of(stored.spec, trust), stored.spec, seed)
    if stored.factory is None:
        raise ModelError(
            "Expected to know how the whole model is made, but the folder does not say; pass it "
            "as `model`."
        )
    make = partial(make_model, stored.factory, trust, stored.arguments)
    return build_seeded(make, seed, torch.device("cpu"))


def space_of(stored: StoredSpec, trust: Trust) -> Space[Any]:
    """Return the space that a file names; see ``designer.models.spaces.as_stored``."""
    return as_stored(stored.space, trust, stored.space_definition)


def rebuild_stored(space: Space[Any], stored: StoredSpec, seed: int = 0) -> nn.Module:
    """Build the module that a file describes, which may ask for anything.

    Args:
        space: the space that the file names.
        stored: the content of the file.
        seed: decides the initial weights; torch's global generator is left as it was.

    Raises:
        ModelError: if the space does not allow a parameter, or the module would have more than
            ``LARGEST_NETWORK`` parameters.
    """
    try:
        spec = space.suggest(GivenTrial(stored.params))
    except NotAllowed as refusal:
        raise ModelError(f"Expected parameters that the space allows, but {refusal}.") from refusal
    build = partial(space.build, spec, stored.input_shape, len(stored.class_names))
    _check_size(build)
    return build_seeded(build, seed, torch.device("cpu"))


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


def _check_size(build: Callable[[], nn.Module]) -> None:
    """Raise ``ModelError`` for a module with too many parameters, without memory for them."""
    with torch.device("meta"):
        module = build_seeded(build, 0, torch.device("meta"))
    parameters = sum(parameter.numel() for parameter in module.parameters())
    if parameters > LARGEST_NETWORK:
        raise ModelError(
            f"Expected a network of at most {LARGEST_NETWORK:,} parameters, got {parameters:,}."
        )


def make_model(
    source: str, trust: Trust, arguments: Arguments | None = None, *, trained: bool = False
) -> nn.Module:
    """Make the model that a name stands for.

    Args:
        source: ``package.module:name`` of a module, which is copied, or of a callable that makes
            one; or a model of a library, see ``make_library_model``.
        trust: which names may be imported. A library needs no trust, unless it is told more than
            ``SHAPES``.
        arguments: keyword arguments of the callable, or of the library.
        trained: True for the trained weights that a library or its folder offers.

    Raises:
        ModelError: if there is none, or the user's code or the library raises.
        TrustError: if the name may not be imported.
    """
    arguments = arguments or {}
    if library_of(source) is None:
        model = _from_name(source, trust, arguments)
    else:
        if not all(_is_shape(*argument) for argument in arguments.items()):
            trust.check([source])
        model = make_library_model(source, arguments, trained=trained)
    check_has_values(*model.parameters(), *model.buffers())
    return model


def _is_shape(name: str, value: object) -> bool:
    return name in SHAPES and isinstance(value, int) and 0 < value <= LARGEST_SHAPE


def _from_name(source: str, trust: Trust, arguments: Arguments) -> nn.Module:
    """Return a copy of the module ``package.module:name``, or what the callable there makes."""
    if ":" not in source:
        raise ModelError(
            f"Expected a model as package.module:callable, as torchvision:NAME, timm:NAME or "
            f"hf:FOLDER, or as a folder that a search wrote, such as runs/a/best/1, got '{source}'."
        )
    target = trust.load(source, ModelError)
    if isinstance(target, nn.Module):
        if arguments:
            raise ModelError(
                f"Expected '{source}' to be called with {', '.join(arguments)}, but it is a module "
                f"and no callable that makes one."
            )
        return _copied(target)
    if not callable(target):
        raise ModelError(f"Expected '{source}' to be callable, got {type(target).__name__}.")
    try:
        model = target(**arguments)
    except (Exception, SystemExit) as error:  # the callable is the user's and may do anything
        raise ModelError(
            f"'{source}' raised {type(error).__name__}: {first_line(error)}."
        ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"Expected '{source}' to return a torch.nn.Module, got {type(model).__name__}."
        )
    return model


def _copied(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except Exception:  # noqa: BLE001 - it may hold anything, also what cannot be copied
        return module
