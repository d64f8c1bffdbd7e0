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
