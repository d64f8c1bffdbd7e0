"""What a search was asked for, and whether it is the same as a stored study's."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from textwrap import dedent
from typing import Any

from designer.analysis.look import LookSamples
from designer.choices import Augmentation, Scaling
from designer.data.dataset import Dataset
from designer.data.duplicates import Leak, leaks_of
from designer.errors import RunFolderError
from designer.models.spaces import definition
from designer.search.options import SearchOptions
from designer.search.storage.location import StudyLocation
from search_spaces import Space
from search_spaces.edits import EditableSpace

ADDED_LATER = {
    "augment": str(Augmentation.NONE),
    "data_scaling": str(Scaling.STANDARD),
    "data_input": None,
}
"""Settings that older studies did not store, and what they ran with."""

SPACE_CODE = "space_code"
"""Setting that tells whether the source code of a space is still the same."""

OWN_PACKAGE = "search_spaces"
"""Package whose spaces are described by what they print, and whose code changes with versions."""

OUTSIDE_IDENTITY = {"source", "seed", "split_duplicates"}
"""Options of data that are no part of a study's identity: where the data lie, which may change, and
what decides the split, which shows in the fingerprint."""


@dataclass(frozen=True, eq=False)
class Job:
    """All that a worker needs: the options of a search with what they name, loaded."""

    space: Space[Any]
    """The search space."""
    space_source: str
    """Name of the space on the command line, so that a stored model finds its space again."""
    data: Dataset
    """The data set, split and scaled."""
    options: SearchOptions
    """All other options."""
    location: StudyLocation
    """Where the study is kept."""

    @cached_property
    def look_samples(self) -> LookSamples:
        """The samples of all looks between epochs, the same for every trial."""
        return LookSamples.of(self.data, self.options.seed)

    @cached_property
    def leaks(self) -> tuple[Leak, ...]:
        """The leaks into validation and test data."""
        return leaks_of(self.data.train, self.data.validation, self.data.test)

    @cached_property
    def _space_code(self) -> str:
        return code_of(self.space)

    def identity(self) -> dict[str, Any]:
        """Return settings, space and data as JSON values, as a study stores them.

        A study continues only if all of them are equal.
        """
        data = {f"data_{k}": v for k, v in self.data.options.items() if k not in OUTSIDE_IDENTITY}
        return {
            **self.options.identity(),
            "space": self.space_source,
            "space_definition": definition(self.space),
            **({SPACE_CODE: self._space_code} if self._space_code else {}),
            "data": self.data.name,
            **data,
            "data_fingerprint": self.data.fingerprint,
        }


def code_of(space: Space[Any]) -> str:
    """Return a digest of the source code of a space's class and its own bases, without comments.

    Trials do not depend on ``edits``, so it does not count. The digest is empty for the spaces of
    this package, and where there is no source code.
    """
    own = _root(type(space))
    kinds = [kind for kind in type(space).__mro__ if _root(kind) == own]
    try:
        code = [_without_edits(dedent(inspect.getsource(kind))) for kind in kinds]
    except (OSError, TypeError, SyntaxError):  # written in a console, or half rewritten by now
        return ""
    return "" if own == OWN_PACKAGE else hashlib.sha256("".join(code).encode()).hexdigest()[:12]


def _without_edits(source: str) -> str:
    """Return the syntax tree of the source of a class, as text, without its method ``edits``."""
    tree = ast.parse(source)
    for part in tree.body:
        if isinstance(part, ast.ClassDef):
            kept = [n for n in part.body if getattr(n, "name", "") != EditableSpace.edits.__name__]
            part.body = kept
    return ast.dump(tree)


def _root(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def same_code(stored: object, wanted: object) -> bool:
    """Return True unless both digests of source code are known and differ."""
    return not stored or not wanted or stored == wanted


def check_same_study(
    stored: Mapping[str, Any], wanted: Mapping[str, Any], location: StudyLocation
) -> None:
    """Raise ``RunFolderError`` that names the first difference if two identities differ."""
    stored = {**ADDED_LATER, **stored}
    for name in ("data", "space", *wanted):
        if name == SPACE_CODE:
            _check_code(stored, wanted, location)
        elif stored.get(name) != wanted[name]:
            raise RunFolderError(
                f"Another study is in {location.title}: its {name.replace('_', ' ')} is "
                f"{_shown(stored.get(name))}, not {_shown(wanted[name])}; "
                f"repeat the command that made it, or choose another {location.option}."
            )


def _check_code(
    stored: Mapping[str, Any], wanted: Mapping[str, Any], location: StudyLocation
) -> None:
    if not same_code(stored.get(SPACE_CODE), wanted.get(SPACE_CODE)):
        raise RunFolderError(
            f"The class of the space '{wanted['space']}' has changed since the run in "
            f"{location.title} began: undo that, or choose another {location.option}."
        )


def _shown(value: Any) -> str:
    """Return a value in quotation marks, shortened to 60 characters."""
    text = str(value)
    return f"'{text}'" if len(text) <= 60 else f"'{text[:57]}...'"
