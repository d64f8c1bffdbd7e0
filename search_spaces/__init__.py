"""Families of architectures to search over; independent of ``designer`` and of Optuna."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from search_spaces.base import Space, Spec, Trial
from search_spaces.cnn import Cnn, CnnSpace, CnnSpec
from search_spaces.edits import Edit, EditableSpace, EditKind
from search_spaces.mlp import Mlp, MlpSpace, MlpSpec
from search_spaces.resnet import Resnet, ResnetSpace, ResnetSpec
from search_spaces.vit import Vit, VitSpace, VitSpec

ENTRY_POINT_GROUP = "designer.search_spaces"
"""Group of entry points under which installed packages offer spaces."""

_BUILT_IN = (MlpSpace, CnnSpace, ResnetSpace, VitSpace)

SPACES: dict[str, Callable[[], Space[Any]]] = {space.name: space for space in _BUILT_IN}
"""Families that come with the package, by name."""


def available_spaces() -> dict[str, Callable[[], Space[Any]]]:
    """Return built-in families and those that installed packages offer.

    Returns:
        By name, a callable that makes the space. A built-in family wins over an installed one of
        the same name. Installed packages are imported only when their space is made.
    """
    offered = {point.name: _Deferred(point) for point in entry_points(group=ENTRY_POINT_GROUP)}
    return {**offered, **SPACES}


def spaces_by_full_name() -> dict[str, Callable[[], Space[Any]]]:
    """Return the same spaces by ``package.module:Name``, as files name the class of a space."""
    offered = {
        f"{point.module}:{point.attr}": _Deferred(point)
        for point in entry_points(group=ENTRY_POINT_GROUP)
    }
    built_in = {f"{kind.__module__}:{kind.__qualname__}": kind for kind in _BUILT_IN}
    return {**offered, **built_in}


class _Deferred:
    """Imports a third party's space only when it is made."""

    def __init__(self, point: EntryPoint) -> None:
        self._point = point
        self.__doc__ = f"From {point.value}."

    def __call__(self) -> Space[Any]:
        space: Space[Any] = self._point.load()()
        return space


__all__ = [
    "ENTRY_POINT_GROUP",
    "SPACES",
    "Cnn",
    "CnnSpace",
    "CnnSpec",
    "Edit",
    "EditKind",
    "EditableSpace",
    "Mlp",
    "MlpSpace",
    "MlpSpec",
    "Resnet",
    "ResnetSpace",
    "ResnetSpec",
    "Space",
    "Spec",
    "Trial",
    "Vit",
    "VitSpace",
    "VitSpec",
    "available_spaces",
    "spaces_by_full_name",
]
