"""Find search spaces by name: built in, installed, or ``package.module:Name``."""

from __future__ import annotations

import inspect
from typing import Any

from designer.errors import SpaceError, first_line
from designer.importing import load_attribute
from search_spaces import Space, available_spaces


def find_space(source: str) -> Space[Any]:
    """Return the space that has a name.

    Args:
        source: name of a built-in or installed space, or ``package.module:Name`` of a space or of
            a class or function that makes one when called without arguments.

    Raises:
        SpaceError: if nothing has that name, or what has it is no space.
    """
    if ":" in source:
        module, _, attribute = source.partition(":")
        target = load_attribute(module, attribute, SpaceError)
    else:
        spaces = available_spaces()
        if source not in spaces:
            raise SpaceError(
                f"Expected a space among {', '.join(sorted(spaces))} or package.module:Name, "
                f"got '{source}'."
            )
        target = spaces[source]
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
        return description(find_space(name)).partition("\n")[0]
    except SpaceError as error:
        return f"cannot be used: {error}"
