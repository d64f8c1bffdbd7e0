"""Search spaces by name: built in, installed, or ``package.module:Name``."""

from __future__ import annotations

import inspect
from typing import Any

from designer.errors import SpaceError, first_line
from designer.importing import load_attribute
from search_spaces import Space, available_spaces


def find_space(source: str) -> Space[Any]:
    """The space of that name.

    Raises:
        SpaceError: where there is none, or what is there is no space.
    """
    if ":" in source:
        module, _, attribute = source.partition(":")
        found = load_attribute(module, attribute, SpaceError)
    else:
        spaces = available_spaces()
        if source not in spaces:
            raise SpaceError(
                f"Expected a space among {', '.join(sorted(spaces))} or package.module:Name, "
                f"got '{source}'."
            )
        found = spaces[source]
    try:
        space = found() if inspect.isclass(found) or not isinstance(found, Space) else found
    except (Exception, SystemExit) as error:  # a third party's code may do anything
        raise SpaceError(f"Making space '{source}' failed: {first_line(error)}.") from error
    if not isinstance(space, Space):
        raise SpaceError(
            f"Expected '{source}' to have `name`, `suggest` and `build` (see search_spaces.base), "
            f"got {type(space).__name__}."
        )
    return space


def listed_spaces() -> dict[str, str]:
    """Every built-in and installed space: the first line about it, or why it cannot be used."""
    return {name: _first_line_about(name) for name in available_spaces()}


def description(space: Space[Any]) -> str:
    """What the documentation of the space says; empty where there is none."""
    return inspect.getdoc(space) or ""


def _first_line_about(name: str) -> str:
    try:
        return description(find_space(name)).partition("\n")[0]
    except SpaceError as error:
        return f"cannot be used: {error}"
