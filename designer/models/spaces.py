"""Find search spaces by name: built in, installed, or ``package.module:Name``."""

from __future__ import annotations

import inspect
from typing import Any

from designer.errors import SpaceError, first_line
from designer.importing import Trust
from search_spaces import Space, available_spaces, spaces_by_full_name


def find_space(source: str, trust: Trust) -> Space[Any]:
    """Return the space that has a name.

    Args:
        source: name of a built-in or installed space, or ``package.module:Name`` of a space or of
            a class or function that makes one when called without arguments.
        trust: which other names than those of built-in and installed spaces may be imported.

    Raises:
        SpaceError: if nothing has that name, or what has it is no space.
        TrustError: if the name may not be imported.
    """
    spaces = spaces_by_full_name() if ":" in source else available_spaces()
    if source in spaces:
        target: Any = spaces[source]
    elif ":" in source:
        target = trust.load(source, SpaceError)
    else:
        raise SpaceError(
            f"Expected a space among {', '.join(sorted(spaces))} or package.module:Name, "
            f"got '{source}'."
        )
    try:
        # a class of spaces has the attributes of a space, too, but is not one yet
        space = target() if inspect.isclass(target) or not isinstance(target, Space) else target
    except (Exception, SystemExit) as error:  # a third party's code may do anything
        raise SpaceError(f"Making space '{source}' failed: {first_line(error)}.") from error
    if not isinstance(space, Space):
        raise SpaceError(
            f"Expected '{source}' to have `name`, `suggest` and `build` (see search_spaces.base), "
            f"got {type(space).__name__}."
        )
    return space


def definition(space: Space[Any]) -> str:
    """Return the repr of a space; its module and class where its class does not define one.

    The default repr contains an address in memory, which changes with every process.
    """
    kind = type(space)
    if kind.__repr__ is object.__repr__:
        return f"{kind.__module__}:{kind.__qualname__}"
    return repr(space)


def as_stored(source: str, trust: Trust, stored_definition: str) -> Space[Any]:
    """Return the space of a name, checked to be as it was when a model of it was stored.

    Args:
        source: see ``find_space``.
        trust: which names may be imported.
        stored_definition: ``definition`` of the space then; empty if it is not known.

    Raises:
        SpaceError: if nothing has that name, or what has it was made with other arguments.
        TrustError: if the name may not be imported.
    """
    space = find_space(source, trust)
    if stored_definition and is_foreign(source) and definition(space) != stored_definition:
        raise SpaceError(
            f"Expected the space {stored_definition}, which the model was trained with, but the "
            f"name '{source}' gives {definition(space)}."
        )
    return space


def is_foreign(source: str) -> bool:
    """True if a name of a space belongs to no built-in or installed one, so it is imported."""
    return ":" in source and source not in spaces_by_full_name()


def listed_spaces() -> dict[str, str]:
    """Return the first line of the docstring of every built-in and installed space, by name.

    For a space that cannot be used, the line says why.
    """
    return {name: _first_line_about(name) for name in available_spaces()}


def description(space: Space[Any]) -> str:
    """Return the docstring of a space; empty if it has none."""
    return inspect.getdoc(space) or ""


def _first_line_about(name: str) -> str:
    try:
        return description(find_space(name, Trust())).partition("\n")[0]
    except SpaceError as error:
        return f"cannot be used: {error}"
