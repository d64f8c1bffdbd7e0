"""Import an object by its name ``package.module:attribute``, if the user allows it.

A name that the user types is imported. A name that only a file says is imported where the user has
repeated it, or has allowed everything; else a folder from somebody else could run any code.
"""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from designer.errors import InvalidInputError, TrustError, first_line


@dataclass(frozen=True)
class Trust:
    """Which names may be imported; by default none."""

    names: frozenset[str] = frozenset()
    """Names that the user has typed. Their modules may lie in the working folder."""
    everything: bool = False
    """True to import any other name, too. The working folder is not searched for its module."""
    place: str = "A file"
    """Where the names come from, for messages."""

    @classmethod
    def of(cls, trust: Trusted) -> Trust:
        """Return the trust that a user states.

        Args:
            trust: names as ``package.module:name``; True for every name, False for none; or a
                trust, which is returned.

        Raises:
            InvalidInputError: if a name has another form.
        """
        if isinstance(trust, Trust):
            return trust
        if isinstance(trust, bool):
            return cls(everything=trust)
        names = [trust] if isinstance(trust, str) else [str(name) for name in trust]
        wrong = [name for name in names if not all(name.partition(":"))]
        if wrong:
            raise InvalidInputError(
                f"Expected names to trust as package.module:name, got '{wrong[0]}'."
            )
        return cls(frozenset(names))

    def for_names_in(self, place: str) -> Trust:
        """Return the same trust, for messages about names that come from a file or a study."""
        return replace(self, place=place)

    def with_names(self, *names: str) -> Trust:
        """Return a trust that includes names that the user has typed."""
        return replace(self, names=self.names | set(names))

    def check(self, names: Iterable[str]) -> None:
        """Check that all names may be imported, without importing any.

        Raises:
            TrustError: if one may not.
        """
        refused = [] if self.everything else [name for name in names if name not in self.names]
        if refused:
            listed = " and ".join(f"'{name}'" for name in refused)
            options = " ".join(f"--trust {shlex.quote(name)}" for name in refused)
            raise TrustError(
                f"{self.place} wants to import {listed}, which neither Designer nor an installed "
                f"package offers: nothing was imported. If you trust that code, add {options}, or "
                f"in Python trust={refused!r}."
            )

    def load(self, name: str, error: type[Exception]) -> Any:
        """Import the module that a name begins with, and return the attribute that it ends with.

        Args:
            name: ``package.module:attribute``.
            error: the class of the error to raise if that cannot be imported.

        Raises:
            TrustError: if the user has not allowed the name; nothing is imported.
            error: if there is no such module or attribute, or importing it raises anything.
        """
        self.check([name])
        if name in self.names:
            _search_working_folder()
        module, _, attribute = name.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (Exception, SystemExit) as cause:  # the module is the user's and may do anything
            raise error(
                f"Expected package.module:name that can be imported, but '{name}' "
                f"raised {type(cause).__name__}: {first_line(cause)}."
            ) from cause


Trusted = Trust | bool | str | Iterable[str]
"""What ``Trust.of`` takes."""


def typed(*names: str) -> Trust:
    """Return the trust in names that the user has typed."""
    return Trust(frozenset(names))


def _search_working_folder() -> None:
    """Search the working folder last; it stays so, for worker processes find the same names."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
