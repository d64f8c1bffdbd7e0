"""Import a user's object by its name ``package.module:attribute``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from designer.errors import first_line


def load_attribute(module: str, attribute: str, error: type[Exception]) -> Any:
    """Import a module and return one of its attributes.

    Args:
        module: its dotted name, looked for in the working folder, too.
        attribute: the name of the attribute.
        error: the class of the error to raise.

    Raises:
        error: if there is no such module or attribute, or importing it raises anything.
    """
    folder = str(Path.cwd())
    if folder not in sys.path:  # stays there, so that worker processes find the same names
        sys.path.append(folder)
    try:
        return getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as cause:  # the module is the user's and may do anything
        raise error(
            f"Expected package.module:name that can be imported, but '{module}:{attribute}' "
            f"raised {type(cause).__name__}: {first_line(cause)}."
        ) from cause
