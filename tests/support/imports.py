"""Watch what is imported: nothing may be that only a file names."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest


class ImportWatch(MetaPathFinder):
    """Note every module that Python looks for, and find none."""

    def __init__(self) -> None:
        self.wanted: list[str] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Note a name, and leave the search to others."""
        self.wanted.append(fullname)
        return None


@contextmanager
def nothing_imported(*modules: str) -> Iterator[None]:
    """Check that Python looks for none of these modules, and that its path stays as it is.

    Args:
        modules: dotted names. They are forgotten first, so that an import would be noticed.
    """
    watch = ImportWatch()
    path = list(sys.path)
    with pytest.MonkeyPatch.context() as patch:
        for name in modules:
            patch.delitem(sys.modules, name, raising=False)
        patch.setattr(sys, "meta_path", [watch, *sys.meta_path])
        yield
        assert not set(modules) & set(watch.wanted)
        assert not set(modules) & set(sys.modules)
        assert sys.path == path
